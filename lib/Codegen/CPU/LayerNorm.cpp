//===- LayerNorm.cpp - Layer normalisation --------------------------------===//
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

/// Rows of one iteration of the forward's parallel loop.
static constexpr int64_t kRows = 16;
/// Rows whose scale and shift gradients are summed before all others'.
static constexpr int64_t kBackwardRows = 64;

namespace {
/// Mean and 1 / sqrt(variance + epsilon) of a row, in two passes.
struct RowStatistics {
  RowStatistics(KernelBuilder &b, Value input, Value row, int64_t columns,
                int64_t lanes, double epsilon) {
    Value count = b.f32(double(columns));
    mean = b.divf(b.vectorSum(columns, lanes,
                              [&](Value j, int64_t width) {
                                return b.load(input, {row, j}, width);
                              }),
                  count);
    Value squares = b.vectorSum(columns, lanes, [&](Value j, int64_t width) {
      Value x = b.subf(b.load(input, {row, j}, width), b.splat(mean, width));
      return b.mulf(x, x);
    });
    Value variance = b.addf(b.divf(squares, count), b.f32(epsilon));
    rstd = b.divf(b.f32(1.0), b.sqrt(variance));
  }
  /// (x - mean) * rstd
  Value normalised(KernelBuilder &b, Value x) const {
    int64_t lanes = KernelBuilder::lanesOf(x);
    return b.mulf(b.subf(x, b.splat(mean, lanes)), b.splat(rstd, lanes));
  }
  Value mean, rstd;
};

/// for rows in parallel: statistics; result = normalised * scale + shift
struct LayerNormPattern : KernelPattern<nn::LayerNormOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(nn::LayerNormOp op,
                                PatternRewriter &rewriter) const override {
    auto type = cast<RankedTensorType>(op.getInput().getType());
    int64_t rows = type.getDimSize(0), columns = type.getDimSize(1);
    double epsilon = op.getEpsilon().convertToDouble();
    std::string name = "layer_norm_" + shapeName(op.getInput()) + "_" +
                       attributeName(op.getEpsilon());
    context.replaceByLaunch(
        rewriter, op, name, {op.getInput(), op.getScale(), op.getShift()},
        /*workspaces=*/{}, [&](KernelBuilder &b, ValueRange arguments) {
          Value input = arguments[0], scale = arguments[1],
                shift = arguments[2], result = arguments[3];
          b.parallelChunks(rows, kRows, [&](Value begin, Value end) {
            b.loop(begin, end, 1, [&](Value row) {
              RowStatistics statistics(b, input, row, columns, context.lanes(),
                                       epsilon);
              b.vectorLoop(columns, context.lanes(),
                           [&](Value j, int64_t lanes) {
                             Value y = statistics.normalised(
                                 b, b.load(input, {row, j}, lanes));
                             b.store(b.fma(y, b.load(scale, j, lanes),
                                           b.load(shift, j, lanes)),
                                     result, {row, j});
                           });
            });
          });
        });
    return success();
  }
};

