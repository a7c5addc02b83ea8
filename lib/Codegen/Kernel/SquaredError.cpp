//===- SquaredError.cpp - The loss of a regression ------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "LaunchContext.h"
#include "pst/Dialect/NN/NNOps.h"

using namespace mlir;
using namespace pst;
using namespace pst::kernel;

/// predictions[row, 0] - labels[row]; 0 where the label is NaN
static Value errorOf(CodeBuilder &b, Value predictions, Value labels,
                     Value row) {
  Value label = b.load(labels, row);
  Value error = b.subf(b.load(predictions, {row, b.index(0)}), label);
  return b.select(b.cmpf(arith::CmpFPredicate::UNO, label, label), b.f32(0.0),
                  error);
}

namespace {
/// result = scale * sum of squared errors
struct SquaredErrorPattern : LaunchPattern<nn::SquaredErrorOp> {
  using LaunchPattern::LaunchPattern;
  LogicalResult matchAndRewrite(nn::SquaredErrorOp op,
                                PatternRewriter &rewriter) const override {
    context.replaceByLaunch(
        rewriter, op, {op.getPredictions(), op.getLabels(), op.getScale()},
        /*workspaces=*/{}, [&](CodeBuilder &host, ValueRange arguments) {
          context.scaledSum(
              host, cast<MemRefType>(arguments[0].getType()).getDimSize(0),
              {arguments[2], arguments[3], arguments[0], arguments[1]},
              [](CodeBuilder &b, ValueRange values, Value row) {
                Value error = errorOf(b, values[2], values[3], row);
                return b.mulf(error, error);
              });
        });
    return success();
  }
};

/// for each row: result[row, 0] = gradient * scale * 2 * error
struct SquaredErrorBackwardPattern : LaunchPattern<nn::SquaredErrorBackwardOp> {
  using LaunchPattern::LaunchPattern;
  LogicalResult matchAndRewrite(nn::SquaredErrorBackwardOp op,
                                PatternRewriter &rewriter) const override {
    context.replaceByLaunch(
        rewriter, op,
        {op.getPredictions(), op.getLabels(), op.getScale(), op.getGradient()},
        /*workspaces=*/{}, [&](CodeBuilder &host, ValueRange arguments) {
          context.writeRows(
              host, /*like=*/0, arguments,
              [](CodeBuilder &b, ValueRange values, Value row) {
                return Driver::RowWrite{
                    row, [&b, values, row](Value, int64_t) -> Group {
                      Value scale = b.mulf(b.load(values[3], {}), values[2]);
                      Value error = errorOf(b, values[0], values[1], row);
                      return {b.mulf(error, b.mulf(scale, b.f32(2.0)))};
                    }};
              });
        });
    return success();
  }
};
} // namespace

void pst::kernel::populateSquaredErrorKernels(RewritePatternSet &patterns,
                                              LaunchContext &context) {
  patterns.add<SquaredErrorPattern, SquaredErrorBackwardPattern>(
      patterns.getContext(), context);
}
