//===- AttentionBackward.cpp - Gradients of attention ---------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "../Kernel/VectorMath.h"
#include "AttentionMMA.h"
#include "pst/Dialect/NN/NNOps.h"
#include <limits>

using namespace mlir;
using namespace pst;
using namespace pst::cuda;

namespace {
/// What both kernels of an op share: their tiles in shared memory, and what
/// they recompute of an element.
struct BackwardBlock : AttentionBlock {
  BackwardBlock(ThreadBuilder &b, const AttentionShape &shape, Side side,
                ValueRange values, const std::optional<DropoutMask> &dropout,
                const PackedRows *packed)
      : AttentionBlock(b, shape, side, values[3], packed), dropout(dropout),
        queries(matrixBuffer()), keys(matrixBuffer()), others(matrixBuffer()),
        gradients(matrixBuffer()), scores(scoreBuffer()),
        products(scoreBuffer()) {}

  /// The dropped-out gradient of P at (i, j), and whether P is kept there
  /// (null: always).
  struct Dropped {
    Value gradient, kept;
  };
  Dropped gradientOf(Value i, Value firstQuery, Value j, Value firstKey) {
    Value d = dot(gradients, i, others, j);
    if (!dropout)
      return {d, nullptr};
    Value kept = dropout->kept(
        b,
        DropoutPlace::ofProbability(b, place.task, b.addi(firstQuery, i),
                                    b.addi(firstKey, j)),
        1);
    return {b.select(kept, b.mulf(d, b.f32(dropout->scale())), b.f32(0.0)),
            kept};
  }

  /// e^(score - maximum)
  Value exponential(Value score, Value maximum) {
    return expNonPositive(b, b.subf(score, maximum));
  }

  const std::optional<DropoutMask> &dropout;
  Value queries, keys, others, gradients; ///< Q, K, V, dO
  Value scores, products;
};

/// for tiles of queries of heads of sequences, a block:
///   for tiles of keys (those seen): S = Q K^T, dP = dO V^T;
///     rows: maximum, sum, and sum of dP e^(S - maximum)
///   for tiles of keys again: dS = P (dP - r) / sqrt(width); dQ += dS K
/// for tiles of keys of heads of sequences, a block:
///   for heads of queries that share them, for tiles of queries that see them:
///     D = dropout(P) and dS likewise;
///     dV += D^T dO, dK += dS^T Q
struct AttentionBackwardPattern : KernelPattern<nn::AttentionBackwardOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(nn::AttentionBackwardOp op,
                                PatternRewriter &rewriter) const override {
    AttentionShape shape = attentionShape(op);
    if (failed(shape.check(op)))
      return failure();
    SmallVector<Value> inputs{op.getQuery(), op.getKey(), op.getValue(),
                              op.getMask(), op.getGradient()};
    if (op.getSeed()) {
      inputs.push_back(op.getSeed());
      inputs.push_back(
          arith::ConstantOp::create(rewriter, op.getLoc(), op.getSiteAttr()));
    }
    context.replaceByLaunch(
        rewriter, op, inputs,
        RankedTensorType::get(
            {shape.batch * shape.heads, shape.length, RowStatistics},
            rewriter.getF32Type()),
        [&](CodeBuilder &host, ValueRange arguments) {
          SmallVector<Value> shared(arguments.take_front(inputs.size()));
          shared.push_back(arguments.back());
          auto with = [&](ValueRange results) {
            SmallVector<Value> operands(shared);
            llvm::append_range(operands, results);
            return operands;
          };
          ValueRange results = arguments.slice(inputs.size(), 3);
          if (AttentionMMA::suits(shape, elementType(op.getQuery()))) {
            context.launch(
                host, "queries", AttentionMMA::blocks(shape, Side::queries),
                AttentionMMA::kThreads, with(results[0]),
                emitBlock<AttentionMMA>(
                    context, op, shape, Side::queries,
                    [](AttentionMMA &block, ValueRange values) {
                      block.queryGradients(values.end()[-2], values.back());
                    }));
            context.launch(
                host, "keys", AttentionMMA::blocks(shape, Side::keys),
                AttentionMMA::kThreads, with({results[1], results[2]}),
                emitBlock<AttentionMMA>(
                    context, op, shape, Side::keys,
                    [](AttentionMMA &block, ValueRange values) {
                      block.keyGradients(values.end()[-3], values.end()[-2],
                                         values.back());
                    }));
            return;
          }
          context.launch(host, "queries", shape.blocks(Side::queries),
                         AttentionShape::kThreads, with(results[0]),
                         emitBlock<BackwardBlock>(
                             context, op, shape, Side::queries,
                             [](BackwardBlock &block, ValueRange values) {
                               SmallVector<Value> row = emitStatistics(
                                   block, values, values.end()[-2]);
                               emitQueryGradient(block, values, row);
                             }));
          context.launch(host, "keys", shape.blocks(Side::keys),
                         AttentionShape::kThreads,
                         with({results[1], results[2]}),
                         emitBlock<BackwardBlock>(
                             context, op, shape, Side::keys,
                             [](BackwardBlock &block, ValueRange values) {
                               emitKeyGradients(block, values);
                             }));
        });
    return success();
  }

private:
  /// Scores and dP of a tile of keys, to shared memory.
  static void emitScores(BackwardBlock &block, ValueRange values, Value key) {
    ThreadBuilder &b = block.b;
    block.load(Side::keys, values[1], key, block.keys);
    block.load(Side::keys, values[2], key, block.others);
    b.barrier();
    block.forScores([&](Value i, Value j) {
      b.store(
          block.score(block.queries, block.keys, block.place.first, i, key, j),
          block.scores, {i, j});
      b.store(block.gradientOf(i, block.place.first, j, key).gradient,
              block.products, {i, j});
    });
    b.barrier();
  }

