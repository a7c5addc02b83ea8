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

/// The masked weight of a product, in the type in which it is multiplied: only
/// f32 keeps all digits, for what tensor cores multiply has one type.
mlir::RankedTensorType multipliedWeight(CriterionOp criterion,
                                        MaskedMatmulOp op);
/// Whether that is a factor as it is, which needs no evaluation.
bool isFactor(CriterionOp criterion, MaskedMatmulOp op);

/// Launches result = M * W' for the buffers of weightOperands.
void launchMaskedWeight(KernelContext &context, CodeBuilder &host,
                        CriterionOp criterion, SelectionAttr selection,
                        ValueRange operands, Value result);

} // namespace pst::cuda

#endif // PST_LIB_CODEGEN_GPU_MASKEDWEIGHT_H
