//===- RadixSelect.cpp - The key of a rank, by one block ------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// largest:
//   do
//     shift = bits of the range - 11 (or another number), at least 0
//     for elements of the range, by all threads:
//       counts[(key - low) >> shift] += 1
//     (bin, wanted) = where the count from above reaches `wanted`
//     low += bin << shift; bits of the range = shift
//   while bits of the range > 0
//
// Three turns at most: 32, 21 and 10 bits. Counts are integers, so the order
// in which threads add to them changes nothing.

#include "RadixSelect.h"

using namespace mlir;
using namespace pst::cuda;

static Value shiftRight(ThreadBuilder &b, Value value, Value bits) {
  return arith::ShRUIOp::create(b, value, bits);
}

/// Additions that may wrap, as keys do.
static Value add(ThreadBuilder &b, Value lhs, Value rhs) {
  return arith::AddIOp::create(b, lhs, rhs);
}
static Value subtract(ThreadBuilder &b, Value lhs, Value rhs) {
  return arith::SubIOp::create(b, lhs, rhs);
}

Value pst::cuda::bitWidth(ThreadBuilder &b, Value value) {
  Value zero = b.i32(0), bits = zero;
  auto isSet = [&](Value rest) {
    return b.cmpi(arith::CmpIPredicate::ne, rest, zero);
  };
  for (int64_t step : {16, 8, 4, 2, 1}) {
    Value rest = shiftRight(b, value, b.i32(step)), more = isSet(rest);
    bits = add(b, bits, b.select(more, b.i32(step), zero));
    value = b.select(more, rest, value);
  }
  return add(b, bits, value); // which is 0 or 1
}

Value pst::cuda::shiftToBins(ThreadBuilder &b, Value bits, int64_t binBits) {
  Value shift = subtract(b, bits, b.i32(binBits));
  return arith::MaxSIOp::create(b, shift, b.i32(0));
}

RadixSelect::RadixSelect(ThreadBuilder &b, int64_t binBits)
    : binBits(binBits), counts(b.sharedBuffer({getNumBins()}, b.getI32Type())),
      totals(b.sharedBuffer({b.threads() / kWarp}, b.getI32Type())),
      found(b.sharedBuffer({2}, b.getI32Type())) {
  assert(getNumBins() % b.threads() == 0 && "threads have as many bins each");
}

/// Thread t has the t-th group of bins from above. Its count of what lies above
/// is a prefix sum: within the warp by exchanges, in which the upper half of
/// each group of lanes adds what the lower half has, then over the warps.
RankedKey RadixSelect::binFromAbove(ThreadBuilder &b, Value wanted,
                                    function_ref<Value(Value)> countOf) {
  int64_t each = getNumBins() / b.threads(), warps = b.threads() / kWarp;
  Value zero = b.i32(0);
  SmallVector<Value> bins, own;
  Value sum = zero;
  for (int64_t i = 0; i < each; ++i) {
    Value place = b.addi(b.muli(b.thread(), each), i);
    bins.push_back(b.subi(b.index(getNumBins() - 1), place));
    own.push_back(countOf(bins.back()));
    sum = add(b, sum, own.back());
  }
  b.onFirstThread([&] {
    b.store(zero, found, b.index(0));
    b.store(zero, found, b.index(1));
  });
  Value lane = arith::IndexCastOp::create(b, b.getI32Type(), b.lane());
  Value above = zero, total = sum;
  for (int64_t mask = 1; mask < kWarp; mask *= 2) {
    Value other = b.shuffleXor(total, mask);
    Value isUpper = b.cmpi(arith::CmpIPredicate::ne,
                           arith::AndIOp::create(b, lane, b.i32(mask)), zero);
    above = add(b, above, b.select(isUpper, other, zero));
    total = add(b, total, other);
  }
  Value warp = b.divi(b.thread(), kWarp);
  b.ifThen(b.cmpi(arith::CmpIPredicate::eq, lane, zero),
           [&] { b.store(total, totals, warp); });
  b.barrier();
  for (int64_t w = 0; w + 1 < warps; ++w) {
    Value isAbove = b.cmpi(arith::CmpIPredicate::ult, b.index(w), warp);
    above = add(b, above, b.select(isAbove, b.load(totals, b.index(w)), zero));
  }
  for (int64_t i = 0; i < each; ++i) {
    Value left = subtract(b, wanted, above);
    Value isHere = arith::AndIOp::create(
        b, b.cmpi(arith::CmpIPredicate::ult, above, wanted),
        b.cmpi(arith::CmpIPredicate::ule, left, own[i]));
    b.ifThen(isHere, [&] {
      Value bin = arith::IndexCastOp::create(b, b.getI32Type(), bins[i]);
      b.store(bin, found, b.index(0));
      b.store(left, found, b.index(1));
    });
    above = add(b, above, own[i]);
  }
  b.barrier();
  RankedKey result{b.load(found, b.index(0)), b.load(found, b.index(1))};
  b.barrier(); // the next search writes there
  return result;
}

RankedKey RadixSelect::largest(ThreadBuilder &b, Value size, Value low,
                               Value bits, Value wanted, ElementOf elementOf) {
  Type i32 = b.getI32Type();
  auto count = [&](Value low, Value range, Value shift) {
    b.strided(getNumBins(), [&](Value bin) { b.store(b.i32(0), counts, bin); });
    b.barrier();
    b.strided(b.index(0), size, [&](Value i) {
      Element element = elementOf(i);
      Value place = subtract(b, element.key, low);
      // In two steps: a shift by 32 is not defined.
      Value beyond =
          shiftRight(b, shiftRight(b, place, shift), subtract(b, range, shift));
      Value inside = b.cmpi(arith::CmpIPredicate::eq, beyond, b.i32(0));
      if (element.counts)
        inside = arith::AndIOp::create(b, inside, element.counts);
      b.ifThen(inside, [&] {
        Value bin = shiftRight(b, place, shift);
        b.atomicAdd(
            b.i32(1), counts,
            arith::IndexCastUIOp::create(b, b.getIndexType(), bin).getResult());
      });
    });
    b.barrier();
  };
  auto loop = scf::WhileOp::create(
      b, TypeRange{i32, i32, i32}, ValueRange{low, bits, wanted},
      [&](OpBuilder &, Location, ValueRange state) {
        Value shift = shiftToBins(b, state[1], binBits);
        count(state[0], state[1], shift);
        RankedKey bin = binFromAbove(
            b, state[2], [&](Value bin) { return b.load(counts, bin); });
        Value offset = arith::ShLIOp::create(b, bin.key, shift);
        Value next = add(b, state[0], offset);
        Value more = b.cmpi(arith::CmpIPredicate::ne, shift, b.i32(0));
        scf::ConditionOp::create(b, more, ValueRange{next, shift, bin.wanted});
      },
      [&](OpBuilder &, Location, ValueRange state) {
        scf::YieldOp::create(b, state);
      });
  return {loop.getResult(0), loop.getResult(2)};
}
