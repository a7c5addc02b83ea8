//===- ScoreSelection.cpp - Counts and keeps scores -----------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ScoreSelection.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include <algorithm>
#include <cmath>
#include <numeric>

using namespace mlir;
using namespace pst;
using namespace pst::cpu;

/// Parts of a range of keys, and the bits of a part's number.
static constexpr int64_t kBins = 2048, kBinBits = 11;
/// Rows evaluated together: they share what is read of the columns.
static constexpr int64_t kRows = 4;

using State = ScoreSelection::State;

//===----------------------------------------------------------------------===//
// Sizes
//===----------------------------------------------------------------------===//

SelectionSizes::SelectionSizes(int64_t rows, int64_t columns, int64_t lanes)
    : rows(rows), columns(columns), lanes(lanes) {
  constexpr int64_t kChunkElements = 1 << 15, kLargestChunks = 64;
  constexpr int64_t kGatherAll = 1 << 16, kLargestSample = 1 << 15;
  int64_t elements = rows * columns;
  chunks = std::clamp<int64_t>(elements / kChunkElements, 1, kLargestChunks);
  rowsPerChunk = llvm::alignTo(llvm::divideCeil(rows, chunks), kRows);
  chunks = llvm::divideCeil(rows, rowsPerChunk);
  isSampled = elements > kGatherAll && columns >= lanes;
  capacity = rowsPerChunk * columns;
  if (isSampled) {
    sampleVectors = std::min(kLargestSample, elements / 8) / lanes;
    capacity = llvm::divideCeil(capacity, 7);
  }
}

SmallVector<RankedTensorType> SelectionSizes::workspaces(Builder &b) const {
  auto tensor = [](ArrayRef<int64_t> shape, Type element) {
    return RankedTensorType::get(shape, element);
  };
  SmallVector<RankedTensorType> types{
      tensor(chunks * segment(), b.getF32Type()),
      tensor({chunks, kTallies}, b.getI64Type()),
      tensor(kBins + 1, b.getI64Type())};
  if (isSampled) // only then can the threshold be missed
    types.push_back(tensor({chunks, kBins + 1}, b.getI32Type()));
  return types;
}

//===----------------------------------------------------------------------===//
// Small pieces
//===----------------------------------------------------------------------===//

ScoreSelection::ScoreSelection(KernelBuilder &b, const VirtualWeight &weight,
                               const SelectionSizes &sizes,
                               ValueRange workspaces)
    : b(b), weight(weight), s(sizes), values(workspaces[0]),
      tallies(workspaces[1]), totals(workspaces[2]) {
  if (s.isSampled)
    counts = workspaces[3];
  bins = b.stackBuffer(s.lanes, b.getI32Type());
}

Value ScoreSelection::toI64(Value index) {
  return arith::IndexCastOp::create(b, b.getI64Type(), index);
}

Value ScoreSelection::toIndex(Value integer) {
  return arith::IndexCastUIOp::create(b, b.getIndexType(), integer);
}

Value ScoreSelection::anyLane(Value mask) {
  return KernelBuilder::lanesOf(mask) == 1
             ? mask
             : vector::ReductionOp::create(b, vector::CombiningKind::OR, mask);
}

Value ScoreSelection::loadTally(Value chunk, Tally tally) {
  return b.load(tallies, {chunk, b.index(tally)});
}

void ScoreSelection::storeTally(Value value, Value chunk, Tally tally) {
  b.store(value, tallies, {chunk, b.index(tally)});
}

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

/// State: how many are kept, and how many lie above. Keeps `score` if it is
/// in [low, high], or NaN, behind those kept at `base`; beyond `capacity` they
/// are counted, but overwrite each other.
State ScoreSelection::keep(Value score, ValueRange state, Value low, Value high,
                           Value base, int64_t capacity) {
  int64_t lanes = KernelBuilder::lanesOf(score);
  Value lowest = b.splat(low, lanes), highest = b.splat(high, lanes);
  Value inside = both(b, b.cmpf(arith::CmpFPredicate::UGE, score, lowest),
                      b.cmpf(arith::CmpFPredicate::ULE, score, highest));
  Value above = b.cmpf(arith::CmpFPredicate::OGT, score, highest);
  Value at = b.addi(base, b.mini(state[0], b.index(capacity)));
  if (lanes == 1) {
    b.store(score, values, at);
    return {b.addi(state[0], toIndex(inside)),
            b.addi(state[1], toIndex(above))};
  }
  b.store(b.compress(score, inside), values, at);
  return {b.addi(state[0], b.countLanes(inside)),
          b.addi(state[1], b.countLanes(above))};
}

