//===- AdamW.h - What the optimizer does to an element ----------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_LIB_CODEGEN_KERNEL_ADAMW_H
#define PST_LIB_CODEGEN_KERNEL_ADAMW_H

#include "CodeBuilder.h"
#include "pst/Dialect/PST/PSTOps.h"
#include <optional>

namespace pst::kernel {

/// The arguments of an AdamW kernel, in order.
struct AdamWArguments {
  /// Those of a launch: the op's operands, `others` of them other rates, then
  /// its buffers.
  AdamWArguments(ValueRange values, size_t others)
      : learningRate(values[0]), beta1(values[1]), beta2(values[2]),
        epsilon(values[3]), decay(values[4]), correction1(values[5]),
        correction2(values[6]), maxNorm(values[7]),
        otherRates(values.slice(8, others)), parameter(values[8 + others]),
        gradient(values[9 + others]), moment1(values[10 + others]),
        moment2(values[11 + others]), norm(values[12 + others]),
        partials(values[13 + others]) {}

  /// What the gradient of that norm is multiplied by.
  Value clip(CodeBuilder &b, Value norm) const;
  /// The update of elements i, i + 1, ... at that rate, of which weight decay
  /// takes its part or does not.
  void update(CodeBuilder &b, Value clip, Value rate, bool decays, Value i,
              int64_t lanes) const;

  Value learningRate, beta1, beta2, epsilon, decay, correction1, correction2,
      maxNorm;
  ValueRange otherRates;
  Value parameter, gradient, moment1, moment2, norm, partials;
};

/// Neighbouring elements that are updated alike.
struct AdamWSegment {
  int64_t begin, end;
  bool decays;
  /// Which of the op's other rates they have; none: its learning rate.
  std::optional<size_t> otherRate;

  Value rate(const AdamWArguments &arguments) const {
    return otherRate ? arguments.otherRates[*otherRate]
                     : arguments.learningRate;
  }
};

/// All elements, in ascending order.
llvm::SmallVector<AdamWSegment> adamWSegments(AdamWOp op);

} // namespace pst::kernel

#endif // PST_LIB_CODEGEN_KERNEL_ADAMW_H
