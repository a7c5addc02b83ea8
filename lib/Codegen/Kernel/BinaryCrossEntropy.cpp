//===- BinaryCrossEntropy.cpp - The loss of several labels an example -----===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "BinaryCrossEntropy.h"
#include "LaunchContext.h"
#include "VectorMath.h"
#include "pst/Dialect/NN/NNOps.h"

using namespace mlir;
using namespace pst;
using namespace pst::kernel;

/// `value`, or 0 in the lanes whose label is NaN
static Value whereLabelled(CodeBuilder &b, Value label, Value value) {
  return b.select(b.cmpf(arith::CmpFPredicate::UNO, label, label),
                  b.f32(0.0, CodeBuilder::lanesOf(value)), value);
}

/// log(1 + e) for e in [0, 1]. What 1 + e loses of a small e, the quotient puts
/// back (Kahan's).
static Value log1p(CodeBuilder &b, Value e) {
  Value one = b.f32(1.0);
  Value sum = b.addf(one, e), kept = b.subf(sum, one);
  Value scaled = b.divf(b.mulf(logPositive(b, sum), e), kept);
  return b.select(b.cmpf(arith::CmpFPredicate::OEQ, kept, b.f32(0.0)), e,
                  scaled);
}

Value kernel::binaryCrossEntropy(CodeBuilder &b, Value x, Value label,
                                 Value weight) {
  Value zero = b.f32(0.0), one = b.f32(1.0);
  Value far = log1p(b, expNonPositive(b, b.subf(zero, b.absf(x))));
  if (!weight)
    return b.addf(b.subf(b.maxf(x, zero), b.mulf(x, label)), far);
  Value share = b.fma(b.subf(weight, one), label, one);
  Value positive = b.addf(b.maxf(b.subf(zero, x), zero), far);
  return b.addf(b.mulf(b.subf(one, label), x), b.mulf(share, positive));
}

namespace {
/// result = scale * sum over rows of 1 / columns * sum over columns
struct BinaryCrossEntropyPattern : LaunchPattern<nn::BinaryCrossEntropyOp> {
  using LaunchPattern::LaunchPattern;
  LogicalResult matchAndRewrite(nn::BinaryCrossEntropyOp op,
                                PatternRewriter &rewriter) const override {
    auto type = cast<RankedTensorType>(op.getLogits().getType());
    int64_t columns = type.getDimSize(1);
    context.replaceByLaunch(
        rewriter, op, op->getOperands(),
        /*workspaces=*/{}, [&](CodeBuilder &host, ValueRange arguments) {
          // Scale and loss first, then logits, labels and weights.
          SmallVector<Value> operands = {arguments[2], arguments.back(),
                                         arguments[0], arguments[1]};
          if (op.getWeights())
            operands.push_back(arguments[3]);
          context.scaledSum(host, type.getNumElements(), operands,
                            [&](CodeBuilder &b, ValueRange values, Value i) {
                              SmallVector<Value> at = {b.divi(i, columns),
                                                       b.remi(i, columns)};
                              Value label = b.load(values[3], at);
                              Value weight = op.getWeights()
                                                 ? b.load(values[4], at[1])
                                                 : Value();
                              Value loss = binaryCrossEntropy(
                                  b, b.load(values[2], at), label, weight);
                              return b.divf(whereLabelled(b, label, loss),
                                            b.f32(double(columns)));
                            });
        });
    return success();
  }
};

/// result[i] = gradient * scale / columns * (sigmoid(logits[i]) - labels[i]),
/// or with weights
struct BinaryCrossEntropyBackwardPattern
    : LaunchPattern<nn::BinaryCrossEntropyBackwardOp> {
  using LaunchPattern::LaunchPattern;
  LogicalResult matchAndRewrite(nn::BinaryCrossEntropyBackwardOp op,
                                PatternRewriter &rewriter) const override {
    context.replaceByLaunch(
        rewriter, op, op->getOperands(),
        /*workspaces=*/{}, [&](CodeBuilder &host, ValueRange arguments) {
          context.writeRows(host, /*like=*/0, arguments,
                            [&](CodeBuilder &b, ValueRange values, Value row) {
                              return gradientOf(op, b, values, row);
                            });
        });
    return success();
  }

private:
  static Driver::RowWrite gradientOf(nn::BinaryCrossEntropyBackwardOp op,
                                     CodeBuilder &b, ValueRange values,
                                     Value row) {
    Value factor = b.mulf(b.load(values[3], {}), values[2]);
    factor = b.divf(factor, b.f32(double(op.getType().getDimSize(1))));
    Value logits = values[0], labels = values[1];
    Value weights = op.getWeights() ? values[4] : Value();
    return {row, [&b, factor, logits, labels, weights, row](Value column,
                                                            int64_t size) {
              Group group = b.loadGroup(logits, {row, column}, size);
              Group answers = b.loadGroup(labels, {row, column}, size);
              Group counts =
                  weights ? b.loadGroup(weights, column, size) : Group();
              for (auto [i, x] : llvm::enumerate(group)) {
                Value label = answers[i], yes = sigmoid(b, x).value;
                if (weights) {
                  Value one = b.f32(1.0, CodeBuilder::lanesOf(x));
                  yes = b.mulf(b.fma(b.subf(counts[i], one), label, one), yes);
                  label = b.mulf(counts[i], label);
                }
                Value scaled = b.mulf(b.subf(yes, label),
                                      b.splat(factor, CodeBuilder::lanesOf(x)));
                x = whereLabelled(b, answers[i], scaled);
              }
              return group;
            }};
  }
};
} // namespace

void pst::kernel::populateBinaryCrossEntropyKernels(RewritePatternSet &patterns,
                                                    LaunchContext &context) {
  patterns.add<BinaryCrossEntropyPattern, BinaryCrossEntropyBackwardPattern>(
      patterns.getContext(), context);
}
