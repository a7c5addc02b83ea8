//===- Criterion.cpp - The one place that emits a score -------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Criterion.h"
#include "ScoreKey.h"
#include "VectorMath.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace pst;
using namespace pst::kernel;

static Value constantLike(CodeBuilder &b, Type type, const APFloat &value) {
  if (auto vector = dyn_cast<VectorType>(type))
    return arith::ConstantOp::create(b, DenseElementsAttr::get(vector, value));
  return arith::ConstantOp::create(b, b.getFloatAttr(type, value));
}

static Value zeroLike(CodeBuilder &b, Type type) {
  return constantLike(b, type, APFloat(0.0f));
}

SmallVector<Value>
pst::kernel::emitRankSums(CodeBuilder &b, int64_t rank, Type type,
                          int64_t count,
                          function_ref<Value(int64_t, Value)> left,
                          function_ref<Value(Value)> right) {
  SmallVector<Value> sums(count, zeroLike(b, type));
  auto index = [&](int64_t k) { return arith::ConstantIndexOp::create(b, k); };
  auto step = [&](Value k, MutableArrayRef<Value> sums) {
    Value shared = right(k);
    for (auto [i, sum] : llvm::enumerate(sums))
      sum = math::FmaOp::create(b, left(i, k), shared, sum);
  };
  if (rank <= kUnrolledRank) {
    for (int64_t k = 0; k < rank; ++k)
      step(index(k), sums);
    return sums;
  }
  auto loop = scf::ForOp::create(b, index(0), index(rank), index(1), sums);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToEnd(loop.getBody());
  SmallVector<Value> next(loop.getRegionIterArgs());
  step(loop.getInductionVar(), next);
  scf::YieldOp::create(b, next);
  return SmallVector<Value>(loop.getResults());
}

/// Of a threshold that must be passed, the score above it that must be reached:
/// one comparison serves for both. Above infinity and NaN that is a NaN.
static Value scoreAbove(CodeBuilder &b, Value threshold) {
  Value key = keyOfScore(b, threshold);
  return scoreOfKey(b, arith::AddIOp::create(b, key, b.i32(1)));
}

Value pst::kernel::emitMask(CodeBuilder &b, Value score, Value threshold,
                            Value cut, Value position) {
  // Both as 32-bit numbers: 64-bit ones would take several registers.
  Type i32 = b.getI32Type();
  Value limit = arith::MaxSIOp::create(b, cut, b.i64(0));
  limit = arith::MinSIOp::create(b, limit, b.i64(INT32_MAX));
  limit = arith::TruncIOp::create(b, i32, limit);
  Value first = arith::IndexCastOp::create(b, i32, position);
  int64_t lanes = CodeBuilder::lanesOf(score);
  Value lane = first, end = limit;
  if (lanes > 1) {
    // So many elements from here on lie before the cut: the same of each row.
    lane = arith::ConstantOp::create(
        b, b.getI32VectorAttr(llvm::to_vector(llvm::seq<int32_t>(0, lanes))));
    end = b.splat(arith::SubIOp::create(b, limit, first,
                                        arith::IntegerOverflowFlags::nsw),
                  lanes);
  }
  Value isBefore = b.cmpi(arith::CmpIPredicate::slt, lane, end);
  Value least = b.select(isBefore, b.splat(threshold, lanes),
                         b.splat(scoreAbove(b, threshold), lanes));
  return b.cmpf(arith::CmpFPredicate::OGE, score, least);
}

EmittedCriterion::EmittedCriterion(CodeBuilder &b, CriterionOp criterion,
                                   ValueRange factors)
    : builder(&b), criterion(criterion), type(factors[0].getType()) {
  Block &block = criterion.getBody().front();
  for (auto [argument, factor] : llvm::zip(block.getArguments(), factors))
    values[argument] = factor;
  for (Operation &op : block.without_terminator())
    values[op.getResult(0)] = emit(op);
  weight = valueOf(criterion.getYield().getWeight());
  if (criterion.hasScore())
    score = valueOf(criterion.getYield().getScore());
}

/// Rebuilt rather than cloned: what flags an op came with stay behind.
Value EmittedCriterion::emit(Operation &op) {
  CodeBuilder &b = *builder;
  auto x = [&](unsigned i) { return valueOf(op.getOperand(i)); };
  return TypeSwitch<Operation *, Value>(&op)
      .Case([&](arith::ConstantOp constant) {
        return emitConstant(constant.getValue());
      })
      .Case([&](HyperparameterOp parameter) {
        return emitConstant(parameter.getValue());
      })
      .Case([&](arith::AddFOp) { return b.addf(x(0), x(1)); })
      .Case([&](arith::SubFOp) { return b.subf(x(0), x(1)); })
      .Case([&](arith::MulFOp) { return b.mulf(x(0), x(1)); })
      .Case([&](arith::DivFOp) { return b.divf(x(0), x(1)); })
      .Case([&](arith::NegFOp) { return arith::NegFOp::create(b, x(0)); })
      .Case([&](arith::MaximumFOp) {
        return arith::MaximumFOp::create(b, x(0), x(1));
      })
      .Case([&](arith::MinimumFOp) {
        return arith::MinimumFOp::create(b, x(0), x(1));
      })
      .Case([&](math::AbsFOp) { return b.absf(x(0)); })
      .Case([&](math::SqrtOp) { return b.sqrt(x(0)); })
      .Case([&](math::ExpOp) { return exp(b, x(0)); })
      .Case([&](math::LogOp) { return log(b, x(0)); })
      .Case([&](arith::CmpFOp compare) {
        return b.cmpf(compare.getPredicate(), x(0), x(1));
      })
      .Case([&](arith::SelectOp) { return b.select(x(0), x(1), x(2)); })
      .Case([&](arith::AndIOp) { return arith::AndIOp::create(b, x(0), x(1)); })
      .Case([&](arith::OrIOp) { return arith::OrIOp::create(b, x(0), x(1)); })
      .Case([&](arith::XOrIOp) { return arith::XOrIOp::create(b, x(0), x(1)); })
      .Case([&](DetachOp) { return x(0); });
}

