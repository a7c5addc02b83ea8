//===- TopKThresholdGather.cpp - The scores near a threshold --------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// The first three kernels of a selection (TopKThreshold.cpp): a sample tells a
// bracket, and one pass over the criterion keeps what lies in it.

#include "TopKThreshold.h"

using namespace mlir;
using namespace pst;
using namespace pst::cuda;

/// i32 counts of one block that gathers.
enum BlockCount { kInside, kAbove, kNaN, kBlockCounts };

void ScoreSelection::launchSample() {
  constexpr int64_t kBlocks =
      SelectionSizes::kSample / SelectionSizes::kSampleThreads;
  launchKernel(
      "sample", kBlocks, SelectionSizes::kSampleThreads,
      [&](ThreadBuilder &b, const Buffers &w) {
        b.ifThen(isEqual(b, b.block(), b.index(0)), [&] {
          b.strided(kTallies,
                    [&](Value i) { b.store(b.i32(0), w.tallies, i); });
          b.strided(RadixSelect::kBins,
                    [&](Value i) { b.store(b.i32(0), w.parts, i); });
        });
        Value i = b.addi(b.muli(b.block(), SelectionSizes::kSampleThreads),
                         b.thread());
        constexpr int64_t kGoldenRatio = 2654435769; // of 2^32
        Value random = b.remi(b.muli(i, kGoldenRatio), int64_t(1) << 32);
        random = b.divi(random, 1 << 8);
        Value part = b.divi(b.muli(i, s.elements()), SelectionSizes::kSample);
        Value place = b.addi(
            part, b.remi(random, s.elements() / SelectionSizes::kSample));
        b.store(keyOfElement(b, w, place), w.sample, i);
      });
}

void ScoreSelection::launchBracket() {
  launchKernel(
      "bracket", 1, SelectionSizes::kThreads,
      [&](ThreadBuilder &b, const Buffers &w) {
        RadixSelect radix(b);
        constexpr int64_t kSize = SelectionSizes::kSample;
        Value size = b.index(kSize);
        Type f64 = b.getF64Type();
        Value keep = arith::UIToFPOp::create(b, f64, numKept(b, w));
        Value share = b.mulf(keep, b.f64(1.0 / double(s.elements())));
        Value rank = b.mulf(share, b.f64(kSize));
        Value variance = b.mulf(rank, b.subf(b.f64(1.0), share));
        Value margin = b.addf(b.mulf(b.sqrt(variance), b.f64(6.0)), b.f64(4.0));
        auto toRank = [&](Value value) {
          return arith::FPToSIOp::create(b, b.getI32Type(), value);
        };
        Value upper = toRank(b.subf(rank, margin));
        Value lower = toRank(b.addf(rank, margin));
        Value noUpper = b.cmpi(arith::CmpIPredicate::slt, upper, b.i32(1));
        Value noLower = b.cmpi(arith::CmpIPredicate::sgt, lower, b.i32(kSize));
        // Most keys of a sample share their highest bits: begin below those.
        Value zero = b.i32(0);
        SmallVector<Value> ends = b.loop(
            b.thread(), size, SelectionSizes::kThreads, {b.i32(-1), zero},
            [&](Value i, ValueRange ends) -> SmallVector<Value> {
              Value key = b.load(w.sample, i);
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
                         return {b.load(w.sample, i)};
                       })
              .key;
        };
        Value low = b.select(noLower, zero, keyOfRank(lower));
        Value high = b.select(noUpper, b.i32(-1), keyOfRank(upper));
        b.onFirstThread([&] {
          storeTally(b, low, w.tallies, BracketLow);
          storeTally(b, high, w.tallies, BracketHigh);
        });
      });
}

