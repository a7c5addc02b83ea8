//===- TopKThresholdGather.cpp - The scores near a threshold --------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// The first three kernels of a selection (TopKThreshold.cpp): a sample tells a
// bracket, and one pass over the criterion keeps what lies in it.

#include "../Kernel/ScoreKey.h"
#include "TopKThreshold.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

using namespace mlir;
using namespace pst;
using namespace pst::cuda;

/// i32 counts of one block that gathers.
enum BlockCount { kInside, kAbove, kBlockCounts };

void ScoreSelection::sample(ThreadBuilder &b, const Buffers &w) {
  Value first = w.firstSample ? w.firstSample : b.index(0);
  b.ifThen(isEqual(b, b.addi(first, b.block()), b.index(0)), [&] {
    auto clear = [&](Value buffer, int64_t size) {
      b.strided(size, [&](Value i) { b.store(b.i32(0), buffer, i); });
    };
    clear(w.tallies, kTallies);
    clear(w.parts, SelectionSizes::kParts);
    clear(w.bins, SelectionSizes::kBins);
    if (common)
      clear(w.counts, common->layers * kLayerCounts);
  });
  Value i =
      b.addi(b.muli(b.block(), SelectionSizes::kSampleThreads), b.thread());
  auto evaluate = [&] {
    constexpr int64_t kGoldenRatio = 2654435769; // of 2^32
    Value random = b.remi(b.muli(i, kGoldenRatio), int64_t(1) << 32);
    random = b.divi(random, 1 << 8);
    Value part = b.divi(b.muli(i, s.elements()), s.sampled);
    int64_t each = std::max<int64_t>(1, s.elements() / s.sampled);
    b.store(keyOfElement(b, w, b.addi(part, b.remi(random, each))), w.sample,
            b.addi(first, i));
  };
  if (common)
    b.ifThen(isBelow(b, i, w.sampled), evaluate);
  else
    evaluate();
}

void ScoreSelection::findBracket(ThreadBuilder &b, const Buffers &w) {
  b.setBlocksPerMultiprocessor(1);
  RadixSelect radix(b);
  int64_t sampled = common ? common->sampled : s.sampled;
  Value size = b.index(sampled);
  Type f64 = b.getF64Type();
  Value keep = arith::UIToFPOp::create(b, f64, numKept(b, w));
  Value share = b.mulf(keep, b.f64(1.0 / double(elements())));
  Value rank = b.mulf(share, b.f64(sampled));
  Value variance = b.mulf(rank, b.subf(b.f64(1.0), share));
  Value margin = b.addf(b.mulf(b.sqrt(variance), b.f64(4.0)), b.f64(4.0));
  auto toRank = [&](Value value) {
    return arith::FPToSIOp::create(b, b.getI32Type(), value);
  };
  Value upper = toRank(b.subf(rank, margin));
  Value lower = toRank(b.addf(rank, margin));
  Value noUpper = b.cmpi(arith::CmpIPredicate::slt, upper, b.i32(1));
  Value noLower = b.cmpi(arith::CmpIPredicate::sgt, lower, b.i32(sampled));
  // That of several layers may be larger than shared memory.
  Value keys = w.sample, sample = keys;
  if (!common)
    sample = b.sharedBuffer({sampled}, b.getI32Type());
  // Most keys of a sample share their highest bits: begin below those.
  Value zero = b.i32(0);
  SmallVector<Value> ends = b.loop(
      b.thread(), size, SelectionSizes::kBracketThreads, {b.i32(-1), zero},
      [&](Value i, ValueRange ends) -> SmallVector<Value> {
        Value key = b.load(keys, i);
        if (!common)
          b.store(key, sample, i);
        return {arith::MinUIOp::create(b, ends[0], key),
                arith::MaxUIOp::create(b, ends[1], key)};
      });
  Value least = complement(b, b.blockMax(complement(b, ends[0])));
  Value largest = b.blockMax(ends[1]);
  Value bits = bitWidth(b, minus(b, largest, least));
  auto keyOfRank = [&](Value rank) {
    return radix
        .largest(b, size, least, bits, rank,
                 [&](Value i) -> RadixSelect::Element {
                   return {b.load(sample, i)};
                 })
        .key;
  };
  Value low = b.select(noLower, zero, keyOfRank(lower));
  Value high = b.select(noUpper, b.i32(-1), keyOfRank(upper));
  b.onFirstThread([&] {
    storeTally(b, low, w.tallies, BracketLow);
    storeTally(b, high, w.tallies, BracketHigh);
  });
}

