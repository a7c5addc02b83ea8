//===- TopKThresholdSearch.cpp - The threshold among what is left ---------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// The last kernel of a selection (TopKThreshold.cpp), which is launched several
// times:
//
//   if the results are written, return
//   if all elements of the range were kept, and they are few:
//     copy them to the list
//     the last block: select among the list, write the results
//   else:
//     for what was kept, or for all elements of the range's indices:
//       if it is in the range: bins[its place, 13 bits of it] += 1
//     the last block: range = the bin where the count from above reaches the
//       rank; if it has one key and few indices, evaluate them, select among
//       them, write the results
//
// An element's place in the range is its key's, then, from the end, that of its
// index: so places are in the order in which elements stay.

#include "../Kernel/ScoreKey.h"
#include "TopKThreshold.h"

using namespace mlir;
using namespace pst;
using namespace pst::cuda;

ScoreSelection::Range::Range(ThreadBuilder &b, Value tallies)
    : low(loadTally(b, tallies, RangeLow)),
      bits(loadTally(b, tallies, RangeBits)),
      first(loadTally(b, tallies, RangeFirst)),
      size(loadTally(b, tallies, RangeSize)),
      wanted(loadTally(b, tallies, Wanted)) {}

void ScoreSelection::Range::store(ThreadBuilder &b, Value tallies) const {
  storeTally(b, low, tallies, RangeLow);
  storeTally(b, bits, tallies, RangeBits);
  storeTally(b, first, tallies, RangeFirst);
  storeTally(b, size, tallies, RangeSize);
  storeTally(b, wanted, tallies, Wanted);
}

namespace {
/// How places are divided in bins: by the highest bits of keys while there are
/// more than enough of them, else by all of them and the highest of indices.
struct Division {
  template <typename RangeT>
  Division(ThreadBuilder &b, const RangeT &range)
      : keyShift(shiftToBins(b, range.bits, SelectionSizes::kSearchBits)),
        last(minus(b, range.size, b.i32(1))) {
    Value sizeBits = bitWidth(b, last);
    Value left = minus(b, b.i32(SelectionSizes::kSearchBits), range.bits);
    left = arith::MaxSIOp::create(b, left, b.i32(0));
    indexBits = arith::MinUIOp::create(b, left, sizeBits);
    indexShift = minus(b, sizeBits, indexBits);
    byIndex = b.cmpi(arith::CmpIPredicate::ne, indexBits, b.i32(0));
  }

  Value keyShift;   ///< of a key's place
  Value last;       ///< place of the first index
  Value indexBits;  ///< of a bin's number
  Value indexShift; ///< of an index's place
  Value byIndex;    ///< whether indices count
};
} // namespace

/// body(key, index) for what was kept, of each tile by a block, in turns.
void ScoreSelection::forKept(ThreadBuilder &b, const Buffers &w,
                             function_ref<void(Value, Value)> body) {
  constexpr int64_t kInFlight = 4;
  b.loop(b.block(), b.index(s.tiles.count()), s.searchBlocks, [&](Value tile) {
    Value kept = toIndex(b, b.load(w.keptSizes, tile));
    Value last = b.subi(kept, b.index(1));
    b.loop(b.thread(), kept, kInFlight * b.threads(), [&](Value first) {
      SmallVector<Value> places, entries;
      for (int64_t i = 0; i < kInFlight; ++i) {
        places.push_back(b.addi(first, i * b.threads()));
        Value place = b.mini(places[i], last);
        entries.push_back(
            b.load(w.kept, {tile, place, b.index(0)}, /*lanes=*/2));
      }
      for (int64_t i = 0; i < kInFlight; ++i)
        b.ifThen(b.cmpi(arith::CmpIPredicate::sle, places[i], last), [&] {
          body(vector::ExtractOp::create(b, entries[i], 0),
               vector::ExtractOp::create(b, entries[i], 1));
        });
    });
  });
}

