//===- FuseEpilogues.cpp - -pst-fuse-epilogues ----------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Transforms/WalkPatternRewriteDriver.h"
#include "pst/Codegen/Passes.h"
#include "pst/Dialect/NN/NNOps.h"
#include "pst/Dialect/PST/PSTOps.h"

namespace pst {
#define GEN_PASS_DEF_FUSEEPILOGUES
#include "pst/Codegen/Passes.h.inc"
} // namespace pst

using namespace mlir;
using namespace pst;

/// The product that `value` is, if nothing else uses it.
static MaskedMatmulOp productOf(Value value) {
  auto product = value.getDefiningOp<MaskedMatmulOp>();
  return product && value.hasOneUse() && !product.getActivation()
             ? product
             : MaskedMatmulOp();
}

/// The product takes the place of `op`, where all that it will read is there.
static void replaceByProduct(RewriterBase &rewriter, Operation *op,
                             MaskedMatmulOp product) {
  rewriter.moveOpBefore(product, op);
  rewriter.replaceOp(op, product.getResult());
}

namespace {
struct FuseAdd : OpRewritePattern<nn::AddOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(nn::AddOp op,
                                PatternRewriter &rewriter) const override {
    // Of two products the later one, whose operands live until there anyway.
    MaskedMatmulOp left = productOf(op.getLhs()),
                   right = productOf(op.getRhs());
    if (left && right && left->isBeforeInBlock(right))
      left = nullptr;
    MaskedMatmulOp product = left ? left : right;
    if (!product || product.getAddend())
      return failure();
    Value addend = product == left ? op.getRhs() : op.getLhs();
    rewriter.modifyOpInPlace(
        product, [&] { product.getAddendMutable().assign(addend); });
    replaceByProduct(rewriter, op, product);
    return success();
  }
};

struct FuseActivation : OpRewritePattern<nn::ActivationOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(nn::ActivationOp op,
                                PatternRewriter &rewriter) const override {
    MaskedMatmulOp product = productOf(op.getInput());
    if (!product)
      return failure();
    rewriter.modifyOpInPlace(product,
                             [&] { product.setActivation(op.getKind()); });
    replaceByProduct(rewriter, op, product);
    return success();
  }
};

struct FuseEpilogues : pst::impl::FuseEpiloguesBase<FuseEpilogues> {
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    patterns.add<FuseAdd, FuseActivation>(&getContext());
    FrozenRewritePatternSet frozen(std::move(patterns));
    for (auto function : getOperation().getOps<func::FuncOp>())
      walkAndApplyPatterns(function, frozen);
  }
};
} // namespace
