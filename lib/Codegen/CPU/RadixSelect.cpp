//===- RadixSelect.cpp - The key of a rank, from counts of keys -----------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "RadixSelect.h"
#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace pst::cpu;

Value pst::cpu::anyLane(KernelBuilder &b, Value mask) {
  return KernelBuilder::lanesOf(mask) == 1
             ? mask
             : vector::ReductionOp::create(b, vector::CombiningKind::OR, mask);
}

void pst::cpu::increment(KernelBuilder &b, Value memref, ValueRange at,
                         Value one) {
  b.store(arith::AddIOp::create(b, b.load(memref, at), one), memref, at);
}

RadixSelect::Found
RadixSelect::select(Value low, Value high, Value wanted,
                    function_ref<void(Value, Value, Value)> count) {
  Type i32 = b.getI32Type(), i64 = b.getI64Type(), index = b.getIndexType();
  auto loop = scf::WhileOp::create(
      b, TypeRange{i32, i32, i64, index}, ValueRange{low, high, wanted},
      [&](OpBuilder &, Location, ValueRange state) {
        Value range = arith::SubIOp::create(b, state[1], state[0]);
        Value zeros = math::CountLeadingZerosOp::create(b, range);
        Value shift = arith::MaxSIOp::create(
            b, arith::SubIOp::create(b, b.i32(32 - kBinBits), zeros), b.i32(0));
        b.loop(0, kBins + 1, 1,
               [&](Value bin) { b.store(b.i64(0), totals, bin); });
        count(state[0], range, shift);
        auto [bin, left] = findFromAbove(state[2]);
        Value offset = arith::ShLIOp::create(
            b, arith::IndexCastOp::create(b, i32, bin), shift);
        Value low = arith::AddIOp::create(b, state[0], offset);
        Value width = arith::ShLIOp::create(b, b.i32(1), shift);
        Value last = arith::AddIOp::create(
            b, low, arith::SubIOp::create(b, width, b.i32(1)));
        Value high = arith::MinUIOp::create(b, last, state[1]);
        Value more = b.cmpi(arith::CmpIPredicate::ne, shift, b.i32(0));
        scf::ConditionOp::create(b, more, ValueRange{low, high, left, bin});
      },
      [&](OpBuilder &, Location, ValueRange state) {
        scf::YieldOp::create(b, state.drop_back());
      });
  return {loop.getResult(0), loop.getResult(2), loop.getResult(3)};
}

/// Going down from the last bin, the one at which the sum of the totals
/// reaches `wanted`, and how many are still wanted of that bin. If it never
/// does, bin 0.
std::pair<Value, Value> RadixSelect::findFromAbove(Value wanted) {
  auto loop = scf::WhileOp::create(
      b, TypeRange{b.getIndexType(), b.getI64Type()},
      ValueRange{b.index(kBins - 1), wanted},
      [&](OpBuilder &, Location, ValueRange state) {
        Value less = isLess(b, b.load(totals, state[0]), state[1]);
        Value left = b.cmpi(arith::CmpIPredicate::sgt, state[0], b.index(0));
        scf::ConditionOp::create(b, both(b, less, left), state);
      },
      [&](OpBuilder &, Location, ValueRange state) {
        Value total = b.load(totals, state[0]);
        scf::YieldOp::create(b, ValueRange{b.subi(state[0], b.index(1)),
                                           b.subi(state[1], total)});
      });
  return {loop.getResult(0), loop.getResult(1)};
}

void RadixSelect::noteNaNs(Value range, Value nan) {
  // Of the bins of all keys, only NaNs have the last one.
  Value first = b.cmpi(arith::CmpIPredicate::eq, range, b.i32(-1));
  b.ifThen(first,
           [&] { b.store(b.load(totals, b.index(kBins - 1)), nan, {}); });
}

void RadixSelect::countKeys(KernelBuilder &b, Value key, Value low, Value range,
                            Value shift, Value bins,
                            function_ref<void(Value bin)> increment) {
  int64_t lanes = KernelBuilder::lanesOf(key);
  auto splat = [&](Value value) { return b.splat(value, lanes); };
  Value offset = arith::SubIOp::create(b, key, splat(low));
  Value within = b.cmpi(arith::CmpIPredicate::ule, offset, splat(range));
  b.ifThen(anyLane(b, within), [&] {
    Value bin =
        b.select(within, arith::ShRUIOp::create(b, offset, splat(shift)),
                 splat(b.i32(kBins)));
    if (lanes == 1)
      return increment(toIndex(b, bin));
    // Through memory: to increment is scalar anyway.
    b.store(bin, bins, b.index(0));
    for (int64_t lane = 0; lane < lanes; ++lane)
      increment(toIndex(b, b.load(bins, b.index(lane))));
  });
}
