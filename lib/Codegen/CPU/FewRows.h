//===- FewRows.h - Dense products of few rows -------------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_LIB_CODEGEN_CPU_FEWROWS_H
#define PST_LIB_CODEGEN_CPU_FEWROWS_H

#include "Gemm.h"
#include <algorithm>

namespace pst::cpu {

/// Y = X W^T + bias for an X of few rows, tokens x k, and a W of n x k, or
/// k x n if it is `transposed`. Such a product takes as long as reading W,
/// which is read once, where it lies; emitGemm packs it for rows to come.
struct FewRows {
  int64_t tokens, n, k;
  bool transposed;
  int64_t lanes;

  /// Whether there are so few rows, and a W that is large enough for its
  /// packing to take time.
  static bool pays(int64_t tokens, int64_t n, int64_t k) {
    return tokens <= kMost && n * k >= kLeastWeight;
  }

  void emit(KernelBuilder &b, Value input, Value weight,
            const Epilogue &epilogue, Value result) const;

  static constexpr int64_t kMost = 8;
  static constexpr int64_t kLeastWeight = 1 << 16;

private:
  /// Rows or vectors of W whose sums, for all tokens, are in registers.
  int64_t width() const { return std::clamp<int64_t>(16 / tokens, 1, 8); }
  void emitRows(KernelBuilder &b, Value input, Value weight,
                const Epilogue &epilogue, Value result, Value row,
                int64_t rows) const;
  void emitColumns(KernelBuilder &b, Value input, Value weight,
                   const Epilogue &epilogue, Value result, Value column,
                   int64_t vectors, int64_t size) const;
};

} // namespace pst::cpu

#endif // PST_LIB_CODEGEN_CPU_FEWROWS_H
