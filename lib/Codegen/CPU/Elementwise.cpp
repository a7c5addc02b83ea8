//===- Elementwise.cpp - Sums, dropout, gradient accumulation -------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "KernelContext.h"
#include "pst/Dialect/NN/NNOps.h"

using namespace mlir;
using namespace pst;
using namespace pst::cpu;

/// Elements that one iteration of a parallel loop handles: enough to be worth
/// a thread's while, few enough to share out.
static constexpr int64_t kChunk = 16384;

/// for chunk in parallel: for i in chunk: body(i, lanes)
static void
parallelElements(KernelBuilder &b, int64_t count, int64_t lanes,
                 function_ref<void(Value, int64_t)> body) {
  int64_t whole = count / kChunk;
  if (whole)
    b.parallel(whole, [&](Value chunk) {
      Value base = b.muli(chunk, kChunk);
      b.vectorLoop(kChunk, lanes, [&](Value i, int64_t width) {
        body(b.addi(base, i), width);
      });
    });
  b.vectorLoop(count - whole * kChunk, lanes, [&](Value i, int64_t width) {
    body(b.addi(i, whole * kChunk), width);
  });
}

/// The same buffer as one row.
static Value flatten(KernelBuilder &b, Value buffer) {
  auto type = cast<MemRefType>(buffer.getType());
  return memref::ReinterpretCastOp::create(
      b, MemRefType::get({type.getNumElements()}, type.getElementType()),
      buffer, /*offset=*/0, ArrayRef<int64_t>{type.getNumElements()},
      ArrayRef<int64_t>{1});
}

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
          Value lhs = flatten(b, arguments[0]), rhs = flatten(b, arguments[1]),
                out = flatten(b, arguments[2]);
          parallelElements(
              b, op.getType().getNumElements(), context.lanes(),
              [&](Value i, int64_t lanes) {
                b.store(b.addf(b.load(lhs, i, lanes), b.load(rhs, i, lanes)),
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
        [&](KernelBuilder &b, ValueRange arguments) {
          Value in = flatten(b, arguments[0]), out = flatten(b, arguments[1]);
          parallelElements(
              b, type.getNumElements(), context.lanes(),
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
  patterns.add<AddPattern, AccumulatePattern>(patterns.getContext(), context);
}
