//===- CommonThreshold.cpp - One threshold for several layers -------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// The threshold is found by radix, as within one layer (ScoreSelection.cpp),
// but all layers add to the counts:
//
//   three times:
//     for each layer: count its keys in 2048 equal parts of the range
//     go on within the part where the count from above reaches the rank
//   for each layer, in order:
//     count the scores above the threshold and those that equal it, of which
//     the first ones stay, as many as are still wanted
//
// What is done to a layer is a function of its shape, which others share.

#include "../Kernel/ScoreKey.h"
#include "KernelContext.h"
#include "ScoreSelection.h"
#include <cmath>

using namespace mlir;
using namespace pst;
using namespace pst::cpu;

namespace {
class CommonSelection {
public:
  /// `arguments`: the layers' factors, the sparsity (f64), the threshold, the
  /// layers' cuts, how many elements of each are pruned, and the workspaces.
  CommonSelection(KernelContext &context, KernelBuilder &b,
                  CriterionOp criterion, int64_t elements, size_t layers,
                  ValueRange arguments)
      : context(context), b(b), criterion(criterion), elements(elements),
        layers(layers), tensors(criterion.getNumTensors()),
        factors(arguments.take_front(layers * tensors)) {
    ValueRange rest = arguments.drop_front(layers * tensors);
    sparsity = rest[0];
    threshold = rest[1];
    cuts = rest.slice(2, layers);
    pruned = rest.slice(2 + layers, layers);
    workspaces = rest.drop_front(2 + 2 * layers);
  }

  void emit() {
    // int(elements * sparsity), as Python computes it.
    Value product = b.mulf(b.f64(static_cast<double>(elements)), sparsity);
    Value keep = b.subi(b.i64(elements),
                        arith::FPToSIOp::create(b, b.getI64Type(), product));
    auto scalar = [&] {
      return memref::AllocaOp::create(b, MemRefType::get({}, b.getI64Type()));
    };
    Value nan = scalar(), wanted = scalar();
    RadixSelect radix(b, SelectionBuffers(workspaces, false).totals);
    RadixSelect::Found found = radix.select(
        b.i32(0), b.i32(-1), keep, [&](Value low, Value range, Value shift) {
          for (size_t layer = 0; layer < layers; ++layer)
            countKeys(layer, {low, range, shift});
          radix.noteNaNs(range, nan);
        });
    Value none = isLess(b, keep, b.i64(1));
    Value hasNaN = isLess(b, b.i64(0), b.load(nan, {}));
    Value score = b.select(none, b.f32(INFINITY), scoreOfKey(b, found.key));
    b.store(b.select(hasNaN, b.f32(NAN), score), threshold, {});
    b.store(b.select(none, b.i64(0), found.wanted), wanted, {});
    for (size_t layer = 0; layer < layers; ++layer)
      findCut(layer, {found.key, hasNaN, wanted, cuts[layer], pruned[layer]});
  }

private:
  SelectionSizes sizesOf(const VirtualWeight &weight) {
    return SelectionSizes(weight.getRows(), weight.getColumns(),
                          context.lanes());
  }

  /// The first layer whose factors have the types of these.
  size_t firstLike(ValueRange own) {
    size_t layer = 0;
    while (!llvm::equal(factors.slice(layer * tensors, tensors).getTypes(),
                        own.getTypes()))
      ++layer;
    return layer;
  }

  /// Calls the function `name` of a layer's shape, with its factors, the
  /// workspaces and the values.
  void call(StringRef name, size_t layer, ArrayRef<Value> values,
            function_ref<void(KernelBuilder &, ScoreSelection &,
                              const SelectionSizes &, ValueRange)>
                body) {
    ValueRange own = factors.slice(layer * tensors, tensors);
    SmallVector<Value> operands(own);
    llvm::append_range(operands, workspaces);
    llvm::append_range(operands, values);
    context.callPart(
        b, (name + std::to_string(firstLike(own))).str(), operands,
        [&](KernelBuilder &inner, ValueRange arguments) {
          VirtualWeight weight(criterion, arguments.take_front(tensors));
          SelectionSizes sizes = sizesOf(weight);
          ValueRange rest = arguments.drop_front(tensors);
          SelectionBuffers buffers(rest.take_front(workspaces.size()),
                                   /*keepsScores=*/false);
          ScoreSelection selection(inner, weight, sizes, buffers);
          body(inner, selection, sizes, rest.drop_front(workspaces.size()));
        });
  }

  void countKeys(size_t layer, ArrayRef<Value> range) {
    call("count", layer, range,
         [](KernelBuilder &, ScoreSelection &selection, const SelectionSizes &,
            ValueRange range) {
           selection.countAll(range[0], range[1], range[2]);
         });
  }

  void findCut(size_t layer, ArrayRef<Value> values) {
    call("cut", layer, values,
         [](KernelBuilder &b, ScoreSelection &selection,
            const SelectionSizes &sizes, ValueRange values) {
           Value key = values[0], hasNaN = values[1], wanted = values[2];
           selection.tallyAll(key);
           Value equal = selection.sumOfTallies(kEqual), zero = b.i64(0);
           Value size = b.i64(sizes.rows * sizes.columns);
           Value left = b.load(wanted, {});
           Value taken = arith::MinSIOp::create(b, left, equal);
           b.store(b.subi(left, taken), wanted, {});
           Value cut = b.select(isAtMost(b, equal, left), size,
                                selection.findCut(key, taken));
           Value nothing = either(b, hasNaN, isLess(b, left, b.i64(1)));
           b.store(b.select(nothing, zero, cut), values[3], {});
           Value kept = b.addi(selection.sumOfTallies(kAbove), taken);
           b.store(b.subi(size, b.select(hasNaN, zero, kept)), values[4], {});
         });
  }

  KernelContext &context;
  KernelBuilder &b;
  CriterionOp criterion;
  int64_t elements; ///< Of all layers.
  size_t layers, tensors;
  ValueRange factors;
  Value sparsity, threshold;
  ValueRange cuts, pruned, workspaces;
};

struct CommonThresholdPattern : KernelPattern<CommonThresholdOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(CommonThresholdOp op,
                                PatternRewriter &rewriter) const override {
    CriterionOp criterion = context.getCriterion(op.getCriterionAttr());
    size_t tensors = criterion.getNumTensors(), layers = op.getCuts().size();
    int64_t elements = 0, chunks = 1;
    for (size_t layer = 0; layer < layers; ++layer) {
      VirtualWeight weight(criterion,
                           op.getFactors().slice(layer * tensors, tensors));
      elements += weight.getRows() * weight.getColumns();
      SelectionSizes sizes(weight.getRows(), weight.getColumns(),
                           context.lanes());
      chunks = std::max(chunks, sizes.chunks);
    }
    SmallVector<Value> inputs(op.getFactors());
    inputs.push_back(op.getSparsity());
    context.replaceByLaunch(
        rewriter, op, inputs,
        SelectionSizes::countingWorkspaces(rewriter, chunks),
        [&](KernelBuilder &b, ValueRange arguments) {
          CommonSelection(context, b, criterion, elements, layers, arguments)
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
