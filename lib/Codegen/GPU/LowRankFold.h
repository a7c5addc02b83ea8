//===- LowRankFold.h - Folds tiles of G with the factors --------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// What becomes of a tile of G = dY^T X in its block: for each element the
// criterion is evaluated, masked, and taken back to the factors; what that adds
// to their gradients is the tile's share of them.

#ifndef PST_LIB_CODEGEN_GPU_LOWRANKFOLD_H
#define PST_LIB_CODEGEN_GPU_LOWRANKFOLD_H

#include "../Kernel/VirtualWeight.h"
#include "Gemm.h"

namespace pst::cuda {

/// A result, and where the tiles leave their share of it.
struct WantedGradient {
  unsigned factor, tensor; ///< Positions of the factor and of its tensor.
  FactorKind kind;
  bool second;          ///< lowrank: of Q, not of P.
  int64_t rank = 1;     ///< lowrank only
  unsigned result;      ///< Position among the results.
  int64_t partials = 0; ///< Their number; 0: dense, none.
  bool added = false;   ///< To what the result holds.

  /// Whether an element is a sum over rows of dF, of a column.
  bool isOverRows() const { return kind == FactorKind::Col || second; }
};

/// A block's tile, and what is to be made of it. `targets` are where each
/// gradient goes: its partials, or a dense one's result.
struct FoldedTile {
  const GemmPlan &plan;
  const GemmTile &tile;
  CriterionOp criterion;
  const VirtualWeight &weight;
  llvm::ArrayRef<WantedGradient> gradients;
  ValueRange targets;

  /// The first partial's index of what the tile has of a sum over a row's, or
  /// column's, `tiles` of tiles: parts of k have partials of their own.
  Value partial(ThreadBuilder &b, Value tiles) const;
  /// The row or column of G of one of the tile, or G's last one.
  Value clampRow(ThreadBuilder &b, Value i) const;
  Value clampColumn(ThreadBuilder &b, Value j) const;
};

/// By way of shared memory: any tile, criterion and gradients.
void foldInShared(ThreadBuilder &b, const FoldedTile &folded);

/// Where the tile is: in registers of a warpgroup's accumulators (WgmmaTile),
/// with the sums by tensor cores. `foldsInRegisters` says for what it is made.
void foldInRegisters(ThreadBuilder &b, const FoldedTile &folded);
bool foldsInRegisters(CriterionOp criterion, SelectionAttr selection,
                      ValueRange factors);

} // namespace pst::cuda

#endif // PST_LIB_CODEGEN_GPU_LOWRANKFOLD_H
