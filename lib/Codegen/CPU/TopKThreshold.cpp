//===- TopKThreshold.cpp - Finds the score that separates the kept --------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// Selection in about one pass over the criterion, exact for any scores:
//
//   bracket: a few scores, evenly spread over the weight, tell two scores
//            between which the threshold most likely lies
//   gather, parallel over chunks of rows: count the scores above the bracket
//            and keep those inside, in the chunk's segment of a buffer
//   if the threshold lies inside, and no segment was too small:
//            select it among the kept scores
//   else     select it by radix: three passes over the criterion
//   the cut: in the chunk where the last kept element of that score lies,
//            find it; the cut is the index after it
//
// Selecting means to count the scores' keys (their bits, in the order of the
// floats) in 2048 equal parts of a range, and to go on within the part where
// the count from above reaches the wanted rank. Counts are integers, and every
// way ends at the same element: the result depends neither on the way nor on
// the number of threads. A threshold known from the step before only makes the
// sample cheaper: it need not hold scores that are far from it.

#include "KernelContext.h"
#include "ScoreSelection.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include <cmath>
#include <limits>

using namespace mlir;
using namespace pst;
using namespace pst::cpu;

/// Two scores between which the one of rank `keep` lies unless the sample is
/// very unlike the whole: eight standard deviations of a sample of independent
/// scores away, since neighbours in a row, which are sampled together, are
/// not.
static SmallVector<Value> emitBracket(KernelBuilder &b,
                                      ScoreSelection &selection,
                                      const SelectionSizes &s, Value keep,
                                      Value previous) {
  auto f32 = [&](double value) { return b.f32(value); };
  Type i64 = b.getI64Type(), f64 = b.getF64Type();
  int64_t size = s.sampleSize();
  Value share =
      arith::DivFOp::create(b, arith::SIToFPOp::create(b, f64, keep),
                            b.f64(static_cast<double>(s.rows * s.columns)));
  Value rank = b.mulf(share, b.f64(size));
  Value variance = b.mulf(rank, b.subf(b.f64(1.0), share));
  Value margin = b.addf(b.mulf(math::SqrtOp::create(b, variance), b.f64(8.0)),
                        b.f64(s.lanes));
  Value upper = arith::FPToSIOp::create(b, i64, b.subf(rank, margin));
  Value lower = arith::FPToSIOp::create(b, i64, b.addf(rank, margin));
  Value noUpper = isLess(b, upper, b.i64(1));
  Value noLower = isLess(b, b.i64(size), lower);

  SmallVector<Value> window{f32(-INFINITY), f32(INFINITY)};
  SmallVector<Value> sample;
  if (!previous) {
    sample = selection.gatherSample(window[0], window[1]);
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
          SmallVector<Value> found = selection.gatherSample(state[0], state[1]);
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
    auto found =
        selection.selectKept(window[0], window[1], b.subi(rank, sample[1]));
    b.store(scoreOfKey(b, found.key), ends, i);
  });
  return {b.select(noLower, f32(-INFINITY), b.load(ends, b.index(0))),
          b.select(noUpper, f32(INFINITY), b.load(ends, b.index(1)))};
}

