//===- AdamW.h - What the optimizer does to an element ----------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_LIB_CODEGEN_KERNEL_ADAMW_H
#define PST_LIB_CODEGEN_KERNEL_ADAMW_H

#include "CodeBuilder.h"

namespace pst::kernel {

/// The arguments of an AdamW kernel, in order.
struct AdamWArguments {
  explicit AdamWArguments(ValueRange values)
      : learningRate(values[0]), beta1(values[1]), beta2(values[2]),
        epsilon(values[3]), decay(values[4]), correction1(values[5]),
        correction2(values[6]), maxNorm(values[7]), parameter(values[8]),
        gradient(values[9]), moment1(values[10]), moment2(values[11]),
        norm(values[12]), partials(values[13]) {}

  /// What the gradient of that norm is multiplied by.
  Value clip(CodeBuilder &b, Value norm) const;
  /// The update of elements i, i + 1, ...; `keep` is what decay leaves of them.
  void update(CodeBuilder &b, Value clip, Value keep, Value i,
              int64_t lanes) const;

  Value learningRate, beta1, beta2, epsilon, decay, correction1, correction2,
      maxNorm;
  Value parameter, gradient, moment1, moment2, norm, partials;
};

} // namespace pst::kernel

#endif // PST_LIB_CODEGEN_KERNEL_ADAMW_H