/// Of a bracket [low, high], by scores. Comparing them is the same as comparing
/// keys, but takes fewer instructions.
namespace {
struct Bracket {
  Bracket(ThreadBuilder &b, Value tallies)
      : lowKey(loadTally(b, tallies, BracketLow)),
        highKey(loadTally(b, tallies, BracketHigh)),
        // NaNs have the largest key, and 0, which no score has, is the lowest.
        low(b.select(isNaNKey(b, lowKey), b.f32(INFINITY),
                     b.select(isEqual(b, lowKey, b.i32(0)), b.f32(-INFINITY),
                              scoreOfKey(b, lowKey)))),
        high(b.select(isNaNKey(b, highKey), b.f32(INFINITY),
                      scoreOfKey(b, highKey))) {}
  Value lowKey, highKey, low, high;
};
} // namespace

/// A bit for each of the chunk's own elements, by rows, whose score compares
/// so.
static Value marksOf(ThreadBuilder &b, const WeightTiles &tiles,
                     const WeightChunk &chunk, arith::CmpFPredicate predicate,
                     Value bound) {
  Value zero = b.i32(0), marks = zero;
  int64_t bit = 1;
  for (auto [r, element] : llvm::enumerate(chunk.elements)) {
    Value ofRow = zero;
    for (int64_t lane = 0; lane < tiles.lanes; ++lane, bit *= 2) {
      Value score = element.getScore();
      if (tiles.lanes > 1)
        score = vector::ExtractOp::create(b, score, lane);
      Value holds = b.cmpf(predicate, score, bound);
      ofRow = either(b, ofRow, b.select(holds, b.i32(bit), zero));
    }
    if (Value isOwn = chunk.isOwn[r])
      ofRow = b.select(isOwn, ofRow, zero);
    marks = either(b, marks, ofRow);
  }
  return marks;
}

static Value countBits(ThreadBuilder &b, Value bits) {
  return LLVM::CtPopOp::create(b, bits);
}

/// Counts what is above the one key of the bracket, and what equals it.
void ScoreSelection::countTies(ThreadBuilder &b, const Buffers &w,
                               Value counts) {
  Bracket bracket(b, w.tallies);
  VirtualWeight weight(criterion, w.factors);
  Value zero = b.i32(0);
  SmallVector<Value> sums = forTile(
      b, weight, s.tiles, b.block(), {zero, zero, zero},
      [&](const WeightChunk &chunk, ValueRange sums) -> SmallVector<Value> {
        auto marks = [&](arith::CmpFPredicate predicate) {
          return marksOf(b, s.tiles, chunk, predicate, bracket.low);
        };
        Value above = countBits(b, marks(arith::CmpFPredicate::OGT));
        Value equal = countBits(b, marks(arith::CmpFPredicate::OEQ));
        return {plus(b, sums[0], above), plus(b, sums[1], equal),
                either(b, sums[2], marks(arith::CmpFPredicate::UNO))};
      });
  b.atomicAdd(sums[0], counts, b.index(kAbove));
  b.atomicAdd(sums[1], counts, b.index(kInside));
  b.ifThen(b.cmpi(arith::CmpIPredicate::ne, sums[2], zero),
           [&] { storeTally(b, b.i32(1), w.tallies, Nan); });
}

/// body(place, number) for each bit of `bits`, numbered from `first` on.
static void forBits(ThreadBuilder &b, Value bits, Value first,
                    function_ref<void(Value, Value)> body) {
  Type i32 = b.getI32Type();
  scf::WhileOp::create(
      b, TypeRange{i32, i32}, ValueRange{bits, first},
      [&](OpBuilder &, Location, ValueRange state) {
        Value some = b.cmpi(arith::CmpIPredicate::ne, state[0], b.i32(0));
        scf::ConditionOp::create(b, some, state);
      },
      [&](OpBuilder &, Location, ValueRange state) {
        body(LLVM::CountTrailingZerosOp::create(b, i32, state[0],
                                                /*is_zero_poison=*/true),
             state[1]);
        Value rest = both(b, state[0], minus(b, state[0], b.i32(1)));
        scf::YieldOp::create(b, ValueRange{rest, plus(b, state[1], b.i32(1))});
      });
}

