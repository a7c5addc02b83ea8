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

static Value extend(ThreadBuilder &b, Value value) {
  return arith::ExtFOp::create(b, b.getF64Type(), value);
}

void pst::cuda::launchScaledSum(
    KernelContext &context, CodeBuilder &host, StringRef name, int64_t rows,
    ValueRange arguments,
    function_ref<Value(ThreadBuilder &, ValueRange, Value)> element) {
  context.launch(
      host, name, /*blocks=*/1, /*threads=*/128, arguments,
      [&](ThreadBuilder &b, ValueRange values) {
        Value sum = b.loop(
            b.thread(), b.index(rows), b.threads(), {b.f64(0.0)},
            [&](Value row, ValueRange carried) -> SmallVector<Value> {
              return {b.addf(carried[0], extend(b, element(b, values, row)))};
            })[0];
        sum = b.mulf(b.blockSum(sum), extend(b, values[0]));
        b.onFirstThread([&] {
          b.store(arith::TruncFOp::create(b, b.getF32Type(), sum), values[1],
                  {});
        });
      });
}

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
    std::string name = "cross_entropy_" + shapeName(op.getLogits());
    context.replaceByLaunch(
        rewriter, op, name, {op.getLogits(), op.getLabels(), op.getScale()},
        RankedTensorType::get({rows}, rewriter.getF32Type()),
        [&](CodeBuilder &host, ValueRange arguments) {
          Value losses = arguments[4];
          context.launchRows(
              host, name, rows, classes, {arguments[0], arguments[1], losses},
              [&](ThreadBuilder &b, ValueRange values, Value row) {
                RowLabel label(b, values[1], row, classes);
                RowSoftmax softmax(b, values[0], row, classes);
                storeRowLoss(b, softmax, label, values[2], row);
              });
          launchScaledSum(context, host, name + "_sum", rows,
                          {arguments[2], arguments[3], losses},
                          [&](ThreadBuilder &b, ValueRange values, Value row) {
                            return b.load(values[2], row);
                          });
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
    std::string name = "cross_entropy_backward_" + shapeName(op.getLogits());
    context.replaceByLaunch(
        rewriter, op, name,
        {op.getLogits(), op.getLabels(), op.getScale(), op.getGradient()},
        /*workspaces=*/{}, [&](CodeBuilder &host, ValueRange arguments) {
          context.launchRows(
              host, name, rows, classes, arguments,
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

/// predictions[row, 0] - labels[row]; 0 where the label is NaN
Value errorOf(ThreadBuilder &b, Value predictions, Value labels, Value row) {
  Value label = b.load(labels, row);
  Value error = b.subf(b.load(predictions, {row, b.index(0)}), label);
  return b.select(b.cmpf(arith::CmpFPredicate::UNO, label, label), b.f32(0.0),
                  error);
}

/// one block: result = scale * sum of squared errors
struct SquaredErrorPattern : KernelPattern<nn::SquaredErrorOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(nn::SquaredErrorOp op,
                                PatternRewriter &rewriter) const override {
    int64_t rows =
        cast<RankedTensorType>(op.getPredictions().getType()).getDimSize(0);
    std::string name = "squared_error_" + shapeName(op.getPredictions());
    context.replaceByLaunch(
        rewriter, op, name,
        {op.getPredictions(), op.getLabels(), op.getScale()},
        /*workspaces=*/{}, [&](CodeBuilder &host, ValueRange arguments) {
          launchScaledSum(
              context, host, name, rows,
              {arguments[2], arguments[3], arguments[0], arguments[1]},
              [&](ThreadBuilder &b, ValueRange values, Value row) {
                Value error = errorOf(b, values[2], values[3], row);
                return b.mulf(error, error);
              });
        });
    return success();
  }
};

/// for each row: result[row, 0] = gradient * scale * 2 * error
struct SquaredErrorBackwardPattern : KernelPattern<nn::SquaredErrorBackwardOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(nn::SquaredErrorBackwardOp op,
                                PatternRewriter &rewriter) const override {
    int64_t rows =
        cast<RankedTensorType>(op.getPredictions().getType()).getDimSize(0);
    std::string name =
        "squared_error_backward_" + shapeName(op.getPredictions());
    context.replaceByLaunch(
        rewriter, op, name,
        {op.getPredictions(), op.getLabels(), op.getScale(), op.getGradient()},
        /*workspaces=*/{}, [&](CodeBuilder &host, ValueRange arguments) {
          context.launchElements(
              host, name, rows, arguments,
              [&](ThreadBuilder &b, ValueRange values, Value row) {
                Value factor = b.mulf(b.mulf(b.load(values[3], {}), values[2]),
                                      b.f32(2.0));
                Value error = errorOf(b, values[0], values[1], row);
                b.store(b.mulf(error, factor), values[4], {row, b.index(0)});
              });
        });
    return success();
  }
};
} // namespace

void pst::cuda::populateLossKernels(RewritePatternSet &patterns,
                                    KernelContext &context) {
  patterns.add<CrossEntropyPattern, CrossEntropyBackwardPattern,
               SquaredErrorPattern, SquaredErrorBackwardPattern>(
      patterns.getContext(), context);
}
