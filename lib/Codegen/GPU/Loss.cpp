//===- Loss.cpp - Losses and their gradients ------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Loss.h"
#include "../Kernel/VectorMath.h"
#include "pst/Dialect/NN/NNOps.h"
#include <limits>

using namespace mlir;
using namespace pst;
using namespace pst::cuda;

RowSoftmax::RowSoftmax(ThreadBuilder &b, Value logits, Value row,
                       int64_t classes)
    : logits(logits), row(row), classes(classes) {
  Value lowest = b.f32(std::numeric_limits<float>::lowest());
  maximum =
      b.blockMax(b.loop(b.thread(), b.index(classes), b.threads(), {lowest},
                        [&](Value c, ValueRange carried) -> SmallVector<Value> {
                          return {b.maxf(b.load(logits, {row, c}), carried[0])};
                        })[0]);
  sum = b.sumOverBlock(classes, [&](Value c) { return exponential(b, c); });
}

Value RowSoftmax::exponential(ThreadBuilder &b, Value c) const {
  return expNonPositive(b, b.subf(b.load(logits, {row, c}), maximum));
}

void pst::cuda::storeRowLoss(ThreadBuilder &b, const RowSoftmax &softmax,
                             const RowLabel &label, Value losses, Value at,
                             const std::optional<ClassTarget> &target) {
  Value own = b.load(softmax.logits, {softmax.row, label.label});
  Value logSum = logPositive(b, softmax.sum);
  Value loss = b.addf(b.subf(softmax.maximum, own), logSum);
  if (target) {
    Value even = b.sumOverBlock(softmax.classes, [&](Value c) {
      Value logit = b.load(softmax.logits, {softmax.row, c});
      return b.mulf(target->even(b, c),
                    b.addf(b.subf(softmax.maximum, logit), logSum));
    });
    loss = b.addf(b.mulf(target->own(b, label.label), loss), even);
  }
  b.onFirstThread([&] {
    b.store(b.select(label.isExample, loss, b.f32(0.0)), losses, at);
  });
}

void pst::cuda::storeRowGradient(ThreadBuilder &b, const RowSoftmax &softmax,
                                 const RowLabel &label, Value factor,
                                 Value result,
                                 const std::optional<ClassTarget> &target) {
  Value own = b.f32(1.0), total;
  if (target) {
    own = target->own(b, label.label);
    total = target->sum(b, own, [&] {
      return b.sumOverBlock(softmax.classes,
                            [&](Value c) { return target->even(b, c); });
    });
  }
  b.strided(softmax.classes, [&](Value c) {
    Value p = b.divf(softmax.exponential(b, c), softmax.sum);
    if (target)
      p = b.subf(b.mulf(p, total), target->even(b, c));
    Value isLabel = b.cmpi(arith::CmpIPredicate::eq, c, label.label);
    p = b.select(isLabel, b.subf(p, own), p);
    b.store(b.select(label.isExample, b.mulf(p, factor), b.f32(0.0)), result,
            {softmax.row, c});
  });
}

namespace {
/// for each row, a block:
///   losses[row] = sum_c target[c] (log sum e^logits - logits[c])
/// one block: result = scale * sum of losses
struct CrossEntropyPattern : KernelPattern<nn::CrossEntropyOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(nn::CrossEntropyOp op,
                                PatternRewriter &rewriter) const override {
    auto type = cast<RankedTensorType>(op.getLogits().getType());
    int64_t rows = type.getDimSize(0), classes = type.getDimSize(1);
    context.replaceByLaunch(
        rewriter, op, op->getOperands(),
        RankedTensorType::get({rows}, rewriter.getF32Type()),
        [&](CodeBuilder &host, ValueRange arguments) {
          Value result = arguments.drop_back().back(),
                losses = arguments.back();
          context.setRowsLike(losses, arguments[0]);
          SmallVector<Value> used{arguments[0], arguments[1], losses};
          llvm::append_range(used, arguments.drop_front(3).drop_back(2));
          context.launchRows(
              host, "", arguments[0], classes, used,
              [&](ThreadBuilder &b, ValueRange values, Value row) {
                RowLabel label(b, values[1], context.placeOf(b, row), classes,
                               kernel::LabelOf::Row);
                RowSoftmax softmax(b, values[0], row, classes);
                storeRowLoss(b, softmax, label, values[2], row,
                             ClassTarget::of(b, values.drop_front(3), classes));
              });
          context.scaledSum(host, rows, {arguments[2], result, losses},
                            loadRowLoss);
        });
    return success();
  }
};

/// for each row, a block:
///   result[row, c] = gradient * scale *
///                    (e^(logit - max) / sum * sum target - target[c])
struct CrossEntropyBackwardPattern : KernelPattern<nn::CrossEntropyBackwardOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(nn::CrossEntropyBackwardOp op,
                                PatternRewriter &rewriter) const override {
    auto type = cast<RankedTensorType>(op.getLogits().getType());
    int64_t classes = type.getDimSize(1);
    context.replaceByLaunch(
        rewriter, op, op->getOperands(),
        /*workspaces=*/{}, [&](CodeBuilder &host, ValueRange arguments) {
          context.launchRows(
              host, "", arguments[0], classes, arguments,
              [&](ThreadBuilder &b, ValueRange values, Value row) {
                Value factor = b.mulf(b.load(values[3], {}), values[2]);
                RowLabel label(b, values[1], context.placeOf(b, row), classes,
                               kernel::LabelOf::Row);
                RowSoftmax softmax(b, values[0], row, classes);
                storeRowGradient(
                    b, softmax, label, factor, values.back(),
                    ClassTarget::of(b, values.drop_front(4).drop_back(),
                                    classes));
              });
        });
    return success();
  }
};

} // namespace

void pst::cuda::populateLossKernels(RewritePatternSet &patterns,
                                    KernelContext &context) {
  patterns.add<CrossEntropyPattern, CrossEntropyBackwardPattern>(
      patterns.getContext(), context);
}
