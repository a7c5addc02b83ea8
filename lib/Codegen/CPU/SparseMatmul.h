//===- SparseMatmul.h - The product with a compressed weight ----*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// Y = X S^T for a compressed S, multiplied with tokens as the vectors' lanes,
// so that any pattern of zeros is skipped at the same price.

#ifndef PST_LIB_CODEGEN_CPU_SPARSEMATMUL_H
#define PST_LIB_CODEGEN_CPU_SPARSEMATMUL_H

#include "CompressedWeight.h"

namespace pst::cpu {

/// Sizes of the blocks of Y = X S^T, X: tokens x k, S: n x k.
struct SparseBlocking {
  int64_t tokens;
  CompressedLayout layout; ///< Of S.
  int64_t lanes;
  int64_t panelTokens; ///< Tokens of a panel of X.

  /// The product of `result` (tokens x n) by `input` (tokens x k), tensors or
  /// buffers.
  SparseBlocking(Value input, Value result, int64_t lanes);

  // While a cell's elements pass, 128 x 64 floats of X stay in L1.
  static constexpr int64_t kRows = CompressedLayout::kRows;
  static constexpr int64_t kDepth = CompressedLayout::kColumns;
  /// Columns of S for which a panel of X is packed at once: stays in L2.
  static constexpr int64_t kPackedDepth = 6 * kDepth;

  int64_t n() const { return layout.rows; }
  int64_t k() const { return layout.columns; }
  int64_t panels() const { return llvm::divideCeil(tokens, panelTokens); }
  /// With few panels, groups of rows are shared out too, in so many parts.
  int64_t parts() const;
  /// Parts of the depth that are packed by themselves, and the f32 elements of
  /// one.
  int64_t packedParts() const { return llvm::divideCeil(k(), kPackedDepth); }
  int64_t packedStride() const;
  /// f32 elements of the workspace in which X is packed once for all parts of
  /// the rows; 0 where each task packs what it needs.
  int64_t workspaceSize() const {
    return parts() > 1 ? panels() * packedParts() * packedStride() : 0;
  }
};

/// The elements of the cells of S, which lie row by row.
class CellElements {
public:
  explicit CellElements(Value values) : values(values) {}
  virtual ~CellElements() = default;

  /// A row of a cell: its number there, the slots of its elements, and what
  /// finding their columns begins with.
  struct Row {
    Value number, begin, end;
    llvm::SmallVector<Value> state;
  };
  /// body(row) for the first `rows` rows of a cell, in any order.
  virtual void forRows(KernelBuilder &b, Value cell, Value rows,
                       llvm::function_ref<void(const Row &)> body) const = 0;
  /// The column in the cell of the element at `slot`, the next one of its row
  /// (an index).
  virtual Value nextColumn(KernelBuilder &b, Value slot,
                           llvm::MutableArrayRef<Value> state) const = 0;

  const Value values;
};

/// Emits the product, with its epilogue, into `result` (tokens x n), of an S
/// that is whole. `count` is how many of the tokens there are; null: all.
/// `workspace` has at least the blocking's size; null if that is 0.
void emitSparseMatmul(KernelBuilder &b, const SparseBlocking &blocking,
                      Value count, const MatrixReader &input,
                      const Epilogue &epilogue, Value result, Value workspace,
                      const CellElements &elements);

/// NaN in every element of a result, whose S is not whole.
void emitNaN(KernelBuilder &b, int64_t lanes, Value result);

/// The elements of a compressed S.
class CompressedCells : public CellElements {
public:
  explicit CompressedCells(const CompressedMatrix &matrix)
      : CellElements(matrix.values), matrix(matrix) {}
  void forRows(KernelBuilder &b, Value cell, Value rows,
               llvm::function_ref<void(const Row &)> body) const override;
  Value nextColumn(KernelBuilder &b, Value slot,
                   llvm::MutableArrayRef<Value> state) const override;

private:
  CompressedMatrix matrix;
};

} // namespace pst::cpu

#endif // PST_LIB_CODEGEN_CPU_SPARSEMATMUL_H