void ScoreSelection::collect(ThreadBuilder &b, const Buffers &w,
                             const Range &range) {
  Value half = shiftRight(b, range.bits, b.i32(1));
  Value rest = minus(b, range.bits, half);
  forKept(b, w, [&](Value key, Value index) {
    // In two steps: a shift by 32 is not defined.
    Value beyond =
        shiftRight(b, shiftRight(b, minus(b, key, range.low), half), rest);
    Value isInside = both(b, isEqual(b, beyond, b.i32(0)),
                          isBelow(b, minus(b, index, range.first), range.size));
    b.ifThen(isInside, [&] {
      Value at =
          toIndex(b, b.atomicAdd(b.i32(1), w.tallies, b.index(ListSize)));
      b.store(entry(b, key, index), w.list, {at, b.index(0)});
    });
  });
}

/// In shared memory, where `list` has room for two numbers of each.
void ScoreSelection::selectCollected(ThreadBuilder &b, const Buffers &w,
                                     const Range &range, RadixSelect &radix,
                                     Value list) {
  constexpr int64_t kListed = SelectionSizes::kListed;
  Value size = toIndex(b, loadTally(b, w.tallies, ListSize));
  auto placeOf = [&](Value i) { return b.addi(i, kListed); };
  b.strided(b.index(0), size, [&](Value i) {
    Value entry = b.load(w.list, {i, b.index(0)}, /*lanes=*/2);
    b.store(vector::ExtractOp::create(b, entry, 0), list, i);
    b.store(vector::ExtractOp::create(b, entry, 1), list, placeOf(i));
  });
  b.barrier();
  selectAmong(
      b, w, radix, size, range, [&](Value i) { return b.load(list, i); },
      [&](Value i) { return b.load(list, placeOf(i)); },
      /*nan=*/arith::ConstantIntOp::create(b, 0, 1));
}

/// body(key, index) for the layer's elements from `begin` to `end` (index, of
/// its own), and maybe a few more, evaluated by all of its blocks.
void ScoreSelection::forElements(ThreadBuilder &b, const Buffers &w,
                                 Value begin, Value end,
                                 function_ref<void(Value, Value)> body) {
  VirtualWeight weight(criterion, w.factors);
  int64_t lanes = s.tiles.lanes, columns = s.tiles.columns;
  int64_t threads = s.searchBlocks * b.threads();
  begin = b.addi(b.divi(begin, lanes),
                 b.addi(b.muli(b.block(), b.threads()), b.thread()));
  end = b.divi(b.addi(end, lanes - 1), lanes);
  b.loop(begin, end, threads, [&](Value group) {
    Value i = b.muli(group, lanes);
    Value keys = keyOfScore(
        b, weight.evaluate(b, b.divi(i, columns), b.remi(i, columns), lanes)
               .getScore());
    for (int64_t lane = 0; lane < lanes; ++lane) {
      Value key = lanes == 1 ? keys : vector::ExtractOp::create(b, keys, lane);
      Value index = toI32(b, b.addi(i, lane));
      body(key, common ? plus(b, index, w.firstIndex) : index);
    }
  });
}

/// Adds to `bins`, of this block.
void ScoreSelection::countInRange(ThreadBuilder &b, const Buffers &w,
                                  const Range &range, Value isKept,
                                  Value bins) {
  Division division(b, range);
  auto count = [&](Value key, Value index) {
    Value part = shiftRight(b, minus(b, key, range.low), division.keyShift);
    // In two steps: a shift by 32 is not defined.
    Value beyond = shiftRight(b, part, minus(b, range.bits, division.keyShift));
    Value offset = minus(b, index, range.first);
    Value isInside =
        both(b, isEqual(b, beyond, b.i32(0)), isBelow(b, offset, range.size));
    b.ifThen(isInside, [&] {
      Value place =
          shiftRight(b, minus(b, division.last, offset), division.indexShift);
      place = b.select(division.byIndex, place, b.i32(0));
      Value bin = either(b, shiftLeft(b, part, division.indexBits), place);
      b.atomicAdd(b.i32(1), bins, toIndex(b, bin));
    });
  };
  b.ifElse(
      isKept, [&] { forKept(b, w, count); },
      [&] {
        Value begin = toIndex(b, range.first);
        Value end = b.addi(begin, toIndex(b, range.size));
        if (common) {
          Value first = toIndex(b, w.firstIndex);
          auto inside = [&](Value at) {
            at = arith::MaxSIOp::create(b, b.subi(at, first), b.index(0));
            return b.mini(at, b.index(s.elements()));
          };
          begin = inside(begin);
          end = inside(end);
        }
        forElements(b, w, begin, end, count);
      });
}