/// Kept scores are read by whole vectors: what follows them is no score.
void ScoreSelection::closeSegment(Value end) {
  b.store(b.f32(NAN, s.lanes), values, end);
}

void ScoreSelection::gather(Value low, Value high) {
  b.parallel(s.chunks, [&](Value chunk) {
    Value begin = b.muli(chunk, s.rowsPerChunk);
    Value base = b.muli(chunk, s.segment());
    State found =
        forScores(begin, endOfChunk(begin), {b.index(0), b.index(0)},
                  [&](Value score, ValueRange state) {
                    return keep(score, state, low, high, base, s.capacity);
                  });
    Value count = b.mini(found[0], b.index(s.capacity));
    Value end = b.addi(base, count);
    auto isNaN = [&](int64_t lanes) {
      return [&, lanes](Value at, ValueRange nan) -> State {
        Value score = b.load(values, at, lanes);
        return {
            either(b, nan[0],
                   anyLane(b.cmpf(arith::CmpFPredicate::UNO, score, score)))};
      };
    };
    Value whole = b.addi(base, b.muli(b.divi(count, s.lanes), s.lanes));
    Value none = arith::ConstantIntOp::create(b, b.getI1Type(), 0);
    State nan = b.loop(base, whole, s.lanes, {none}, isNaN(s.lanes));
    nan = b.loop(whole, end, 1, nan, isNaN(1));
    closeSegment(end);
    storeTally(toI64(found[0]), chunk, kInside);
    storeTally(toI64(found[1]), chunk, kAbove);
    storeTally(arith::ExtUIOp::create(b, b.getI64Type(), nan[0]), chunk, kNaN);
  });
}

State ScoreSelection::gatherSample(Value low, Value high) {
  int64_t vectors = s.columns / s.lanes;
  // Columns alternate by the golden ratio, so that none is missed.
  int64_t stride = std::max<int64_t>(1, vectors * 618 / 1000);
  while (std::gcd(stride, vectors) != 1)
    ++stride;
  State found =
      b.loop(b.index(0), b.index(s.sampleVectors), 1, {b.index(0), b.index(0)},
             [&](Value t, ValueRange state) {
               Value row = b.divi(b.muli(t, s.rows), s.sampleVectors);
               Value column =
                   b.muli(b.remi(b.muli(t, stride), vectors), s.lanes);
               return keep(weight.evaluate(b, row, column, s.lanes).getScore(),
                           state, low, high, b.index(0), s.sampleSize());
             });
  closeSegment(found[0]);
  b.loop(0, s.chunks, 1,
         [&](Value chunk) { storeTally(b.i64(0), chunk, kInside); });
  for (Value &count : found)
    count = toI64(count);
  storeTally(found[0], b.index(0), kInside);
  return found;
}

/// The `wanted`-th largest of the keys in [low, high], which `count(low,
/// range, shift)` counts into `totals`: the key low + d, for d <= range, at
/// d >> shift.
ScoreSelection::Counted
ScoreSelection::select(Value low, Value high, Value wanted,
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
  return {{loop.getResult(0), loop.getResult(2)}, loop.getResult(3)};
}

