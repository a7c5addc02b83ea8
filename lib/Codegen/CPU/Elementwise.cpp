//===- Elementwise.cpp - Sums, dropout, gradient accumulation -------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "../Kernel/Dropout.h"
#include "KernelContext.h"
#include "pst/Dialect/NN/NNOps.h"

using namespace mlir;
using namespace pst;
using namespace pst::cpu;

/// Elements that one iteration of a parallel loop handles: enough to be worth
/// a thread's while, few enough to share out.
static constexpr int64_t kChunk = 16384;

namespace {
/// result[i] = lhs[i] + rhs[i]
struct AddPattern : KernelPattern<nn::AddOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(nn::AddOp op,
                                PatternRewriter &rewriter) const override {
    context.replaceByLaunch(
        rewriter, op, "add_" + shapeName(op.getResult()),
        {op.getLhs(), op.getRhs()}, /*workspaces=*/{},
        [&](KernelBuilder &b, ValueRange arguments) {
          Value lhs = b.flatten(arguments[0]), rhs = b.flatten(arguments[1]),
                out = b.flatten(arguments[2]);
          b.parallelVectorLoop(
              op.getType().getNumElements(), kChunk, context.lanes(),
              [&](Value i, int64_t lanes) {
                b.store(b.addf(b.load(lhs, i, lanes), b.load(rhs, i, lanes)),
                        out, i);
              });
        });
    return success();
  }
};

/// result[i] = kept(i) ? input[i] / (1 - probability) : 0
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
        /*workspaces=*/{}, [&](KernelBuilder &b, ValueRange arguments) {
          Value in = b.flatten(arguments[0]), out = b.flatten(arguments[3]);
          DropoutMask mask(b, arguments[1], arguments[2], probability, count);
          b.parallelVectorLoop(
              count, kChunk, context.lanes(), [&](Value i, int64_t lanes) {
                Value scaled =
                    b.mulf(b.load(in, i, lanes), b.f32(mask.scale(), lanes));
                b.store(
                    b.select(mask.kept(b, i, lanes), scaled, b.f32(0.0, lanes)),
                    out, i);
              });
        });
    return success();
  }
};

/// gradient[i] += value[i]
struct AccumulatePattern : KernelPattern<AccumulateOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(AccumulateOp op,
                                PatternRewriter &rewriter) const override {
    Value value = op.getValue();
    auto type = cast<RankedTensorType>(value.getType());
    Value gradient =
        LoadOp::create(rewriter, op.getLoc(), type, op.getParameterAttr(),
                       PartAttr::get(op.getContext(), Part::Gradient));
    context.replaceByLaunchInto(
        rewriter, op, "accumulate_" + shapeName(value), value, gradient,
        /*workspaces=*/{}, [&](KernelBuilder &b, ValueRange arguments) {
          Value in = b.flatten(arguments[0]), out = b.flatten(arguments[1]);
          b.parallelVectorLoop(
              type.getNumElements(), kChunk, context.lanes(),
              [&](Value i, int64_t lanes) {
                b.store(b.addf(b.load(out, i, lanes), b.load(in, i, lanes)),
                        out, i);
              });
        });
    return success();
  }
};
} // namespace

void pst::cpu::populateElementwiseKernels(RewritePatternSet &patterns,
                                          KernelContext &context) {
  patterns.add<AddPattern, DropoutPattern, AccumulatePattern>(
      patterns.getContext(), context);
}
