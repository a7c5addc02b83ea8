//===- TopKThreshold.cpp - Finds the score that separates the kept --------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// Selection by radix, exact for any scores. The scores are never stored: each
// pass evaluates the criterion again.
//
//   key of a score = its bits as an unsigned number in the order of the floats
//   pass 1, parallel over chunks of rows: count the upper halves of the keys
//           find the half `high` at which the count from above reaches `keep`
//   pass 2, parallel: of the keys with that half, count the lower halves
//           find the half `low` likewise: tau has the key (high, low)
//   pass 3, in the one chunk where it lies: find the last element that equals
//           tau and is still kept; the cut is the index after it
//
// Each chunk counts on its own and counts are integers, so the result does not
// depend on the number of threads.

#include "KernelContext.h"
#include "VirtualWeight.h"
#include <algorithm>
#include <cmath>

using namespace mlir;
using namespace pst;
using namespace pst::cpu;

/// Values of half a key.
static constexpr int64_t kBins = 1 << 16;
/// Chunks of rows, each with a histogram of its own: several, so that threads
/// share the work, but histograms cost memory, and time to clear and add up.
static constexpr int64_t kLargestChunks = 8;
static constexpr int64_t kChunkElements = 1 << 16;

namespace {
class Selection {
public:
  Selection(KernelBuilder &b, const VirtualWeight &weight, int64_t lanes,
            ValueRange workspaces)
      : b(b), weight(weight), lanes(lanes), counts(workspaces[0]),
        totals(workspaces[1]) {
    rowsPerChunk = chunkRows(weight.getRows(), weight.getColumns());
    chunks = llvm::divideCeil(weight.getRows(), rowsPerChunk);
  }

  static int64_t chunkRows(int64_t rows, int64_t columns) {
    int64_t wanted =
        std::clamp<int64_t>(rows * columns / kChunkElements, 1, kLargestChunks);
    return llvm::divideCeil(rows, wanted);
  }

  void emit(Value sparsity, Value threshold, Value cut) {
    // int(n*m*sparsity), as Python computes it.
    int64_t elements = weight.getRows() * weight.getColumns();
    Value product = b.mulf(b.f64(static_cast<double>(elements)), sparsity);
    Value pruned = arith::FPToSIOp::create(b, b.getI64Type(), product);
    Value keep = arith::SubIOp::create(b, b.i64(elements), pruned);
    Value none = b.cmpi(arith::CmpIPredicate::sle, keep, b.i64(0));

    count(/*high=*/nullptr);
    auto [high, wantedOfHigh] = findFromAbove(keep);
    // Only NaNs have keys in the last bin (see keyOf).
    Value nan = b.cmpi(arith::CmpIPredicate::ne,
                       b.load(totals, b.index(kBins - 1)), b.i64(0));

    Value high32 = arith::IndexCastOp::create(b, b.getI32Type(), high);
    count(high32);
    auto [low, wantedOfTau] = findFromAbove(wantedOfHigh);

    Value low32 = arith::IndexCastOp::create(b, b.getI32Type(), low);
    Value key = arith::OrIOp::create(
        b, arith::ShLIOp::create(b, high32, b.i32(16)), low32);
    Value position = findEqual(key, low, wantedOfTau);

    // Nothing kept: no score is above infinity, and none before index 0.
    auto constant = [&](double value) { return b.f32(value); };
    Value tau = b.select(none, constant(INFINITY), scoreOf(key));
    b.store(b.select(nan, constant(NAN), tau), threshold, {});
    Value nothing = arith::OrIOp::create(b, none, nan);
    b.store(b.select(nothing, b.i64(0), position), cut, {});
  }

private:
  /// The bits of a score in an order in which unsigned numbers compare as the
  /// scores do; equal scores (0.0 and -0.0) have equal keys, and NaNs have the
  /// largest.
  Value keyOf(Value score, int64_t width) {
    auto splat = [&](int64_t value) { return b.splat(b.i32(value), width); };
    // -0.0 + 0.0 = 0.0; any other score stays as it is.
    Value positiveZero = b.addf(score, b.f32(0.0, width));
    Value bits = arith::BitcastOp::create(b, b.lanesType(width, b.getI32Type()),
                                          positiveZero);
    Value sign = arith::ShRSIOp::create(b, bits, splat(31));
    Value flip = arith::OrIOp::create(b, sign, splat(INT32_MIN));
    Value key = arith::XOrIOp::create(b, bits, flip);
    Value nan = b.cmpf(arith::CmpFPredicate::UNO, score, score);
    return b.select(nan, splat(-1), key);
  }

