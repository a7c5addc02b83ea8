//===- Dropout.cpp - The random mask of dropout ---------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Dropout.h"
#include "mlir/IR/TypeUtilities.h"
#include <cmath>

using namespace mlir;
using namespace pst::kernel;

/// (x ^ x >> shift) * factor, in the lanes of x.
static Value mixRound(CodeBuilder &b, Value x, int64_t shift, uint64_t factor) {
  Type element = getElementTypeOrSelf(x.getType());
  int64_t lanes = CodeBuilder::lanesOf(x);
  auto constant = [&](uint64_t value) {
    return b.splat(element.isInteger(32) ? b.i32(int32_t(value))
                                         : b.i64(int64_t(value)),
                   lanes);
  };
  x = arith::XOrIOp::create(b, x,
                            arith::ShRUIOp::create(b, x, constant(shift)));
  return factor == 1 ? x : Value(arith::MulIOp::create(b, x, constant(factor)));
}

static Value mix64(CodeBuilder &b, Value z) {
  z = mixRound(b, z, 30, 0xbf58476d1ce4e5b9);
  z = mixRound(b, z, 27, 0x94d049bb133111eb);
  return mixRound(b, z, 31, 1);
}

static Value mix32(CodeBuilder &b, Value x) {
  x = mixRound(b, x, 16, 0x7feb352d);
  x = mixRound(b, x, 15, 0x846ca68b);
  return mixRound(b, x, 16, 1);
}

static Value lowHalf(CodeBuilder &b, Value x) {
  return arith::TruncIOp::create(
      b, b.lanesType(CodeBuilder::lanesOf(x), b.getI32Type()), x);
}

static Value highHalf(CodeBuilder &b, Value x) {
  Value shift = b.splat(b.i64(32), CodeBuilder::lanesOf(x));
  return lowHalf(b, arith::ShRUIOp::create(b, x, shift));
}

DropoutMask::DropoutMask(CodeBuilder &b, Value seed, Value site,
                         double probability, int64_t count)
    : probability(probability), wide(count > int64_t(1) << 32) {
  Value number = arith::AddIOp::create(b, site, b.i64(1));
  Value offset = arith::MulIOp::create(
      b, number, b.i64(int64_t(uint64_t(0x9e3779b97f4a7c15))));
  Value key = mix64(b, arith::AddIOp::create(b, mix64(b, seed), offset));
  low = lowHalf(b, key);
  high = highHalf(b, key);
}

Value DropoutMask::kept(CodeBuilder &b, Value index, int64_t lanes) const {
  // The indices of the lanes, in as many bits as they need.
  Type element = wide ? b.getI64Type() : b.getI32Type();
  Value indices = b.splat(arith::IndexCastOp::create(b, element, index), lanes);
  if (lanes > 1) {
    SmallVector<Attribute> offsets;
    for (int64_t lane = 0; lane < lanes; ++lane)
      offsets.push_back(b.getIntegerAttr(element, lane));
    indices = arith::AddIOp::create(
        b, indices,
        arith::ConstantOp::create(
            b, DenseElementsAttr::get(
                   cast<VectorType>(b.lanesType(lanes, element)), offsets)));
  }
  Value second = b.splat(high, lanes);
  if (wide) {
    Value upper = arith::MulIOp::create(
        b, highHalf(b, indices), b.splat(b.i32(int32_t(0x9e3779b9)), lanes));
    second = arith::AddIOp::create(b, second, upper);
    indices = lowHalf(b, indices);
  }
  Value hash = mix32(b, arith::XOrIOp::create(b, indices, b.splat(low, lanes)));
  hash = mix32(b, arith::XOrIOp::create(b, hash, second));
  auto threshold = uint32_t(std::floor(std::ldexp(probability, 32)));
  return b.cmpi(arith::CmpIPredicate::uge, hash,
                b.splat(b.i32(int32_t(threshold)), lanes));
}

Value DropoutMask::drop(CodeBuilder &b, Value element, Value index) const {
  int64_t lanes = CodeBuilder::lanesOf(element);
  Value scaled = b.mulf(element, b.f32(scale(), lanes));
  return b.select(kept(b, index, lanes), scaled, b.f32(0.0, lanes));
}

Group DropoutMask::drop(CodeBuilder &b, Group elements, Value first) const {
  for (auto [i, element] : llvm::enumerate(elements))
    element = drop(b, element, b.addi(first, i));
  return elements;
}
