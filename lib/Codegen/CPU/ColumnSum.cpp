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
using namespace pst::cpu;

namespace {
/// for columns in parallel: result[columns] = sum over i of input[i, columns],
/// or of its square
///
/// A chunk of columns stays in registers while the rows go by, in ascending
/// order.
struct ColumnSumPattern : KernelPattern<nn::ColumnSumOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(nn::ColumnSumOp op,
                                PatternRewriter &rewriter) const override {
    auto type = cast<RankedTensorType>(op.getInput().getType());
    int64_t columns = type.getDimSize(1);
    bool squared = op.getSquared();
    bool added = context.isAdded(op->getResult(0));
    constexpr int64_t kVectors = 4;
    int64_t lanes = context.lanes(), chunk = kVectors * lanes;
    auto sum = [&](KernelBuilder &b, ValueRange arguments, Value column,
                   int64_t vectors, int64_t width) {
      auto offset = [&](int64_t v) { return b.addi(column, v * width); };
      SmallVector<Value> sums =
          b.loop(b.index(0), context.rowsOf(b, arguments[0]), 1,
                 SmallVector<Value>(vectors, b.f32(0.0, width)),
                 [&](Value row, ValueRange carried) {
                   SmallVector<Value> next;
                   for (int64_t v = 0; v < vectors; ++v) {
                     Value x = b.load(arguments[0], {row, offset(v)}, width);
                     next.push_back(squared ? b.fma(x, x, carried[v])
                                            : b.addf(carried[v], x));
                   }
                   return next;
                 });
      for (int64_t v = 0; v < vectors; ++v) {
        if (added)
          sums[v] = b.addf(b.load(arguments[1], offset(v), width), sums[v]);
        b.store(sums[v], arguments[1], offset(v));
      }
    };
    context.replaceByLaunch(
        rewriter, op, op.getInput(), /*workspaces=*/{},
        [&](KernelBuilder &b, ValueRange arguments) {
          int64_t whole = columns / chunk;
          if (whole)
            b.parallel(whole, [&](Value i) {
              sum(b, arguments, b.muli(i, chunk), kVectors, lanes);
            });
          b.vectorLoop(
              columns - whole * chunk, lanes, [&](Value column, int64_t width) {
                sum(b, arguments, b.addi(column, whole * chunk), 1, width);
              });
        });
    return success();
  }
};
} // namespace

void pst::cpu::populateColumnSumKernels(RewritePatternSet &patterns,
                                        KernelContext &context) {
  patterns.add<ColumnSumPattern>(patterns.getContext(), context);
}
