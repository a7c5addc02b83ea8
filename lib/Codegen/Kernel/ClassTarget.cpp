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
    : classes(classes), weights(weights),
      ownFactor(b.subf(b.f32(1.0), smoothing)),
      evenFactor(b.divf(smoothing, b.f32(static_cast<double>(classes)))) {}

Value ClassTarget::own(CodeBuilder &b, Value label) const {
  return b.mulf(ownFactor, b.load(weights, label));
}

Value ClassTarget::even(CodeBuilder &b, Value c, int64_t lanes) const {
  return b.mulf(b.splat(evenFactor, lanes), b.load(weights, c, lanes));
}
