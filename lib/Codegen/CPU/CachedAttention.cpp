//===- CachedAttention.cpp - Attention to what a cache holds --------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "../Kernel/CacheRows.h"
#include "../Kernel/VectorMath.h"
#include "KernelContext.h"
#include "pst/Dialect/NN/NNOps.h"

#include <cmath>
#include <limits>

using namespace mlir;
using namespace pst;
using namespace pst::cpu;

static int64_t dim(Value value, unsigned i) {
  return cast<ShapedType>(value.getType()).getDimSize(i);
}

/// Of f32, in a cache line.
static constexpr int64_t kLineElements = 16;

namespace {
/// for tokens and heads in parallel:
///   result = 0, largest = -inf, sum = 0
///   for blocks of as many positions as a vector has lanes:
///     s_j = q k_j / sqrt(width), -inf from the token's position on
///     new = max(largest, max_j s_j), e_j = e^(s_j - new)
///     factor = e^(largest - new)
///     sum = factor * sum + sum_j e_j
///     result = factor * result + sum_j e_j v_j
///   result /= sum
struct CachedAttentionPattern : KernelPattern<nn::CachedAttentionOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(nn::CachedAttentionOp op,
                                PatternRewriter &rewriter) const override {
    int64_t tokens = dim(op.getQuery(), 0);
    context.replaceByLaunch(
        rewriter, op, op->getOperands(), /*workspaces=*/{},
        [&](KernelBuilder &b, ValueRange arguments) {
          context.emitParallelTasks(
              b, "head", tokens * op.getHeads(), arguments,
              [&](KernelBuilder &b, Value task, ValueRange arguments) {
                Head(b, op, context.lanes(), arguments, task).emit();
              });
        });
    return success();
  }

private:
  /// One head of one token.
  struct Head {
    Head(KernelBuilder &b, nn::CachedAttentionOp op, int64_t lanes,
         ValueRange arguments, Value task)
        : b(b), lanes(lanes), width(dim(op.getQuery(), 1) / op.getHeads()),
          query(arguments[0]), keys(arguments[1]), values(arguments[2]),
          result(arguments.back()), row(b.divi(task, op.getHeads())),
          token(b, row, arguments[3], arguments[4], arguments[5]) {
      int64_t heads = op.getHeads(), keyHeads = dim(keys, 1) / width;
      Value head = b.remi(task, heads);
      column = b.muli(head, width);
      keyColumn = b.muli(b.divi(head, heads / keyHeads), width);
      end = b.addi(token.position, 1);
      begin = b.index(0);
      if (std::optional<int64_t> window = op.getWindow())
        begin =
            arith::MaxSIOp::create(b, begin, b.addi(end, -int64_t(*window)));
      scores = b.stackBuffer({lanes});
      slots = b.stackBuffer({lanes}, b.getIndexType());
    }

    void emit() {
      forResult([&](ValueRange, int64_t size) { return b.f32(0.0, size); });
      SmallVector<Value> statistics =
          b.loop(begin, end, lanes,
                 {b.f32(std::numeric_limits<float>::lowest()), b.f32(0.0)},
                 [&](Value first, ValueRange carried) {
                   return addBlock(first, carried[0], carried[1]);
                 });
      Value factor = b.divf(b.f32(1.0), statistics[1]);
      forResult([&](ValueRange at, int64_t size) {
        return b.mulf(b.load(result, at, size), b.splat(factor, size));
      });
    }

  private:
    /// The head's part of the result = value(place, lanes).
    void forResult(function_ref<Value(ValueRange, int64_t)> value) {
      b.vectorLoop(width, lanes, [&](Value i, int64_t size) {
        SmallVector<Value> at{row, b.addi(column, i)};
        b.store(value(at, size), result, at);
      });
    }

    SmallVector<Value> addBlock(Value first, Value largest, Value sum) {
      Value count = b.mini(b.subi(end, first), b.index(lanes));
      b.store(b.f32(std::numeric_limits<float>::lowest(), lanes), scores,
              b.index(0));
      b.loop(b.index(0), count, 1, [&](Value i) {
        Value slot = token.slotAt(b, b.addi(first, i), dim(keys, 0));
        b.store(slot, slots, i);
        // Slots are far apart, and a block's values are read after its scores.
        for (int64_t k = 0; k < width; k += kLineElements)
          memref::PrefetchOp::create(
              b, values, ValueRange{slot, b.addi(keyColumn, k)},
              /*isWrite=*/false, /*localityHint=*/3, /*isDataCache=*/true);
        Value score = b.vectorSum(width, lanes, [&](Value k, int64_t size) {
          return b.mulf(b.load(query, {row, b.addi(column, k)}, size),
                        b.load(keys, {slot, b.addi(keyColumn, k)}, size));
        });
        b.store(b.mulf(score, b.f32(1 / std::sqrt(double(width)))), scores, i);
      });
      Value all = b.load(scores, b.index(0), lanes);
      Value next = b.maxf(b.maxLanes(all), largest);
      Value exponentials = expNonPositive(b, b.subf(all, b.splat(next, lanes)));
      b.store(exponentials, scores, b.index(0));
      Value factor = expNonPositive(b, b.subf(largest, next));
      forResult([&](ValueRange at, int64_t size) {
        Value before = b.mulf(b.load(result, at, size), b.splat(factor, size));
        Value from = b.addi(keyColumn, b.subi(at[1], column));
        return b.loop(
            b.index(0), count, 1, {before},
            [&](Value i, ValueRange carried) -> SmallVector<Value> {
              Value value = b.load(values, {b.load(slots, i), from}, size);
              return {b.fma(b.loadSplat(scores, i, size), value, carried[0])};
            })[0];
      });
      return {next, b.fma(sum, factor, b.sumLanes(exponentials))};
    }

    KernelBuilder &b;
    int64_t lanes, width;
    Value query, keys, values, result, row;
    CachedToken token;
    Value column, keyColumn; ///< The head's first, of query and keys.
    Value begin, end;        ///< The positions that the token sees.
    Value scores, slots;     ///< Of a block.
  };
};
} // namespace

void pst::cpu::populateCachedAttentionKernels(RewritePatternSet &patterns,
                                              KernelContext &context) {
  patterns.add<CachedAttentionPattern>(patterns.getContext(), context);
}
