//===- ColumnSum.cpp - Sums of the columns of a matrix --------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "KernelContext.h"
#include "pst/Dialect/NN/NNOps.h"

using namespace mlir;
using namespace pst;
using namespace pst::cuda;

/// Rows whose columns are summed before all others'.
static constexpr int64_t kRows = 128;

namespace {
/// for chunks of rows, for each column j: partials[chunk, j] = their sum, or
/// that of their squares for each column j: result[j] = sum over chunks of
/// partials[chunk, j]
struct ColumnSumPattern : KernelPattern<nn::ColumnSumOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(nn::ColumnSumOp op,
                                PatternRewriter &rewriter) const override {
    auto type = cast<RankedTensorType>(op.getInput().getType());
    int64_t rows = type.getDimSize(0), columns = type.getDimSize(1);
    int64_t chunks = (rows + kRows - 1) / kRows;
    bool squared = op.getSquared();
    bool added = context.isAdded(op->getResult(0));
    context.replaceByLaunch(
        rewriter, op, op.getInput(),
        RankedTensorType::get({chunks, columns}, rewriter.getF32Type()),
        [&](CodeBuilder &host, ValueRange arguments) {
          Value partials = arguments[2];
          context.launchElements(
              host, "chunks", chunks * columns, {arguments[0], partials},
              [&](ThreadBuilder &b, ValueRange values, Value i) {
                Value chunk = b.divi(i, columns), j = b.remi(i, columns);
                Value begin = b.muli(chunk, kRows);
                Value end =
                    b.mini(b.addi(begin, kRows), context.rowsOf(b, values[0]));
                Value sum = b.loop(
                    begin, end, 1, {b.f32(0.0)},
                    [&](Value row, ValueRange carried) -> SmallVector<Value> {
                      Value x = b.load(values[0], {row, j});
                      return {squared ? b.fma(x, x, carried[0])
                                      : b.addf(carried[0], x)};
                    })[0];
                b.store(sum, values[1], {chunk, j});
              });
          context.launchSums(host, {{partials, arguments[1], added}});
        });
    return success();
  }
};
} // namespace

void pst::cuda::populateColumnSumKernels(RewritePatternSet &patterns,
                                         KernelContext &context) {
  patterns.add<ColumnSumPattern>(patterns.getContext(), context);
}