/// By the block that ends last.
void ScoreSelection::narrow(ThreadBuilder &b, const Buffers &w,
                            const Range &range, RadixSelect &bins,
                            RadixSelect &radix) {
  Division division(b, range);
  RankedKey found = bins.binFromAbove(
      b, range.wanted, [&](Value bin) { return b.load(w.bins, bin); });
  Value count = b.load(w.bins, toIndex(b, found.key));
  b.barrier();
  b.strided(SelectionSizes::kBins,
            [&](Value bin) { b.store(b.i32(0), w.bins, bin); });
  Value part = shiftRight(b, found.key, division.indexBits);
  Value low = plus(b, range.low, shiftLeft(b, part, division.keyShift));
  // Places [begin, begin + size) of indices: the first has the last place.
  Value place = minus(b, found.key, shiftLeft(b, part, division.indexBits));
  Value begin = shiftLeft(b, place, division.indexShift);
  Value size =
      arith::MinUIOp::create(b, shiftLeft(b, b.i32(1), division.indexShift),
                             minus(b, range.size, begin));
  Value first = minus(b, minus(b, range.size, begin), size);
  first = b.select(division.byIndex, first, b.i32(0));
  size = b.select(division.byIndex, size, range.size);
  Range rest(low, division.keyShift, plus(b, range.first, first), size,
             found.wanted);
  b.onFirstThread([&] {
    rest.store(b, w.tallies);
    storeTally(b, count, w.tallies, Count);
  });
  if (common) { // one block does not know all layers
    Value isFound =
        both(b, isEqual(b, rest.bits, b.i32(0)), isEqual(b, size, b.i32(1)));
    b.ifThen(isFound, [&] {
      b.onFirstThread([&] {
        writeResults(b, w, rest.low, rest.first,
                     /*nan=*/arith::ConstantIntOp::create(b, 0, 1));
        storeTally(b, b.i32(1), w.tallies, Done);
      });
    });
    return;
  }
  Value isFew = both(b, isEqual(b, rest.bits, b.i32(0)),
                     b.cmpi(arith::CmpIPredicate::ule, size,
                            b.i32(SelectionSizes::kEvaluated)));
  b.ifThen(isFew, [&] {
    Value begin = toIndex(b, rest.first);
    auto at = [&](Value i) { return b.addi(begin, i); };
    selectAmong(
        b, w, radix, toIndex(b, size), rest,
        [&](Value i) { return keyOfElement(b, w, at(i)); },
        [&](Value i) { return toI32(b, at(i)); },
        /*nan=*/arith::ConstantIntOp::create(b, 0, 1));
    b.onFirstThread([&] { storeTally(b, b.i32(1), w.tallies, Done); });
  });
}

