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
} // namespace

void pst::cpu::populateMaskedWeightKernels(RewritePatternSet &patterns,
                                           KernelContext &context) {
  patterns.add<MaskedWeightPattern<MaskedWeightOp>,
               MaskedWeightPattern<MaterializeOp>>(patterns.getContext(),
                                                   context);
}
