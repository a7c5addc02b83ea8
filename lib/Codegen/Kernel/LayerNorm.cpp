//===- LayerNorm.cpp - Layer normalisation, of each row -------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "NormBackward.h"
#include "pst/Dialect/NN/NNOps.h"

using namespace mlir;
using namespace pst;
using namespace pst::kernel;

namespace {
/// Mean and 1 / sqrt(variance + epsilon) of a row, in two passes.
struct RowStatistics {
  RowStatistics(Row &row, Value input, const APFloat &epsilon) {
    CodeBuilder &b = row.b;
    Value count = b.f32(double(row.columns));
    mean = b.divf(row.sum([&](Value j, int64_t size) {
      return row.load(input, j, size);
    }),
                  count);
    Value squares = row.sum([&](Value j, int64_t size) {
      Group terms = row.load(input, j, size);
      for (Value &term : terms) {
        Value x = b.subf(term, b.splat(mean, b.lanesOf(term)));
        term = b.mulf(x, x);
      }
      return terms;
    });
    Value variance =
        b.addf(b.divf(squares, count), b.f32(epsilon.convertToDouble()));
    rstd = b.divf(b.f32(1.0), b.sqrt(variance));
  }
  RowStatistics(ValueRange values) : mean(values[0]), rstd(values[1]) {}
  /// (x - mean) * rstd
  Value normalised(CodeBuilder &b, Value x) const {
    int64_t lanes = b.lanesOf(x);
    return b.mulf(b.subf(x, b.splat(mean, lanes)), b.splat(rstd, lanes));
  }
  Value mean, rstd;
};

/// for each row: statistics; result = normalised * scale + shift
struct LayerNormPattern : LaunchPattern<nn::LayerNormOp> {
  using LaunchPattern::LaunchPattern;
  LogicalResult matchAndRewrite(nn::LayerNormOp op,
                                PatternRewriter &rewriter) const override {
    context.replaceByLaunch(
        rewriter, op, {op.getInput(), op.getScale(), op.getShift()},
        /*workspaces=*/{}, [&](CodeBuilder &host, ValueRange arguments) {
          context.forRows(host, arguments, [&](Row &row, ValueRange values) {
            CodeBuilder &b = row.b;
            RowStatistics statistics(row, values[0], op.getEpsilon());
            row.forGroups([&](Value j, int64_t size) {
              Group y = row.load(values[0], j, size);
              for (auto [y, scale, shift] :
                   llvm::zip(y, row.loadVector(values[1], j, size),
                             row.loadVector(values[2], j, size)))
                y = b.fma(statistics.normalised(b, y), scale, shift);
              row.store(y, values[3], j);
            });
          });
        });
    return success();
  }
};

/// for each row: statistics, input gradient
///   scale gradient += gradient * y, shift gradient += gradient
struct LayerNormBackwardPattern : LaunchPattern<nn::LayerNormBackwardOp> {
  using LaunchPattern::LaunchPattern;
  LogicalResult matchAndRewrite(nn::LayerNormBackwardOp op,
                                PatternRewriter &rewriter) const override {
    replaceNormBackward(
        context, rewriter, op, /*statistics=*/2,
        [&](Row &row, ValueRange values) {
          return rowGradient(row, values, op.getEpsilon());
        },
        [](CodeBuilder &b, ValueRange values, Value row, ValueRange statistics,
           Value column, ValueRange sums) -> SmallVector<Value> {
          int64_t lanes = b.lanesOf(sums[0]);
          Value y = RowStatistics(statistics)
                        .normalised(b, b.load(values[0], {row, column}, lanes));
          Value g = b.load(values[2], {row, column}, lanes);
          return {b.fma(g, y, sums[0]), b.addf(sums[1], g)};
        });
    return success();
  }

private:
  /// With d = gradient * scale:  rstd * (d - mean(d) - y * mean(d * y))
  static RowGradient rowGradient(Row &row, ValueRange values,
                                 const APFloat &epsilon) {
    CodeBuilder &b = row.b;
    RowStatistics statistics(row, values[0], epsilon);
    auto normalised = [&row, statistics, input = values[0]](Value j,
                                                            int64_t size) {
      Group y = row.load(input, j, size);
      for (Value &element : y)
        element = statistics.normalised(row.b, element);
      return y;
    };
    auto scaled = [&row, gradient = values[2],
                   scale = values[1]](Value j, int64_t size) {
      Group d = row.load(gradient, j, size);
      for (auto [element, factor] :
           llvm::zip(d, row.loadVector(scale, j, size)))
        element = row.b.mulf(element, factor);
      return d;
    };
    Value count = b.f32(double(row.columns));
    Value meanD = b.divf(row.sum(scaled), count);
    Value meanDY = b.divf(row.sum([&](Value j, int64_t size) {
      Group terms = scaled(j, size);
      for (auto [term, y] : llvm::zip(terms, normalised(j, size)))
        term = b.mulf(term, y);
      return terms;
    }),
                          count);
    return {{statistics.mean, statistics.rstd},
            [=, &b](Value j, int64_t size) {
              Group d = scaled(j, size);
              for (auto [element, y] : llvm::zip(d, normalised(j, size))) {
                int64_t lanes = b.lanesOf(element);
                Value centred = b.subf(element, b.splat(meanD, lanes));
                centred = b.subf(centred, b.mulf(y, b.splat(meanDY, lanes)));
                element = b.mulf(centred, b.splat(statistics.rstd, lanes));
              }
              return d;
            },
            /*beside=*/nullptr};
  }
};
} // namespace

void pst::kernel::populateLayerNormKernels(RewritePatternSet &patterns,
                                           LaunchContext &context) {
  patterns.add<LayerNormPattern, LayerNormBackwardPattern>(
      patterns.getContext(), context);
}
