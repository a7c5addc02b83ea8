//===- WarpMatrix.h - Products of small matrices by a warp ------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// Matrices of bf16 in shared memory, and what a warp makes of them with
// mma.sync: products of 16 rows, summed in f32. "Fragments" are what a lane
// holds of a matrix in registers, as the PTX ISA lays it out (MMALayout.h).

#ifndef PST_LIB_CODEGEN_GPU_WARPMATRIX_H
#define PST_LIB_CODEGEN_GPU_WARPMATRIX_H

#include "WarpBuilder.h"

namespace pst::cuda {

/// A matrix of bf16 in shared memory, rows x columns, the columns a multiple
/// of 16. Rows are 8 elements further apart than they are long, so that the
/// eight that ldmatrix reads at a time lie in different banks.
class SharedMatrix {
public:
  SharedMatrix(ThreadBuilder &b, int64_t rows, int64_t columns);
  static int64_t bytes(int64_t rows, int64_t columns) {
    return rows * (columns + kChunk) * kElementBytes;
  }

  int64_t rows, columns;

  /// `count` of its rows, from `first` on.
  SharedMatrix rowsFrom(ThreadBuilder &b, Value first, int64_t count) const;
  /// Copies source[row + i, column ...] to row i, for all i, by cp.async; zero
  /// where row + i >= end. `source` is a matrix of bf16 whose rows, like
  /// `column`, are multiples of 8 elements.
  void copy(ThreadBuilder &b, Value source, Value row, Value column,
            Value end) const;
  /// Its element there = a bf16.
  void store(ThreadBuilder &b, Value row, Value column, Value value) const;
  /// The left operand's fragments of 16 rows from `row` at the `step`-th 16 of
  /// the columns: four registers.
  llvm::SmallVector<Value> left(ThreadBuilder &b, Value row,
                                int64_t step) const;
  /// The right operand's of 16 rows from `row`, which become its columns, at
  /// the `step`-th 16 of the columns: two registers for each 8.
  llvm::SmallVector<Value> rightTransposed(ThreadBuilder &b, int64_t row,
                                           int64_t step) const;
  /// The right operand's of 16 columns from `column`, at the `step`-th 16 of
  /// the rows.
  llvm::SmallVector<Value> right(ThreadBuilder &b, int64_t column,
                                 int64_t step) const;

private:
  llvm::SmallVector<Value> fragments(ThreadBuilder &b, bool depthIsInner,
                                     bool isLeft, Value first,
                                     int64_t step) const;
  Value place(ThreadBuilder &b, Value row, Value chunk) const;

  Value buffer; ///< Pointer to the first element.
};

/// What a lane holds of 16 rows x 8 `blocks` columns, in f32: for each 8
/// columns, two adjacent elements of row lane / 4, then of the row 8 below.
class WarpSums {
public:
  static constexpr int64_t kEach = kMmaSums;

  /// Zeros.
  WarpSums(ThreadBuilder &b, int64_t blocks);
  explicit WarpSums(ValueRange values) : values(values) {}

  llvm::SmallVector<Value> values;

  int64_t blocks() const { return values.size() / kEach; }
  /// The row (0 or 8 below the lane's first) of element e of each block.
  static int64_t half(int64_t e) { return e / 2; }
  /// The lane's first row, and the column of element `e` of a block.
  static Value row(ThreadBuilder &b);
  static Value column(ThreadBuilder &b, int64_t block, int64_t e);
  /// values[e of block] = body(block, e, value)
  void map(llvm::function_ref<Value(int64_t, int64_t, Value)> body);
  /// sums += left * right, in the `block`-th 8 columns
  void multiply(ThreadBuilder &b, int64_t block, ValueRange left,
                ValueRange right);
  /// These elements, rounded to bf16, as a left operand: fragments of the
  /// `step`-th 16 columns.
  llvm::SmallVector<Value> asLeft(ThreadBuilder &b, int64_t step) const;
  /// Combines over the four lanes that share a row.
  static Value overRow(ThreadBuilder &b, Value value,
                       llvm::function_ref<Value(Value, Value)> combine);
};

} // namespace pst::cuda

#endif // PST_LIB_CODEGEN_GPU_WARPMATRIX_H
