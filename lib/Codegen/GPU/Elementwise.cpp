//===- Elementwise.cpp - Sums, dropout, gradient accumulation -------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "../Kernel/Dropout.h"
#include "KernelContext.h"
#include "mlir/IR/TypeUtilities.h"
#include "pst/Dialect/NN/NNOps.h"

using namespace mlir;
using namespace pst;
using namespace pst::cuda;

namespace {
/// for each element i: result[i] = lhs[i] + rhs[i]
struct AddPattern : KernelPattern<nn::AddOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(nn::AddOp op,
                                PatternRewriter &rewriter) const override {
    std::string name = "add_" + shapeName(op.getResult());
    context.replaceByLaunch(
        rewriter, op, name, {op.getLhs(), op.getRhs()}, /*workspaces=*/{},
        [&](CodeBuilder &host, ValueRange arguments) {
          context.launchMap(
              host, name, /*inputs=*/2, arguments,
              [](ThreadBuilder &b, ValueRange, ValueRange elements, Value) {
                return b.addf(elements[0], elements[1]);
              });
        });
    return success();
  }
};

/// for each element i: result[i] = input[i], in the result's type
template <typename OpT> struct ConvertPattern : KernelPattern<OpT> {
  using KernelPattern<OpT>::KernelPattern;
  LogicalResult matchAndRewrite(OpT op,
                                PatternRewriter &rewriter) const override {
    auto type = dyn_cast<RankedTensorType>(op.getType());
    auto isKnown = [](Type type) {
      Type element = getElementTypeOrSelf(type);
      return element.isF32() || element.isBF16();
    };
    if (!type || !isKnown(type) || !isKnown(op.getIn().getType()))
      return failure();
    std::string name =
        "convert" + elementsName(op.getOut()) + "_" + shapeName(op.getIn());
    this->context.replaceByLaunch(
        rewriter, op, name, op.getIn(), /*workspaces=*/{},
        [&](CodeBuilder &host, ValueRange arguments) {
          this->context.launchMap(host, name, /*inputs=*/1, arguments,
                                  [](ThreadBuilder &, ValueRange,
                                     ValueRange elements,
                                     Value) { return elements[0]; });
        });
    return success();
  }
};

/// for each element i: result[i] = kept(i) ? input[i] / (1 - probability) : 0
struct DropoutPattern : KernelPattern<nn::DropoutOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(nn::DropoutOp op,
                                PatternRewriter &rewriter) const override {
    double probability = op.getProbability().convertToDouble();
    int64_t count = op.getType().getNumElements();
    std::string name = "dropout_" + shapeName(op.getResult()) + "_" +
                       attributeName(op.getProbability());
    // The site is an argument, so that all dropouts of a shape share a kernel.
    Value site =
        arith::ConstantOp::create(rewriter, op.getLoc(), op.getSiteAttr());
    context.replaceByLaunch(
        rewriter, op, name, {op.getInput(), op.getSeed(), site},
        /*workspaces=*/{}, [&](CodeBuilder &host, ValueRange arguments) {
          context.launchMap(
              host, name, /*inputs=*/1, arguments,
              [&](ThreadBuilder &b, ValueRange values, ValueRange elements,
                  Value i) {
                DropoutMask mask(b, values[1], values[2], probability, count);
                Value scaled = b.mulf(elements[0], b.f32(mask.scale()));
                return b.select(mask.kept(b, i, 1), scaled, b.f32(0.0));
              });
        });
    return success();
  }
};

/// for each element i: gradient[i] += value[i]
struct AccumulatePattern : KernelPattern<AccumulateOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(AccumulateOp op,
                                PatternRewriter &rewriter) const override {
    Value value = op.getValue();
    auto type = cast<RankedTensorType>(value.getType());
    Value gradient =
        LoadOp::create(rewriter, op.getLoc(), type, op.getParameterAttr(),
                       PartAttr::get(op.getContext(), Part::Gradient));
    std::string name = "accumulate_" + shapeName(value);
    context.replaceByLaunchInto(
        rewriter, op, name, value, gradient, /*workspaces=*/{},
        [&](CodeBuilder &host, ValueRange arguments) {
          Value in = arguments[0], sum = arguments[1];
          context.launchMap(
              host, name, /*inputs=*/2, {in, sum, sum},
              [](ThreadBuilder &b, ValueRange, ValueRange elements, Value) {
                return b.addf(elements[1], elements[0]);
              });
        });
    return success();
  }
};
} // namespace

void pst::cuda::populateElementwiseKernels(RewritePatternSet &patterns,
                                           KernelContext &context) {
  patterns.add<AddPattern, DropoutPattern, AccumulatePattern,
               ConvertPattern<arith::TruncFOp>, ConvertPattern<arith::ExtFOp>>(
      patterns.getContext(), context);
}
