//===- BinaryCrossEntropy.cpp - The loss of several labels an example -----===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

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

/// max(x, 0) - x label + log(1 + e^-|x|), in which nothing overflows
static Value crossEntropyOf(CodeBuilder &b, Value x, Value label) {
  Value zero = b.f32(0.0);
  Value e = expNonPositive(b, b.subf(zero, b.absf(x)));
  Value linear = b.subf(b.maxf(x, zero), b.mulf(x, label));
  return b.addf(linear, log1p(b, e));
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
          context.scaledSum(
              host, type.getNumElements(),
              {arguments[2], arguments[3], arguments[0], arguments[1]},
              [&](CodeBuilder &b, ValueRange values, Value i) {
                SmallVector<Value> at = {b.divi(i, columns),
                                         b.remi(i, columns)};
                Value label = b.load(values[3], at);
                Value loss = crossEntropyOf(b, b.load(values[2], at), label);
                return b.divf(whereLabelled(b, label, loss),
                              b.f32(double(columns)));
              });
        });
    return success();
  }
};

/// result[i] = gradient * scale / columns * (sigmoid(logits[i]) - labels[i])
struct BinaryCrossEntropyBackwardPattern
    : LaunchPattern<nn::BinaryCrossEntropyBackwardOp> {
  using LaunchPattern::LaunchPattern;
  LogicalResult matchAndRewrite(nn::BinaryCrossEntropyBackwardOp op,
                                PatternRewriter &rewriter) const override {
    int64_t columns = op.getType().getDimSize(1);
    context.replaceByLaunch(
        rewriter, op, op->getOperands(),
        /*workspaces=*/{}, [&](CodeBuilder &host, ValueRange arguments) {
          context.mapElements(
              host, /*chunk=*/4096, /*inputs=*/2, arguments,
              [&](CodeBuilder &b, ValueRange values) -> ElementFunction {
                Value factor = b.mulf(b.load(values[3], {}), values[2]);
                factor = b.divf(factor, b.f32(double(columns)));
                return [&b, factor](ValueRange elements, Value, int64_t lanes) {
                  Value error =
                      b.subf(sigmoid(b, elements[0]).value, elements[1]);
                  return whereLabelled(b, elements[1],
                                       b.mulf(error, b.splat(factor, lanes)));
                };
              });
        });
    return success();
  }
};
} // namespace

void pst::kernel::populateBinaryCrossEntropyKernels(RewritePatternSet &patterns,
                                                    LaunchContext &context) {
  patterns.add<BinaryCrossEntropyPattern, BinaryCrossEntropyBackwardPattern>(
      patterns.getContext(), context);
}
