//===- Activation.h - Activation functions of f32 lanes ---------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_LIB_CODEGEN_CPU_ACTIVATION_H
#define PST_LIB_CODEGEN_CPU_ACTIVATION_H

#include "KernelBuilder.h"
#include "pst/Dialect/NN/NNOps.h"

namespace pst::cpu {

/// f(x), for f32 or a vector of it (`nn.activation` has the formulas).
Value emitActivation(KernelBuilder &b, nn::ActivationKind kind, Value x);

/// f'(x), likewise; that of relu at 0 is 0.
Value emitActivationDerivative(KernelBuilder &b, nn::ActivationKind kind,
                               Value x);

} // namespace pst::cpu

#endif // PST_LIB_CODEGEN_CPU_ACTIVATION_H
