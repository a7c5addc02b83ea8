//===- Activation.cpp - Activations and column sums -----------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "../Kernel/Activation.h"
#include "KernelContext.h"

using namespace mlir;
using namespace pst;
using namespace pst::cpu;

/// Elements of one iteration of a parallel loop.
static constexpr int64_t kChunk = 4096;

namespace {
/// result[i] = f(input[i])
struct ActivationPattern : KernelPattern<nn::ActivationOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(nn::ActivationOp op,
                                PatternRewriter &rewriter) const override {
    std::string name = nn::stringifyActivationKind(op.getKind()).str() + "_" +
                       shapeName(op.getResult());
    context.replaceByLaunch(
        rewriter, op, name, op.getInput(), /*workspaces=*/{},
        [&](KernelBuilder &b, ValueRange arguments) {
          Value in = b.flatten(arguments[0]), out = b.flatten(arguments[1]);
          b.parallelVectorLoop(
              op.getType().getNumElements(), kChunk, context.lanes(),
              [&](Value i, int64_t lanes) {
                b.store(emitActivation(b, op.getKind(), b.load(in, i, lanes)),
                        out, i);
              });
        });
    return success();
  }
};

/// result[i] = gradient[i] * f'(input[i])
struct ActivationBackwardPattern : KernelPattern<nn::ActivationBackwardOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(nn::ActivationBackwardOp op,
                                PatternRewriter &rewriter) const override {
    std::string name = nn::stringifyActivationKind(op.getKind()).str() +
                       "_backward_" + shapeName(op.getResult());
    context.replaceByLaunch(
        rewriter, op, name, {op.getInput(), op.getGradient()},
        /*workspaces=*/{}, [&](KernelBuilder &b, ValueRange arguments) {
          Value in = b.flatten(arguments[0]),
                gradient = b.flatten(arguments[1]),
                out = b.flatten(arguments[2]);
          b.parallelVectorLoop(op.getType().getNumElements(), kChunk,
                               context.lanes(), [&](Value i, int64_t lanes) {
                                 Value d = emitActivationDerivative(
                                     b, op.getKind(), b.load(in, i, lanes));
                                 b.store(b.mulf(b.load(gradient, i, lanes), d),
                                         out, i);
                               });
        });
    return success();
  }
};

/// for columns in parallel: result[columns] = sum over i of input[i, columns]
///
/// A chunk of columns stays in registers while the rows go by, in ascending
/// order.
struct ColumnSumPattern : KernelPattern<nn::ColumnSumOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(nn::ColumnSumOp op,
                                PatternRewriter &rewriter) const override {
    auto type = cast<RankedTensorType>(op.getInput().getType());
    int64_t rows = type.getDimSize(0), columns = type.getDimSize(1);
    constexpr int64_t kVectors = 4;
    int64_t lanes = context.lanes(), chunk = kVectors * lanes;
    auto sum = [&](KernelBuilder &b, ValueRange arguments, Value column,
                   int64_t vectors, int64_t width) {
      auto offset = [&](int64_t v) { return b.addi(column, v * width); };
      SmallVector<Value> sums = b.loop(
          b.index(0), b.index(rows), 1,
          SmallVector<Value>(vectors, b.f32(0.0, width)),
          [&](Value row, ValueRange carried) {
            SmallVector<Value> next;
            for (int64_t v = 0; v < vectors; ++v)
              next.push_back(b.addf(
                  carried[v], b.load(arguments[0], {row, offset(v)}, width)));
            return next;
          });
      for (int64_t v = 0; v < vectors; ++v)
        b.store(sums[v], arguments[1], offset(v));
    };
    context.replaceByLaunch(
        rewriter, op, "column_sum_" + shapeName(op.getInput()), op.getInput(),
        /*workspaces=*/{}, [&](KernelBuilder &b, ValueRange arguments) {
          int64_t whole = columns / chunk;
          if (whole)
            b.parallel(whole, [&](Value i) {
              sum(b, arguments, b.muli(i, chunk), kVectors, lanes);
            });
          b.vectorLoop(
              columns - whole * chunk, lanes, [&](Value column, int64_t width) {
                sum(b, arguments, b.addi(column, whole * chunk), 1, width);
              });
        });
    return success();
  }
};
} // namespace

void pst::cpu::populateActivationKernels(RewritePatternSet &patterns,
                                         KernelContext &context) {
  patterns.add<ActivationPattern, ActivationBackwardPattern, ColumnSumPattern>(
      patterns.getContext(), context);
}
