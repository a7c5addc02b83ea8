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

/// The factor, threshold and cut operands of an op on a virtual weight.
template <typename OpT> llvm::SmallVector<Value> weightOperands(OpT op) {
  llvm::SmallVector<Value> operands(op.getFactors());
  if (op.getThreshold())
    llvm::append_range(operands, ValueRange{op.getThreshold(), op.getCut()});
  return operands;
}

/// The virtual weight in a kernel that has `operands` for weightOperands.
VirtualWeight virtualWeight(ThreadBuilder &b, CriterionOp criterion,
                            ValueRange operands);

/// Launches result = M * W' for the buffers of weightOperands.
void launchMaskedWeight(KernelContext &context, CodeBuilder &host,
                        CriterionOp criterion, ValueRange operands,
                        Value result);

} // namespace pst::cuda

#endif // PST_LIB_CODEGEN_GPU_MASKEDWEIGHT_H
