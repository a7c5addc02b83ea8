//===- Activation.h - Activation functions of f32 lanes ---------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_LIB_CODEGEN_KERNEL_ACTIVATION_H
#define PST_LIB_CODEGEN_KERNEL_ACTIVATION_H

#include "CodeBuilder.h"
#include "pst/Dialect/NN/NNOps.h"

namespace pst::kernel {

/// f(x), for f32 or a vector of it (`nn.activation` has the formulas).
Value emitActivation(CodeBuilder &b, nn::ActivationKind kind, Value x);

/// f'(x), likewise; that of relu at 0 is 0.
Value emitActivationDerivative(CodeBuilder &b, nn::ActivationKind kind,
                               Value x);

} // namespace pst::kernel

#endif // PST_LIB_CODEGEN_KERNEL_ACTIVATION_H
