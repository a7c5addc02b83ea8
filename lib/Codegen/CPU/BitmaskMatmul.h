//===- BitmaskMatmul.h - Products with a bit for each element ---*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_LIB_CODEGEN_CPU_BITMASKMATMUL_H
#define PST_LIB_CODEGEN_CPU_BITMASKMATMUL_H

#include <cstdint>

namespace pst::cpu {

/// Products of so few rows of X expand S; others take it bit by bit.
struct BitmaskFewRows {
  static constexpr int64_t kMost = 16;
  static bool pays(int64_t tokens) { return tokens <= kMost; }
};

} // namespace pst::cpu

#endif // PST_LIB_CODEGEN_CPU_BITMASKMATMUL_H
