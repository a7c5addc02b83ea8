//===- Criterion.cpp - The one place that emits a score -------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Codegen/Criterion.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace pst;

/// Up to this rank the sum is written out, so that the loads of neighbouring
/// rows are shared; beyond, code would grow without gain.
static constexpr int64_t kUnrolledRank = 16;

static Value constantLike(ImplicitLocOpBuilder &b, Type type,
                          const APFloat &value) {
  if (auto vector = dyn_cast<VectorType>(type))
    return arith::ConstantOp::create(b, DenseElementsAttr::get(vector, value));
  return arith::ConstantOp::create(b, b.getFloatAttr(type, value));
}

static Value zeroLike(ImplicitLocOpBuilder &b, Type type) {
  return constantLike(b, type, APFloat(0.0f));
}

SmallVector<Value> pst::emitRankSums(ImplicitLocOpBuilder &b, int64_t rank,
                                     Type type, int64_t count,
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

Value pst::emitRankSum(ImplicitLocOpBuilder &b, int64_t rank, Type type,
                       function_ref<Value(Value)> left,
                       function_ref<Value(Value)> right) {
  return emitRankSums(
      b, rank, type, /*count=*/1, [&](int64_t, Value k) { return left(k); },
      right)[0];
}

Value pst::emitMask(ImplicitLocOpBuilder &b, Value score, Value threshold,
                    Value cut, Value position) {
  Type i64 = b.getI64Type();
  Value tau = threshold;
  Value early; // the element lies before the cut
  if (auto vector = dyn_cast<VectorType>(score.getType())) {
    // As 32-bit numbers: 64-bit ones would take several registers. The limit
    // is the same for all of a row.
    int64_t lanes = vector.getNumElements();
    auto lanesType = VectorType::get({lanes}, b.getI32Type());
    auto splat = [&](Value value) -> Value {
      return vector::BroadcastOp::create(b, lanesType, value);
    };
    auto constant = [&](int64_t value) {
      return arith::ConstantIntOp::create(b, i64, value);
    };
    Value limit = arith::MaxSIOp::create(b, cut, constant(0));
    limit = arith::MinSIOp::create(b, limit, constant(INT32_MAX));
    limit = arith::TruncIOp::create(b, b.getI32Type(), limit);
    auto numbers = llvm::to_vector(llvm::seq<int32_t>(0, lanes));
    Value lane = arith::ConstantOp::create(
        b, DenseElementsAttr::get(lanesType, ArrayRef<int32_t>(numbers)));
    Value first = arith::IndexCastOp::create(b, b.getI32Type(), position);
    Value here = arith::AddIOp::create(b, splat(first), lane);
    early =
        arith::CmpIOp::create(b, arith::CmpIPredicate::slt, here, splat(limit));
    tau = vector::BroadcastOp::create(b, vector, threshold);
  } else {
    early = arith::CmpIOp::create(b, arith::CmpIPredicate::slt,
                                  arith::IndexCastOp::create(b, i64, position),
                                  cut);
  }
  Value above = arith::CmpFOp::create(b, arith::CmpFPredicate::OGT, score, tau);
  Value equal = arith::CmpFOp::create(b, arith::CmpFPredicate::OEQ, score, tau);
  equal = arith::AndIOp::create(b, equal, early);
  return arith::OrIOp::create(b, above, equal);
}

EmittedCriterion::EmittedCriterion(ImplicitLocOpBuilder &b,
                                   CriterionOp criterion, ValueRange factors)
    : builder(&b), criterion(criterion), type(factors[0].getType()) {
  Block &block = criterion.getBody().front();
  for (auto [argument, factor] : llvm::zip(block.getArguments(), factors))
    values[argument] = factor;
  for (Operation &op : block.without_terminator()) {
    auto operand = [&](unsigned i) { return valueOf(op.getOperand(i)); };
    // Rebuilt rather than cloned: what flags an op came with stay behind.
    values[op.getResult(0)] =
        TypeSwitch<Operation *, Value>(&op)
            .Case([&](arith::ConstantOp constant) {
              return constantLike(
                  b, type, cast<FloatAttr>(constant.getValue()).getValue());
            })
            .Case([&](arith::AddFOp) {
              return arith::AddFOp::create(b, operand(0), operand(1));
            })
            .Case([&](arith::SubFOp) {
              return arith::SubFOp::create(b, operand(0), operand(1));
            })
            .Case([&](arith::MulFOp) {
              return arith::MulFOp::create(b, operand(0), operand(1));
            })
            .Case([&](arith::NegFOp) {
              return arith::NegFOp::create(b, operand(0));
            })
            .Case([&](math::AbsFOp) {
              return math::AbsFOp::create(b, operand(0));
            })
            .Case([&](DetachOp) { return operand(0); });
  }
  weight = valueOf(criterion.getYield().getWeight());
  if (criterion.hasScore())
    score = valueOf(criterion.getYield().getScore());
}

/// value * sign(of), where the sign of zeros (and NaNs) is 0: the sign bit is
/// carried over.
static Value emitWithSign(ImplicitLocOpBuilder &b, Value value, Value of) {
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
  ImplicitLocOpBuilder &b = *builder;
  DenseMap<Value, Value> adjoints;
  auto add = [&](Value to, Value adjoint) {
    Value &sum = adjoints[to];
    sum = sum ? Value(arith::AddFOp::create(b, sum, adjoint)) : adjoint;
  };
  if (weightAdjoint)
    add(criterion.getYield().getWeight(), weightAdjoint);
  if (scoreAdjoint && score)
    add(criterion.getYield().getScore(), scoreAdjoint);
  Block &block = criterion.getBody().front();
  for (Operation &op : llvm::reverse(block.without_terminator())) {
    Value adjoint = adjoints.lookup(op.getResult(0));
    if (!adjoint)
      continue;
    auto negated = [&] { return arith::NegFOp::create(b, adjoint); };
    TypeSwitch<Operation *>(&op)
        .Case([&](arith::AddFOp add_) {
          add(add_.getLhs(), adjoint);
          add(add_.getRhs(), adjoint);
        })
        .Case([&](arith::SubFOp sub) {
          add(sub.getLhs(), adjoint);
          add(sub.getRhs(), negated());
        })
        .Case([&](arith::MulFOp mul) {
          Value lhs = valueOf(mul.getLhs()), rhs = valueOf(mul.getRhs());
          add(mul.getLhs(), arith::MulFOp::create(b, adjoint, rhs));
          add(mul.getRhs(), arith::MulFOp::create(b, adjoint, lhs));
        })
        .Case([&](arith::NegFOp neg) { add(neg.getOperand(), negated()); })
        .Case([&](math::AbsFOp abs) {
          add(abs.getOperand(),
              emitWithSign(b, adjoint, valueOf(abs.getOperand())));
        });
  }
  SmallVector<Value> result;
  for (Value factor : block.getArguments())
    result.push_back(adjoints.lookup(factor));
  return result;
}
