//===- SmallMatmul.h - Matrix products inside a kernel ----------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// Products of matrices that fit the cache together with their result, as one
// task of a larger kernel: attention's. The right-hand side is packed into
// panels as wide as a register tile; the left-hand side is read where it is.

#ifndef PST_LIB_CODEGEN_CPU_SMALLMATMUL_H
#define PST_LIB_CODEGEN_CPU_SMALLMATMUL_H

#include "KernelBuilder.h"

namespace pst::cpu {

/// The rows and columns of a matrix that belong to one head: element (i, j)
/// is `buffer[row + i, column + j]`.
struct Window {
  Value buffer, row, column;
};

/// A `depth` x `columns` matrix on the stack, in panels of `vectors` vectors:
/// element (k, j) is at `(j / width * depth + k) * width + j % width`. Columns
/// from `columns` to the end of the last panel are zero.
struct Panels {
  Panels(KernelBuilder &b, int64_t depth, int64_t columns, int64_t lanes);

  /// The same memory for a matrix of fewer rows.
  Panels withDepth(int64_t rows) const {
    Panels result = *this;
    result.depth = rows;
    return result;
  }

  int64_t width() const { return vectors * lanes; }
  int64_t count() const { return (columns + width() - 1) / width(); }
  /// Columns with those that are zero.
  int64_t paddedColumns() const { return count() * width(); }

  /// Element (k, j) = window(k, j), for k below `end` (null: all).
  void pack(KernelBuilder &b, Window window, Value end = nullptr) const;
  /// Element (k, j) = window(j, k). With an `end`, for j below that; those from
  /// there to the end of a panel repeat the last one.
  void packTransposed(KernelBuilder &b, Window window,
                      Value end = nullptr) const;

  int64_t depth, columns, lanes, vectors;
  Value buffer;
};

/// A vector of the result of a product: `valid` of its lanes, from (row,
/// column) on, are columns of the matrix (the others are padding).
struct ResultVector {
  Value row, column;
  int64_t lanes, valid;
};

/// How far a product goes: its first rows, columns and terms of each sum, as
/// indices; null for all of them. Rows and columns are rounded up to tiles,
/// but for rows that are to be exact.
struct ProductExtent {
  Value rows, columns, depth;
  bool exactRows = false;
};

/// for panels: for tiles of rows: for k: tile += lhs(row, k) * panel[k]
///
/// for `rows` rows. The sum starts from `initial`, or zero without one, and
/// adds in ascending k by fused multiply-adds; `finish` takes each vector.
void emitProduct(KernelBuilder &b, int64_t rows, const Panels &rhs,
                 llvm::function_ref<Value(Value, Value)> lhs,
                 llvm::function_ref<Value(const ResultVector &)> initial,
                 llvm::function_ref<void(const ResultVector &, Value)> finish,
                 const ProductExtent &extent = {});

/// The valid lanes of a window's row; the others are zero.
Value loadColumns(KernelBuilder &b, Window window, const ResultVector &place);
/// Stores the valid lanes.
void storeColumns(KernelBuilder &b, Value value, Window window,
                  const ResultVector &place);

} // namespace pst::cpu

#endif // PST_LIB_CODEGEN_CPU_SMALLMATMUL_H
