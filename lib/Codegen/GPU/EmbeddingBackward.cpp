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
using namespace pst::cuda;

static Value toIndex(ThreadBuilder &b, Value value) {
  return arith::IndexCastOp::create(b, b.getIndexType(), value);
}

namespace {
/// result = 0
/// for each token t, a block, if t is the first one of its table row v:
///   for each column j:
///     result[v, j] = sum over s >= t ascending, of that row, of gradient[s, j]
///
/// So each element has one thread, and its sum the order of the tokens.
struct EmbeddingBackwardPattern : KernelPattern<nn::EmbeddingBackwardOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(nn::EmbeddingBackwardOp op,
                                PatternRewriter &rewriter) const override {
    int64_t columns = op.getResult().getType().getDimSize(1);
    context.replaceByLaunch(
        rewriter, op, {op.getIndices(), op.getGradient()},
        /*workspaces=*/{}, [&](CodeBuilder &host, ValueRange arguments) {
          context.clear(host, arguments[2]);
          context.launchRows(host, "", arguments[1], columns, arguments,
                             [&](ThreadBuilder &b, ValueRange values,
                                 Value token) { emitToken(b, values, token); });
        });
    return success();
  }

private:
  void emitToken(ThreadBuilder &b, ValueRange values, Value token) const {
    auto result = cast<ShapedType>(values[2].getType());
    auto rowOf = [&](Value token) {
      return tableRow(b, values[0], context.placeOf(b, token),
                      result.getDimSize(0));
    };
    Value own = rowOf(token), tokens = context.rowsOf(b, values[1]);
    auto isOwn = [&](Value other) {
      return b.cmpi(arith::CmpIPredicate::eq, rowOf(other), own);
    };
    Value earlier =
        b.loop(b.thread(), token, b.threads(), {b.f32(0.0)},
               [&](Value other, ValueRange carried) -> SmallVector<Value> {
                 return {b.select(isOwn(other), b.f32(1.0), carried[0])};
               })[0];
    Value isFirst =
        b.cmpf(arith::CmpFPredicate::OEQ, b.blockMax(earlier), b.f32(0.0));
    b.ifThen(isFirst, [&] {
      b.strided(result.getDimSize(1), [&](Value j) {
        Value sum = b.loop(
            token, tokens, 1, {b.f32(0.0)},
            [&](Value other, ValueRange carried) -> SmallVector<Value> {
              return {b.choose(
                  isOwn(other),
                  [&] {
                    return b.addf(carried[0], b.load(values[1], {other, j}));
                  },
                  carried[0])};
            })[0];
        b.store(sum, values[2], {toIndex(b, own), j});
      });
    });
  }
};

} // namespace

void pst::cuda::populateEmbeddingBackwardKernels(RewritePatternSet &patterns,
                                                 KernelContext &context) {
  patterns.add<EmbeddingBackwardPattern>(patterns.getContext(), context);
}
