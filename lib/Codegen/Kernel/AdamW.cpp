//===- AdamW.cpp - AdamW's update -----------------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "AdamW.h"

using namespace mlir;
using namespace pst::kernel;

Value AdamWArguments::clip(CodeBuilder &b, Value norm) const {
  Value one = b.f32(1.0);
  Value ratio = b.divf(maxNorm, b.addf(norm, b.f32(1e-6)));
  Value clips = arith::AndIOp::create(
      b, b.cmpf(arith::CmpFPredicate::UNE, maxNorm, b.f32(0.0)),
      b.cmpf(arith::CmpFPredicate::OLT, ratio, one));
  return b.select(clips, ratio, one);
}

void AdamWArguments::update(CodeBuilder &b, Value clip, Value keep, Value i,
                            int64_t lanes) const {
  auto all = [&](Value scalar) { return b.splat(scalar, lanes); };
  Value one = b.f32(1.0);
  Value g = b.mulf(b.load(gradient, i, lanes), all(clip));
  Value m1 = b.fma(b.load(moment1, i, lanes), all(beta1),
                   b.mulf(g, all(b.subf(one, beta1))));
  Value m2 = b.fma(b.load(moment2, i, lanes), all(beta2),
                   b.mulf(b.mulf(g, g), all(b.subf(one, beta2))));
  Value root = b.sqrt(b.divf(m2, all(correction2)));
  Value step = b.divf(b.divf(m1, all(correction1)), b.addf(root, all(epsilon)));
  Value p = b.mulf(b.load(parameter, i, lanes), all(keep));
  b.store(b.subf(p, b.mulf(step, all(learningRate))), parameter, i);
  b.store(m1, moment1, i);
  b.store(m2, moment2, i);
  b.store(b.f32(0.0, lanes), gradient, i);
}