static void emitSelection(KernelBuilder &b, ScoreSelection &selection,
                          const SelectionSizes &s, Value sparsity,
                          Value previous, Value threshold, Value cut,
                          Value prunedCount) {
  // int(n*m*sparsity), as Python computes it.
  int64_t elements = s.rows * s.columns;
  Value product = b.mulf(b.f64(static_cast<double>(elements)), sparsity);
  Value pruned = arith::FPToSIOp::create(b, b.getI64Type(), product);
  Value keep = b.subi(b.i64(elements), pruned);
  Value none = isLess(b, keep, b.i64(1));

  SmallVector<Value> ends{b.f32(-INFINITY), b.f32(INFINITY)};
  if (s.isSampled)
    ends = emitBracket(b, selection, s, keep, previous);
  selection.gather(ends[0], ends[1]);
  Value zero = b.i64(0);
  SmallVector<Value> sums =
      b.loop(b.index(0), b.index(s.chunks), 1, {zero, zero, zero, zero},
             [&](Value chunk, ValueRange sum) -> SmallVector<Value> {
               Value inside = selection.loadTally(chunk, kInside);
               return {b.addi(sum[0], inside),
                       b.addi(sum[1], selection.loadTally(chunk, kAbove)),
                       b.addi(sum[2], selection.loadTally(chunk, kNaN)),
                       arith::MaxSIOp::create(b, sum[3], inside)};
             });
  Value wanted = b.subi(keep, sums[1]); // inside the bracket

  auto scalar = [&](Type type) {
    return memref::AllocaOp::create(b, MemRefType::get({}, type));
  };
  Value key = scalar(b.getI32Type()), left = scalar(b.getI64Type());
  Value nan = scalar(b.getI64Type());
  b.store(sums[2], nan, {});
  auto note = [&](ScoreSelection::Found found) {
    b.store(found.key, key, {});
    b.store(found.wanted, left, {});
  };
  auto fromKept = [&] {
    auto found = selection.selectKept(ends[0], ends[1], wanted);
    selection.tallyKept(found.key);
    note(found);
  };
  if (s.isSampled) {
    Value hit = both(b, isLess(b, zero, wanted), isAtMost(b, wanted, sums[0]));
    hit = both(b, hit, isAtMost(b, sums[3], b.i64(s.capacity)));
    b.ifElse(hit, fromKept, [&] { note(selection.selectByRadix(keep, nan)); });
  } else {
    fromKept();
  }

  Value tau = b.load(key, {});
  Value position = selection.findCut(tau, b.load(left, {}));
  Value hasNaN = isLess(b, zero, b.load(nan, {}));
  // Nothing kept: no score is above infinity, and none before index 0.
  Value score = b.select(none, b.f32(INFINITY), scoreOfKey(b, tau));
  b.store(b.select(hasNaN, b.f32(NAN), score), threshold, {});
  b.store(b.select(either(b, none, hasNaN), zero, position), cut, {});
  // No score is above a threshold of NaN.
  b.store(b.select(hasNaN, b.i64(elements), pruned), prunedCount, {});
}

namespace {
struct TopKThresholdPattern : KernelPattern<TopKThresholdOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(TopKThresholdOp op,
                                PatternRewriter &rewriter) const override {
    CriterionOp criterion = context.getCriterion(op.getCriterionAttr());
    size_t layers = op.getSparsities().size(),
           tensors = op.getFactors().size() / layers;
    SmallVector<SelectionSizes> sizes;
    SmallVector<RankedTensorType> workspaces;
    SmallVector<Value> inputs;
    for (size_t layer = 0; layer < layers; ++layer) {
      ValueRange factors = op.getFactors().slice(layer * tensors, tensors);
      RankedTensorType type = getWeightType(criterion, factors);
      const SelectionSizes &of = sizes.emplace_back(
          type.getDimSize(0), type.getDimSize(1), context.lanes());
      llvm::append_range(workspaces, of.workspaces(rewriter));
      llvm::append_range(inputs, factors);
      inputs.push_back(op.getSparsities()[layer]);
      if (isWarm(op, of))
        inputs.push_back(op.getPrevious()[layer]);
    }
    context.replaceByLaunch(
        rewriter, op, inputs, workspaces,
        [&](KernelBuilder &b, ValueRange arguments) {
          ValueRange results = arguments.slice(inputs.size(), 3 * layers);
          ValueRange rest = arguments.drop_front(inputs.size() + 3 * layers);
          for (auto [layer, of] : llvm::enumerate(sizes)) {
            VirtualWeight weight(criterion, arguments.take_front(tensors));
            Value sparsity = arguments[tensors], previous;
            arguments = arguments.drop_front(tensors + 1);
            if (isWarm(op, of)) {
              previous = b.load(arguments.front(), {});
              arguments = arguments.drop_front();
            }
            ScoreSelection selection(
                b, weight, of, SelectionBuffers(rest, /*keepsScores=*/true));
            rest = rest.drop_front(of.workspaces(b).size());
            emitSelection(b, selection, of, sparsity, previous, results[layer],
                          results[layers + layer], results[2 * layers + layer]);
          }
        });
    return success();
  }

private:
  /// A small layer is gathered whole: what was before is of no use.
  static bool isWarm(TopKThresholdOp op, const SelectionSizes &sizes) {
    return !op.getPrevious().empty() && sizes.isSampled;
  }
};
} // namespace

void pst::cpu::populateTopKThresholdKernels(RewritePatternSet &patterns,
                                            KernelContext &context) {
  patterns.add<TopKThresholdPattern>(patterns.getContext(), context);
}
