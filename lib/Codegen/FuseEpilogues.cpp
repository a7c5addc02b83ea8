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
#include "pst/Transforms/OpOrder.h"

namespace pst {
#define GEN_PASS_DEF_FUSEEPILOGUES
#include "pst/Codegen/Passes.h.inc"
} // namespace pst

using namespace mlir;
using namespace pst;

/// Calls `use` with the product with a masked or a stored weight that `op` is.
template <typename Use> static auto withProduct(Operation *op, Use use) {
  if (auto masked = dyn_cast<MaskedMatmulOp>(op))
    return use(masked);
  return use(cast<StoredMatmulOp>(op));
}

/// The product that `value` is, if nothing else uses it, or null.
static Operation *productOf(Value value) {
  Operation *op = value.getDefiningOp();
  if (!isa_and_present<MaskedMatmulOp, StoredMatmulOp>(op) ||
      !value.hasOneUse() ||
      withProduct(op, [](auto product) { return product.getActivation(); }))
    return nullptr;
  return op;
}

/// The product takes the place of `op`, where all that it will read is there.
static void replaceByProduct(RewriterBase &rewriter, Operation *op,
                             Operation *product, OpOrder &order) {
  rewriter.moveOpBefore(product, op);
  order.putBefore(product, op);
  rewriter.replaceOp(op, product);
}

namespace {
struct FuseAdd : OpRewritePattern<nn::AddOp> {
  FuseAdd(MLIRContext *context, OpOrder &order)
      : OpRewritePattern(context), order(order) {}
  LogicalResult matchAndRewrite(nn::AddOp op,
                                PatternRewriter &rewriter) const override {
    // Of two products the later one, whose operands live until there anyway.
    Operation *left = productOf(op.getLhs()), *right = productOf(op.getRhs());
    if (left && right && order.isBefore(left, right))
      left = nullptr;
    Operation *product = left ? left : right;
    if (!product || withProduct(product, [](auto product) {
          return static_cast<bool>(product.getAddend());
        }))
      return failure();
    Value addend = product == left ? op.getRhs() : op.getLhs();
    rewriter.modifyOpInPlace(product, [&] {
      withProduct(product, [&](auto product) {
        product.getAddendMutable().assign(addend);
      });
    });
    replaceByProduct(rewriter, op, product, order);
    return success();
  }

  OpOrder &order;
};

struct FuseDropout : OpRewritePattern<nn::DropoutOp> {
  FuseDropout(MLIRContext *context, OpOrder &order)
      : OpRewritePattern(context), order(order) {}
  LogicalResult matchAndRewrite(nn::DropoutOp op,
                                PatternRewriter &rewriter) const override {
    auto product = dyn_cast_or_null<MaskedMatmulOp>(productOf(op.getInput()));
    if (!product || product.getAddend() || product.getSeed() || op.getToken())
      return failure();
    rewriter.modifyOpInPlace(product, [&] {
      product.getSeedMutable().assign(op.getSeed());
      product.setProbabilityAttr(op.getProbabilityAttr());
      product.setSiteAttr(op.getSiteAttr());
    });
    replaceByProduct(rewriter, op, product, order);
    return success();
  }

  OpOrder &order;
};

struct FuseActivation : OpRewritePattern<nn::ActivationOp> {
  FuseActivation(MLIRContext *context, OpOrder &order)
      : OpRewritePattern(context), order(order) {}
  LogicalResult matchAndRewrite(nn::ActivationOp op,
                                PatternRewriter &rewriter) const override {
    Operation *product = productOf(op.getInput());
    if (!product)
      return failure();
    rewriter.modifyOpInPlace(product, [&] {
      withProduct(product,
                  [&](auto product) { product.setActivation(op.getKind()); });
    });
    replaceByProduct(rewriter, op, product, order);
    return success();
  }

  OpOrder &order;
};

struct FuseEpilogues : pst::impl::FuseEpiloguesBase<FuseEpilogues> {
  using FuseEpiloguesBase::FuseEpiloguesBase;

  void runOnOperation() override {
    OpOrder order(getOperation());
    RewritePatternSet patterns(&getContext());
    patterns.add<FuseAdd, FuseActivation>(&getContext(), order);
    if (dropout)
      patterns.add<FuseDropout>(&getContext(), order);
    FrozenRewritePatternSet frozen(std::move(patterns));
    for (auto function : getOperation().getOps<func::FuncOp>())
      walkAndApplyPatterns(function, frozen);
  }
};
} // namespace
