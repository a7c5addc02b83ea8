//===- CacheRows.cpp - Rows of tokens in their slots of a cache -----------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "CacheRows.h"
#include "Embedding.h"
#include "LaunchContext.h"
#include "pst/Dialect/NN/NNOps.h"

using namespace mlir;
using namespace pst;
using namespace pst::kernel;

static int64_t dim(Value buffer, unsigned i) {
  return cast<ShapedType>(buffer.getType()).getDimSize(i);
}

static Value asIndex(CodeBuilder &b, Value i32) {
  return arith::IndexCastOp::create(b, b.getIndexType(), i32);
}

CachedToken::CachedToken(CodeBuilder &b, Value token, Value sequences,
                         Value positions, Value slots)
    : sequence(asIndex(b, tableRow(b, sequences, token, dim(slots, 0)))),
      position(asIndex(b, tableRow(b, positions, token, dim(slots, 1)))),
      slots(slots) {}

Value CachedToken::slotAt(CodeBuilder &b, Value at, int64_t rows) const {
  Value place = b.addi(b.muli(sequence, dim(slots, 1)), at);
  return asIndex(b, tableRow(b, slots, place, rows));
}

namespace {
/// cache[slots[sequences[t], positions[t]]] = input[t]
struct CacheRowsPattern : LaunchPattern<nn::CacheRowsOp> {
  using LaunchPattern::LaunchPattern;
  LogicalResult matchAndRewrite(nn::CacheRowsOp op,
                                PatternRewriter &rewriter) const override {
    context.replaceByLaunch(
        rewriter, op,
        {op.getInput(), op.getSequences(), op.getPositions(), op.getSlots()},
        /*workspaces=*/{}, [&](CodeBuilder &host, ValueRange arguments) {
          context.writeRows(
              host, /*like=*/0, arguments,
              [&](CodeBuilder &b, ValueRange values, Value row) {
                CachedToken token(b, row, values[1], values[2], values[3]);
                return Driver::RowWrite{
                    token.slotAt(b, token.position, dim(values[4], 0)),
                    [&b, row, from = values[0]](Value j, int64_t size) {
                      return b.loadGroup(from, {row, j}, size);
                    }};
              });
        });
    return success();
  }
};
} // namespace

void pst::kernel::populateCacheRowsKernels(RewritePatternSet &patterns,
                                           LaunchContext &context) {
  patterns.add<CacheRowsPattern>(patterns.getContext(), context);
}
