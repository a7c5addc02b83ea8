//===- EmbeddingBackward.cpp - The gradient of an embedding ---------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "../Kernel/Embedding.h"
#include "KernelContext.h"
#include "pst/Dialect/NN/NNOps.h"

using namespace mlir;
using namespace pst;
using namespace pst::cpu;

static int64_t rowsOf(Value value) {
  return cast<ShapedType>(value.getType()).getDimSize(0);
}
static int64_t columnsOf(Value value) {
  return cast<ShapedType>(value.getType()).getDimSize(1);
}

namespace {
/// result = 0; for chunks of columns in parallel: for t ascending:
///   result[index(t), chunk] += gradient[t, chunk]
///
/// Every thread walks all tokens and owns its columns, so no two add to the
/// same element and the order of the sum is the tokens'.
struct EmbeddingBackwardPattern : KernelPattern<nn::EmbeddingBackwardOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(nn::EmbeddingBackwardOp op,
                                PatternRewriter &rewriter) const override {
    context.replaceByLaunch(
        rewriter, op, {op.getIndices(), op.getGradient()},
        /*workspaces=*/{}, [&](KernelBuilder &b, ValueRange arguments) {
          Value indices = arguments[0], gradient = arguments[1],
                result = arguments[2];
          context.clear(b, result);
          int64_t columns = columnsOf(result), chunk = 8 * context.lanes(),
                  whole = columns / chunk;
          auto scatter = [&](Value first, int64_t count) {
            Value tokens = context.rowsOf(b, gradient);
            b.loop(b.index(0), tokens, 1, [&](Value token) {
              Value row = arith::IndexCastOp::create(
                  b, b.getIndexType(),
                  tableRow(b, indices, context.placeOf(b, token),
                           rowsOf(result)));
              b.vectorLoop(count, context.lanes(), [&](Value i, int64_t lanes) {
                Value j = b.addi(first, i);
                b.store(b.addf(b.load(result, {row, j}, lanes),
                               b.load(gradient, {token, j}, lanes)),
                        result, {row, j});
              });
            });
          };
          if (whole)
            b.parallel(whole,
                       [&](Value i) { scatter(b.muli(i, chunk), chunk); });
          if (whole * chunk != columns)
            scatter(b.index(whole * chunk), columns - whole * chunk);
        });
    return success();
  }
};

} // namespace

void pst::cpu::populateEmbeddingBackwardKernels(RewritePatternSet &patterns,
                                                KernelContext &context) {
  patterns.add<EmbeddingBackwardPattern>(patterns.getContext(), context);
}
