//===- KeptScores.cpp - The scores near a threshold -----------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "KeptScores.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include <cmath>
#include <limits>

using namespace mlir;
using namespace pst;
using namespace pst::cpu;

using State = KeptScores::State;

SelectionBuffers::SelectionBuffers(ValueRange workspaces)
    : values(workspaces[0]), tallies(workspaces[1]), totals(workspaces[2]),
      counts(workspaces.size() > 3 ? workspaces[3] : Value()) {}

KeptScores::KeptScores(KernelBuilder &b, const SelectionBuffers &buffers,
                       int64_t lanes)
    : b(b), buffers(buffers), lanes(lanes), radix(b, buffers.totals),
      bins(b.stackBuffer(lanes, b.getI32Type())) {}

int64_t KeptScores::getChunks() const {
  return cast<MemRefType>(buffers.tallies.getType()).getDimSize(0);
}

Value KeptScores::loadTally(Value chunk, Tally tally) {
  return b.load(buffers.tallies, {chunk, b.index(tally)});
}

void KeptScores::storeTally(Value value, Value chunk, Tally tally) {
  b.store(value, buffers.tallies, {chunk, b.index(tally)});
}

Value KeptScores::sumOfTallies(Tally tally, Value first, int64_t count) {
  return b.loop(first, b.addi(first, count), 1, {b.i64(0)},
                [&](Value chunk, ValueRange sum) -> State {
                  return {b.addi(sum[0], loadTally(chunk, tally))};
                })[0];
}

//===----------------------------------------------------------------------===//
// Keeping
//===----------------------------------------------------------------------===//

State KeptScores::keep(Value score, ValueRange state, Value low, Value high,
                       Value base, int64_t capacity) {
  int64_t lanes = KernelBuilder::lanesOf(score);
  Value lowest = b.splat(low, lanes), highest = b.splat(high, lanes);
  Value inside = both(b, b.cmpf(arith::CmpFPredicate::UGE, score, lowest),
                      b.cmpf(arith::CmpFPredicate::ULE, score, highest));
  Value above = b.cmpf(arith::CmpFPredicate::OGT, score, highest);
  Value at = b.addi(base, b.mini(state[0], b.index(capacity)));
  if (lanes == 1) {
    b.store(score, buffers.values, at);
    return {b.addi(state[0], toIndex(b, inside)),
            b.addi(state[1], toIndex(b, above))};
  }
  b.store(b.compress(score, inside), buffers.values, at);
  return {b.addi(state[0], b.countLanes(inside)),
          b.addi(state[1], b.countLanes(above))};
}

void KeptScores::closeSegment(Value end) {
  b.store(b.f32(NAN, lanes), buffers.values, end);
}

void KeptScores::forKept(function_ref<void(Value chunk, Value key)> visit) {
  b.loop(0, getChunks(), 1, [&](Value chunk) {
    Value base = toIndex(b, loadTally(chunk, kBegin));
    Value end = b.addi(base, toIndex(b, loadTally(chunk, kInside)));
    b.loop(base, end, lanes, [&](Value at) {
      visit(chunk, keyOfScore(b, b.load(buffers.values, at, lanes)));
    });
  });
}

//===----------------------------------------------------------------------===//
// Selecting
//===----------------------------------------------------------------------===//

KeptScores::Found KeptScores::selectKept(Value low, Value high, Value wanted) {
  return radix.select(keyOfScore(b, low), keyOfScore(b, high), wanted,
                      [&](Value low, Value range, Value shift) {
                        forKept([&](Value, Value key) {
                          RadixSelect::countKeys(
                              b, key, low, range, shift, bins, [&](Value bin) {
                                increment(b, buffers.totals, bin, b.i64(1));
                              });
                        });
                      });
}

/// Tallies the kept scores of that key, and adds those above it.
void KeptScores::tallyKept(Value key) {
  b.loop(0, getChunks(), 1,
         [&](Value chunk) { storeTally(b.i64(0), chunk, kEqual); });
  Value own = b.splat(key, lanes), noScore = b.splat(b.i32(-1), lanes);
  forKept([&](Value chunk, Value other) {
    auto add = [&](Value condition, Tally tally) {
      increment(b, buffers.tallies, {chunk, b.index(tally)},
                toI64(b, b.countLanes(condition)));
    };
    add(b.cmpi(arith::CmpIPredicate::eq, other, own), kEqual);
    add(both(b, b.cmpi(arith::CmpIPredicate::ugt, other, own),
             b.cmpi(arith::CmpIPredicate::ne, other, noScore)),
        kAbove);
  });
}

