//===- ClassTarget.cpp - What a row of logits is to predict ---------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ClassTarget.h"

using namespace mlir;
using namespace pst::kernel;

ClassTarget::ClassTarget(CodeBuilder &b, Value weights, Value smoothing,
                         int64_t classes)
    : weights(weights), ownFactor(b.subf(b.f32(1.0), smoothing)),
      evenFactor(b.divf(smoothing, b.f32(static_cast<double>(classes)))) {}

std::optional<ClassTarget> ClassTarget::of(CodeBuilder &b, ValueRange given,
                                           int64_t classes) {
  if (given.empty())
    return std::nullopt;
  return ClassTarget(b, given.size() == 2 ? given[0] : Value(), given.back(),
                     classes);
}

Value ClassTarget::own(CodeBuilder &b, Value label) const {
  return weights ? b.mulf(ownFactor, b.load(weights, label)) : ownFactor;
}

Value ClassTarget::even(CodeBuilder &b, Value c, int64_t lanes) const {
  Value even = b.splat(evenFactor, lanes);
  return weights ? b.mulf(even, b.load(weights, c, lanes)) : even;
}

Value ClassTarget::sum(CodeBuilder &b, Value own,
                       llvm::function_ref<Value()> sumOfEven) const {
  return weights ? b.addf(own, sumOfEven()) : b.f32(1.0);
}
