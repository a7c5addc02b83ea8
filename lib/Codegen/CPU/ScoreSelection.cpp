//===- ScoreSelection.cpp - Counts and keeps scores -----------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ScoreSelection.h"
#include <algorithm>
#include <numeric>

using namespace mlir;
using namespace pst;
using namespace pst::cpu;

static constexpr int64_t kBins = RadixSelect::kBins;
/// Rows evaluated together: they share what is read of the columns.
static constexpr int64_t kRows = 4;

using State = ScoreSelection::State;

//===----------------------------------------------------------------------===//
// Sizes
//===----------------------------------------------------------------------===//

SelectionSizes::SelectionSizes(int64_t rows, int64_t columns, int64_t lanes,
                               int64_t competitors)
    : rows(rows), columns(columns), lanes(lanes) {
  constexpr int64_t kChunkElements = 1 << 15, kLargestChunks = 64;
  constexpr int64_t kGatherAll = 1 << 16;
  constexpr int64_t kSample = 1 << 15, kLargestSample = 1 << 18;
  competitors = std::max(competitors, elements());
  chunks = std::clamp<int64_t>(elements() / kChunkElements, 1, kLargestChunks);
  rowsPerChunk = llvm::alignTo(llvm::divideCeil(rows, chunks), kRows);
  chunks = llvm::divideCeil(rows, rowsPerChunk);
  bool isAlone = competitors == elements(), hasVectors = columns >= lanes;
  isSampled = competitors > kGatherAll && (!isAlone || hasVectors);
  capacity = rowsPerChunk * columns;
  if (!isSampled)
    return;
  capacity = llvm::divideCeil(capacity, 7);
  // Layers differ in how many of their scores lie near a threshold that is not
  // their own: the more scores, the narrower the bracket must be.
  int64_t sample =
      isAlone ? kSample : std::clamp(competitors / 64, kSample, kLargestSample);
  sample = std::min(sample, competitors / 8);
  if (hasVectors)
    sampleVectors =
        llvm::divideNearest(sample * elements(), competitors * lanes);
}

SmallVector<RankedTensorType>
pst::cpu::selectionWorkspaces(Builder &b, ArrayRef<SelectionSizes> sizes) {
  int64_t values = 0, chunks = 0, mostChunks = 0;
  for (const SelectionSizes &s : sizes) {
    values += s.chunks * s.segment();
    chunks += s.chunks;
    mostChunks = std::max(mostChunks, s.chunks);
  }
  Type i64 = b.getI64Type(), i32 = b.getI32Type();
  SmallVector<RankedTensorType> types{
      RankedTensorType::get(values, b.getF32Type()),
      RankedTensorType::get({chunks, kTallies}, i64),
      RankedTensorType::get(kBins + 1, i64)};
  if (sizes.front().isSampled) // else the threshold cannot be missed
    types.push_back(RankedTensorType::get({mostChunks, kBins + 1}, i32));
  return types;
}

//===----------------------------------------------------------------------===//
// Small pieces
//===----------------------------------------------------------------------===//

ScoreSelection::ScoreSelection(KernelBuilder &b, const VirtualWeight &weight,
                               const SelectionSizes &sizes, KeptScores &kept,
                               Value firstChunk, Value firstValue)
    : b(b), weight(weight), s(sizes), kept(kept), firstChunk(firstChunk),
      firstValue(firstValue), totals(kept.getBuffers().totals),
      counts(kept.getBuffers().counts) {}

Value ScoreSelection::endOfChunk(Value begin) {
  return b.mini(b.addi(begin, s.rowsPerChunk), b.index(s.rows));
}

/// Visits the scores of rows [begin, end), several rows at a time and within
/// them vector by vector; `visit` returns the next state.
State ScoreSelection::forScores(
    Value begin, Value end, State state,
    function_ref<State(Value score, ValueRange state)> visit) {
  if (state.empty())
    state = {b.index(0)}; // a loop that carries nothing is built otherwise
  auto rowsFrom = [&](Value row, int64_t rows, State state) {
    auto columns = [&](int64_t from, int64_t to, int64_t lanes) {
      state = b.loop(b.index(from), b.index(to), lanes, state,
                     [&](Value j, ValueRange carried) {
                       State next(carried);
                       if (lanes > 1)
                         weight.prefetchNextRows(b, row, rows, j);
                       for (EmittedCriterion &element :
                            weight.evaluateRows(b, row, rows, j, lanes))
                         next = visit(element.getScore(), next);
                       return next;
                     });
    };
    int64_t whole = s.columns / s.lanes * s.lanes;
    if (whole)
      columns(0, whole, s.lanes);
    if (whole != s.columns)
      columns(whole, s.columns, 1);
    return state;
  };
  Value whole = end;
  if (s.rows % kRows)
    whole = b.addi(begin, b.muli(b.divi(b.subi(end, begin), kRows), kRows));
  state = b.loop(begin, whole, kRows, state, [&](Value i, ValueRange carried) {
    return rowsFrom(i, kRows, State(carried));
  });
  if (s.rows % kRows)
    state = b.loop(whole, end, 1, state, [&](Value i, ValueRange carried) {
      return rowsFrom(i, 1, State(carried));
    });
  return state;
}

