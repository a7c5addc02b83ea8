//===- BlockScores.cpp - The scores of blocks of elements -----------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// for blocks of elements, each by 16 neighbouring threads:
//   sum = the scores of every 16th column of the block, over its rows
//   score = the sum of the 16 threads' sums   (BlockScore.h)

#include "../Kernel/BlockScore.h"
#include "MaskedWeight.h"

using namespace mlir;
using namespace pst;
using namespace pst::cuda;

static constexpr int64_t kThreads = 256;

namespace {
struct BlockScoresPattern : KernelPattern<BlockScoresOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(BlockScoresOp op,
                                PatternRewriter &rewriter) const override {
    CriterionOp criterion = context.getCriterion(op.getCriterionAttr());
    SelectionAttr selection = op.getSelection();
    int64_t count = op.getType().getNumElements();
    context.replaceByLaunch(
        rewriter, op, op.getFactors(), /*workspaces=*/{},
        [&](CodeBuilder &host, ValueRange arguments) {
          int64_t each = kThreads / kBlockParts;
          context.launch(host, "", (count + each - 1) / each, kThreads,
                         arguments, [&](ThreadBuilder &b, ValueRange values) {
                           emit(b, criterion, selection, values);
                         });
        });
    return success();
  }

private:
  static void emit(ThreadBuilder &b, CriterionOp criterion,
                   SelectionAttr selection, ValueRange values) {
    VirtualWeight weight(criterion, values.drop_back());
    Value scores = b.flatten(values.back());
    auto type = cast<MemRefType>(values.back().getType());
    BlockScore kind = selection.getScore();
    int64_t height = selection.getBlockRows();
    int64_t width = selection.getBlockColumns(weight.getColumns());
    Value part = b.remi(b.thread(), kBlockParts);
    Value own = b.addi(b.muli(b.block(), kThreads / kBlockParts),
                       b.divi(b.thread(), kBlockParts));
    // The last threads compute the last block again.
    Value block = b.mini(own, b.index(type.getNumElements() - 1));
    Value row = b.muli(b.divi(block, type.getDimSize(1)), height);
    Value column = b.muli(b.remi(block, type.getDimSize(1)), width);
    Value endRow = b.mini(b.addi(row, height), b.index(weight.getRows()));
    Value endColumn =
        b.mini(b.addi(column, width), b.index(weight.getColumns()));
    Value empty = emptyBlockScore(b, kind, 1);
    Value sum = b.loop(
        b.addi(column, part), endColumn, kBlockParts, {empty},
        [&](Value j, ValueRange carried) -> SmallVector<Value> {
          Value ofColumn = b.loop(
              row, endRow, 1, {empty},
              [&](Value i, ValueRange rows) -> SmallVector<Value> {
                return {addToBlockScore(
                    b, kind, rows[0], weight.evaluate(b, i, j, 1).getScore())};
              })[0];
          return {addToBlockScore(b, kind, carried[0], ofColumn)};
        })[0];
    Value sums = b.sharedBuffer({kThreads});
    b.store(sum, sums, b.thread());
    b.barrier();
    Value isFirst = b.cmpi(arith::CmpIPredicate::eq, part, b.index(0));
    b.ifThen(isFirst, [&] {
      Value total = sum;
      for (int64_t i = 1; i < kBlockParts; ++i)
        total = addToBlockScore(b, kind, total,
                                b.load(sums, b.addi(b.thread(), i)));
      Value count = arith::MulIOp::create(b, b.subi(endColumn, column),
                                          b.subi(endRow, row));
      b.store(finishBlockScore(b, kind, total, count), scores, block);
    });
  }
};
} // namespace

void pst::cuda::populateBlockScoresKernels(RewritePatternSet &patterns,
                                           KernelContext &context) {
  patterns.add<BlockScoresPattern>(patterns.getContext(), context);
}
