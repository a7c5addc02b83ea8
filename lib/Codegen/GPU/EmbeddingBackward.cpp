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

static int64_t rowsOf(Value value) {
  return cast<ShapedType>(value.getType()).getDimSize(0);
}
static int64_t columnsOf(Value value) {
  return cast<ShapedType>(value.getType()).getDimSize(1);
}

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
    int64_t tokens = rowsOf(op.getGradient()), rows = rowsOf(op.getResult()),
            columns = columnsOf(op.getResult());
    context.replaceByLaunch(
        rewriter, op, {op.getIndices(), op.getGradient()},
        /*workspaces=*/{}, [&](CodeBuilder &host, ValueRange arguments) {
          context.clear(host, arguments[2]);
          context.launchRows(
              host, "", tokens, columns, arguments,
              [&](ThreadBuilder &b, ValueRange values, Value token) {
                emitToken(b, values, token, tokens, rows, columns);
              });
        });
    return success();
  }

private:
  static void emitToken(ThreadBuilder &b, ValueRange values, Value token,
                        int64_t tokens, int64_t rows, int64_t columns) {
    Value indices = values[0], own = tableRow(b, indices, token, rows);
    auto isOwn = [&](Value other) {
      return b.cmpi(arith::CmpIPredicate::eq, tableRow(b, indices, other, rows),
                    own);
    };
    Value earlier =
        b.loop(b.thread(), token, b.threads(), {b.f32(0.0)},
               [&](Value other, ValueRange carried) -> SmallVector<Value> {
                 return {b.select(isOwn(other), b.f32(1.0), carried[0])};
               })[0];
    Value isFirst =
        b.cmpf(arith::CmpFPredicate::OEQ, b.blockMax(earlier), b.f32(0.0));
    b.ifThen(isFirst, [&] {
      b.strided(columns, [&](Value j) {
        Value sum = b.loop(
            token, b.index(tokens), 1, {b.f32(0.0)},
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
