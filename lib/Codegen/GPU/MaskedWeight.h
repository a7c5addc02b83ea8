//===- MaskedWeight.h - Writes out a virtual weight -------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_LIB_CODEGEN_GPU_MASKEDWEIGHT_H
#define PST_LIB_CODEGEN_GPU_MASKEDWEIGHT_H

#include "../Kernel/VirtualWeight.h"
#include "KernelContext.h"

namespace pst::cuda {

/// Launches result = M * W' for the buffers of weightOperands.
void launchMaskedWeight(KernelContext &context, CodeBuilder &host,
                        CriterionOp criterion, SelectionAttr selection,
                        ValueRange operands, Value result);

} // namespace pst::cuda

#endif // PST_LIB_CODEGEN_GPU_MASKEDWEIGHT_H
