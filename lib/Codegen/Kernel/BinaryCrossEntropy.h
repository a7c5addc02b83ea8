//===- BinaryCrossEntropy.h - The loss of a yes or no --------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_LIB_CODEGEN_KERNEL_BINARYCROSSENTROPY_H
#define PST_LIB_CODEGEN_KERNEL_BINARYCROSSENTROPY_H

#include "CodeBuilder.h"

namespace pst::kernel {

/// max(x, 0) - x label + log(1 + e^-|x|), in which nothing overflows; with the
/// weight of a label of 1, (1 - label) x + (1 + (weight - 1) label) (max(-x, 0)
/// + log(1 + e^-|x|)). One lane.
Value binaryCrossEntropy(CodeBuilder &b, Value x, Value label,
                         Value weight = {});

} // namespace pst::kernel

#endif // PST_LIB_CODEGEN_KERNEL_BINARYCROSSENTROPY_H
