//===- SparseFewRows.h - Products of few rows with S ------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_LIB_CODEGEN_CPU_SPARSEFEWROWS_H
#define PST_LIB_CODEGEN_CPU_SPARSEFEWROWS_H

#include "CompressedWeight.h"

namespace pst::cpu {

/// Y = X S^T for an X of few rows, tokens x k, and a compressed S of n x k.
/// Lanes are elements of a row of S, whose X is gathered; emitSparseMatmul's
/// are tokens, of which there are too few to fill a vector.
struct SparseFewRows {
  int64_t tokens;
  CompressedLayout layout; ///< Of S.
  int64_t lanes;

  /// Whether there are so few rows, and vectors whose elements can be gathered.
  static bool pays(int64_t tokens, int64_t lanes) {
    return tokens <= kMost && lanes >= kLeastLanes;
  }

  void emit(KernelBuilder &b, Value input, const Epilogue &epilogue,
            Value result, const CompressedMatrix &compressed) const;

  static constexpr int64_t kMost = 3;
  static constexpr int64_t kLeastLanes = 8;

private:
  void addCell(KernelBuilder &b, Value input,
               const CompressedMatrix &compressed, Value cell, Value column,
               Value rows, Value sums) const;
};

/// Y[token, rows from `firstRow` on] = the sums over lanes of
/// sums[token, row, lane], and what follows, for tokens from `firstToken` on.
void storeLaneSums(KernelBuilder &b, const Epilogue &epilogue, Value result,
                   int64_t firstToken, Value firstRow, Value rows, Value sums);

} // namespace pst::cpu

#endif // PST_LIB_CODEGEN_CPU_SPARSEFEWROWS_H