  Value scoreOf(Value key) {
    Value sign = arith::ShRSIOp::create(b, key, b.i32(31));
    Value flip = arith::OrIOp::create(
        b, arith::XOrIOp::create(b, sign, b.i32(-1)), b.i32(INT32_MIN));
    return arith::BitcastOp::create(b, b.getF32Type(),
                                    arith::XOrIOp::create(b, key, flip));
  }

  Value endOfChunk(Value begin) {
    return b.mini(b.addi(begin, rowsPerChunk), b.index(weight.getRows()));
  }

  Value upperHalf(Value key, int64_t width) {
    return arith::ShRUIOp::create(b, key, b.splat(b.i32(16), width));
  }

  /// Counts, in each chunk, the upper halves of all keys or, given `high`, the
  /// lower halves of those keys whose upper half it is. Sums the counts of all
  /// chunks into `totals`.
  void count(Value high) {
    b.parallel(chunks, [&](Value chunk) {
      Value zero = b.splat(b.i32(0), lanes);
      b.loop(0, kBins, lanes,
             [&](Value bin) { b.store(zero, counts, {chunk, bin}); });
      // Keys go through memory: a scatter is scalar anyway.
      Value keys = b.stackBuffer(lanes, b.getI32Type());
      auto countOne = [&](Value key) {
        if (!high)
          return increment(chunk, upperHalf(key, 1));
        b.ifThen(
            b.cmpi(arith::CmpIPredicate::eq, upperHalf(key, 1), high), [&] {
              increment(chunk, arith::AndIOp::create(b, key, b.i32(kBins - 1)));
            });
      };
      Value begin = b.muli(chunk, rowsPerChunk);
      b.loop(begin, endOfChunk(begin), 1, [&](Value i) {
        b.vectorLoop(weight.getColumns(), lanes, [&](Value j, int64_t width) {
          Value key = keyOf(weight.evaluate(b, i, j, width).getScore(), width);
          if (width == 1)
            return countOne(key);
          auto countLanes = [&] {
            b.store(key, keys, b.index(0));
            for (int64_t lane = 0; lane < width; ++lane)
              countOne(b.load(keys, b.index(lane)));
          };
          if (!high)
            return countLanes();
          // Few vectors hold a key that counts.
          Value same = b.cmpi(arith::CmpIPredicate::eq, upperHalf(key, width),
                              b.splat(high, width));
          b.ifThen(
              vector::ReductionOp::create(b, vector::CombiningKind::OR, same),
              countLanes);
        });
      });
    });
    auto wide = cast<VectorType>(b.lanesType(lanes, b.getI64Type()));
    b.loop(0, kBins, lanes, [&](Value bin) {
      Value sum = b.splat(b.i64(0), lanes);
      for (int64_t chunk = 0; chunk < chunks; ++chunk) {
        Value part = b.load(counts, {b.index(chunk), bin}, lanes);
        sum = arith::AddIOp::create(b, sum,
                                    arith::ExtUIOp::create(b, wide, part));
      }
      b.store(sum, totals, bin);
    });
  }

  void increment(Value chunk, Value bin) {
    Value at = arith::IndexCastUIOp::create(b, b.getIndexType(), bin);
    Value old = b.load(counts, {chunk, at});
    b.store(arith::AddIOp::create(b, old, b.i32(1)), counts, {chunk, at});
  }

  /// Going down from the last bin, the one at which the sum of the totals
  /// reaches `wanted`, and how many are still wanted of that bin. If it never
  /// does, bin 0.
  std::pair<Value, Value> findFromAbove(Value wanted) {
    auto loop = scf::WhileOp::create(
        b, TypeRange{b.getIndexType(), b.getI64Type()},
        ValueRange{b.index(kBins - 1), wanted},
        [&](OpBuilder &, Location, ValueRange state) {
          Value total = b.load(totals, state[0]);
          Value less = b.cmpi(arith::CmpIPredicate::slt, total, state[1]);
          Value left = b.cmpi(arith::CmpIPredicate::sgt, state[0], b.index(0));
          scf::ConditionOp::create(b, arith::AndIOp::create(b, less, left),
                                   state);
        },
        [&](OpBuilder &, Location, ValueRange state) {
          Value total = b.load(totals, state[0]);
          scf::YieldOp::create(b, ValueRange{b.subi(state[0], b.index(1)),
                                             b.subi(state[1], total)});
        });
    return {loop.getResult(0), loop.getResult(1)};
  }