void ScoreSelection::search(ThreadBuilder &b, const Buffers &w) {
  b.setBlocksPerMultiprocessor(2);
  Value zero = b.i32(0);
  Value isOpen = isEqual(b, loadTally(b, w.tallies, Done), zero);
  b.ifThen(isOpen, [&] {
    RadixSelect bins(b, SelectionSizes::kSearchBits), radix(b);
    Value counts = bins.getCounts();
    Range range(b, w.tallies);
    Value isKept = isEqual(b, loadTally(b, w.tallies, Overflow), zero);
    Value count = loadTally(b, w.tallies, Count);
    Value isListed = both(b, isKept,
                          b.cmpi(arith::CmpIPredicate::ule, count,
                                 b.i32(SelectionSizes::kListed)));
    b.ifElse(
        isListed, [&] { collect(b, w, range); },
        [&] {
          b.strided(SelectionSizes::kBins,
                    [&](Value bin) { b.store(zero, counts, bin); });
          b.barrier();
          countInRange(b, w, range, isKept, counts);
          b.barrier();
          b.strided(SelectionSizes::kBins, [&](Value bin) {
            Value here = b.load(counts, bin);
            b.ifThen(b.cmpi(arith::CmpIPredicate::ne, here, zero),
                     [&] { b.atomicAdd(here, w.bins, bin); });
          });
        });
    Value last = b.isLastBlock(common ? common->searchBlocks : s.searchBlocks,
                               w.tallies, b.index(Ticket));
    b.ifThen(last, [&] {
      b.ifElse(
          isListed,
          [&] {
            selectCollected(b, w, range, radix, counts);
            b.onFirstThread([&] { storeTally(b, b.i32(1), w.tallies, Done); });
          },
          [&] { narrow(b, w, range, bins, radix); });
      b.onFirstThread([&] { storeTally(b, zero, w.tallies, Ticket); });
    });
  });
}

/// Of what stays, and of what equals the threshold behind the last that stays.
void ScoreSelection::countStaying(ThreadBuilder &b, const Buffers &w) {
  b.setBlocksPerMultiprocessor(2);
  Value zero = b.i32(0), stays = b.index(0), after = b.index(1);
  Value counts = b.sharedBuffer({2}, b.getI32Type());
  b.onFirstThread([&] {
    b.store(zero, counts, stays);
    b.store(zero, counts, after);
  });
  b.barrier();
  Value tau = loadTally(b, w.tallies, RangeLow);
  Value last = loadTally(b, w.tallies, RangeFirst);
  Value isKept = isEqual(b, loadTally(b, w.tallies, Overflow), zero);
  auto count = [&](Value key, Value index) {
    Value equal = isEqual(b, key, tau), behind = isBelow(b, last, index);
    b.ifElse(
        both(b, equal, behind), [&] { b.atomicAdd(b.i32(1), counts, after); },
        [&] {
          b.ifThen(either(b, equal, isBelow(b, tau, key)),
                   [&] { b.atomicAdd(b.i32(1), counts, stays); });
        });
  };
  b.ifElse(
      isKept, [&] { forKept(b, w, count); },
      [&] { forElements(b, w, b.index(0), b.index(s.elements()), count); });
  b.barrier();
  auto at = [&](LayerCount which) { return w.placeOf(b, which); };
  b.onFirstThread([&] {
    b.atomicAdd(b.load(counts, stays), w.counts, at(LayerStays));
    b.atomicAdd(b.load(counts, after), w.counts, at(LayerAfter));
  });
  Value ends = b.isLastBlock(s.searchBlocks, w.counts, at(LayerTicket));
  b.ifThen(ends, [&] {
    b.onFirstThread([&] {
      auto toI64 = [&](Value i32) {
        return arith::ExtUIOp::create(b, b.getI64Type(), i32);
      };
      Value nan =
          b.cmpi(arith::CmpIPredicate::ne, loadTally(b, w.tallies, Nan), zero);
      Value nothing = either(b, nan, isEqual(b, numKept(b, w), zero));
      Value size = b.i64(s.elements()), none = b.i64(0);
      // What lies above the bracket was not kept.
      Value above = b.select(isKept, b.load(w.counts, at(LayerAbove)), zero);
      Value all = toI64(plus(b, above, b.load(w.counts, at(LayerStays))));
      // Layers before that in which the last one stays have none behind it.
      Value cut = b.addi(toI64(minus(b, last, w.firstIndex)), b.i64(1));
      cut = b.select(isEqual(b, b.load(w.counts, at(LayerAfter)), zero), size,
                     cut);
      Value comesLater = isBelow(b, last, w.firstIndex);
      cut = b.select(either(b, nothing, comesLater), none, cut);
      b.store(cut, w.cut, {});
      b.store(b.subi(size, b.select(nothing, none, all)), w.pruned, {});
    });
  });
}