/// Counts what is above the bracket; keeps what is inside, and counts it in
/// `parts` of it. That is little: a thread marks which of a chunk's elements
/// are inside, and comes back to those.
void ScoreSelection::keepInside(ThreadBuilder &b, const Buffers &w,
                                Value counts, Value parts) {
  const WeightTiles &t = s.tiles;
  Bracket bracket(b, w.tallies);
  VirtualWeight weight(criterion, w.factors);
  Value low = bracket.lowKey;
  Value shift = shiftToBins(b, bitWidth(b, minus(b, bracket.highKey, low)),
                            SelectionSizes::kPartBits);
  Value scores = b.sharedBuffer({t.chunk, WeightTiles::kThreads * t.lanes});
  Value own = b.muli(b.thread(), t.lanes);
  auto keep = [&](Value score, Value index, Value at) {
    Value key = keyOfScore(b, score);
    b.ifThen(isNaNKey(b, key),
             [&] { storeTally(b, b.i32(1), w.tallies, Nan); });
    Value part = shiftRight(b, minus(b, key, low), shift);
    // Of a NaN, which ends the search anyway.
    part = arith::MinUIOp::create(b, part, b.i32(SelectionSizes::kParts - 1));
    b.atomicAdd(b.i32(1), parts, toIndex(b, part));
    b.ifThen(isBelow(b, at, b.i32(s.capacity)), [&] {
      b.store(entry(b, key, index), w.kept,
              {b.block(), toIndex(b, at), b.index(0)});
    });
  };
  Value inside;
  Value sum = forTile(
      b, weight, t, b.block(), b.i32(0),
      [&](const WeightChunk &chunk, ValueRange sum) -> SmallVector<Value> {
        for (auto [r, element] : llvm::enumerate(chunk.elements))
          b.store(element.getScore(), scores, {b.index(chunk.offset + r), own});
        Value above =
            marksOf(b, t, chunk, arith::CmpFPredicate::OGT, bracket.high);
        // NaNs too, which are neither above nor below.
        Value marks =
            marksOf(b, t, chunk, arith::CmpFPredicate::UGE, bracket.low);
        marks = both(b, marks, complement(b, above));
        marks = shiftLeft(b, marks, b.i32(chunk.offset * t.lanes));
        inside = chunk.offset ? either(b, inside, marks) : marks;
        Value total = plus(b, sum[0], countBits(b, above));
        if (!chunk.isLast)
          return {total};
        Value row = b.addi(chunk.row, -chunk.offset);
        Value first = toI32(b, b.addi(b.muli(row, t.columns), chunk.column));
        if (common)
          first = plus(b, first, w.firstIndex);
        b.ifThen(b.cmpi(arith::CmpIPredicate::ne, inside, b.i32(0)), [&] {
          Value at =
              b.atomicAdd(countBits(b, inside), counts, b.index(kInside));
          forBits(b, inside, at, [&](Value place, Value at) {
            Value row = b.divi(toIndex(b, place), t.lanes);
            Value lane = b.remi(toIndex(b, place), t.lanes);
            Value offset = b.addi(b.muli(row, t.columns), lane);
            keep(b.load(scores, {row, b.addi(own, lane)}),
                 plus(b, first, toI32(b, offset)), at);
          });
        });
        return {total};
      })[0];
  b.atomicAdd(sum, counts, b.index(kAbove));
}

