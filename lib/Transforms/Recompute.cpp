//===- Recompute.cpp - -pst-recompute -------------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"
#include "pst/Dialect/NN/NNOps.h"
#include "pst/Transforms/Passes.h"

namespace pst {
#define GEN_PASS_DEF_RECOMPUTE
#include "pst/Transforms/Passes.h.inc"
} // namespace pst

using namespace mlir;
using namespace pst;

/// Ops that cost little beside the products around them, and whose inputs their
/// own backward keeps anyway.
static bool isCheap(Operation *op) {
  return isa<nn::ActivationOp, nn::AttentionOp, nn::LayerNormOp>(op);
}

namespace {
struct Recompute : pst::impl::RecomputeBase<Recompute> {
  void runOnOperation() override {
    auto function =
        getOperation().lookupSymbol<func::FuncOp>("forward_backward");
    if (!function)
      return;
    Block &block = function.getBody().front();
    // The forward ends with the loss, which is what the function returns.
    Operation *loss = block.getTerminator()->getOperand(0).getDefiningOp();
    if (!loss)
      return;
    for (Operation &op : llvm::make_early_inc_range(block)) {
      if (&op == loss)
        break;
      if (!isCheap(&op))
        continue;
      Operation *first = nullptr;
      auto inBackward = [&](OpOperand &use) {
        return loss->isBeforeInBlock(use.getOwner());
      };
      for (OpOperand &use : op.getUses())
        if (inBackward(use) &&
            (!first || use.getOwner()->isBeforeInBlock(first)))
          first = use.getOwner();
      if (!first)
        continue;
      Operation *again = OpBuilder(first).clone(op);
      op.getResult(0).replaceUsesWithIf(again->getResult(0), inBackward);
    }
  }
};
} // namespace
