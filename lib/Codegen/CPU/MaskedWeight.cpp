//===- MaskedWeight.cpp - Writes out a virtual weight ---------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "../Kernel/VirtualWeight.h"
#include "KernelContext.h"

using namespace mlir;
using namespace pst;
using namespace pst::cpu;

namespace {
// parallel for each row i, for each column j:
//   result[i, j] = M[i, j] * W'[i, j]
/// Of a weight that is materialized, the dense form is this kernel too.
template <typename OpT> struct MaskedWeightPattern : KernelPattern<OpT> {
  using KernelPattern<OpT>::KernelPattern;
  LogicalResult matchAndRewrite(OpT op,
                                PatternRewriter &rewriter) const override {
    if constexpr (std::is_same_v<OpT, MaterializeOp>)
      if (op.getStorage() != Storage::Dense)
        return failure();
    KernelContext &context = this->context;
    CriterionOp criterion = context.getCriterion(op.getCriterionAttr());
    SmallVector<Value> inputs = weightOperands(op);
    context.replaceByLaunch(
        rewriter, op, inputs, /*workspaces=*/{},
        [&](KernelBuilder &b, ValueRange arguments) {
          VirtualWeight weight(b, criterion, op.getSelectionAttr(),
                               arguments.drop_back());
          Value result = arguments.back();
          b.parallel(weight.getRows(), [&](Value i) {
            b.vectorLoop(weight.getColumns(), context.lanes(),
                         [&](Value j, int64_t lanes) {
                           b.store(weight.maskedWeight(b, i, j, lanes), result,
                                   {i, j});
                         });
          });
        });
    return success();
  }
};

// parallel for each row i, for each word k of it:
//   result[i, k] = the masks of columns 32 k, 32 k + 1, ...
struct MaskBitsPattern : KernelPattern<MaskBitsOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(MaskBitsOp op,
                                PatternRewriter &rewriter) const override {
    CriterionOp criterion = context.getCriterion(op.getCriterionAttr());
    context.replaceByLaunch(
        rewriter, op, weightOperands(op), /*workspaces=*/{},
        [&](KernelBuilder &b, ValueRange arguments) {
          constexpr int64_t kBits = SelectionAttr::kWordBits;
          VirtualWeight weight(b, criterion, op.getSelectionAttr(),
                               arguments.drop_back());
          Value result = arguments.back();
          int64_t whole = weight.getColumns() / kBits;
          int64_t rest = weight.getColumns() % kBits;
          b.parallel(weight.getRows(), [&](Value i) {
            auto storeWord = [&](Value word, int64_t count, int64_t lanes) {
              b.store(weight.maskBits(b, i, b.muli(word, kBits), b.index(count),
                                      lanes),
                      result, {i, word});
            };
            b.loop(0, whole, 1, [&](Value word) {
              storeWord(word, kBits, std::min(kBits, context.lanes()));
            });
            if (rest)
              storeWord(b.index(whole), rest, /*lanes=*/1);
          });
        });
    return success();
  }
};
} // namespace

void pst::cpu::populateMaskedWeightKernels(RewritePatternSet &patterns,
                                           KernelContext &context) {
  patterns.add<MaskedWeightPattern<MaskedWeightOp>,
               MaskedWeightPattern<MaterializeOp>, MaskBitsPattern>(
      patterns.getContext(), context);
}
