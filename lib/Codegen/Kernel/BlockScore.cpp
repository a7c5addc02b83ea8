//===- BlockScore.cpp - The score of a block of elements ------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "BlockScore.h"
#include <cmath>

using namespace mlir;
using namespace pst;
using namespace pst::kernel;

Value pst::kernel::emptyBlockScore(CodeBuilder &b, BlockScore kind,
                                   int64_t lanes) {
  return b.f32(kind == BlockScore::Mean ? 0.0 : -INFINITY, lanes);
}

Value pst::kernel::addToBlockScore(CodeBuilder &b, BlockScore kind, Value sum,
                                   Value score) {
  if (kind == BlockScore::Mean)
    return b.addf(sum, score);
  return arith::MaximumFOp::create(b, sum, score);
}

Value pst::kernel::finishBlockScore(CodeBuilder &b, BlockScore kind, Value sum,
                                    Value count) {
  if (kind != BlockScore::Mean)
    return sum;
  Value number = arith::IndexCastOp::create(b, b.getI32Type(), count);
  return b.divf(sum, arith::SIToFPOp::create(b, b.getF32Type(), number));
}
