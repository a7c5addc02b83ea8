//===- Dropout.cpp - The random mask of dropout ---------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Dropout.h"
#include "mlir/IR/TypeUtilities.h"
#include "pst/Dialect/NN/NNOps.h"
#include <cmath>
#include <numeric>

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

DropoutPlace DropoutPlace::ofRow(CodeBuilder &b, Value row, IntegerAttr length,
                                 int64_t columns) {
  if (!length)
    return {b.index(0), b.muli(row, columns)};
  return {b.divi(row, length.getInt()),
          b.muli(b.remi(row, length.getInt()), columns)};
}

DropoutPlace DropoutPlace::ofProbability(CodeBuilder &b, Value task, Value i,
                                         Value j) {
  return {task, b.addi(b.muli(i, nn::kMostDroppedPositions), j)};
}

DropoutPlace DropoutPlace::plus(CodeBuilder &b, Value more) const {
  return {sequence, b.addi(index, more)};
}

DropoutMask::DropoutMask(CodeBuilder &b, Value seed, Value site,
                         double probability)
    : probability(probability) {
  Value number = arith::AddIOp::create(b, site, b.i64(1));
  Value offset = arith::MulIOp::create(
      b, number, b.i64(int64_t(uint64_t(0x9e3779b97f4a7c15))));
  Value key = mix64(b, arith::AddIOp::create(b, mix64(b, seed), offset));
  low = lowHalf(b, key);
  high = highHalf(b, key);
}

Value DropoutMask::kept(CodeBuilder &b, DropoutPlace first,
                        int64_t lanes) const {
  Type word = b.getI32Type();
  Value indices =
      b.splat(arith::IndexCastOp::create(b, word, first.index), lanes);
  if (lanes > 1) {
    SmallVector<int32_t> offsets(lanes);
    std::iota(offsets.begin(), offsets.end(), 0);
    indices = arith::AddIOp::create(
        b, indices,
        arith::ConstantOp::create(
            b,
            DenseElementsAttr::get(cast<VectorType>(b.lanesType(lanes, word)),
                                   ArrayRef<int32_t>(offsets))));
  }
  Value sequence = arith::MulIOp::create(
      b, arith::IndexCastOp::create(b, word, first.sequence),
      b.i32(int32_t(0x9e3779b9)));
  Value second = arith::AddIOp::create(b, high, sequence);
  Value hash = mix32(b, arith::XOrIOp::create(b, indices, b.splat(low, lanes)));
  hash = mix32(b, arith::XOrIOp::create(b, hash, b.splat(second, lanes)));
  auto threshold = uint32_t(std::floor(std::ldexp(probability, 32)));
  return b.cmpi(arith::CmpIPredicate::uge, hash,
                b.splat(b.i32(int32_t(threshold)), lanes));
}

Value DropoutMask::drop(CodeBuilder &b, Value element,
                        DropoutPlace first) const {
  int64_t lanes = CodeBuilder::lanesOf(element);
  Value scaled = b.mulf(element, b.f32(scale(), lanes));
  return b.select(kept(b, first, lanes), scaled, b.f32(0.0, lanes));
}

Group DropoutMask::drop(CodeBuilder &b, Group elements,
                        DropoutPlace first) const {
  for (auto [i, element] : llvm::enumerate(elements))
    element = drop(b, element, first.plus(b, b.index(i)));
  return elements;
}
