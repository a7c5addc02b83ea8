//===- BlockScores.cpp - The scores of blocks of elements -----------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// parallel for rows of blocks, for their blocks:
//   for the block's columns j (vectors, then what is left):
//     sums[j mod 16] += the scores of the column, over the block's rows
//   score = sums[0] + sums[1] + ...   (BlockScore.h)

#include "../Kernel/BlockScore.h"
#include "../Kernel/VirtualWeight.h"
#include "KernelContext.h"

using namespace mlir;
using namespace pst;
using namespace pst::cpu;

/// Rows evaluated together: they share what is read of the columns.
static constexpr int64_t kRows = 4;

namespace {
struct BlockScoresPattern : KernelPattern<BlockScoresOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(BlockScoresOp op,
                                PatternRewriter &rewriter) const override {
    CriterionOp criterion = context.getCriterion(op.getCriterionAttr());
    SelectionAttr selection = op.getSelection();
    context.replaceByLaunch(
        rewriter, op, op.getFactors(), /*workspaces=*/{},
        [&](KernelBuilder &b, ValueRange arguments) {
          VirtualWeight weight(criterion, arguments.drop_back());
          Value scores = arguments.back();
          auto type = cast<MemRefType>(scores.getType());
          b.parallel(type.getDimSize(0), [&](Value row) {
            Value sums = b.stackBuffer(kBlockParts);
            b.loop(0, type.getDimSize(1), 1, [&](Value column) {
              b.store(emitBlock(b, weight, selection, row, column, sums),
                      scores, {row, column});
            });
          });
        });
    return success();
  }

private:
  Value emitBlock(KernelBuilder &b, const VirtualWeight &weight,
                  SelectionAttr selection, Value blockRow, Value blockColumn,
                  Value sums) const {
    int64_t height = selection.getBlockRows();
    int64_t width = selection.getBlockColumns(weight.getColumns());
    BlockScore kind = selection.getScore();
    Value row = b.muli(blockRow, height), column = b.muli(blockColumn, width);
    Value endRow = b.mini(b.addi(row, height), b.index(weight.getRows()));
    Value endColumn =
        b.mini(b.addi(column, width), b.index(weight.getColumns()));
    Value columns = b.subi(endColumn, column);
    b.loop(0, kBlockParts, 1,
           [&](Value i) { b.store(emptyBlockScore(b, kind, 1), sums, i); });
    auto add = [&](int64_t lanes) {
      return [&, lanes](Value j) {
        Value ofColumn =
            sumRows(b, weight, kind, row, endRow, b.addi(column, j), lanes);
        Value place = b.remi(j, kBlockParts);
        b.store(addToBlockScore(b, kind, b.load(sums, place, lanes), ofColumn),
                sums, place);
      };
    };
    int64_t lanes = context.lanes();
    Value whole = b.muli(b.divi(columns, lanes), lanes);
    b.loop(b.index(0), whole, lanes, add(lanes));
    if (width % lanes != 0 || weight.getColumns() % width != 0)
      b.loop(whole, columns, 1, add(1));
    Value sum = b.load(sums, b.index(0));
    for (int64_t i = 1; i < kBlockParts; ++i)
      sum = addToBlockScore(b, kind, sum, b.load(sums, b.index(i)));
    Value count = arith::MulIOp::create(b, columns, b.subi(endRow, row));
    return finishBlockScore(b, kind, sum, count);
  }

  /// Over the rows of a block, in ascending order.
  static Value sumRows(KernelBuilder &b, const VirtualWeight &weight,
                       BlockScore kind, Value begin, Value end, Value column,
                       int64_t lanes) {
    auto addRows = [&](int64_t count) {
      return [&, count](Value row, ValueRange sum) -> SmallVector<Value> {
        Value next = sum[0];
        for (EmittedCriterion &element :
             weight.evaluateRows(b, row, count, column, lanes))
          next = addToBlockScore(b, kind, next, element.getScore());
        return {next};
      };
    };
    Value whole =
        b.addi(begin, b.muli(b.divi(b.subi(end, begin), kRows), kRows));
    SmallVector<Value> sum = b.loop(
        begin, whole, kRows, {emptyBlockScore(b, kind, lanes)}, addRows(kRows));
    return b.loop(whole, end, 1, sum, addRows(1))[0];
  }
};
} // namespace

void pst::cpu::populateBlockScoresKernels(RewritePatternSet &patterns,
                                          KernelContext &context) {
  patterns.add<BlockScoresPattern>(patterns.getContext(), context);
}