/// for chunks of rows in parallel:
///   for row in chunk: statistics, input gradient,
///     partial[0, chunk] += gradient * y, partial[1, chunk] += gradient
/// for columns in parallel: sum the partials in ascending order of chunks
struct LayerNormBackwardPattern : KernelPattern<nn::LayerNormBackwardOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(nn::LayerNormBackwardOp op,
                                PatternRewriter &rewriter) const override {
    auto type = cast<RankedTensorType>(op.getInput().getType());
    int64_t rows = type.getDimSize(0), columns = type.getDimSize(1);
    int64_t chunks = (rows + kBackwardRows - 1) / kBackwardRows;
    std::string name = "layer_norm_backward_" + shapeName(op.getInput()) + "_" +
                       attributeName(op.getEpsilon());
    bool isScaleOrShiftWanted = context.isWanted(op->getResult(1)) ||
                                context.isWanted(op->getResult(2));
    SmallVector<RankedTensorType> workspaces;
    if (isScaleOrShiftWanted)
      workspaces.push_back(
          RankedTensorType::get({2, chunks, columns}, rewriter.getF32Type()));
    else
      name += "_input";
    context.replaceByLaunch(
        rewriter, op, name, {op.getInput(), op.getScale(), op.getGradient()},
        workspaces, [&](KernelBuilder &b, ValueRange arguments) {
          Value partials = workspaces.empty() ? Value() : arguments[6];
          b.parallel(chunks, [&](Value chunk) {
            Value begin = b.muli(chunk, kBackwardRows);
            Value end = b.mini(b.addi(begin, kBackwardRows), b.index(rows));
            for (int64_t which = 0; which < (partials ? 2 : 0); ++which)
              b.vectorLoop(columns, context.lanes(),
                           [&](Value j, int64_t lanes) {
                             b.store(b.f32(0.0, lanes), partials,
                                     {b.index(which), chunk, j});
                           });
            b.loop(begin, end, 1, [&](Value row) {
              emitRow(b, op, arguments, partials, row, chunk, columns);
            });
          });
          for (int64_t which = 0; which < (partials ? 2 : 0); ++which) {
            Value result = arguments[4 + which];
            b.parallelVectorLoop(
                columns, 16 * context.lanes(), context.lanes(),
                [&](Value j, int64_t lanes) {
                  Value sum = b.loop(
                      b.index(0), b.index(chunks), 1, {b.f32(0.0, lanes)},
                      [&](Value chunk,
                          ValueRange carried) -> SmallVector<Value> {
                        return {
                            b.addf(carried[0],
                                   b.load(partials, {b.index(which), chunk, j},
                                          lanes))};
                      })[0];
                  b.store(sum, result, j);
                });
          }
        });
    return success();
  }

private:
  /// One row: its input gradient, and its share of the partial sums, if those
  /// are wanted.
  void emitRow(KernelBuilder &b, nn::LayerNormBackwardOp op,
               ValueRange arguments, Value partials, Value row, Value chunk,
               int64_t columns) const {
    Value input = arguments[0], scale = arguments[1], gradient = arguments[2],
          inputGradient = arguments[3];
    RowStatistics statistics(b, input, row, columns, context.lanes(),
                             op.getEpsilon().convertToDouble());
    auto normalised = [&](Value j, int64_t lanes) {
      return statistics.normalised(b, b.load(input, {row, j}, lanes));
    };
    auto scaled = [&](Value j, int64_t lanes) {
      return b.mulf(b.load(gradient, {row, j}, lanes), b.load(scale, j, lanes));
    };
    Value count = b.f32(double(columns));
    Value meanD = b.divf(b.vectorSum(columns, context.lanes(), scaled), count);
    Value meanDY = b.divf(b.vectorSum(columns, context.lanes(),
                                      [&](Value j, int64_t lanes) {
                                        return b.mulf(scaled(j, lanes),
                                                      normalised(j, lanes));
                                      }),
                          count);
    b.vectorLoop(columns, context.lanes(), [&](Value j, int64_t lanes) {
      Value y = normalised(j, lanes);
      Value centred = b.subf(scaled(j, lanes), b.splat(meanD, lanes));
      centred = b.subf(centred, b.mulf(y, b.splat(meanDY, lanes)));
      b.store(b.mulf(centred, b.splat(statistics.rstd, lanes)), inputGradient,
              {row, j});
      if (!partials)
        return;
      Value g = b.load(gradient, {row, j}, lanes);
      SmallVector<Value> scaleAt{b.index(0), chunk, j},
          shiftAt{b.index(1), chunk, j};
      b.store(b.fma(g, y, b.load(partials, scaleAt, lanes)), partials, scaleAt);
      b.store(b.addf(b.load(partials, shiftAt, lanes), g), partials, shiftAt);
    });
  }
};
} // namespace

void pst::cpu::populateLayerNormKernels(RewritePatternSet &patterns,
                                        KernelContext &context) {
  patterns.add<LayerNormPattern, LayerNormBackwardPattern>(
      patterns.getContext(), context);
}
