//===- SparseMatmul.h - The product with a compressed weight ----*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// Y = X S^T for an S most of whose elements are zero: S is compressed
// to the others first, then multiplied with tokens as the vectors' lanes, so
// that any pattern of zeros is skipped at the same price. S is read once, by
// elements, as the packing of a dense product reads its matrix: a masked
// weight exists as its kept elements only.

#ifndef PST_LIB_CODEGEN_CPU_SPARSEMATMUL_H
#define PST_LIB_CODEGEN_CPU_SPARSEMATMUL_H

#include "Gemm.h"

namespace pst::cpu {

/// Sizes of the blocks of Y = X S^T, X: tokens x k, S: n x k.
struct SparseBlocking {
  int64_t tokens, n, k;
  int64_t lanes;
  int64_t largestDensity = 100; ///< Percent of S that there is room for.
  int64_t panelTokens;          ///< Tokens of a panel of X.

  SparseBlocking(int64_t tokens, int64_t n, int64_t k, int64_t lanes,
                 int64_t largestDensity);

  /// The percentage of kept elements up to which this product takes less time
  /// than the dense one; 0 where it never does.
  static int64_t profitableDensity(int64_t tokens, int64_t n, int64_t k);

  /// A cell is what lies in kRows rows and kDepth columns of S: of X, 128 x 64
  /// floats, which stay in L1 while its elements pass.
  static constexpr int64_t kRows = 64, kDepth = 128;
  /// Columns of S for which a panel of X is packed at once: stays in L2.
  static constexpr int64_t kPackedDepth = 6 * kDepth;

  int64_t groups() const { return llvm::divideCeil(n, kRows); }
  int64_t blocks() const { return llvm::divideCeil(k, kDepth); }
  int64_t cells() const { return groups() * blocks(); }
  int64_t panels() const { return llvm::divideCeil(tokens, panelTokens); }
  /// The most kept elements of which it is known, before they are compressed,
  /// that there is room for them.
  int64_t keptRoom() const {
    return llvm::divideCeil(n * k * largestDensity, 100);
  }
  /// The length of `values` and `offsets`.
  int64_t capacity() const;
};

/// The kept elements of S, cell by cell, each cell's row by row.
struct CompressedMatrix {
  Value values;  ///< f32[capacity]
  Value offsets; ///< i32[capacity]: where the element's column of X begins.
  /// i32[cells, 1 + kRows]: the cell's first element, and how many each row
  /// has.
  Value cells;
  /// i32[1]: the first free element; beyond the capacity, if there was no room
  /// for all.
  Value cursor;

  /// The types of the four.
  static llvm::SmallVector<mlir::RankedTensorType>
  types(const SparseBlocking &blocking, mlir::OpBuilder &builder);
};

/// Compresses S, which is `matrix` or, if `transposed`, its transpose: of its
/// elements those that are not zero are kept. Never writes beyond the capacity,
/// however many there are.
void emitCompress(KernelBuilder &b, const SparseBlocking &blocking,
                  const MatrixReader &matrix, bool transposed,
                  const CompressedMatrix &compressed);

/// Whether all of S fit, so that a product can take it. The answer depends on S
/// alone.
Value emitIsWhole(KernelBuilder &b, const SparseBlocking &blocking,
                  const CompressedMatrix &compressed);

/// Emits the product, with its epilogue, into `result` (tokens x n), of an S
/// that is whole.
void emitSparseMatmul(KernelBuilder &b, const SparseBlocking &blocking,
                      const MatrixReader &input, const Epilogue &epilogue,
                      Value result, const CompressedMatrix &compressed);

} // namespace pst::cpu

#endif // PST_LIB_CODEGEN_CPU_SPARSEMATMUL_H
