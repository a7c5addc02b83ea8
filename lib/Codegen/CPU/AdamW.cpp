//===- AdamW.cpp - The optimizer's kernel ---------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "../Kernel/AdamW.h"
#include "KernelContext.h"
#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace pst;
using namespace pst::cpu;

/// Elements whose squares are summed before all others', and that one
/// iteration of a parallel loop updates.
static constexpr int64_t kChunk = 8192;

/// sqrt(sum of squares) of the gradient, in f64: each chunk's sum into its
/// element of `partials`, then those in ascending order.
static Value gradientNorm(KernelBuilder &b, const AdamWArguments &a,
                          int64_t size, int64_t lanes) {
  int64_t chunks = (size + kChunk - 1) / kChunk;
  auto square = [&](Value i, int64_t width) -> Value {
    Value g = arith::ExtFOp::create(b, b.lanesType(width, b.getF64Type()),
                                    b.load(a.gradient, i, width));
    return b.mulf(g, g);
  };
  auto sumUpTo = [&](Value begin, Value end, int64_t width, Value start) {
    return b.loop(begin, end, width, {start},
                  [&](Value i, ValueRange carried) -> SmallVector<Value> {
                    return {b.addf(carried[0], square(i, width))};
                  })[0];
  };
  b.parallel(chunks, [&](Value chunk) {
    Value begin = b.muli(chunk, kChunk);
    Value end = b.mini(b.addi(begin, kChunk), b.index(size));
    // The chunk's whole vectors, then what is left of the last chunk.
    Value whole = b.mini(b.addi(begin, kChunk), b.index(size / lanes * lanes));
    Value sum =
        b.sumLanes(sumUpTo(begin, whole, lanes, b.splat(b.f64(0.0), lanes)));
    b.store(sumUpTo(whole, end, 1, sum), a.partials, chunk);
  });
  Value sum = b.loop(b.index(0), b.index(chunks), 1, {b.f64(0.0)},
                     [&](Value i, ValueRange carried) -> SmallVector<Value> {
                       return {b.addf(carried[0], b.load(a.partials, i))};
                     })[0];
  return arith::TruncFOp::create(b, b.getF32Type(), b.sqrt(sum));
}

namespace {
/// for chunks in parallel: partials[chunk] = sum of squares
/// norm, clip
/// for each segment, for chunks in parallel: update
struct AdamWPattern : KernelPattern<AdamWOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(AdamWOp op,
                                PatternRewriter &rewriter) const override {
    int64_t size = op.getSize();
    SmallVector<AdamWSegment> segments = adamWSegments(op);
    size_t others = op.getOtherRates().size();
    SmallVector<Value> spaces;
    for (StringRef space : {"trainable", "gradient", "moment1", "moment2"})
      spaces.push_back(SpaceOp::create(
          rewriter, op.getLoc(),
          RankedTensorType::get({size}, rewriter.getF32Type()), space));
    int64_t chunks = (size + kChunk - 1) / kChunk;
    context.replaceByLaunchInto(
        rewriter, op, op->getOperands(), spaces,
        RankedTensorType::get({chunks}, rewriter.getF64Type()),
        [&](KernelBuilder &b, ValueRange values) {
          AdamWArguments a(values, others);
          Value norm = gradientNorm(b, a, size, context.lanes());
          b.store(norm, a.norm, {});
          Value clip = a.clip(b, norm);
          for (const AdamWSegment &segment : segments)
            b.parallelVectorLoop(segment.end - segment.begin, kChunk,
                                 context.lanes(), [&](Value i, int64_t width) {
                                   a.update(b, clip, segment.rate(a),
                                            segment.decays,
                                            b.addi(i, segment.begin), width);
                                 });
        });
    return success();
  }
};
} // namespace

void pst::cpu::populateAdamWKernels(RewritePatternSet &patterns,
                                    KernelContext &context) {
  patterns.add<AdamWPattern>(patterns.getContext(), context);
}
