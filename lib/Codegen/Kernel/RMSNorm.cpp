//===- RMSNorm.cpp - Normalisation by the root mean square, of each row ---===//
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

/// x * r, for a scalar r.
static Value scaled(CodeBuilder &b, Value x, Value r) {
  return b.mulf(x, b.splat(r, b.lanesOf(x)));
}

/// 1 / sqrt(mean(x^2) + epsilon) of a row.
static Value reciprocalRoot(Row &row, Value input, const APFloat &epsilon) {
  CodeBuilder &b = row.b;
  Value squares = row.sum([&](Value j, int64_t size) {
    Group terms = row.load(input, j, size);
    for (Value &term : terms)
      term = b.mulf(term, term);
    return terms;
  });
  Value mean = b.divf(squares, b.f32(double(row.columns)));
  mean = b.addf(mean, b.f32(epsilon.convertToDouble()));
  return b.divf(b.f32(1.0), b.sqrt(mean));
}

namespace {
/// for each row: r; result = x * r * scale
struct RMSNormPattern : LaunchPattern<nn::RMSNormOp> {
  using LaunchPattern::LaunchPattern;
  LogicalResult matchAndRewrite(nn::RMSNormOp op,
                                PatternRewriter &rewriter) const override {
    context.replaceByLaunch(
        rewriter, op, op->getOperands(), /*workspaces=*/{},
        [&](CodeBuilder &host, ValueRange arguments) {
          context.forRows(host, arguments, [&](Row &row, ValueRange values) {
            CodeBuilder &b = row.b;
            Value r = reciprocalRoot(row, values[0], op.getEpsilon());
            row.forGroups([&](Value j, int64_t size) {
              Group y = row.load(values[0], j, size);
              for (auto [y, scale] :
                   llvm::zip(y, row.loadVector(values[1], j, size)))
                y = b.mulf(scaled(b, y, r), scale);
              row.store(y, values[2], j);
            });
          });
        });
    return success();
  }
};

/// for each row: r, input gradient;  scale gradient += gradient * x * r
struct RMSNormBackwardPattern : LaunchPattern<nn::RMSNormBackwardOp> {
  using LaunchPattern::LaunchPattern;
  LogicalResult matchAndRewrite(nn::RMSNormBackwardOp op,
                                PatternRewriter &rewriter) const override {
    replaceNormBackward(
        context, rewriter, op, /*statistics=*/1,
        [&](Row &row, ValueRange values) {
          return rowGradient(row, values, op.getEpsilon());
        },
        [](CodeBuilder &b, ValueRange values, Value row, ValueRange statistics,
           Value column, ValueRange sums) -> SmallVector<Value> {
          int64_t lanes = b.lanesOf(sums[0]);
          Value y =
              scaled(b, b.load(values[0], {row, column}, lanes), statistics[0]);
          Value g = b.load(values[2], {row, column}, lanes);
          return {b.fma(g, y, sums[0])};
        });
    return success();
  }

private:
  /// With d = gradient * scale and y = x r:  r * (d - y * mean(d * y))
  static RowGradient rowGradient(Row &row, ValueRange values,
                                 const APFloat &epsilon) {
    CodeBuilder &b = row.b;
    Value r = reciprocalRoot(row, values[0], epsilon);
    /// Of a group: d, and y.
    auto load = [&row, r, input = values[0], scale = values[1],
                 gradient = values[2]](Value j, int64_t size) {
      Group d = row.load(gradient, j, size), y = row.load(input, j, size);
      for (auto [d, y, scale] :
           llvm::zip(d, y, row.loadVector(scale, j, size))) {
        d = row.b.mulf(d, scale);
        y = scaled(row.b, y, r);
      }
      return std::make_pair(d, y);
    };
    Value sum = row.sum([&](Value j, int64_t size) {
      auto [terms, others] = load(j, size);
      for (auto [term, y] : llvm::zip(terms, others))
        term = b.mulf(term, y);
      return terms;
    });
    Value mean = b.divf(sum, b.f32(double(row.columns)));
    return {{r},
            [=, &b](Value j, int64_t size) {
              auto [group, others] = load(j, size);
              for (auto [d, y] : llvm::zip(group, others))
                d = scaled(b, b.subf(d, scaled(b, y, mean)), r);
              return group;
            },
            /*beside=*/nullptr};
  }
};
} // namespace

void pst::kernel::populateRMSNormKernels(RewritePatternSet &patterns,
                                         LaunchContext &context) {
  patterns.add<RMSNormPattern, RMSNormBackwardPattern>(patterns.getContext(),
                                                       context);
}
