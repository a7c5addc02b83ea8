//===- ScoreKey.cpp - Scores as unsigned numbers --------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ScoreKey.h"

using namespace mlir;
using namespace pst::kernel;

Value pst::kernel::keyOfScore(CodeBuilder &b, Value score) {
  int64_t lanes = CodeBuilder::lanesOf(score);
  auto splat = [&](int64_t value) { return b.splat(b.i32(value), lanes); };
  // -0.0 + 0.0 = 0.0; any other score stays as it is.
  Value positiveZero = b.addf(score, b.f32(0.0, lanes));
  Value bits = arith::BitcastOp::create(b, b.lanesType(lanes, b.getI32Type()),
                                        positiveZero);
  Value sign = arith::ShRSIOp::create(b, bits, splat(31));
  Value flip = arith::OrIOp::create(b, sign, splat(INT32_MIN));
  Value key = arith::XOrIOp::create(b, bits, flip);
  Value nan = b.cmpf(arith::CmpFPredicate::UNO, score, score);
  return b.select(nan, splat(-1), key);
}

Value pst::kernel::scoreOfKey(CodeBuilder &b, Value key) {
  Value sign = arith::ShRSIOp::create(b, key, b.i32(31));
  Value flip = arith::OrIOp::create(
      b, arith::XOrIOp::create(b, sign, b.i32(-1)), b.i32(INT32_MIN));
  return arith::BitcastOp::create(b, b.getF32Type(),
                                  arith::XOrIOp::create(b, key, flip));
}
