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
#include <cmath>

using namespace mlir;
using namespace pst;
using namespace pst::cpu;

static void emitSelection(KernelBuilder &b, ScoreSelection &selection,
                          KeptScores &kept, const SelectionSizes &s,
                          Value sparsity, Value previous, Value threshold,
                          Value cut, Value prunedCount) {
  // int(n*m*sparsity), as Python computes it.
  int64_t elements = s.elements();
  Value product = b.mulf(b.f64(static_cast<double>(elements)), sparsity);
  Value pruned = arith::FPToSIOp::create(b, b.getI64Type(), product);
  Value keep = b.subi(b.i64(elements), pruned);
  Value none = isLess(b, keep, b.i64(1));

  std::pair<Value, Value> ends{b.f32(-INFINITY), b.f32(INFINITY)};
  if (s.isSampled)
    ends = kept.findBracket(
        elements, s.sampleSize(), keep, previous, [&](Value low, Value high) {
          return selection.gatherSample(low, high, {b.index(0), b.index(0)});
        });
  auto [low, high] = ends;
  selection.gather(low, high);
  auto byRadix = [&](Value nan) { return selection.selectByRadix(keep, nan); };
  function_ref<RadixSelect::Found(Value)> otherwise;
  if (s.isSampled)
    otherwise = byRadix;
  auto [tau, wanted, hasNaN] = kept.select(low, high, keep, otherwise);
  Value position = selection.findCut(tau, wanted), zero = b.i64(0);
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
      llvm::append_range(workspaces, selectionWorkspaces(rewriter, of));
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
            size_t own = selectionWorkspaces(b, of).size();
            KeptScores kept(b, SelectionBuffers(rest.take_front(own)),
                            of.lanes);
            rest = rest.drop_front(own);
            ScoreSelection selection(b, weight, of, kept, b.index(0),
                                     b.index(0));
            emitSelection(b, selection, kept, of, sparsity, previous,
                          results[layer], results[layers + layer],
                          results[2 * layers + layer]);
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
