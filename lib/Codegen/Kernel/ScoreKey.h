//===- ScoreKey.h - Scores as unsigned numbers ------------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_LIB_CODEGEN_KERNEL_SCOREKEY_H
#define PST_LIB_CODEGEN_KERNEL_SCOREKEY_H

#include "CodeBuilder.h"

namespace pst::kernel {

/// The bits of a score (f32, or lanes of it) in an order in which unsigned
/// numbers compare as the scores do; equal scores (0.0 and -0.0) have equal
/// keys, and NaNs have the largest, all ones, which no number has.
Value keyOfScore(CodeBuilder &b, Value score);

/// The score of a key.
Value scoreOfKey(CodeBuilder &b, Value key);

} // namespace pst::kernel

#endif // PST_LIB_CODEGEN_KERNEL_SCOREKEY_H