/// By the block that ends last: what the counts tell of the place of the
/// element that stays last.
void ScoreSelection::findPart(ThreadBuilder &b, const Buffers &w) {
  Value low = loadTally(b, w.tallies, BracketLow);
  Value high = loadTally(b, w.tallies, BracketHigh);
  Value shift = shiftToBins(b, bitWidth(b, minus(b, high, low)),
                            SelectionSizes::kPartBits);
  Value above = loadTally(b, w.tallies, Above);
  Value keep = numKept(b, w), zero = b.i32(0), all = b.i32(int32_t(elements()));
  RadixSelect parts(b, SelectionSizes::kPartBits);
  RankedKey part =
      parts.binFromAbove(b, minus(b, keep, above),
                         [&](Value part) { return b.load(w.parts, part); });
  // Of the rows of tiles from the first on, that in which it lies. Of ties in
  // many rows of tiles the search finds it.
  const WeightTiles &t = s.tiles;
  bool counted = !common && t.rowTiles <= SelectionSizes::kParts;
  RankedKey rowTile;
  if (counted)
    rowTile = parts.binFromAbove(b, part.wanted, [&](Value bin) {
      Value place = b.subi(b.index(SelectionSizes::kParts - 1), bin);
      Value exists = isBelow(b, place, b.index(t.rowTiles));
      Value first = b.muli(b.mini(place, b.index(t.rowTiles - 1)), t.stripes);
      Value sum = zero;
      for (int64_t stripe = 0; stripe < t.stripes; ++stripe)
        sum = plus(b, sum, b.load(w.keptSizes, b.addi(first, stripe)));
      return b.select(exists, sum, zero);
    });
  b.onFirstThread([&] {
    Value missed = either(b, b.cmpi(arith::CmpIPredicate::ule, keep, above),
                          isEqual(b, part.wanted, zero));
    auto unlessMissed = [&](Value value, Value otherwise) {
      return b.select(missed, otherwise, value);
    };
    Value first = zero, size = all, wanted = part.wanted;
    if (counted) {
      Value isTie = isEqual(b, low, high);
      Value place =
          b.subi(b.index(SelectionSizes::kParts - 1), toIndex(b, rowTile.key));
      Value top = b.muli(place, t.height);
      Value end = b.mini(b.addi(top, t.height), b.index(t.rows));
      auto ofTie = [&](Value value, Value otherwise) {
        return b.select(isTie, value, otherwise);
      };
      first = ofTie(toI32(b, b.muli(top, t.columns)), first);
      size = ofTie(toI32(b, b.muli(b.subi(end, top), t.columns)), size);
      wanted = ofTie(rowTile.wanted, wanted);
    }
    Range range(unlessMissed(plus(b, low, shiftLeft(b, part.key, shift)), zero),
                unlessMissed(shift, b.i32(32)), unlessMissed(first, zero),
                unlessMissed(size, all), unlessMissed(wanted, keep));
    range.store(b, w.tallies);
    storeTally(b, unlessMissed(b.load(w.parts, toIndex(b, part.key)), all),
               w.tallies, Count);
    // What was kept is of no use then.
    b.ifThen(missed, [&] { storeTally(b, b.i32(1), w.tallies, Overflow); });
    Value nan =
        b.cmpi(arith::CmpIPredicate::ne, loadTally(b, w.tallies, Nan), zero);
    b.ifThen(either(b, nan, isEqual(b, keep, zero)), [&] {
      writeResults(b, w, zero, zero, nan);
      storeTally(b, b.i32(1), w.tallies, Done);
    });
    storeTally(b, zero, w.tallies, Ticket);
  });
}

void ScoreSelection::gather(ThreadBuilder &b, const Buffers &w) {
  b.setBlocksPerMultiprocessor(2);
  Type i32 = b.getI32Type();
  Value counts = b.sharedBuffer({kBlockCounts}, i32);
  Value parts = b.sharedBuffer({SelectionSizes::kParts}, i32);
  b.strided(kBlockCounts, [&](Value i) { b.store(b.i32(0), counts, i); });
  b.strided(SelectionSizes::kParts,
            [&](Value i) { b.store(b.i32(0), parts, i); });
  b.barrier();
  Value isTie = isEqual(b, loadTally(b, w.tallies, BracketLow),
                        loadTally(b, w.tallies, BracketHigh));
  b.ifElse(
      isTie, [&] { countTies(b, w, counts); },
      [&] { keepInside(b, w, counts, parts); });
  b.barrier();
  b.strided(SelectionSizes::kParts, [&](Value part) {
    Value here = b.load(parts, part);
    b.ifThen(b.cmpi(arith::CmpIPredicate::ne, here, b.i32(0)),
             [&] { b.atomicAdd(here, w.parts, part); });
  });
  b.onFirstThread([&] {
    auto addTally = [&](Value value, Tally tally) {
      b.atomicAdd(value, w.tallies, b.index(tally));
    };
    Value inside = b.load(counts, b.index(kInside));
    b.store(inside, w.keptSizes, b.block());
    Value above = b.load(counts, b.index(kAbove));
    addTally(above, Above);
    if (common)
      b.atomicAdd(above, w.counts, w.placeOf(b, LayerAbove));
    // Of ties nothing was kept.
    b.ifThen(isTie, [&] { b.atomicAdd(inside, w.parts, b.index(0)); });
    b.ifThen(either(b, isTie, isBelow(b, b.i32(s.capacity), inside)),
             [&] { addTally(b.i32(1), Overflow); });
  });
  Value last = b.isLastBlock(common ? common->tiles : s.tiles.count(),
                             w.tallies, b.index(Ticket));
  b.ifThen(last, [&] { findPart(b, w); });
}