  /// The statistics of this thread's row.
  static SmallVector<Value>
  emitStatistics(BackwardBlock &block, ValueRange values, Value statistics) {
    ThreadBuilder &b = block.b;
    Value first = block.place.first;
    block.load(Side::queries, values[0], first, block.queries);
    block.load(Side::queries, values[4], first, block.gradients);
    Value i = block.scoreRow();
    SmallVector<Value> sums = b.loop(
        block.place.keysBegin(b), block.place.keysEnd(b), block.shape.tile(),
        {b.f32(std::numeric_limits<float>::lowest()), b.f32(0.0), b.f32(0.0)},
        [&](Value key, ValueRange carried) -> SmallVector<Value> {
          emitScores(block, values, key);
          Value largest = carried[0];
          block.forRowColumns([&](Value j) {
            largest = b.maxf(b.load(block.scores, {i, j}), largest);
          });
          largest = block.rowMax(largest);
          Value correction = block.exponential(carried[0], largest);
          Value sum = b.f32(0.0), product = b.f32(0.0);
          block.forRowColumns([&](Value j) {
            Value e = block.exponential(b.load(block.scores, {i, j}), largest);
            sum = b.addf(sum, e);
            product = b.fma(b.load(block.products, {i, j}), e, product);
          });
          b.barrier(); // the next tile is written over this one
          return {largest, b.fma(carried[1], correction, block.rowSum(sum)),
                  b.fma(carried[2], correction, block.rowSum(product))};
        });
    Value reciprocal = b.divf(b.f32(1.0), sums[1]);
    SmallVector<Value> row{sums[0], reciprocal, b.mulf(sums[2], reciprocal)};
    Value query = b.addi(first, i);
    b.ifThen(b.cmpi(arith::CmpIPredicate::slt, query, block.place.end(b)), [&] {
      for (auto [which, value] : llvm::enumerate(row))
        b.store(value, statistics, {block.place.task, query, b.index(which)});
    });
    return row;
  }

  /// P (dP - r) / sqrt(width)
  static Value scoreGradient(BackwardBlock &block, Value p, Value d,
                             Value product) {
    ThreadBuilder &b = block.b;
    return b.mulf(b.mulf(p, b.f32(block.scale())), b.subf(d, product));
  }