void ScoreSelection::gatherTiles(ThreadBuilder &b, const Buffers &w,
                                 Value counts, Value parts) {
  Value low = loadTally(b, w.tallies, BracketLow);
  Value high = loadTally(b, w.tallies, BracketHigh);
  Value width = minus(b, high, low);
  Value shift = shiftToBins(b, bitWidth(b, width));
  Value zero = b.i32(0);
  auto keep = [&](Value key, Value index) {
    Value part = shiftRight(b, minus(b, key, low), shift);
    b.atomicAdd(b.i32(1), parts, toIndex(b, part));
    Value at = b.atomicAdd(b.i32(1), counts, b.index(kInside));
    b.ifThen(isBelow(b, at, b.i32(s.capacity)), [&] {
      Value place[] = {b.block(), toIndex(b, at)};
      b.store(key, w.keptKeys, place);
      b.store(index, w.keptIndices, place);
    });
  };
  auto countIf = [&](Value count, Value condition) -> Value {
    return arith::AddIOp::create(
        b, count, arith::ExtUIOp::create(b, b.getI32Type(), condition));
  };
  SmallVector<Value> sums = b.loop(
      b.block(), b.index(s.tiles), s.blocks, {zero, zero},
      [&](Value tile, ValueRange carried) -> SmallVector<Value> {
        Value item = b.addi(b.muli(tile, SelectionSizes::kThreads), b.thread());
        Value exists = isBelow(b, item, b.index(s.items()));
        item = b.mini(item, b.index(s.items() - 1));
        Value first = b.muli(b.divi(item, s.columns), s.unit);
        Value column = b.remi(item, s.columns);
        SmallVector<Value> keys, rows, valid;
        for (int64_t r = 0; r < s.unit; ++r) {
          Value row = b.addi(first, r);
          valid.push_back(exists);
          if (s.rows % s.unit) {
            valid[r] = both(b, exists, isBelow(b, row, b.index(s.rows)));
            row = b.mini(row, b.index(s.rows - 1));
          }
          rows.push_back(row);
          keys.push_back(keyAt(b, w, row, column));
        }
        Value above = carried[0], nan = carried[1];
        for (int64_t r = 0; r < s.unit; ++r) {
          // A key below the bracket wraps.
          Value isInside = both(
              b, valid[r],
              b.cmpi(arith::CmpIPredicate::ule, minus(b, keys[r], low), width));
          above = countIf(above, both(b, valid[r], isBelow(b, high, keys[r])));
          nan = countIf(nan, both(b, valid[r], isNaNKey(b, keys[r])));
          Value index = toI32(b, b.addi(b.muli(rows[r], s.columns), column));
          b.ifThen(isInside, [&] { keep(keys[r], index); });
        }
        return {above, nan};
      });
  b.atomicAdd(sums[0], counts, b.index(kAbove));
  b.atomicAdd(sums[1], counts, b.index(kNaN));
}

void ScoreSelection::findPart(ThreadBuilder &b, const Buffers &w,
                              RadixSelect &radix) {
  Value low = loadTally(b, w.tallies, BracketLow);
  Value high = loadTally(b, w.tallies, BracketHigh);
  Value shift = shiftToBins(b, bitWidth(b, minus(b, high, low)));
  Value above = loadTally(b, w.tallies, Above);
  Value keep = numKept(b, w);
  // Nothing is left to find, or the buffers do not hold it.
  Value missed =
      arith::OrIOp::create(b, b.cmpi(arith::CmpIPredicate::ule, keep, above),
                           b.cmpi(arith::CmpIPredicate::ne,
                                  loadTally(b, w.tallies, Overflow), b.i32(0)));
  RankedKey part =
      radix.binFromAbove(b, minus(b, keep, above),
                         [&](Value part) { return b.load(w.parts, part); });
  b.onFirstThread([&] {
    Value offset = arith::ShLIOp::create(b, part.key, shift);
    storeTally(b, arith::AddIOp::create(b, low, offset), w.tallies, PartLow);
    storeTally(b, shift, w.tallies, PartBits);
    storeTally(b, b.select(missed, b.i32(0), part.wanted), w.tallies,
               PartWanted);
  });
}

void ScoreSelection::launchGather() {
  launchKernel(
      "gather", s.blocks, SelectionSizes::kThreads,
      [&](ThreadBuilder &b, const Buffers &w) {
        RadixSelect radix(b);
        b.setBlocksPerMultiprocessor(2);
        Type i32 = b.getI32Type();
        Value counts = b.sharedBuffer({kBlockCounts}, i32);
        Value parts = b.sharedBuffer({RadixSelect::kBins}, i32);
        b.strided(kBlockCounts, [&](Value i) { b.store(b.i32(0), counts, i); });
        b.strided(RadixSelect::kBins,
                  [&](Value i) { b.store(b.i32(0), parts, i); });
        b.barrier();
        gatherTiles(b, w, counts, parts);
        b.barrier();
        b.strided(RadixSelect::kBins, [&](Value part) {
          Value here = b.load(parts, part);
          b.ifThen(b.cmpi(arith::CmpIPredicate::ne, here, b.i32(0)),
                   [&] { b.atomicAdd(here, w.parts, part); });
        });
        b.onFirstThread([&] {
          auto addTally = [&](Value value, Tally tally) {
            b.atomicAdd(value, w.tallies, b.index(tally));
          };
          Value kept = b.load(counts, b.index(kInside));
          b.store(kept, w.keptSizes, b.block());
          addTally(b.load(counts, b.index(kAbove)), Above);
          addTally(b.load(counts, b.index(kNaN)), Nan);
          b.ifThen(isBelow(b, b.i32(s.capacity), kept),
                   [&] { addTally(b.i32(1), Overflow); });
        });
        Value last = b.isLastBlock(s.blocks, w.tallies, b.index(GatherTicket));
        b.ifThen(last, [&] { findPart(b, w, radix); });
      });
}
