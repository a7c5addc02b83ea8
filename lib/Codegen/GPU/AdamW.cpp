//===- AdamW.cpp - The optimizer's kernels --------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "../Kernel/AdamW.h"
#include "KernelContext.h"

using namespace mlir;
using namespace pst;
using namespace pst::cuda;

/// Elements whose squares are summed before all others'.
static constexpr int64_t kChunk = 8192;
static constexpr int64_t kThreads = 256;

static Value squareInF64(ThreadBuilder &b, Value gradient, Value i) {
  Value g = arith::ExtFOp::create(b, b.getF64Type(), b.load(gradient, i));
  return b.mulf(g, g);
}

/// In f64, over the block: every thread has the sum.
static Value sumInF64(ThreadBuilder &b, Value begin, Value end,
                      function_ref<Value(Value)> element) {
  Value sum = b.loop(b.addi(begin, b.thread()), end, b.threads(), {b.f64(0.0)},
                     [&](Value i, ValueRange carried) -> SmallVector<Value> {
                       return {b.addf(carried[0], element(i))};
                     })[0];
  return b.blockSum(sum);
}

/// The update of an element, which lies in one of the segments.
static void updateIn(ThreadBuilder &b, const AdamWArguments &a, Value clip,
                     ArrayRef<AdamWSegment> segments, Value i) {
  const AdamWSegment &first = segments.front();
  auto update = [&] { a.update(b, clip, first.rate(a), first.decays, i, 1); };
  if (segments.size() == 1)
    return update();
  b.ifElse(b.cmpi(arith::CmpIPredicate::slt, i, b.index(first.end)), update,
           [&] { updateIn(b, a, clip, segments.drop_front(), i); });
}

namespace {
/// for chunks: partials[chunk] = sum of squares
/// one block: norm = sqrt(sum of partials)
/// for each element: update
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
        [&](CodeBuilder &host, ValueRange arguments) {
          AdamWArguments of(arguments, others);
          launchNorm(host, of, size, chunks);
          if (size)
            context.launchElements(
                host, "", size, arguments,
                [&](ThreadBuilder &b, ValueRange values, Value i) {
                  AdamWArguments a(values, others);
                  Value clip = a.clip(b, b.load(a.norm, {}));
                  updateIn(b, a, clip, segments, i);
                });
        });
    return success();
  }

private:
  void launchNorm(CodeBuilder &host, const AdamWArguments &of, int64_t size,
                  int64_t chunks) const {
    if (size)
      context.launch(
          host, "squares", chunks, kThreads, {of.gradient, of.partials},
          [&](ThreadBuilder &b, ValueRange values) {
            Value begin = b.muli(b.block(), kChunk);
            Value end = b.mini(b.addi(begin, kChunk), b.index(size));
            Value sum = sumInF64(b, begin, end, [&](Value i) {
              return squareInF64(b, values[0], i);
            });
            b.onFirstThread([&] { b.store(sum, values[1], b.block()); });
          });
    context.launch(
        host, "norm", 1, kThreads, {of.partials, of.norm},
        [&](ThreadBuilder &b, ValueRange values) {
          Value sum = sumInF64(b, b.index(0), b.index(chunks),
                               [&](Value i) { return b.load(values[0], i); });
          b.onFirstThread([&] {
            b.store(arith::TruncFOp::create(b, b.getF32Type(), b.sqrt(sum)),
                    values[1], {});
          });
        });
  }
};
} // namespace

void pst::cuda::populateAdamWKernels(RewritePatternSet &patterns,
                                     KernelContext &context) {
  patterns.add<AdamWPattern>(patterns.getContext(), context);
}
