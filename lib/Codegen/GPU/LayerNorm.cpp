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
using namespace pst::cuda;

/// Rows whose scale and shift gradients are summed before all others'.
static constexpr int64_t kRows = 64;

namespace {
/// Mean and 1 / sqrt(variance + epsilon) of a row, in two passes by its block.
struct RowStatistics {
  RowStatistics(ThreadBuilder &b, Value input, Value row, int64_t columns,
                double epsilon) {
    Value count = b.f32(double(columns));
    mean =
        b.divf(b.sumOverBlock(columns,
                              [&](Value j) { return b.load(input, {row, j}); }),
               count);
    Value squares = b.sumOverBlock(columns, [&](Value j) {
      Value x = b.subf(b.load(input, {row, j}), mean);
      return b.mulf(x, x);
    });
    Value variance = b.addf(b.divf(squares, count), b.f32(epsilon));
    rstd = b.divf(b.f32(1.0), b.sqrt(variance));
  }
  RowStatistics(Value mean, Value rstd) : mean(mean), rstd(rstd) {}
  /// (x - mean) * rstd
  Value normalised(ThreadBuilder &b, Value x) const {
    return b.mulf(b.subf(x, mean), rstd);
  }
  Value mean, rstd;
};

/// for each row, a block: statistics; result = normalised * scale + shift
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
        /*workspaces=*/{}, [&](cpu::KernelBuilder &host, ValueRange arguments) {
          context.launchRows(
              host, name, rows, columns, arguments,
              [&](ThreadBuilder &b, ValueRange values, Value row) {
                Value input = values[0];
                RowStatistics statistics(b, input, row, columns, epsilon);
                b.strided(columns, [&](Value j) {
                  Value y = statistics.normalised(b, b.load(input, {row, j}));
                  b.store(b.fma(y, b.load(values[1], j), b.load(values[2], j)),
                          values[3], {row, j});
                });
              });
        });
    return success();
  }
};

/// for each row, a block: statistics, kept for below; input gradient
/// for chunks of rows, for each column:
///   scales[chunk] = sum of gradient * y, shifts[chunk] = sum of gradient
/// scale and shift gradient: sums over the chunks
struct LayerNormBackwardPattern : KernelPattern<nn::LayerNormBackwardOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(nn::LayerNormBackwardOp op,
                                PatternRewriter &rewriter) const override {
    auto type = cast<RankedTensorType>(op.getInput().getType());
    int64_t rows = type.getDimSize(0), columns = type.getDimSize(1);
    int64_t chunks = (rows + kRows - 1) / kRows;
    Type f32 = rewriter.getF32Type();
    auto partials = RankedTensorType::get({chunks, columns}, f32);
    std::string name = "layer_norm_backward_" + shapeName(op.getInput()) + "_" +
                       attributeName(op.getEpsilon());
    context.replaceByLaunch(
        rewriter, op, name, {op.getInput(), op.getScale(), op.getGradient()},
        {RankedTensorType::get({rows, 2}, f32), partials, partials},
        [&](cpu::KernelBuilder &host, ValueRange arguments) {
          Value input = arguments[0], scale = arguments[1],
                gradient = arguments[2], statistics = arguments[6],
                scales = arguments[7], shifts = arguments[8];
          context.launchRows(
              host, name, rows, columns,
              {input, scale, gradient, arguments[3], statistics},
              [&](ThreadBuilder &b, ValueRange values, Value row) {
                emitRow(b, op, values, row, columns);
              });
          context.launchElements(
              host, name + "_columns", chunks * columns,
              {input, gradient, statistics, scales, shifts},
              [&](ThreadBuilder &b, ValueRange values, Value i) {
                emitColumn(b, values, b.divi(i, columns), b.remi(i, columns),
                           rows);
              });
          context.launchSum(host, scales, arguments[4]);
          context.launchSum(host, shifts, arguments[5]);
        });
    return success();
  }

private:
  static void emitRow(ThreadBuilder &b, nn::LayerNormBackwardOp op,
                      ValueRange values, Value row, int64_t columns) {
    Value input = values[0], scale = values[1], gradient = values[2];
    RowStatistics statistics(b, input, row, columns,
                             op.getEpsilon().convertToDouble());
    auto normalised = [&](Value j) {
      return statistics.normalised(b, b.load(input, {row, j}));
    };
    auto scaled = [&](Value j) {
      return b.mulf(b.load(gradient, {row, j}), b.load(scale, j));
    };
    Value count = b.f32(double(columns));
    Value meanD = b.divf(b.sumOverBlock(columns, scaled), count);
    Value meanDY = b.divf(
        b.sumOverBlock(
            columns, [&](Value j) { return b.mulf(scaled(j), normalised(j)); }),
        count);
    b.strided(columns, [&](Value j) {
      Value centred = b.subf(scaled(j), meanD);
      centred = b.subf(centred, b.mulf(normalised(j), meanDY));
      b.store(b.mulf(centred, statistics.rstd), values[3], {row, j});
    });
    b.onFirstThread([&] {
      b.store(statistics.mean, values[4], {row, b.index(0)});
      b.store(statistics.rstd, values[4], {row, b.index(1)});
    });
  }

  static void emitColumn(ThreadBuilder &b, ValueRange values, Value chunk,
                         Value j, int64_t rows) {
    Value begin = b.muli(chunk, kRows);
    Value end = b.mini(b.addi(begin, kRows), b.index(rows));
    SmallVector<Value> sums =
        b.loop(begin, end, 1, {b.f32(0.0), b.f32(0.0)},
               [&](Value row, ValueRange carried) -> SmallVector<Value> {
                 RowStatistics statistics(b.load(values[2], {row, b.index(0)}),
                                          b.load(values[2], {row, b.index(1)}));
                 Value y =
                     statistics.normalised(b, b.load(values[0], {row, j}));
                 Value g = b.load(values[1], {row, j});
                 return {b.fma(g, y, carried[0]), b.addf(carried[1], g)};
               });
    b.store(sums[0], values[3], {chunk, j});
    b.store(sums[1], values[4], {chunk, j});
  }
};
} // namespace

void pst::cuda::populateLayerNormKernels(RewritePatternSet &patterns,
                                         KernelContext &context) {
  patterns.add<LayerNormPattern, LayerNormBackwardPattern>(
      patterns.getContext(), context);
}
