//===- CommonThreshold.cpp - One threshold for several layers -------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// The threshold is found as within one layer (TopKThreshold.cpp), in about one
// pass over the criterion:
//
//   bracket: a few scores of each layer, as many as it has its share of the
//            elements
//   gather:  of each layer, count the scores above the bracket and keep those
//            inside; all layers' chunks stand one behind the other
//   select among what was kept, or else by three passes over all layers, and
//            one that counts what is above the threshold
//   for each layer, in order: of the scores that equal the threshold the first
//            ones stay, as many as are still wanted; only in the layer in which
//            some stay and some do not, they are looked for
//
// What is done to a layer is a function of its shape, which others share.

#include "KernelContext.h"
#include "ScoreSelection.h"
#include <cmath>

using namespace mlir;
using namespace pst;
using namespace pst::cpu;

namespace {
class CommonSelection {
public:
  /// `arguments`: the layers' factors, the sparsity (f64), the threshold of the
  /// step before if `isWarm`, the threshold, the layers' cuts, how many
  /// elements of each are pruned, and the workspaces.
  CommonSelection(KernelContext &context, KernelBuilder &b,
                  CriterionOp criterion, ArrayRef<SelectionSizes> sizes,
                  bool isWarm, ValueRange arguments)
      : context(context), b(b), criterion(criterion), sizes(sizes),
        tensors(criterion.getNumTensors()),
        factors(arguments.take_front(sizes.size() * tensors)) {
    size_t layers = sizes.size();
    ValueRange rest = arguments.drop_front(layers * tensors);
    sparsity = rest[0];
    if (isWarm)
      previous = b.load(rest[1], {});
    rest = rest.drop_front(isWarm ? 2 : 1);
    threshold = rest[0];
    cuts = rest.slice(1, layers);
    pruned = rest.slice(1 + layers, layers);
    workspaces = rest.drop_front(1 + 2 * layers);
  }

  void emit() {
    int64_t elements = 0, sampleSize = 0;
    for (const SelectionSizes &s : sizes) {
      elements += s.elements();
      sampleSize += s.sampleSize();
    }
    // int(elements * sparsity), as Python computes it.
    Value product = b.mulf(b.f64(static_cast<double>(elements)), sparsity);
    Value keep = b.subi(b.i64(elements),
                        arith::FPToSIOp::create(b, b.getI64Type(), product));
    KeptScores kept(b, SelectionBuffers(workspaces), sizes.front().lanes);
    std::pair<Value, Value> ends{b.f32(-INFINITY), b.f32(INFINITY)};
    bool isSampled = sizes.front().isSampled;
    if (isSampled) {
      Value found = b.stackBuffer(2, b.getI64Type());
      ends = kept.findBracket(elements, sampleSize, keep, previous,
                              [&](Value low, Value high) {
                                return gatherSample(low, high, found);
                              });
    }
    auto [low, high] = ends;
    forLayers("gather", {low, high},
              [](KernelBuilder &, ScoreSelection &selection,
                 const SelectionSizes &,
                 ValueRange ends) { selection.gather(ends[0], ends[1]); });
    auto byRadix = [&](Value nan) { return selectByRadix(keep, nan); };
    function_ref<RadixSelect::Found(Value)> otherwise;
    if (isSampled)
      otherwise = byRadix;
    auto [key, taken, hasNaN] = kept.select(low, high, keep, otherwise);
    Value none = isLess(b, keep, b.i64(1));
    Value score = b.select(none, b.f32(INFINITY), scoreOfKey(b, key));
    b.store(b.select(hasNaN, b.f32(NAN), score), threshold, {});
    Value wanted =
        memref::AllocaOp::create(b, MemRefType::get({}, b.getI64Type()));
    b.store(b.select(none, b.i64(0), taken), wanted, {});
    for (size_t layer = 0; layer < sizes.size(); ++layer)
      findCut(layer, {key, hasNaN, wanted, cuts[layer], pruned[layer]});
  }

private:
  using Body = function_ref<void(KernelBuilder &, ScoreSelection &,
                                 const SelectionSizes &, ValueRange)>;

  /// The first layer whose factors have the types of these.
  size_t firstLike(ValueRange own) {
    size_t layer = 0;
    while (!llvm::equal(factors.slice(layer * tensors, tensors).getTypes(),
                        own.getTypes()))
      ++layer;
    return layer;
  }

  /// Calls the function `name` of a layer's shape, with its factors, the
  /// workspaces, where the layer's parts of them begin, and the values.
  void call(StringRef name, size_t layer, ArrayRef<Value> values, Body body) {
    ValueRange own = factors.slice(layer * tensors, tensors);
    SmallVector<Value> operands(own);
    llvm::append_range(operands, workspaces);
    int64_t chunk = 0, value = 0;
    for (const SelectionSizes &s : sizes.take_front(layer)) {
      chunk += s.chunks;
      value += s.chunks * s.segment();
    }
    llvm::append_values(operands, b.index(chunk), b.index(value));
    llvm::append_range(operands, values);
    context.callPart(
        b, (name + std::to_string(firstLike(own))).str(), operands,
        [&](KernelBuilder &inner, ValueRange arguments) {
          VirtualWeight weight(criterion, arguments.take_front(tensors));
          const SelectionSizes &s = sizes[layer];
          ValueRange rest = arguments.drop_front(tensors);
          KeptScores kept(inner,
                          SelectionBuffers(rest.take_front(workspaces.size())),
                          s.lanes);
          rest = rest.drop_front(workspaces.size());
          ScoreSelection selection(inner, weight, s, kept, rest[0], rest[1]);
          body(inner, selection, s, rest.drop_front(2));
        });
  }