/// Going down from the last bin, the one at which the sum of the totals
/// reaches `wanted`, and how many are still wanted of that bin. If it never
/// does, bin 0.
std::pair<Value, Value> ScoreSelection::findFromAbove(Value wanted) {
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

/// Adds 1 to the bin of each lane's key; those out of range go to bin kBins.
void ScoreSelection::countKeys(Value key, Value low, Value range, Value shift,
                               Value bins,
                               function_ref<void(Value bin)> increment) {
  int64_t lanes = KernelBuilder::lanesOf(key);
  auto splat = [&](Value value) { return b.splat(value, lanes); };
  Value offset = arith::SubIOp::create(b, key, splat(low));
  Value within = b.cmpi(arith::CmpIPredicate::ule, offset, splat(range));
  b.ifThen(anyLane(within), [&] {
    Value bin =
        b.select(within, arith::ShRUIOp::create(b, offset, splat(shift)),
                 splat(b.i32(kBins)));
    if (lanes == 1)
      return increment(toIndex(bin));
    // Through memory: to increment is scalar anyway.
    b.store(bin, bins, b.index(0));
    for (int64_t lane = 0; lane < lanes; ++lane)
      increment(toIndex(b.load(bins, b.index(lane))));
  });
}

void ScoreSelection::increment(Value memref, ValueRange at, Value one) {
  b.store(arith::AddIOp::create(b, b.load(memref, at), one), memref, at);
}

void ScoreSelection::forKept(function_ref<void(Value chunk, Value key)> visit) {
  b.loop(0, s.chunks, 1, [&](Value chunk) {
    Value base = b.muli(chunk, s.segment());
    Value end = b.addi(base, toIndex(loadTally(chunk, kInside)));
    b.loop(base, end, s.lanes, [&](Value at) {
      visit(chunk, keyOfScore(b, b.load(values, at, s.lanes)));
    });
  });
}

ScoreSelection::Found ScoreSelection::selectKept(Value low, Value high,
                                                 Value wanted) {
  return select(keyOfScore(b, low), keyOfScore(b, high), wanted,
                [&](Value low, Value range, Value shift) {
                  forKept([&](Value, Value key) {
                    countKeys(key, low, range, shift, bins, [&](Value bin) {
                      increment(totals, bin, b.i64(1));
                    });
                  });
                })
      .found;
}

void ScoreSelection::tallyKept(Value key) {
  b.loop(0, s.chunks, 1,
         [&](Value chunk) { storeTally(b.i64(0), chunk, kEqual); });
  forKept([&](Value chunk, Value other) {
    Value same = b.cmpi(arith::CmpIPredicate::eq, other, b.splat(key, s.lanes));
    increment(tallies, {chunk, b.index(kEqual)}, toI64(b.countLanes(same)));
  });
}

ScoreSelection::Found ScoreSelection::selectByRadix(Value wanted, Value nan) {
  auto [found, bin] = select(
      b.i32(0), b.i32(-1), wanted, [&](Value low, Value range, Value shift) {
        b.parallel(s.chunks, [&](Value chunk) {
          Value bins = b.stackBuffer(s.lanes, b.getI32Type());
          b.loop(0, kBins + 1, 1,
                 [&](Value bin) { b.store(b.i32(0), counts, {chunk, bin}); });
          Value begin = b.muli(chunk, s.rowsPerChunk);
          forScores(begin, endOfChunk(begin), {},
                    [&](Value score, ValueRange state) {
                      countKeys(keyOfScore(b, score), low, range, shift, bins,
                                [&](Value bin) {
                                  increment(counts, {chunk, bin}, b.i32(1));
                                });
                      return State(state);
                    });
        });
        b.loop(0, s.chunks, 1, [&](Value chunk) {
          b.loop(0, kBins, 1, [&](Value bin) {
            Value part = b.load(counts, {chunk, bin});
            increment(totals, bin,
                      arith::ExtUIOp::create(b, b.getI64Type(), part));
          });
        });
        // In the first pass only NaNs have keys in the last bin.
        Value first = b.cmpi(arith::CmpIPredicate::eq, range, b.i32(-1));
        b.ifThen(first,
                 [&] { b.store(b.load(totals, b.index(kBins - 1)), nan, {}); });
      });
  b.loop(0, s.chunks, 1, [&, bin = bin](Value chunk) {
    Value equal = b.load(counts, {chunk, bin});
    storeTally(arith::ExtUIOp::create(b, b.getI64Type(), equal), chunk, kEqual);
  });
  return found;
}

/// The linear index after the `wanted`-th element of that key.
Value ScoreSelection::findCut(Value key, Value wanted) {
  // The chunk in which it lies, and how many are still wanted there.
  State place =
      b.loop(b.index(0), b.index(s.chunks), 1, {b.index(0), wanted},
             [&](Value chunk, ValueRange state) -> State {
               Value here = loadTally(chunk, kEqual);
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
               [&] { b.store(toI64(b.addi(position, 1)), state, one); });
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
        b.ifThen(anyLane(same), [&] {
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