std::pair<Value, Value>
KeptScores::findBracket(int64_t elements, int64_t sampleSize, Value keep,
                        Value previous,
                        function_ref<State(Value, Value)> gather) {
  auto f32 = [&](double value) { return b.f32(value); };
  Type i64 = b.getI64Type(), f64 = b.getF64Type();
  Value share = arith::DivFOp::create(b, arith::SIToFPOp::create(b, f64, keep),
                                      b.f64(static_cast<double>(elements)));
  Value rank = b.mulf(share, b.f64(sampleSize));
  Value variance = b.mulf(rank, b.subf(b.f64(1.0), share));
  // Eight standard deviations of a sample of independent scores, since
  // neighbours in a row, which are sampled together, are not.
  Value margin = b.addf(b.mulf(math::SqrtOp::create(b, variance), b.f64(8.0)),
                        b.f64(lanes));
  Value upper = arith::FPToSIOp::create(b, i64, b.subf(rank, margin));
  Value lower = arith::FPToSIOp::create(b, i64, b.addf(rank, margin));
  Value noUpper = isLess(b, upper, b.i64(1));
  Value noLower = isLess(b, b.i64(sampleSize), lower);

  auto gatherSample = [&](Value low, Value high) {
    State found = gather(low, high);
    closeSegment(found[0]);
    b.loop(0, getChunks(), 1,
           [&](Value chunk) { storeTally(b.i64(0), chunk, kInside); });
    for (Value &count : found)
      count = toI64(b, count);
    storeTally(found[0], b.index(0), kInside);
    storeTally(b.i64(0), b.index(0), kBegin);
    return found;
  };
  State window{f32(-INFINITY), f32(INFINITY)}, sample;
  if (!previous) {
    sample = gatherSample(window[0], window[1]);
  } else {
    // First what is near the last threshold; if that is not enough, all.
    Value size = b.absf(previous);
    Value known = b.cmpf(arith::CmpFPredicate::OLT, size,
                         f32(std::numeric_limits<float>::max()));
    Value reach = b.mulf(size, f32(0.25));
    Value low = b.select(known, b.subf(previous, reach), window[0]);
    Value high = b.select(known, b.addf(previous, reach), window[1]);
    Type f = b.getF32Type();
    auto loop = scf::WhileOp::create(
        b, TypeRange{f, f, i64, i64}, ValueRange{low, high},
        [&](OpBuilder &, Location, ValueRange state) {
          State found = gatherSample(state[0], state[1]);
          Value most = b.addi(found[0], found[1]);
          Value fits = both(b, either(b, noUpper, isLess(b, found[1], upper)),
                            either(b, noLower, isAtMost(b, lower, most)));
          Value all = b.cmpf(arith::CmpFPredicate::OEQ, state[1], window[1]);
          Value again = arith::XOrIOp::create(
              b, either(b, fits, all),
              arith::ConstantIntOp::create(b, b.getI1Type(), 1));
          scf::ConditionOp::create(
              b, again, ValueRange{state[0], state[1], found[0], found[1]});
        },
        [&](OpBuilder &, Location, ValueRange) {
          scf::YieldOp::create(b, ValueRange{window[0], window[1]});
        });
    window = {loop.getResult(0), loop.getResult(1)};
    sample = {loop.getResult(2), loop.getResult(3)};
  }

  Value ends = b.stackBuffer(2);
  b.loop(0, 2, 1, [&](Value i) {
    Value isLow = b.cmpi(arith::CmpIPredicate::eq, i, b.index(0));
    Value rank = b.select(isLow, lower, upper);
    Found found = selectKept(window[0], window[1], b.subi(rank, sample[1]));
    b.store(scoreOfKey(b, found.key), ends, i);
  });
  return {b.select(noLower, f32(-INFINITY), b.load(ends, b.index(0))),
          b.select(noUpper, f32(INFINITY), b.load(ends, b.index(1)))};
}

KeptScores::Selected
KeptScores::select(Value low, Value high, Value keep,
                   function_ref<Found(Value nan)> otherwise) {
  auto sumOf = [&](Tally tally) {
    return sumOfTallies(tally, b.index(0), getChunks());
  };
  Value zero = b.i64(0);
  Value wanted = b.subi(keep, sumOf(kAbove)); // inside the bracket
  auto scalar = [&](Type type) {
    return memref::AllocaOp::create(b, MemRefType::get({}, type));
  };
  Value key = scalar(b.getI32Type()), left = scalar(b.getI64Type());
  Value nan = scalar(b.getI64Type());
  b.store(sumOf(kNaN), nan, {});
  auto note = [&](Found found) {
    b.store(found.key, key, {});
    b.store(found.wanted, left, {});
  };
  auto fromKept = [&] {
    Found found = selectKept(low, high, wanted);
    tallyKept(found.key);
    note(found);
  };
  if (otherwise) {
    Value hit =
        both(b, isLess(b, zero, wanted), isAtMost(b, wanted, sumOf(kInside)));
    hit = both(b, hit, isAtMost(b, sumOf(kLeftOut), zero));
    b.ifElse(hit, fromKept, [&] { note(otherwise(nan)); });
  } else {
    fromKept();
  }
  return {b.load(key, {}), b.load(left, {}), isLess(b, zero, b.load(nan, {}))};
}