  static void emitQueryGradient(BackwardBlock &block, ValueRange values,
                                ArrayRef<Value> row) {
    ThreadBuilder &b = block.b;
    Value i = block.scoreRow();
    SmallVector<Value> sums = b.loop(
        block.place.keysBegin(b), block.place.keysEnd(b), block.shape.tile(),
        SmallVector<Value>(block.elements(), b.f32(0.0)),
        [&](Value key, ValueRange carried) {
          emitScores(block, values, key);
          block.forRowColumns([&](Value j) {
            Value e =
                block.exponential(b.load(block.scores, {i, j}), row[Maximum]);
            Value gradient =
                scoreGradient(block, b.mulf(e, row[Reciprocal]),
                              b.load(block.products, {i, j}), row[Product]);
            b.store(gradient, block.scores, {i, j});
          });
          b.barrier();
          SmallVector<Value> next;
          block.forElements([&](int64_t e, Value i, Value c) {
            next.push_back(block.accumulate(block.scores, /*transposed=*/false,
                                            block.keys, i, c, carried[e]));
          });
          b.barrier();
          return next;
        });
    block.forElements([&](int64_t e, Value i, Value c) {
      block.store(Side::queries, sums[e], values.back(), i, c);
    });
  }

  static void emitKeyGradients(BackwardBlock &block, ValueRange values) {
    ThreadBuilder &b = block.b;
    Value statistics = values.end()[-3];
    BlockPlace &place = block.place;
    block.load(Side::keys, values[1], place.first, block.keys);
    block.load(Side::keys, values[2], place.first, block.others);
    int64_t elements = block.elements();
    auto addTile = [&](Value query, ValueRange carried) {
      block.load(Side::queries, values[0], query, block.queries);
      block.load(Side::queries, values[4], query, block.gradients);
      b.barrier();
      block.forScores([&](Value i, Value j) {
        emitElement(block, statistics, query, i, j);
      });
      b.barrier();
      SmallVector<Value> next(2 * elements);
      block.forElements([&](int64_t e, Value j, Value c) {
        next[e] = block.accumulate(block.scores, /*transposed=*/true,
                                   block.queries, j, c, carried[e]);
        next[elements + e] =
            block.accumulate(block.products, /*transposed=*/true,
                             block.gradients, j, c, carried[elements + e]);
      });
      b.barrier();
      return next;
    };
    SmallVector<Value> zeros(2 * elements, b.f32(0.0));
    SmallVector<Value> sums = place.forGroup(b, zeros, [&](ValueRange carried) {
      return b.loop(place.queriesBegin(b), place.queriesEnd(b),
                    block.shape.tile(), carried, addTile);
    });
    block.forElements([&](int64_t e, Value j, Value c) {
      block.store(Side::keys, sums[e], values.end()[-2], j, c);
      block.store(Side::keys, sums[elements + e], values.end()[-1], j, c);
    });
  }

  /// dS to `scores` and D to `products`; zero behind the last query.
  static void emitElement(BackwardBlock &block, Value statistics,
                          Value firstQuery, Value i, Value j) {
    ThreadBuilder &b = block.b;
    Value query = b.addi(firstQuery, i), zero = b.f32(0.0);
    Value isQuery =
        b.cmpi(arith::CmpIPredicate::slt, query, block.place.end(b));
    auto statistic = [&](RowStatistic which) {
      return b.choose(
          isQuery,
          [&] {
            return b.load(statistics,
                          {block.place.task, query, b.index(which)});
          },
          zero);
    };
    Value score = block.score(block.queries, block.keys, firstQuery, i,
                              block.place.first, j);
    Value e = block.exponential(score, statistic(Maximum));
    Value p = b.mulf(e, statistic(Reciprocal));
    auto [d, kept] = block.gradientOf(i, firstQuery, j, block.place.first);
    Value gradient = scoreGradient(block, p, d, statistic(Product));
    if (kept)
      p = b.select(kept, b.mulf(p, b.f32(block.dropout->scale())), zero);
    b.store(b.select(isQuery, gradient, zero), block.scores, {i, j});
    b.store(b.select(isQuery, p, zero), block.products, {i, j});
  }
};
} // namespace

void pst::cuda::populateAttentionBackwardKernels(RewritePatternSet &patterns,
                                                 KernelContext &context) {
  patterns.add<AttentionBackwardPattern>(patterns.getContext(), context);
}
