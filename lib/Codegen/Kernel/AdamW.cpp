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

void AdamWArguments::update(CodeBuilder &b, Value clip, Value rate, bool decays,
                            Value i, int64_t lanes) const {
  auto all = [&](Value scalar) { return b.splat(scalar, lanes); };
  Value one = b.f32(1.0);
  Value keep = decays ? b.subf(one, b.mulf(rate, decay)) : one;
  Value g = b.mulf(b.load(gradient, i, lanes), all(clip));
  Value m1 = b.fma(b.load(moment1, i, lanes), all(beta1),
                   b.mulf(g, all(b.subf(one, beta1))));
  Value m2 = b.fma(b.load(moment2, i, lanes), all(beta2),
                   b.mulf(b.mulf(g, g), all(b.subf(one, beta2))));
  Value root = b.sqrt(b.divf(m2, all(correction2)));
  Value step = b.divf(b.divf(m1, all(correction1)), b.addf(root, all(epsilon)));
  Value p = b.mulf(b.load(parameter, i, lanes), all(keep));
  b.store(b.subf(p, b.mulf(step, all(rate))), parameter, i);
  b.store(m1, moment1, i);
  b.store(m2, moment2, i);
  b.store(b.f32(0.0, lanes), gradient, i);
}

SmallVector<AdamWSegment> pst::kernel::adamWSegments(AdamWOp op) {
  SmallVector<AdamWSegment> segments;
  int64_t decayed = op.getDecayed();
  auto add = [&](int64_t begin, int64_t end, std::optional<size_t> rate) {
    for (auto [first, last, decays] :
         {std::tuple(begin, std::min(end, decayed), true),
          std::tuple(std::max(begin, decayed), end, false)})
      if (first < last)
        segments.push_back({first, last, decays, rate});
  };
  ArrayRef<int64_t> ranges = op.getRanges().value_or(ArrayRef<int64_t>());
  int64_t done = 0;
  for (size_t i = 0; i < ranges.size(); i += 2) {
    add(done, ranges[i], std::nullopt);
    add(ranges[i], ranges[i + 1], i / 2);
    done = ranges[i + 1];
  }
  add(done, op.getSize(), std::nullopt);
  return segments;
}
