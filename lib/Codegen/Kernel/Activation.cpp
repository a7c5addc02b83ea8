//===- Activation.cpp - Activation functions of f32 lanes -----------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Activation.h"
#include "VectorMath.h"

using namespace mlir;
using namespace pst;
using namespace pst::kernel;
using nn::ActivationKind;

namespace {
/// sqrt(2/pi) (x + 0.044715 x^3), doubled, and its derivative: the argument of
/// the sigmoid in gelu_tanh, for (1 + tanh u) / 2 = sigmoid(2u).
struct TanhArgument {
  TanhArgument(CodeBuilder &b, Value x) {
    constexpr double kFactor = 2 * 0.79788456080286536;
    int64_t lanes = CodeBuilder::lanesOf(x);
    Value square = b.mulf(x, x);
    value = b.mulf(x, b.fma(square, b.f32(kFactor * 0.044715, lanes),
                            b.f32(kFactor, lanes)));
    derivative = b.fma(square, b.f32(3 * kFactor * 0.044715, lanes),
                       b.f32(kFactor, lanes));
  }
  Value value, derivative;
};
} // namespace

Value pst::kernel::emitActivation(CodeBuilder &b, ActivationKind kind,
                                  Value x) {
  switch (kind) {
  case ActivationKind::Gelu:
    return b.mulf(x, normal(b, x).integral);
  case ActivationKind::GeluTanh:
    return b.mulf(x, sigmoid(b, TanhArgument(b, x).value).value);
  case ActivationKind::Tanh:
    return pst::kernel::tanh(b, x);
  case ActivationKind::Silu:
    return b.mulf(x, sigmoid(b, x).value);
  case ActivationKind::Relu: {
    // Compared so that a NaN stays one.
    Value zero = b.f32(0.0, CodeBuilder::lanesOf(x));
    return b.select(b.cmpf(arith::CmpFPredicate::OLT, x, zero), zero, x);
  }
  }
  llvm_unreachable("all kinds are handled");
}

Value pst::kernel::emitActivationDerivative(CodeBuilder &b, ActivationKind kind,
                                            Value x) {
  int64_t lanes = CodeBuilder::lanesOf(x);
  Value one = b.f32(1.0, lanes), zero = b.f32(0.0, lanes);
  switch (kind) {
  case ActivationKind::Gelu: {
    Normal n = normal(b, x);
    return b.fma(x, n.density, n.integral);
  }
  case ActivationKind::GeluTanh: {
    TanhArgument u(b, x);
    Sigmoid s = sigmoid(b, u.value);
    return b.fma(b.mulf(x, s.derivative), u.derivative, s.value);
  }
  case ActivationKind::Tanh: {
    Value y = pst::kernel::tanh(b, x);
    return b.fma(b.subf(zero, y), y, one);
  }
  case ActivationKind::Silu: {
    Sigmoid s = sigmoid(b, x);
    return b.fma(x, s.derivative, s.value);
  }
  case ActivationKind::Relu:
    return b.select(b.cmpf(arith::CmpFPredicate::OGT, x, zero), one, zero);
  }
  llvm_unreachable("all kinds are handled");
}
