//===- Recompute.cpp - -pst-recompute -------------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"
#include "pst/Dialect/Interfaces/OpInterfaces.h"
#include "pst/Dialect/Interfaces/Work.h"
#include "pst/Dialect/PST/StageAttributes.h"
#include "pst/Transforms/OpOrder.h"
#include "pst/Transforms/Passes.h"

namespace pst {
#define GEN_PASS_DEF_RECOMPUTE
#include "pst/Transforms/Passes.h.inc"
} // namespace pst

using namespace mlir;
using namespace pst;

namespace {
struct Recompute : pst::impl::RecomputeBase<Recompute> {
  using RecomputeBase::RecomputeBase;

  void runOnOperation() override {
    auto function =
        getOperation().lookupSymbol<func::FuncOp>("forward_backward");
    if (!function || function.isExternal() || level == RecomputeLevel::None)
      return;
    Block &block = function.getBody().front();
    // The forward ends with the loss, which is what the function returns; one
    // in memory returns nothing, and its plan is made.
    if (block.getTerminator()->getNumOperands() == 0)
      return;
    Operation *loss = block.getTerminator()->getOperand(0).getDefiningOp();
    if (!loss)
      return;
    double step = 0, again = 0;
    for (Operation &op : block)
      step += countWork(&op).flops;
    // Backwards: what a repeated op reads is then seen to be read there.
    SmallVector<Operation *> forward;
    for (Operation &op : block) {
      if (&op == loss)
        break;
      auto repeatable = dyn_cast<RecomputableOpInterface>(op);
      if (repeatable &&
          (level == RecomputeLevel::All ||
           repeatable.getRecomputePrice() == RecomputePrice::Cheap))
        forward.push_back(&op);
    }
    OpOrder order(function);
    for (Operation *op : llvm::reverse(forward))
      again += repeat(op, loss, order);
    Builder builder(&getContext());
    auto number = [&](StringRef name, double value) {
      return builder.getNamedAttr(name, builder.getF64FloatAttr(value));
    };
    getOperation()->setAttr(kRecomputeAttribute,
                            builder.getDictionaryAttr({number("flops", again),
                                                       number("step", step)}));
  }

private:
  /// Computes `op` again before the first use after the loss, for those uses.
  /// Returns what that costs.
  double repeat(Operation *op, Operation *loss, OpOrder &order) {
    Operation *first = nullptr;
    auto userOf = [&](OpOperand &use) {
      return loss->getBlock()->findAncestorOpInBlock(*use.getOwner());
    };
    auto inBackward = [&](OpOperand &use) {
      return order.isBefore(loss, userOf(use));
    };
    for (Value result : op->getResults())
      for (OpOperand &use : result.getUses())
        if (inBackward(use) && (!first || order.isBefore(userOf(use), first)))
          first = userOf(use);
    if (!first)
      return 0;
    Operation *again = OpBuilder(first).clone(*op);
    order.putBefore(again, first);
    for (auto [result, repeated] :
         llvm::zip(op->getResults(), again->getResults()))
      result.replaceUsesWithIf(repeated, inBackward);
    return countWork(op).flops;
  }
};
} // namespace
