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

// parallel for each row i, for each column j:
//   result[i, j] = M[i, j] * W'[i, j]
template <typename OpT>
static void replaceByMaskedWeight(OpT op, KernelContext &context,
                                  PatternRewriter &rewriter) {
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
}

namespace {
struct MaskedWeightPattern : KernelPattern<MaskedWeightOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(MaskedWeightOp op,
                                PatternRewriter &rewriter) const override {
    replaceByMaskedWeight(op, context, rewriter);
    return success();
  }
};

struct DenseWeightPattern : KernelPattern<MaterializeOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(MaterializeOp op,
                                PatternRewriter &rewriter) const override {
    if (op.getStorage() != Storage::Dense)
      return failure();
    replaceByMaskedWeight(op, context, rewriter);
    return success();
  }
};
} // namespace

void pst::cpu::populateMaskedWeightKernels(RewritePatternSet &patterns,
                                           KernelContext &context) {
  patterns.add<DenseWeightPattern, MaskedWeightPattern>(patterns.getContext(),
                                                        context);
}