  void forLayers(StringRef name, ArrayRef<Value> values, Body body) {
    for (size_t layer = 0; layer < sizes.size(); ++layer)
      call(name, layer, values, body);
  }

  /// `found` (i64): how many are kept, and how many lie above.
  KeptScores::State gatherSample(Value low, Value high, Value found) {
    for (int64_t i : {0, 1})
      b.store(b.i64(0), found, b.index(i));
    forLayers("sample", {low, high, found},
              [](KernelBuilder &b, ScoreSelection &selection,
                 const SelectionSizes &, ValueRange values) {
                KeptScores::State state;
                for (int64_t i : {0, 1})
                  state.push_back(toIndex(b, b.load(values[2], b.index(i))));
                state = selection.gatherSample(values[0], values[1], state);
                for (int64_t i : {0, 1})
                  b.store(toI64(b, state[i]), values[2], b.index(i));
              });
    return {toIndex(b, b.load(found, b.index(0))),
            toIndex(b, b.load(found, b.index(1)))};
  }

  RadixSelect::Found selectByRadix(Value keep, Value nan) {
    RadixSelect radix(b, SelectionBuffers(workspaces).totals);
    RadixSelect::Found found = radix.select(
        b.i32(0), b.i32(-1), keep, [&](Value low, Value range, Value shift) {
          forLayers("count", {low, range, shift},
                    [](KernelBuilder &, ScoreSelection &selection,
                       const SelectionSizes &, ValueRange range) {
                      selection.countAll(range[0], range[1], range[2]);
                    });
          radix.noteNaNs(range, nan);
        });
    forLayers("tally", found.key,
              [](KernelBuilder &, ScoreSelection &selection,
                 const SelectionSizes &,
                 ValueRange key) { selection.tallyAll(key[0]); });
    return found;
  }

  void findCut(size_t layer, ArrayRef<Value> values) {
    call("cut", layer, values,
         [](KernelBuilder &b, ScoreSelection &selection,
            const SelectionSizes &sizes, ValueRange values) {
           Value key = values[0], hasNaN = values[1], wanted = values[2];
           Value equal = selection.sumOfTallies(kEqual), zero = b.i64(0);
           Value size = b.i64(sizes.elements());
           Value left = b.load(wanted, {});
           Value taken = arith::MinSIOp::create(b, left, equal);
           b.store(b.subi(left, taken), wanted, {});
           Value nothing = either(b, hasNaN, isLess(b, left, b.i64(1)));
           b.store(b.select(nothing, zero, size), values[3], {});
           Value wantsAll = isAtMost(b, equal, left);
           b.ifElse(
               either(b, nothing, wantsAll), [] {},
               [&] { b.store(selection.findCut(key, taken), values[3], {}); });
           Value kept = b.addi(selection.sumOfTallies(kAbove), taken);
           b.store(b.subi(size, b.select(hasNaN, zero, kept)), values[4], {});
         });
  }

  KernelContext &context;
  KernelBuilder &b;
  CriterionOp criterion;
  ArrayRef<SelectionSizes> sizes; ///< Of the layers.
  size_t tensors;
  ValueRange factors;
  Value sparsity, previous, threshold;
  ValueRange cuts, pruned, workspaces;
};

struct CommonThresholdPattern : KernelPattern<CommonThresholdOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(CommonThresholdOp op,
                                PatternRewriter &rewriter) const override {
    CriterionOp criterion = context.getCriterion(op.getCriterionAttr());
    size_t tensors = criterion.getNumTensors(), layers = op.getCuts().size();
    SmallVector<RankedTensorType> weights;
    int64_t elements = 0;
    for (size_t layer = 0; layer < layers; ++layer) {
      ValueRange factors = op.getFactors().slice(layer * tensors, tensors);
      weights.push_back(getWeightType(criterion, factors));
      elements += weights.back().getNumElements();
    }
    SmallVector<SelectionSizes> sizes;
    for (RankedTensorType weight : weights)
      sizes.emplace_back(weight.getDimSize(0), weight.getDimSize(1),
                         context.lanes(), elements);
    // Few scores are gathered whole: what was before is of no use.
    bool isWarm = op.getPrevious() && sizes.front().isSampled;
    SmallVector<Value> inputs(op.getFactors());
    inputs.push_back(op.getSparsity());
    if (isWarm)
      inputs.push_back(op.getPrevious());
    context.replaceByLaunch(
        rewriter, op, inputs, selectionWorkspaces(rewriter, sizes),
        [&](KernelBuilder &b, ValueRange arguments) {
          CommonSelection(context, b, criterion, sizes, isWarm, arguments)
              .emit();
        });
    return success();
  }
};
} // namespace

void pst::cpu::populateCommonThresholdKernels(RewritePatternSet &patterns,
                                              KernelContext &context) {
  patterns.add<CommonThresholdPattern>(patterns.getContext(), context);
}
