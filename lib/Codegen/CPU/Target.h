//===- Target.h - What kernels assume of the machine ------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_LIB_CODEGEN_CPU_TARGET_H
#define PST_LIB_CODEGEN_CPU_TARGET_H

#include <cstdint>

namespace pst::cpu {

/// What the generated code may assume of the machine.
struct Target {
  /// f32 lanes of a vector register: 4 (NEON), 8 (AVX2), 16 (AVX-512).
  int64_t vectorWidth = 8;
  /// Bits of the narrowest elements that one instruction moves to the lanes of
  /// a mask: 32 (AVX-512), 8 (AVX-512 VBMI2, with VNNI); 0: there is none.
  int64_t expandBits = 0;
  /// Bytes of the caches that a thread may count on.
  int64_t l2Cache = 1 << 20, l3Cache = 12 << 20;
  /// Blocks of a dense product, rounded up to whole register tiles; 0: by the
  /// cost model.
  int64_t mBlock = 0, nBlock = 0, kBlock = 0;
};

} // namespace pst::cpu

#endif // PST_LIB_CODEGEN_CPU_TARGET_H
