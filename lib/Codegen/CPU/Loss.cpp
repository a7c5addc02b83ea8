//===- Loss.cpp - Losses and their gradients ------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Loss.h"
#include "../Kernel/VectorMath.h"
#include "KernelContext.h"
#include "pst/Dialect/NN/NNOps.h"

using namespace mlir;
using namespace pst;
using namespace pst::cpu;

RowSoftmax::RowSoftmax(KernelBuilder &b, Value logits, Value row,
                       int64_t classes, int64_t lanes)
    : logits(logits), row(row), classes(classes), lanes(lanes) {
  // The largest lane of the whole vectors, then what is left one by one.
  Value first = b.load(logits, {row, b.index(0)});
  int64_t whole = classes / lanes * lanes;
  Value largest =
      b.loop(b.index(0), b.index(whole), lanes, {b.splat(first, lanes)},
             [&](Value c, ValueRange carried) -> SmallVector<Value> {
               return {b.maxf(b.load(logits, {row, c}, lanes), carried[0])};
             })[0];
  maximum = b.loop(b.index(whole), b.index(classes), 1, {b.maxLanes(largest)},
                   [&](Value c, ValueRange carried) -> SmallVector<Value> {
                     return {b.maxf(b.load(logits, {row, c}), carried[0])};
                   })[0];
  sum = sumOver(
      b, [&](Value c, int64_t width) { return exponential(b, c, width); });
}

Value RowSoftmax::sumOver(KernelBuilder &b,
                          function_ref<Value(Value, int64_t)> element) const {
  auto partial = [&](Value first, int64_t count) {
    return b.vectorSum(count, lanes, [&](Value c, int64_t width) {
      return element(b.addi(first, c), width);
    });
  };
  constexpr int64_t kBlock = 2048;
  int64_t whole = classes / kBlock * kBlock;
  Value result = b.loop(b.index(0), b.index(whole), kBlock, {b.f32(0.0)},
                        [&](Value c, ValueRange carried) -> SmallVector<Value> {
                          return {b.addf(carried[0], partial(c, kBlock))};
                        })[0];
  if (whole != classes)
    result = b.addf(result, partial(b.index(whole), classes - whole));
  return result;
}

Value RowSoftmax::exponential(KernelBuilder &b, Value c, int64_t lanes) const {
  return expNonPositive(
      b, b.subf(b.load(logits, {row, c}, lanes), b.splat(maximum, lanes)));
}

Value RowSoftmax::loss(KernelBuilder &b, Value label,
                       const std::optional<ClassTarget> &target) const {
  Value own = b.load(logits, {row, label});
  Value logSum = logPositive(b, sum);
  Value loss = b.addf(b.subf(maximum, own), logSum);
  if (!target)
    return loss;
  Value even = sumOver(b, [&](Value c, int64_t width) {
    Value logit = b.load(logits, {row, c}, width);
    return b.mulf(
        target->even(b, c, width),
        b.addf(b.subf(b.splat(maximum, width), logit), b.splat(logSum, width)));
  });
  return b.addf(b.mulf(target->own(b, label), loss), even);
}

void RowSoftmax::storeGradient(KernelBuilder &b, Value label,
                               const std::optional<ClassTarget> &target,
                               Value factor, Value result) const {
  Value own = b.f32(1.0), total;
  if (target) {
    own = target->own(b, label);
    total = target->sum(b, own, [&] {
      return sumOver(
          b, [&](Value c, int64_t width) { return target->even(b, c, width); });
    });
  }
  auto difference = [&](Value c, int64_t width) {
    Value p = b.divf(exponential(b, c, width), b.splat(sum, width));
    return target ? b.subf(b.mulf(p, b.splat(total, width)),
                           target->even(b, c, width))
                  : p;
  };
  // Before it is overwritten, where the result is the logits themselves. What
  // is the label's own is taken off before it is scaled.
  Value ofLabel = b.subf(difference(label, 1), own);
  b.vectorLoop(classes, lanes, [&](Value c, int64_t width) {
    b.store(b.mulf(difference(c, width), b.splat(factor, width)), result,
            {row, c});
  });
  b.store(b.mulf(ofLabel, factor), result, {row, label});
}

void RowSoftmax::storeZeros(KernelBuilder &b, Value row, int64_t classes,
                            int64_t lanes, Value result) {
  b.vectorLoop(classes, lanes, [&](Value c, int64_t width) {
    b.store(b.f32(0.0, width), result, {row, c});
  });
}

namespace {
/// for rows in parallel:
///   losses[row] = sum_c target[c] (log sum e^logits - logits[c])
/// result = scale * sum of losses
struct CrossEntropyPattern : KernelPattern<nn::CrossEntropyOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(nn::CrossEntropyOp op,
                                PatternRewriter &rewriter) const override {
    auto type = cast<RankedTensorType>(op.getLogits().getType());
    int64_t rows = type.getDimSize(0), classes = type.getDimSize(1);
    context.replaceByLaunch(
        rewriter, op, op->getOperands(),
        RankedTensorType::get({rows}, rewriter.getF32Type()),
        [&](KernelBuilder &b, ValueRange arguments) {
          Value logits = arguments[0], scale = arguments[2];
          ValueRange given = arguments.drop_front(3).drop_back(2);
          Value result = arguments.drop_back().back(),
                losses = arguments.back();
          b.parallel(rows, [&](Value row) {
            RowLabel label(b, arguments[1], row, classes, kernel::LabelOf::Row,
                           context.packedRows());
            b.ifElse(
                label.isExample,
                [&] {
                  RowSoftmax softmax(b, logits, row, classes, context.lanes());
                  auto target = ClassTarget::of(b, given, classes);
                  b.store(softmax.loss(b, label.label, target), losses, row);
                },
                [&] { b.store(b.f32(0.0), losses, row); });
          });
          context.scaledSum(b, rows, {scale, result, losses}, loadRowLoss);
        });
    return success();
  }
};

/// for rows in parallel:
///   result[row, c] = gradient * scale *
///                    (e^(logit - max) / sum * sum target - target[c])
struct CrossEntropyBackwardPattern : KernelPattern<nn::CrossEntropyBackwardOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(nn::CrossEntropyBackwardOp op,
                                PatternRewriter &rewriter) const override {
    auto type = cast<RankedTensorType>(op.getLogits().getType());
    int64_t rows = type.getDimSize(0), classes = type.getDimSize(1);
    context.replaceByLaunch(
        rewriter, op, op->getOperands(),
        /*workspaces=*/{}, [&](KernelBuilder &b, ValueRange arguments) {
          Value logits = arguments[0], result = arguments.back();
          ValueRange given = arguments.drop_front(4).drop_back();
          Value factor = b.mulf(b.load(arguments[3], {}), arguments[2]);
          b.parallel(rows, [&](Value row) {
            RowLabel label(b, arguments[1], row, classes, kernel::LabelOf::Row,
                           context.packedRows());
            b.ifElse(
                label.isExample,
                [&] {
                  RowSoftmax softmax(b, logits, row, classes, context.lanes());
                  auto target = ClassTarget::of(b, given, classes);
                  softmax.storeGradient(b, label.label, target, factor, result);
                },
                [&] {
                  RowSoftmax::storeZeros(b, row, classes, context.lanes(),
                                         result);
                });
          });
        });
    return success();
  }
};

} // namespace

void pst::cpu::populateLossKernels(RewritePatternSet &patterns,
                                   KernelContext &context) {
  patterns.add<CrossEntropyPattern, CrossEntropyBackwardPattern>(
      patterns.getContext(), context);
}