/// A number, or a condition, for each lane.
Value EmittedCriterion::emitConstant(Attribute value) {
  if (auto number = dyn_cast<FloatAttr>(value))
    return constantLike(*builder, type, number.getValue());
  Type condition = builder->getI1Type();
  if (auto vector = dyn_cast<VectorType>(type))
    return arith::ConstantOp::create(
        *builder, DenseElementsAttr::get(
                      VectorType::get(vector.getShape(), condition), value));
  return arith::ConstantOp::create(*builder, cast<TypedAttr>(value));
}

/// value * sign(of), where the sign of zeros (and NaNs) is 0: the sign bit is
/// carried over.
static Value emitWithSign(CodeBuilder &b, Value value, Value of) {
  Type type = value.getType(), integer = b.getI32Type();
  Value signBit = arith::ConstantIntOp::create(b, integer, INT32_MIN);
  if (auto vector = dyn_cast<VectorType>(type)) {
    integer = VectorType::get(vector.getShape(), integer);
    signBit = vector::BroadcastOp::create(b, integer, signBit);
  }
  Value sign = arith::AndIOp::create(
      b, arith::BitcastOp::create(b, integer, of), signBit);
  Value bits = arith::XOrIOp::create(
      b, arith::BitcastOp::create(b, integer, value), sign);
  Value zero = zeroLike(b, type);
  Value nonzero = arith::CmpFOp::create(b, arith::CmpFPredicate::ONE, of, zero);
  return arith::SelectOp::create(b, nonzero,
                                 arith::BitcastOp::create(b, type, bits), zero);
}

SmallVector<Value> EmittedCriterion::emitBackward(Value weightAdjoint,
                                                  Value scoreAdjoint) {
  adjoints.clear();
  if (weightAdjoint)
    add(criterion.getYield().getWeight(), weightAdjoint);
  if (scoreAdjoint && score)
    add(criterion.getYield().getScore(), scoreAdjoint);
  Block &block = criterion.getBody().front();
  for (Operation &op : llvm::reverse(block.without_terminator()))
    if (Value adjoint = adjoints.lookup(op.getResult(0)))
      emitBackward(op, adjoint);
  SmallVector<Value> result;
  for (Value factor : block.getArguments())
    result.push_back(adjoints.lookup(factor));
  return result;
}

void EmittedCriterion::add(Value to, Value adjoint) {
  Value &sum = adjoints[to];
  sum = sum ? builder->addf(sum, adjoint) : adjoint;
}

/// Adds to the adjoints of an op's operands.
void EmittedCriterion::emitBackward(Operation &op, Value adjoint) {
  CodeBuilder &b = *builder;
  auto x = [&](unsigned i) { return valueOf(op.getOperand(i)); };
  auto to = [&](unsigned i, Value value) { add(op.getOperand(i), value); };
  auto negated = [&](Value value) -> Value {
    return arith::NegFOp::create(b, value);
  };
  Value y = valueOf(op.getResult(0)), zero = zeroLike(b, type);
  TypeSwitch<Operation *>(&op)
      .Case([&](arith::AddFOp) {
        to(0, adjoint);
        to(1, adjoint);
      })
      .Case([&](arith::SubFOp) {
        to(0, adjoint);
        to(1, negated(adjoint));
      })
      .Case([&](arith::MulFOp) {
        to(0, b.mulf(adjoint, x(1)));
        to(1, b.mulf(adjoint, x(0)));
      })
      .Case([&](arith::DivFOp) {
        Value part = b.divf(adjoint, x(1));
        to(0, part);
        to(1, negated(b.mulf(part, y)));
      })
      .Case([&](arith::NegFOp) { to(0, negated(adjoint)); })
      .Case<arith::MaximumFOp, arith::MinimumFOp>([&](Operation *) {
        // The operand that is the result has it all; equal ones have half.
        Value half = b.mulf(adjoint, constantLike(b, type, APFloat(0.5f)));
        auto equal = arith::CmpFPredicate::OEQ;
        Value share = b.select(b.cmpf(equal, x(0), x(1)), half, adjoint);
        for (unsigned i : {0, 1})
          to(i, b.select(b.cmpf(equal, x(i), y), share, zero));
      })
      .Case([&](math::AbsFOp) { to(0, emitWithSign(b, adjoint, x(0))); })
      .Case([&](math::SqrtOp) {
        Value half = b.mulf(adjoint, constantLike(b, type, APFloat(0.5f)));
        to(0, b.select(b.cmpf(arith::CmpFPredicate::OGT, y, zero),
                       b.divf(half, y), zero));
      })
      .Case([&](math::ExpOp) { to(0, b.mulf(adjoint, y)); })
      .Case([&](math::LogOp) { to(0, b.divf(adjoint, x(0))); })
      .Case([&](arith::SelectOp) {
        to(1, b.select(x(0), adjoint, zero));
        to(2, b.select(x(0), zero, adjoint));
      });
}