void ScoreSelection::gather(Value low, Value high) {
  b.parallel(s.chunks, [&](Value chunk) {
    Value begin = b.muli(chunk, s.rowsPerChunk);
    Value base = b.addi(firstValue, b.muli(chunk, s.segment()));
    State found =
        forScores(begin, endOfChunk(begin), {b.index(0), b.index(0)},
                  [&](Value score, ValueRange state) {
                    return kept.keep(score, state, low, high, base, s.capacity);
                  });
    Value count = b.mini(found[0], b.index(s.capacity));
    Value end = b.addi(base, count);
    auto isNaN = [&](int64_t lanes) {
      return [&, lanes](Value at, ValueRange nan) -> State {
        Value score = b.load(kept.getBuffers().values, at, lanes);
        return {either(
            b, nan[0],
            anyLane(b, b.cmpf(arith::CmpFPredicate::UNO, score, score)))};
      };
    };
    Value whole = b.addi(base, b.muli(b.divi(count, s.lanes), s.lanes));
    Value none = arith::ConstantIntOp::create(b, b.getI1Type(), 0);
    State nan = b.loop(base, whole, s.lanes, {none}, isNaN(s.lanes));
    nan = b.loop(whole, end, 1, nan, isNaN(1));
    kept.closeSegment(end);
    Value own = tallied(chunk);
    kept.storeTally(toI64(b, found[0]), own, kInside);
    kept.storeTally(toI64(b, b.subi(found[0], count)), own, kLeftOut);
    kept.storeTally(toI64(b, found[1]), own, kAbove);
    kept.storeTally(arith::ExtUIOp::create(b, b.getI64Type(), nan[0]), own,
                    kNaN);
    kept.storeTally(toI64(b, base), own, kBegin);
  });
}

State ScoreSelection::gatherSample(Value low, Value high, ValueRange state) {
  if (!s.sampleVectors)
    return State(state);
  int64_t vectors = s.columns / s.lanes;
  // Columns alternate by the golden ratio, so that none is missed.
  int64_t stride = std::max<int64_t>(1, vectors * 618 / 1000);
  while (std::gcd(stride, vectors) != 1)
    ++stride;
  // Any place will do: the whole sample has room.
  int64_t room =
      cast<MemRefType>(kept.getBuffers().values.getType()).getDimSize(0) -
      2 * s.lanes;
  return b.loop(
      b.index(0), b.index(s.sampleVectors), 1, state,
      [&](Value t, ValueRange state) {
        Value row = b.divi(b.muli(t, s.rows), s.sampleVectors);
        Value column = b.muli(b.remi(b.muli(t, stride), vectors), s.lanes);
        return kept.keep(weight.evaluate(b, row, column, s.lanes).getScore(),
                         state, low, high, b.index(0), room);
      });
}

void ScoreSelection::countAll(Value low, Value range, Value shift) {
  b.parallel(s.chunks, [&](Value chunk) {
    Value bins = b.stackBuffer(s.lanes, b.getI32Type());
    b.loop(0, kBins + 1, 1,
           [&](Value bin) { b.store(b.i32(0), counts, {chunk, bin}); });
    Value begin = b.muli(chunk, s.rowsPerChunk);
    forScores(begin, endOfChunk(begin), {}, [&](Value score, ValueRange state) {
      RadixSelect::countKeys(
          b, keyOfScore(b, score), low, range, shift, bins,
          [&](Value bin) { increment(b, counts, {chunk, bin}, b.i32(1)); });
      return State(state);
    });
  });
  b.loop(0, s.chunks, 1, [&](Value chunk) {
    b.loop(0, kBins, 1, [&](Value bin) {
      Value part = b.load(counts, {chunk, bin});
      increment(b, totals, bin,
                arith::ExtUIOp::create(b, b.getI64Type(), part));
    });
  });
}

