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
#include "llvm/ADT/TypeSwitch.h"

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
      product.setLengthAttr(op.getLengthAttr());
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

/// gradient * f'(x), of a product that is the gradient
struct FuseDerivative : OpRewritePattern<nn::ActivationBackwardOp> {
  FuseDerivative(MLIRContext *context, OpOrder &order)
      : OpRewritePattern(context), order(order) {}
  LogicalResult matchAndRewrite(nn::ActivationBackwardOp op,
                                PatternRewriter &rewriter) const override {
    auto product =
        dyn_cast_or_null<MaskedMatmulOp>(productOf(op.getGradient()));
    if (!product)
      return failure();
    rewriter.modifyOpInPlace(product, [&] {
      product.getPreactivationMutable().assign(op.getInput());
      product.setActivation(op.getKind());
    });
    Operation *point = op.getInput().getDefiningOp();
    if (!point || order.isBefore(point, product))
      rewriter.replaceOp(op, product);
    else
      replaceByProduct(rewriter, op, product, order);
    return success();
  }

  OpOrder &order;
};

/// Where the gradient of a norm's input meets another that is there before.
template <typename NormOp> struct FuseNormAdd : OpRewritePattern<nn::AddOp> {
  FuseNormAdd(MLIRContext *context, OpOrder &order)
      : OpRewritePattern<nn::AddOp>(context), order(order) {}
  LogicalResult matchAndRewrite(nn::AddOp op,
                                PatternRewriter &rewriter) const override {
    for (auto [gradient, other] : {std::pair(op.getLhs(), op.getRhs()),
                                   std::pair(op.getRhs(), op.getLhs())}) {
      auto norm = gradient.template getDefiningOp<NormOp>();
      if (!norm || gradient != norm.getInputGradient() ||
          !gradient.hasOneUse() || norm.getAddend() || norm.getSeed())
        continue;
      Operation *before = other.getDefiningOp();
      if (before && !order.isBefore(before, norm))
        continue;
      rewriter.modifyOpInPlace(norm,
                               [&] { norm.getAddendMutable().assign(other); });
      rewriter.replaceOp(op, gradient);
      return success();
    }
    return failure();
  }

  OpOrder &order;
};

/// The same product, which keeps a second result.
MaskedMatmulOp keepMore(MaskedMatmulOp product, OpOrder &order) {
  OpBuilder builder(product);
  auto wider = MaskedMatmulOp::create(
      builder, product.getLoc(), {product.getType(), product.getType()},
      product->getOperands(), product->getAttrDictionary().getValue());
  order.putBefore(wider, product);
  product.getResult().replaceAllUsesWith(wider.getResult());
  product.erase();
  return wider;
}

/// The product before `op` that multiplies by the derivative at its input.
MaskedMatmulOp derivativeBefore(nn::ActivationOp op, const OpOrder &order) {
  for (Operation *user : op.getInput().getUsers()) {
    auto product = dyn_cast<MaskedMatmulOp>(user);
    if (product && product.getPreactivation() == op.getInput() &&
        product.getActivation() == op.getKind() && !product.getKept() &&
        order.isBefore(product, op))
      return product;
  }
  return nullptr;
}

/// An activation whose input something else (its backward) wants, too: the
/// product keeps that. One that is computed again, for the backward of what
/// comes after it: the product that multiplies by its derivative keeps it.
void keepActivations(func::FuncOp function, OpOrder &order) {
  SmallVector<nn::ActivationOp> activations;
  function.walk([&](nn::ActivationOp op) { activations.push_back(op); });
  for (nn::ActivationOp op : activations) {
    auto product = op.getInput().getDefiningOp<MaskedMatmulOp>();
    if (product && !product.getActivation()) {
      MaskedMatmulOp wider = keepMore(product, order);
      wider.setActivation(op.getKind());
      wider.getResult().replaceAllUsesWith(wider.getKept());
      op.replaceAllUsesWith(wider.getResult());
    } else if (MaskedMatmulOp derivative = derivativeBefore(op, order)) {
      op.replaceAllUsesWith(keepMore(derivative, order).getKept());
    } else {
      continue;
    }
    op.erase();
  }
}

/// `norm` drops the gradient of its input out as `op` does.
template <typename NormOp>
void dropGradient(NormOp norm, nn::DropoutOp op, const OpOrder &order) {
  Operation *seed = op.getSeed().getDefiningOp();
  if (op.getInput() != norm.getInputGradient() || norm.getSeed() ||
      op.getToken() || (seed && !order.isBefore(seed, norm)))
    return;
  OpBuilder builder(norm);
  SmallVector<Type> types(norm->getResultTypes());
  types.push_back(op.getType());
  auto wider = NormOp::create(
      builder, norm.getLoc(), types, norm.getInput(), norm.getScale(),
      norm.getGradient(), norm.getAddend(), op.getSeed(), norm.getEpsilonAttr(),
      op.getProbabilityAttr(), op.getSiteAttr(), op.getLengthAttr());
  op.replaceAllUsesWith(wider.getDropped());
  op.erase();
  norm->replaceAllUsesWith(wider->getResults().drop_back());
  norm.erase();
}

void dropGradients(func::FuncOp function, const OpOrder &order) {
  SmallVector<nn::DropoutOp> dropouts;
  function.walk([&](nn::DropoutOp op) { dropouts.push_back(op); });
  for (nn::DropoutOp op : dropouts)
    if (Operation *producer = op.getInput().getDefiningOp())
      TypeSwitch<Operation *>(producer)
          .Case<nn::LayerNormBackwardOp, nn::RMSNormBackwardOp>(
              [&](auto norm) { dropGradient(norm, op, order); });
}

struct FuseEpilogues : pst::impl::FuseEpiloguesBase<FuseEpilogues> {
  using FuseEpiloguesBase::FuseEpiloguesBase;

  void runOnOperation() override {
    OpOrder order(getOperation());
    RewritePatternSet patterns(&getContext());
    patterns.add<FuseAdd, FuseActivation>(&getContext(), order);
    if (training)
      patterns.add<FuseDropout, FuseDerivative,
                   FuseNormAdd<nn::LayerNormBackwardOp>,
                   FuseNormAdd<nn::RMSNormBackwardOp>>(&getContext(), order);
    FrozenRewritePatternSet frozen(std::move(patterns));
    for (auto function : getOperation().getOps<func::FuncOp>()) {
      walkAndApplyPatterns(function, frozen);
      if (training) {
        keepActivations(function, order);
        dropGradients(function, order);
      }
    }
  }
};
} // namespace
