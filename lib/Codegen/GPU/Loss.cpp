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
                             const RowLabel &label, Value losses, Value at) {
  Value own = b.load(softmax.logits, {softmax.row, label.label});
  Value loss =
      b.addf(b.subf(softmax.maximum, own), logPositive(b, softmax.sum));
  b.onFirstThread([&] {
    b.store(b.select(label.isExample, loss, b.f32(0.0)), losses, at);
  });
}

void pst::cuda::storeRowGradient(ThreadBuilder &b, const RowSoftmax &softmax,
                                 const RowLabel &label, Value factor,
                                 Value result) {
  b.strided(softmax.classes, [&](Value c) {
    Value p = b.divf(softmax.exponential(b, c), softmax.sum);
    Value isLabel = b.cmpi(arith::CmpIPredicate::eq, c, label.label);
    p = b.select(isLabel, b.subf(p, b.f32(1.0)), p);
    b.store(b.select(label.isExample, b.mulf(p, factor), b.f32(0.0)), result,
            {softmax.row, c});
  });
}

namespace {
/// for each row, a block: losses[row] = log(sum e^logits) - logits[label]
/// one block: result = scale * sum of losses
struct CrossEntropyPattern : KernelPattern<nn::CrossEntropyOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(nn::CrossEntropyOp op,
                                PatternRewriter &rewriter) const override {
    auto type = cast<RankedTensorType>(op.getLogits().getType());
    int64_t rows = type.getDimSize(0), classes = type.getDimSize(1);
    context.replaceByLaunch(
        rewriter, op, {op.getLogits(), op.getLabels(), op.getScale()},
        RankedTensorType::get({rows}, rewriter.getF32Type()),
        [&](CodeBuilder &host, ValueRange arguments) {
          Value losses = arguments[4];
          context.launchRows(
              host, "", rows, classes, {arguments[0], arguments[1], losses},
              [&](ThreadBuilder &b, ValueRange values, Value row) {
                RowLabel label(b, values[1], row, classes);
                RowSoftmax softmax(b, values[0], row, classes);
                storeRowLoss(b, softmax, label, values[2], row);
              });
          context.scaledSum(host, rows, {arguments[2], arguments[3], losses},
                            loadRowLoss);
        });
    return success();
  }
};

/// for each row, a block:
///   result[row, c] = gradient * scale * (e^(logit - max) / sum - [c = label])
struct CrossEntropyBackwardPattern : KernelPattern<nn::CrossEntropyBackwardOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(nn::CrossEntropyBackwardOp op,
                                PatternRewriter &rewriter) const override {
    auto type = cast<RankedTensorType>(op.getLogits().getType());
    int64_t rows = type.getDimSize(0), classes = type.getDimSize(1);
    context.replaceByLaunch(
        rewriter, op,
        {op.getLogits(), op.getLabels(), op.getScale(), op.getGradient()},
        /*workspaces=*/{}, [&](CodeBuilder &host, ValueRange arguments) {
          context.launchRows(
              host, "", rows, classes, arguments,
              [&](ThreadBuilder &b, ValueRange values, Value row) {
                Value factor = b.mulf(b.load(values[3], {}), values[2]);
                RowLabel label(b, values[1], row, classes);
                RowSoftmax softmax(b, values[0], row, classes);
                storeRowGradient(b, softmax, label, factor, values[4]);
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
