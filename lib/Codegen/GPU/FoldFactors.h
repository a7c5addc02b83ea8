//===- FoldFactors.h - What a warp has of the factors -----------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// A warp folds 16 rows of a tile of G, in bands of 32 columns. Its lanes keep
// what the criterion needs of their two rows in registers; what it needs of a
// band's columns lies in shared memory, for all warps.

#ifndef PST_LIB_CODEGEN_GPU_FOLDFACTORS_H
#define PST_LIB_CODEGEN_GPU_FOLDFACTORS_H

#include "LowRankFold.h"
#include "SplitMatrix.h"
#include <array>

namespace pst::cuda {

/// Columns that are evaluated at a time, a step, and those of a band.
inline constexpr int64_t kFoldStep = 16, kFoldBand = 32;
/// Rows that a lane has, and blocks of columns of a step.
inline constexpr int64_t kHalves = 2, kBlocks = kFoldStep / kMmaColumns;

/// Ranks come by eight, the columns of a product's result.
inline int64_t blocksOf(int64_t rank) {
  return llvm::divideCeil(rank, kMmaColumns);
}

/// Where the factors of a band lie in shared memory.
struct FoldBand {
  struct Entry {
    unsigned tensor;
    int64_t rank;     ///< 1: of a column
    int64_t row;      ///< The first of the tensor's in the band.
    int64_t fragment; ///< Its first row among the fragments; -1: none.
  };
  llvm::SmallVector<Entry> entries;
  int64_t rows = 0, fragmentRows = 0;

  /// `isSplit` says of which low-rank factors gradients of P are wanted.
  FoldBand(CriterionOp criterion, ValueRange factors,
           llvm::function_ref<bool(unsigned)> isSplit);

  /// Words that a lane reads of two columns, one row after the other, by 16
  /// bytes: those of a warp's four, `length` apart, lie in different banks.
  int64_t length() const {
    int64_t words = llvm::alignTo(2 * rows, 4);
    return words % 16 == 0 ? words + 4 : words;
  }
  int64_t bytes() const {
    return kFoldBand / 2 * length() * 4 +
           SharedMatrix::bytes(fragmentRows, kFoldBand);
  }
};

/// Two neighbours, vector<2xf32>.
Value pairOf(ThreadBuilder &b, ValueRange values);

/// The factors, as the lanes of the warps that have a tile read them.
class FoldFactors {
public:
  FoldFactors(ThreadBuilder &b, const FoldedTile &folded,
              llvm::function_ref<bool(unsigned)> isSplit);

  /// The warp's number; of the four lanes that share a row, which this is.
  Value warp, quad;

  /// The lane's row in the tile, the first or that 8 below.
  Value row(int64_t half);
  /// The column of G of the tile's `j`-th, the first of two, or the last two.
  Value clampPair(Value j);

  /// Loads what the lane needs of its rows.
  void loadRows();
  /// The factors of the band at `first`: to registers, and from there to shared
  /// memory.
  llvm::SmallVector<Value> load(Value first);
  void share(llvm::ArrayRef<Value> values);
  /// The lane's elements of dense factors in the step that begins at `first`.
  llvm::SmallVector<Value> loadDense(Value first);

  /// By half, the factors' values at two columns from `inBand` on, in a
  /// `block` of the step whose elements are `dense`.
  std::array<llvm::SmallVector<Value>, kHalves>
  values(Value inBand, int64_t block, llvm::ArrayRef<Value> dense);

  /// As right operands, 8 `block`s of ranks: the warp's rows of P; the columns
  /// of Q^T from `step` in the band on.
  SplitFragments ofRows(unsigned tensor, int64_t rank, int64_t block);
  SplitFragments ofColumns(unsigned tensor, int64_t block, int64_t step);

private:
  llvm::SmallVector<Value> shared(int64_t row, Value column, int64_t count);
  const FoldBand::Entry &find(unsigned tensor) const;

  ThreadBuilder &b;
  const FoldedTile &folded;
  const GemmPlan &plan;
  const VirtualWeight &weight;
  FoldBand layout;
  Value firstRow;
  Value band; ///< [pair of columns][row, column]
  std::optional<SharedMatrix> fragments;
  /// By factor and half: of a row, or of P.
  llvm::SmallVector<std::array<llvm::SmallVector<Value>, kHalves>> rows;
};

} // namespace pst::cuda

#endif // PST_LIB_CODEGEN_GPU_FOLDFACTORS_H
