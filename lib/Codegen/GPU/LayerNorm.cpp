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
/// A row that a block works on, as groups of adjacent columns.
struct RowGroups {
  RowGroups(Value matrix, Value row)
      : row(row), size(groupOf(matrix)),
        count(cast<MemRefType>(matrix.getType()).getDimSize(1) / size) {}
  SmallVector<Value> load(ThreadBuilder &b, Value matrix, Value group) const {
    return b.loadAdjacent(matrix, {row, b.muli(group, size)}, size);
  }
  SmallVector<Value> loadVector(ThreadBuilder &b, Value vector,
                                Value group) const {
    return b.loadAdjacent(vector, b.muli(group, size), size);
  }
  void store(ThreadBuilder &b, ValueRange values, Value matrix,
             Value group) const {
    b.storeAdjacent(values, matrix, {row, b.muli(group, size)});
  }
  Value row;
  int64_t size, count;
};

/// Mean and 1 / sqrt(variance + epsilon) of a row, in two passes by its block.
struct RowStatistics {
  RowStatistics(ThreadBuilder &b, Value input, const RowGroups &groups,
                double epsilon) {
    Value columns = b.f32(double(groups.count * groups.size));
    mean = b.divf(
        b.sumGroupsOverBlock(groups.count,
                             [&](Value g) { return groups.load(b, input, g); }),
        columns);
    Value squares = b.sumGroupsOverBlock(groups.count, [&](Value g) {
      SmallVector<Value> terms = groups.load(b, input, g);
      for (Value &term : terms) {
        Value x = b.subf(term, mean);
        term = b.mulf(x, x);
      }
      return terms;
    });
    Value variance = b.addf(b.divf(squares, columns), b.f32(epsilon));
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
        /*workspaces=*/{}, [&](CodeBuilder &host, ValueRange arguments) {
          context.launchRows(
              host, name, rows, columns, arguments,
              [&](ThreadBuilder &b, ValueRange values, Value row) {
                RowGroups groups(values[0], row);
                RowStatistics statistics(b, values[0], groups, epsilon);
                b.strided(groups.count, [&](Value g) {
                  SmallVector<Value> x = groups.load(b, values[0], g),
                                     scale = groups.loadVector(b, values[1], g),
                                     shift = groups.loadVector(b, values[2], g);
                  for (auto [y, scale, shift] : llvm::zip(x, scale, shift))
                    y = b.fma(statistics.normalised(b, y), scale, shift);
                  groups.store(b, x, values[3], g);
                });
              },
              groupOf(op.getInput()));
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
    bool scaleAdded = context.isAdded(op->getResult(1));
    bool shiftAdded = context.isAdded(op->getResult(2));
    std::string function = name + (scaleAdded ? "_scale_added" : "") +
                           (shiftAdded ? "_shift_added" : "");
    bool isScaleOrShiftWanted = context.isWanted(op->getResult(1)) ||
                                context.isWanted(op->getResult(2));
    SmallVector<RankedTensorType> workspaces{
        RankedTensorType::get({rows, 2}, f32)};
    if (isScaleOrShiftWanted)
      workspaces.append(2, partials);
    else
      function += "_input";
    context.replaceByLaunch(
        rewriter, op, function,
        {op.getInput(), op.getScale(), op.getGradient()}, workspaces,
        [&](CodeBuilder &host, ValueRange arguments) {
          Value input = arguments[0], scale = arguments[1],
                gradient = arguments[2], statistics = arguments[6];
          context.launchRows(
              host, name, rows, columns,
              {input, scale, gradient, arguments[3], statistics},
              [&](ThreadBuilder &b, ValueRange values, Value row) {
                emitRow(b, op, values, row);
              },
              groupOf(op.getInput()));
          if (!isScaleOrShiftWanted)
            return;
          Value scales = arguments[7], shifts = arguments[8];
          context.launchElements(
              host, name + "_columns", chunks * columns,
              {input, gradient, statistics, scales, shifts},
              [&](ThreadBuilder &b, ValueRange values, Value i) {
                emitColumn(b, values, b.divi(i, columns), b.remi(i, columns),
                           rows);
              });
          context.launchSums(host, {{scales, arguments[4], scaleAdded},
                                    {shifts, arguments[5], shiftAdded}});
        });
    return success();
  }

private:
  static void emitRow(ThreadBuilder &b, nn::LayerNormBackwardOp op,
                      ValueRange values, Value row) {
    Value input = values[0], scale = values[1], gradient = values[2];
    RowGroups groups(input, row);
    RowStatistics statistics(b, input, groups,
                             op.getEpsilon().convertToDouble());
    auto normalised = [&](Value g) {
      SmallVector<Value> y = groups.load(b, input, g);
      for (Value &element : y)
        element = statistics.normalised(b, element);
      return y;
    };
    auto scaled = [&](Value g) {
      SmallVector<Value> d = groups.load(b, gradient, g);
      for (auto [element, factor] :
           llvm::zip(d, groups.loadVector(b, scale, g)))
        element = b.mulf(element, factor);
      return d;
    };
    Value columns = b.f32(double(groups.count * groups.size));
    Value meanD = b.divf(b.sumGroupsOverBlock(groups.count, scaled), columns);
    Value products = b.sumGroupsOverBlock(groups.count, [&](Value g) {
      SmallVector<Value> terms = scaled(g);
      for (auto [term, y] : llvm::zip(terms, normalised(g)))
        term = b.mulf(term, y);
      return terms;
    });
    Value meanDY = b.divf(products, columns);
    b.strided(groups.count, [&](Value g) {
      SmallVector<Value> d = scaled(g);
      for (auto [element, y] : llvm::zip(d, normalised(g))) {
        Value centred = b.subf(element, meanD);
        centred = b.subf(centred, b.mulf(y, meanDY));
        element = b.mulf(centred, statistics.rstd);
      }
      groups.store(b, d, values[3], g);
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
