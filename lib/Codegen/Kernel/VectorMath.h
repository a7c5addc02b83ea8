//===- VectorMath.h - Elementary functions of f32 lanes ---------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// The transcendental functions that kernels need, as polynomials: the same
// bits for a lane and for a scalar remainder, on every machine that rounds
// fused multiply-adds, without a call into a C library. A NaN stays NaN.

#ifndef PST_LIB_CODEGEN_KERNEL_VECTORMATH_H
#define PST_LIB_CODEGEN_KERNEL_VECTORMATH_H

#include "CodeBuilder.h"

namespace pst::kernel {

/// e^x for x <= 0, within 2 ulp; 0 below -87.33 (where it would be denormal).
Value expNonPositive(CodeBuilder &b, Value x);

/// e^x, within 2 ulp; 0 below -87.33 (where it would be denormal), infinite
/// where it is not a finite float.
Value exp(CodeBuilder &b, Value x);

/// The natural logarithm, within 2 ulp; NaN for 0 and below it.
Value log(CodeBuilder &b, Value x);

/// The natural logarithm of a positive, normal, finite x, within 2 ulp.
Value logPositive(CodeBuilder &b, Value x);

/// tanh x, relative error below 4e-7.
Value tanh(CodeBuilder &b, Value x);

/// 1 / (1 + e^-x), relative error below 4e-7, and its derivative.
struct Sigmoid {
  Value value, derivative;
};
Sigmoid sigmoid(CodeBuilder &b, Value x);

/// The standard normal distribution: its integral from -infinity to x,
/// relative error below 1e-6 for |x| < 6, and its density at x.
struct Normal {
  Value integral, density;
};
Normal normal(CodeBuilder &b, Value x);

/// The cosine and the sine of an angle, within 1e-7 for |x| below a million.
struct CosSin {
  Value cos, sin;
};
CosSin cosSin(CodeBuilder &b, Value x);

} // namespace pst::kernel

#endif // PST_LIB_CODEGEN_KERNEL_VECTORMATH_H