ScoreSelection::Found ScoreSelection::selectByRadix(Value wanted, Value nan) {
  RadixSelect radix(b, totals);
  Found found = radix.select(b.i32(0), b.i32(-1), wanted,
                             [&](Value low, Value range, Value shift) {
                               countAll(low, range, shift);
                               radix.noteNaNs(range, nan);
                             });
  b.loop(0, s.chunks, 1, [&](Value chunk) {
    Value equal = b.load(counts, {chunk, found.bin});
    kept.storeTally(arith::ExtUIOp::create(b, b.getI64Type(), equal),
                    tallied(chunk), kEqual);
  });
  return found;
}

void ScoreSelection::tallyAll(Value key) {
  b.parallel(s.chunks, [&](Value chunk) {
    Value begin = b.muli(chunk, s.rowsPerChunk);
    auto count = [&](Value condition) {
      return KernelBuilder::lanesOf(condition) == 1 ? toIndex(b, condition)
                                                    : b.countLanes(condition);
    };
    State sums =
        forScores(begin, endOfChunk(begin), {b.index(0), b.index(0)},
                  [&](Value score, ValueRange state) -> State {
                    Value own = keyOfScore(b, score);
                    Value splat = b.splat(key, KernelBuilder::lanesOf(score));
                    auto add = [&](Value sum, arith::CmpIPredicate predicate) {
                      return b.addi(sum, count(b.cmpi(predicate, own, splat)));
                    };
                    return {add(state[0], arith::CmpIPredicate::eq),
                            add(state[1], arith::CmpIPredicate::ugt)};
                  });
    kept.storeTally(toI64(b, sums[0]), tallied(chunk), kEqual);
    kept.storeTally(toI64(b, sums[1]), tallied(chunk), kAbove);
  });
}

Value ScoreSelection::sumOfTallies(Tally tally) {
  return kept.sumOfTallies(tally, firstChunk, s.chunks);
}

/// The linear index after the `wanted`-th element of that key.
Value ScoreSelection::findCut(Value key, Value wanted) {
  // The chunk in which it lies, and how many are still wanted there.
  State place =
      b.loop(b.index(0), b.index(s.chunks), 1, {b.index(0), wanted},
             [&](Value chunk, ValueRange state) -> State {
               Value here = kept.loadTally(tallied(chunk), kEqual);
               Value at = b.cmpi(arith::CmpIPredicate::eq, chunk, state[0]);
               Value go = both(b, at, isLess(b, here, state[1]));
               return {b.select(go, b.addi(chunk, 1), state[0]),
                       b.select(go, b.subi(state[1], here), state[1])};
             });
  Value zero = b.index(0), one = b.index(1);
  Value state = b.stackBuffer(2, b.getI64Type()); // still wanted, result
  b.store(place[1], state, zero);
  b.store(b.i64(0), state, one);
  Value keys = b.stackBuffer(s.lanes, b.getI32Type());
  auto visit = [&](Value found, Value position) {
    b.ifThen(b.cmpi(arith::CmpIPredicate::eq, found, key), [&] {
      Value left = b.subi(b.load(state, zero), b.i64(1));
      b.store(left, state, zero);
      b.ifThen(b.cmpi(arith::CmpIPredicate::eq, left, b.i64(0)),
               [&] { b.store(toI64(b, b.addi(position, 1)), state, one); });
    });
  };
  Value begin = b.muli(place[0], s.rowsPerChunk);
  b.loop(begin, endOfChunk(begin), 1, [&](Value i) {
    b.ifThen(isLess(b, b.i64(0), b.load(state, zero)), [&] {
      Value row = b.muli(i, s.columns);
      b.vectorLoop(s.columns, s.lanes, [&](Value j, int64_t lanes) {
        Value found = keyOfScore(b, weight.evaluate(b, i, j, lanes).getScore());
        Value position = b.addi(row, j);
        if (lanes == 1)
          return visit(found, position);
        Value same =
            b.cmpi(arith::CmpIPredicate::eq, found, b.splat(key, lanes));
        b.ifThen(anyLane(b, same), [&] {
          b.store(found, keys, zero);
          b.loop(0, lanes, 1, [&](Value lane) {
            visit(b.load(keys, lane), b.addi(position, lane));
          });
        });
      });
    });
  });
  return b.load(state, one);
}
