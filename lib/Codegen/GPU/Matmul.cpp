//===- Matmul.cpp - Products with plain and virtual weights ---------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Gemm.h"
#include "MaskedWeight.h"
#include "mlir/IR/TypeUtilities.h"
#include "pst/Dialect/NN/NNOps.h"

using namespace mlir;
using namespace pst;
using namespace pst::cuda;

namespace {
/// Y = X W^T + bias, or Y = X W + bias
struct LinearPattern : KernelPattern<nn::LinearOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(nn::LinearOp op,
                                PatternRewriter &rewriter) const override {
    SmallVector<Value> inputs{op.getInput(), op.getWeight()};
    if (op.getBias())
      inputs.push_back(op.getBias());
    GemmShape shape =
        GemmShape::of({op.getInput()}, {op.getWeight(), !op.getTransposed()});
    context.replaceByLaunch(
        rewriter, op, inputs, gemmWorkspaces(context, shape),
        [&](CodeBuilder &host, ValueRange arguments) {
          ValueRange outputs = arguments.drop_front(inputs.size());
          launchGemm(context, host, {arguments[0]},
                     {arguments[1], /*transposed=*/!op.getTransposed()},
                     {op.getBias() ? arguments[2] : Value()}, outputs[0],
                     outputs.drop_front());
        });
    return success();
  }
};

/// op(A) op(B)
struct MatmulPattern : KernelPattern<nn::MatmulOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(nn::MatmulOp op,
                                PatternRewriter &rewriter) const override {
    GemmShape shape = GemmShape::of({op.getLhs(), op.getTransposeLhs()},
                                    {op.getRhs(), op.getTransposeRhs()});
    context.replaceByLaunch(
        rewriter, op, {op.getLhs(), op.getRhs()},
        gemmWorkspaces(context, shape),
        [&](CodeBuilder &host, ValueRange arguments) {
          launchGemm(context, host, {arguments[0], op.getTransposeLhs()},
                     {arguments[1], op.getTransposeRhs()}, GemmEpilogue(),
                     arguments[2], arguments.drop_front(3));
        });
    return success();
  }
};

/// Y = X (M * W')^T + bias, or Y = X (M * W'), and what follows: the masked
/// weight is written to a workspace (which the memory plan lets all layers
/// share), then multiplied. One that is there as it is multiplied is not.
struct MaskedMatmulPattern : KernelPattern<MaskedMatmulOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(MaskedMatmulOp op,
                                PatternRewriter &rewriter) const override {
    CriterionOp criterion = context.getCriterion(op.getCriterionAttr());
    RankedTensorType weightType = multipliedWeight(criterion, op);
    bool isThere = isFactor(criterion, op);
    SmallVector<Value> inputs{op.getInput()};
    llvm::append_range(inputs, weightOperands(op));
    size_t operands = inputs.size() - 1;
    GemmEpilogue given;
    given.bias = op.getBias();
    if ((given.seed = op.getSeed())) {
      // An argument, so that products of a shape share a kernel.
      given.site =
          arith::ConstantOp::create(rewriter, op.getLoc(), op.getSiteAttr());
      given.probability = op.getProbability()->convertToDouble();
      given.length = op.getLengthAttr();
    }
    given.addend = op.getAddend();
    given.activation = op.getActivation();
    given.preactivation = op.getPreactivation();
    llvm::append_range(inputs, given.operands());
    SmallVector<RankedTensorType> workspaces;
    if (!isThere)
      workspaces.push_back(weightType);
    llvm::append_range(
        workspaces,
        gemmWorkspaces(context,
                       GemmShape::of(op.getInput().getType(),
                                     /*leftTransposed=*/false, weightType,
                                     /*rightTransposed=*/!op.getTransposed())));
    context.replaceByLaunch(
        rewriter, op, inputs, workspaces,
        [&](CodeBuilder &host, ValueRange arguments) {
          ValueRange outputs = arguments.drop_front(inputs.size());
          ValueRange rest = outputs.drop_front(op->getNumResults());
          Value weight = arguments[1];
          if (!isThere) {
            weight = rest.front();
            rest = rest.drop_front();
            launchMaskedWeight(context, host, criterion, op.getSelectionAttr(),
                               arguments.slice(1, operands), weight);
          }
          GemmEpilogue epilogue = given.with(
              arguments.take_front(inputs.size()).drop_front(1 + operands));
          if (op.getKept())
            epilogue.kept = outputs[1];
          launchGemm(context, host, {arguments[0]},
                     {weight, /*transposed=*/!op.getTransposed()}, epilogue,
                     outputs[0], rest);
        });
    return success();
  }
};
} // namespace

void pst::cuda::populateMatmulKernels(RewritePatternSet &patterns,
                                      KernelContext &context) {
  patterns.add<LinearPattern, MatmulPattern, MaskedMatmulPattern>(
      patterns.getContext(), context);
}