  /// The linear index after the `wanted`-th element of that key, whose lower
  /// half is `low`.
  Value findEqual(Value key, Value low, Value wanted) {
    // The chunk in which it lies, and how many are still wanted there.
    SmallVector<Value> place =
        b.loop(b.index(0), b.index(chunks), 1, {b.index(0), wanted},
               [&](Value chunk, ValueRange state) -> SmallVector<Value> {
                 Value here = arith::ExtUIOp::create(
                     b, b.getI64Type(), b.load(counts, {chunk, low}));
                 Value at = b.cmpi(arith::CmpIPredicate::eq, chunk, state[0]);
                 Value more = b.cmpi(arith::CmpIPredicate::sgt, state[1], here);
                 Value go = arith::AndIOp::create(b, at, more);
                 return {b.select(go, b.addi(chunk, 1), state[0]),
                         b.select(go, b.subi(state[1], here), state[1])};
               });
    Value zero = b.index(0), one = b.index(1);
    Value state = b.stackBuffer(2, b.getI64Type()); // still wanted, result
    b.store(place[1], state, zero);
    b.store(b.i64(0), state, one);
    Value keys = b.stackBuffer(lanes, b.getI32Type());
    Value begin = b.muli(place[0], rowsPerChunk);
    auto visit = [&](Value found, Value position) {
      b.ifThen(b.cmpi(arith::CmpIPredicate::eq, found, key), [&] {
        Value left = b.subi(b.load(state, zero), b.i64(1));
        b.store(left, state, zero);
        b.ifThen(b.cmpi(arith::CmpIPredicate::eq, left, b.i64(0)), [&] {
          Value after = b.addi(position, 1);
          b.store(arith::IndexCastOp::create(b, b.getI64Type(), after), state,
                  one);
        });
      });
    };
    b.loop(begin, endOfChunk(begin), 1, [&](Value i) {
      Value open =
          b.cmpi(arith::CmpIPredicate::sgt, b.load(state, zero), b.i64(0));
      b.ifThen(open, [&] {
        Value row = b.muli(i, weight.getColumns());
        b.vectorLoop(weight.getColumns(), lanes, [&](Value j, int64_t width) {
          Value found =
              keyOf(weight.evaluate(b, i, j, width).getScore(), width);
          Value position = b.addi(row, j);
          if (width == 1)
            return visit(found, position);
          Value same =
              b.cmpi(arith::CmpIPredicate::eq, found, b.splat(key, width));
          Value any =
              vector::ReductionOp::create(b, vector::CombiningKind::OR, same);
          b.ifThen(any, [&] {
            b.store(found, keys, zero);
            b.loop(0, width, 1, [&](Value lane) {
              visit(b.load(keys, lane), b.addi(position, lane));
            });
          });
        });
      });
    });
    return b.load(state, one);
  }

  KernelBuilder &b;
  const VirtualWeight &weight;
  int64_t lanes, rowsPerChunk, chunks;
  Value counts; ///< i32 (read as unsigned), chunks x kBins: enough for weights
                ///< of 2^35 elements.
  Value totals; ///< i64, kBins.
};
struct TopKThresholdPattern : KernelPattern<TopKThresholdOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(TopKThresholdOp op,
                                PatternRewriter &rewriter) const override {
    CriterionOp criterion = context.getCriterion(op.getCriterionAttr());
    RankedTensorType type = getWeightType(criterion, op.getFactors());
    int64_t rows = type.getDimSize(0), columns = type.getDimSize(1);
    int64_t chunks =
        llvm::divideCeil(rows, Selection::chunkRows(rows, columns));
    SmallVector<Value> inputs(op.getFactors());
    inputs.push_back(op.getSparsity());
    context.replaceByLaunch(
        rewriter, op,
        "topk_threshold_" + criterionName(criterion, op.getFactors()), inputs,
        {RankedTensorType::get({chunks, kBins}, rewriter.getI32Type()),
         RankedTensorType::get({kBins}, rewriter.getI64Type())},
        [&](KernelBuilder &b, ValueRange arguments) {
          size_t factors = op.getFactors().size();
          VirtualWeight weight(criterion, arguments.take_front(factors));
          Selection(b, weight, context.lanes(),
                    arguments.drop_front(factors + 3))
              .emit(arguments[factors], arguments[factors + 1],
                    arguments[factors + 2]);
        });
    return success();
  }
};
} // namespace

void pst::cpu::populateTopKThresholdKernels(RewritePatternSet &patterns,
                                            KernelContext &context) {
  patterns.add<TopKThresholdPattern>(patterns.getContext(), context);
}
