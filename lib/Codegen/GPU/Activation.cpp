//===- Activation.cpp - Activations and column sums -----------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "../Kernel/Activation.h"
#include "KernelContext.h"

using namespace mlir;
using namespace pst;
using namespace pst::cuda;

/// Rows whose columns are summed before all others'.
static constexpr int64_t kRows = 128;

namespace {
/// for each element i: result[i] = f(input[i])
struct ActivationPattern : KernelPattern<nn::ActivationOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(nn::ActivationOp op,
                                PatternRewriter &rewriter) const override {
    std::string name = nn::stringifyActivationKind(op.getKind()).str() + "_" +
                       shapeName(op.getResult());
    context.replaceByLaunch(
        rewriter, op, name, op.getInput(), /*workspaces=*/{},
        [&](CodeBuilder &host, ValueRange arguments) {
          context.launchMap(
              host, name, /*inputs=*/1, arguments,
              [&](ThreadBuilder &b, ValueRange, ValueRange elements, Value) {
                return emitActivation(b, op.getKind(), elements[0]);
              });
        });
    return success();
  }
};

/// for each element i: result[i] = gradient[i] * f'(input[i])
struct ActivationBackwardPattern : KernelPattern<nn::ActivationBackwardOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(nn::ActivationBackwardOp op,
                                PatternRewriter &rewriter) const override {
    std::string name = nn::stringifyActivationKind(op.getKind()).str() +
                       "_backward_" + shapeName(op.getResult());
    context.replaceByLaunch(
        rewriter, op, name, {op.getInput(), op.getGradient()},
        /*workspaces=*/{}, [&](CodeBuilder &host, ValueRange arguments) {
          context.launchMap(
              host, name, /*inputs=*/2, arguments,
              [&](ThreadBuilder &b, ValueRange, ValueRange elements, Value) {
                return b.mulf(elements[1], emitActivationDerivative(
                                               b, op.getKind(), elements[0]));
              });
        });
    return success();
  }
};

/// for chunks of rows, for each column j: partials[chunk, j] = their sum
/// for each column j: result[j] = sum over chunks of partials[chunk, j]
struct ColumnSumPattern : KernelPattern<nn::ColumnSumOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(nn::ColumnSumOp op,
                                PatternRewriter &rewriter) const override {
    auto type = cast<RankedTensorType>(op.getInput().getType());
    int64_t rows = type.getDimSize(0), columns = type.getDimSize(1);
    int64_t chunks = (rows + kRows - 1) / kRows;
    std::string name = "column_sum_" + shapeName(op.getInput());
    bool added = context.isAdded(op->getResult(0));
    context.replaceByLaunch(
        rewriter, op, name + (added ? "_added" : ""), op.getInput(),
        RankedTensorType::get({chunks, columns}, rewriter.getF32Type()),
        [&](CodeBuilder &host, ValueRange arguments) {
          Value partials = arguments[2];
          context.launchElements(
              host, name, chunks * columns, {arguments[0], partials},
              [&](ThreadBuilder &b, ValueRange values, Value i) {
                Value chunk = b.divi(i, columns), j = b.remi(i, columns);
                Value begin = b.muli(chunk, kRows);
                Value end = b.mini(b.addi(begin, kRows), b.index(rows));
                Value sum = b.loop(
                    begin, end, 1, {b.f32(0.0)},
                    [&](Value row, ValueRange carried) -> SmallVector<Value> {
                      return {b.addf(carried[0], b.load(values[0], {row, j}))};
                    })[0];
                b.store(sum, values[1], {chunk, j});
              });
          context.launchSums(host, {{partials, arguments[1], added}});
        });
    return success();
  }
};
} // namespace

void pst::cuda::populateActivationKernels(RewritePatternSet &patterns,
                                          KernelContext &context) {
  patterns.add<ActivationPattern, ActivationBackwardPattern, ColumnSumPattern>(
      patterns.getContext(), context);
}
