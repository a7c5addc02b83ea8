//===- Recompute.cpp - -pst-recompute -------------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"
#include "pst/Dialect/NN/NNOps.h"
#include "pst/Dialect/PST/PSTOps.h"
#include "pst/Transforms/Passes.h"
#include "llvm/ADT/TypeSwitch.h"

namespace pst {
#define GEN_PASS_DEF_RECOMPUTE
#include "pst/Transforms/Passes.h.inc"
} // namespace pst

using namespace mlir;
using namespace pst;

/// Ops that cost little beside the products around them.
static bool isCheap(Operation *op) {
  return isa<nn::ActivationOp, nn::AttentionOp, nn::LayerNormOp>(op);
}

/// What the level `all` computes again too. Sums, the residual stream, are
/// kept: from them everything else of a layer follows.
static bool isProduct(Operation *op) {
  return isa<MaskedMatmulOp, nn::LinearOp, nn::DropoutOp>(op);
}

/// Floating-point operations of the matrix products in an op, masks not
/// regarded: 2 n m for each token.
static double flops(Operation *op) {
  auto elements = [](Value value) -> double {
    return cast<ShapedType>(value.getType()).getNumElements();
  };
  auto columns = [](Value value) -> double {
    return cast<ShapedType>(value.getType()).getDimSize(1);
  };
  // Scores and their product with the values, for each token of the length.
  auto attention = [&](Value query, double length, double products) {
    return products * 2 * elements(query) * length;
  };
  return TypeSwitch<Operation *, double>(op)
      .Case([&](MaskedMatmulOp product) {
        return 2 * elements(product.getInput()) * columns(product.getResult());
      })
      .Case([&](LowRankAccumulateOp product) {
        return 2 * elements(product.getInput()) *
               columns(product.getOutputGradient());
      })
      .Case([&](nn::LinearOp product) {
        return 2 * elements(product.getInput()) * columns(product.getResult());
      })
      .Case([&](nn::AttentionOp op) {
        return attention(op.getQuery(), columns(op.getMask()), 2);
      })
      .Case([&](nn::AttentionBackwardOp op) {
        return attention(op.getQuery(), columns(op.getMask()), 5);
      })
      .Default(0.0);
}

namespace {
struct Recompute : pst::impl::RecomputeBase<Recompute> {
  using RecomputeBase::RecomputeBase;

  void runOnOperation() override {
    if (level != "none" && level != "cheap" && level != "all") {
      getOperation().emitError("unknown level of recomputing '")
          << level << "': none, cheap and all are known";
      return signalPassFailure();
    }
    auto function =
        getOperation().lookupSymbol<func::FuncOp>("forward_backward");
    if (!function || level == "none")
      return;
    Block &block = function.getBody().front();
    // The forward ends with the loss, which is what the function returns.
    Operation *loss = block.getTerminator()->getOperand(0).getDefiningOp();
    if (!loss)
      return;
    double step = 0, again = 0;
    for (Operation &op : block)
      step += flops(&op);
    // Backwards: what a repeated op reads is then seen to be read there.
    SmallVector<Operation *> forward;
    for (Operation &op : block) {
      if (&op == loss)
        break;
      if (isCheap(&op) || (level == "all" && isProduct(&op)))
        forward.push_back(&op);
    }
    for (Operation *op : llvm::reverse(forward))
      again += repeat(op, loss);
    Builder builder(&getContext());
    auto number = [&](StringRef name, double value) {
      return builder.getNamedAttr(name, builder.getF64FloatAttr(value));
    };
    getOperation()->setAttr("pst.recompute",
                            builder.getDictionaryAttr({number("flops", again),
                                                       number("step", step)}));
  }

private:
  /// Computes `op` again before the first use after the loss, for those uses.
  /// Returns what that costs.
  double repeat(Operation *op, Operation *loss) {
    Operation *first = nullptr;
    auto inBackward = [&](OpOperand &use) {
      return loss->isBeforeInBlock(use.getOwner());
    };
    for (OpOperand &use : op->getUses())
      if (inBackward(use) && (!first || use.getOwner()->isBeforeInBlock(first)))
        first = use.getOwner();
    if (!first)
      return 0;
    Operation *again = OpBuilder(first).clone(*op);
    op->getResult(0).replaceUsesWithIf(again->getResult(0), inBackward);
    return flops(op);
  }
};
} // namespace
