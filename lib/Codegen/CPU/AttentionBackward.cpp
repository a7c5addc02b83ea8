//===- AttentionBackward.cpp - Gradients of attention ---------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "../Kernel/Dropout.h"
#include "../Kernel/VectorMath.h"
#include "Attention.h"
#include "pst/Dialect/NN/NNOps.h"
#include <cmath>
#include <limits>

using namespace mlir;
using namespace pst;
using namespace pst::cpu;

namespace {
/// Emits the task of one head of keys, of one sequence.
class HeadBackward {
public:
  /// `task` is batch * keyHeads + the keys' head.
  HeadBackward(KernelBuilder &b, const AttentionShape &shape,
               const PackedRows *packed, ValueRange arguments,
               const std::optional<DropoutMask> &dropout, Value task)
      : b(b), shape(shape), lanes(shape.lanes), dropout(dropout),
        query(arguments[0]), key(arguments[1]), value(arguments[2]),
        gradient(arguments[4]),
        statistics(arguments.take_back(shape.isTiled() ? kStatistics : 0)),
        firstHead(b.muli(b.remi(task, shape.keyHeads), shape.groups())),
        head(b, shape, b.divi(task, shape.keyHeads), firstHead, arguments[3],
             packed),
        keysT(b, shape.width, shape.keyTile(), lanes),
        valuesT(b, shape.width, shape.keyTile(), lanes),
        keys(b, shape.keyTile(), shape.width, lanes),
        blockRows(b, shape.blockRows(), shape.width, lanes) {
    ValueRange results = arguments.drop_back(statistics.size()).take_back(3);
    queryGradient = results[0];
    keyGradient = results[1];
    valueGradient = results[2];
    SmallVector<int64_t> block{shape.blockRows(), keysT.paddedColumns()};
    probabilities = b.stackBuffer(block);
    scoreGradients = b.stackBuffer(block);
    sums = b.stackBuffer({shape.blockRows()});
  }

  /// Of each query where keys come in tiles: the largest score, the sum of the
  /// exponentials, and rowsum(dP * P).
  static constexpr int64_t kStatistics = 3;

  void emit() {
    if (shape.isTiled())
      emitStatistics();
    head.forKeyTiles(b, [&] {
      packTransposed();
      keys.pack(b, head.keyWindow(b, key), head.keys());
      if (isAdded())
        for (Value result : {keyGradient, valueGradient})
          clear(head.keyWindow(b, result),
                head.keys() ? head.keys() : b.index(shape.length), shape.width);
      forHeads([&] {
        // The rows of dK and dV are rounded up to a tile: what lies behind the
        // keys that a block sees must add nothing.
        if (shape.causal && !shape.isTiled())
          for (Value block : {probabilities, scoreGradients})
            clear({block, b.index(0), b.index(0)}, b.index(shape.blockRows()),
                  keysT.paddedColumns());
        head.forBlocks(b, [&](const QueryBlock &block) { emitBlock(block); });
      });
    });
  }

private:
  /// body() for each head of queries that shares the keys.
  void forHeads(function_ref<void()> body) {
    if (shape.groups() == 1)
      return body();
    b.loop(0, shape.groups(), 1, [&](Value group) {
      head.setHead(b, b.addi(firstHead, group));
      body();
    });
  }

  void packTransposed() {
    keysT.packTransposed(b, head.keyWindow(b, key), head.keys());
    valuesT.packTransposed(b, head.keyWindow(b, value), head.keys());
  }

  /// All tiles of keys once, for what a row of scores has in common, which the
  /// gradients of each tile need; dQ becomes zero.
  void emitStatistics() {
    forHeads([&] {
      clear(head.window(b, queryGradient, b.index(0)), head.tokens(),
            shape.width);
      head.forQueries(b, [&](Value, ArrayRef<Value> place) {
        Value lowest = b.f32(std::numeric_limits<float>::lowest());
        for (auto [i, buffer] : llvm::enumerate(statistics))
          b.store(i ? b.f32(0.0) : lowest, buffer, place);
      });
    });
    head.forKeyTiles(b, [&] {
      packTransposed();
      forHeads([&] {
        head.forBlocks(b, [&](const QueryBlock &block) {
          emitScoresAndGradients(block);
          block.forRows(b, [&](Value i) {
            head.continueSums(b, block, keysT, probabilities, i, statistics,
                              [&](Value j, Value e) -> SmallVector<Value> {
                                Value d = b.load(scoreGradients, {i, j}, lanes);
                                d = dropped(kept(block, i, j), d);
                                return {e, b.mulf(d, e)};
                              });
          });
        });
      });
    });
    forHeads([&] {
      head.forQueries(b, [&](Value, ArrayRef<Value> place) {
        Value sum = b.load(statistics[1], place);
        b.store(b.divf(b.load(statistics[2], place), sum), statistics[2],
                place);
      });
    });
  }

  /// The lanes of a vector of probabilities that dropout keeps; null: all.
  Value kept(const QueryBlock &block, Value i, Value j) {
    if (!dropout)
      return nullptr;
    return dropout->kept(b, head.probabilityPlace(b, b.addi(block.begin, i), j),
                         lanes);
  }

  /// `value` under the dropout: scaled, or zero.
  Value dropped(Value kept, Value value) {
    if (!kept)
      return value;
    Value scale = b.f32(dropout->scale(), lanes);
    return b.select(kept, b.mulf(value, scale), b.f32(0.0, lanes));
  }

  /// Whether the gradients of keys and values come in several parts.
  bool isAdded() const {
    return shape.blockRows() < shape.length || shape.groups() > 1;
  }

  void clear(Window window, Value rows, int64_t columns) {
    b.loop(b.index(0), rows, 1, [&](Value i) {
      b.vectorLoop(columns, lanes, [&](Value j, int64_t width) {
        b.store(b.f32(0.0, width), window.buffer,
                {b.addi(window.row, i), b.addi(window.column, j)});
      });
    });
  }

  /// The block's scores into `probabilities`, and dD = gradient V^T.
  void emitScoresAndGradients(const QueryBlock &block) {
    head.emitScores(b, head.window(b, query, block.begin), block, keysT,
                    probabilities);
    emitDropoutGradients(block);
  }

  /// dD = gradient V^T
  void emitDropoutGradients(const QueryBlock &block) {
    Window gradientBlock = head.window(b, gradient, block.begin);
    emitProduct(
        b, block.rows, valuesT,
        [&](Value i, Value k) {
          return b.load(
              gradientBlock.buffer,
              {b.addi(gradientBlock.row, i), b.addi(gradientBlock.column, k)});
        },
        /*initial=*/nullptr,
        [&](const ResultVector &place, Value sum) {
          b.store(sum, scoreGradients, {place.row, place.column});
        },
        {block.count, block.keys, /*depth=*/nullptr, block.count != nullptr});
  }

  void emitBlock(const QueryBlock &block) {
    Window queryBlock = head.window(b, query, block.begin);
    Window gradientBlock = head.window(b, gradient, block.begin);
    if (shape.isTiled()) {
      emitScoresAndGradients(block);
      block.forRows(b, [&](Value i) { emitRowOfTile(block, i); });
    } else {
      head.emitExponentials(b, queryBlock, block, keysT, probabilities, sums,
                            [](Value, Value, Value e) { return e; });
      emitDropoutGradients(block);
      block.forRows(b, [&](Value i) { emitRow(block, i); });
    }
    // dQ = dS K (dS is scaled already)
    Window queryGradientBlock = head.window(b, queryGradient, block.begin);
    auto load = [&](Value i, Value k) {
      return b.load(scoreGradients, {i, k});
    };
    auto soFar = [&](const ResultVector &place) {
      return loadColumns(b, queryGradientBlock, place);
    };
    auto finish = [&](const ResultVector &place, Value sum) {
      storeColumns(b, sum, queryGradientBlock, place);
    };
    ProductExtent extent{block.count, /*columns=*/nullptr, block.keys,
                         block.count != nullptr};
    function_ref<Value(const ResultVector &)> initial;
    if (shape.isTiled())
      initial = soFar;
    emitProduct(b, block.rows, keys, load, initial, finish, extent);
    addTransposed(scoreGradients, queryBlock, block,
                  head.keyWindow(b, keyGradient));
    addTransposed(probabilities, gradientBlock, block,
                  head.keyWindow(b, valueGradient));
  }

  /// A row of the block, whose statistics are known, over a tile of keys:
  ///   P = e / sum, dS = P (dP - r) / sqrt(width) over dD, D = dropout(P) over
  ///   the scores
  void emitRowOfTile(const QueryBlock &block, Value i) {
    SmallVector<Value> place = head.statisticsAt(b.addi(block.begin, i));
    auto all = [&](Value scalar) { return b.splat(scalar, lanes); };
    Value largest = all(b.load(statistics[0], place));
    Value reciprocal = all(b.divf(b.f32(1.0), b.load(statistics[1], place)));
    Value rowSum = all(b.load(statistics[2], place));
    Value factor = b.f32(1.0 / std::sqrt(double(shape.width)), lanes);
    b.loop(b.index(0), head.scoresEnd(b, block, keysT), lanes, [&](Value j) {
      Value score = b.load(probabilities, {i, j}, lanes);
      Value p =
          b.mulf(kernel::expNonPositive(b, b.subf(score, largest)), reciprocal);
      Value d = b.load(scoreGradients, {i, j}, lanes);
      Value keep = kept(block, i, j);
      b.store(dropped(keep, p), probabilities, {i, j});
      b.store(b.mulf(b.mulf(p, factor), b.subf(dropped(keep, d), rowSum)),
              scoreGradients, {i, j});
    });
  }

  /// A row of the block, in two passes over the keys:
  ///   P = e / sum, dP = dD under the dropout, r = rowsum(dP * P)
  ///   dS = P (dP - r) / sqrt(width) over dD, D = dropout(P) over e
  /// Between the passes, the sign of P tells that it is dropped.
  void emitRow(const QueryBlock &block, Value i) {
    Value end = head.scoresEnd(b, block, keysT);
    auto all = [&](Value scalar) { return b.splat(scalar, lanes); };
    Value zero = b.f32(0.0, lanes);
    Value scale = b.f32(dropout ? dropout->scale() : 1.0, lanes);
    Value reciprocal = all(b.divf(b.f32(1.0), b.load(sums, i)));
    Value product =
        b.loop(b.index(0), end, lanes, {zero},
               [&](Value j, ValueRange carried) -> SmallVector<Value> {
                 Value p =
                     b.mulf(b.load(probabilities, {i, j}, lanes), reciprocal);
                 Value d = b.load(scoreGradients, {i, j}, lanes);
                 Value marked = p;
                 if (Value kept = this->kept(block, i, j)) {
                   d = b.select(kept, b.mulf(d, scale), zero);
                   marked = b.select(kept, p, b.subf(zero, p));
                 }
                 b.store(marked, probabilities, {i, j});
                 return {b.fma(d, p, carried[0])};
               })[0];
    Value rowSum = all(b.sumLanes(product));
    Value factor = b.f32(1.0 / std::sqrt(double(shape.width)), lanes);
    b.loop(b.index(0), end, lanes, [&](Value j) {
      Value marked = b.load(probabilities, {i, j}, lanes);
      Value d = b.load(scoreGradients, {i, j}, lanes);
      Value p = marked;
      if (dropout) {
        Value kept = b.cmpf(arith::CmpFPredicate::OGT, marked, zero);
        p = b.absf(marked);
        d = b.select(kept, b.mulf(d, scale), zero);
        b.store(b.select(kept, b.mulf(p, scale), zero), probabilities, {i, j});
      }
      b.store(b.mulf(b.mulf(p, factor), b.subf(d, rowSum)), scoreGradients,
              {i, j});
    });
  }

  /// result += scores^T rows, where `scores` is rows x length and `window` the
  /// rows of query or gradient that belong to it.
  void addTransposed(Value scores, Window window, const QueryBlock &block,
                     Window result) {
    Panels panels = blockRows.withDepth(block.rows);
    panels.pack(b, window, block.count);
    auto soFar = [&](const ResultVector &place) {
      return loadColumns(b, result, place);
    };
    auto finish = [&](const ResultVector &place, Value sum) {
      storeColumns(b, sum, result, place);
    };
    auto lhs = [&](Value i, Value k) { return b.load(scores, {k, i}); };
    // Beyond the keys that there are, rows are those of another sequence.
    ProductExtent extent{block.keys, /*columns=*/nullptr, block.count,
                         block.count != nullptr};
    function_ref<Value(const ResultVector &)> initial;
    if (isAdded())
      initial = soFar;
    emitProduct(b, shape.keyTile(), panels, lhs, initial, finish, extent);
  }

  KernelBuilder &b;
  const AttentionShape &shape;
  int64_t lanes;
  const std::optional<DropoutMask> &dropout;
  Value query, key, value, gradient, queryGradient, keyGradient, valueGradient;
  ValueRange statistics;
  Value firstHead; ///< Of the queries, the first one that shares the keys.
  AttentionHead head;
  Panels keysT, valuesT, keys;
  Panels blockRows; ///< A block's rows of query or gradient.
  Value probabilities, scoreGradients, sums;
};

/// for heads of keys of sequences in parallel:
///   for tiles of keys (one, but of long sequences):
///     K^T, V^T, K into panels
///     for heads of queries that share them, for blocks of query rows: P again;
///     dS and D; dQ; dK and dV added to
/// With several tiles, a pass over all of them comes first: for the sums over a
/// row that P and dS need.
struct AttentionBackwardPattern : KernelPattern<nn::AttentionBackwardOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(nn::AttentionBackwardOp op,
                                PatternRewriter &rewriter) const override {
    AttentionShape shape = attentionShape(op, context.lanes());
    if (failed(shape.checkScratch(op, /*matrices=*/3, /*blocks=*/2)))
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
        shape.statistics(rewriter, HeadBackward::kStatistics),
        [&](KernelBuilder &b, ValueRange arguments) {
          context.emitParallelTasks(
              b, "head", shape.batch * shape.keyHeads, arguments,
              [&](KernelBuilder &b, Value task, ValueRange arguments) {
                std::optional<DropoutMask> dropout;
                if (op.getSeed())
                  dropout.emplace(b, arguments[5], arguments[6],
                                  op.getProbability()->convertToDouble());
                HeadBackward(b, shape, context.packedRows(), arguments, dropout,
                             task)
                    .emit();
              });
        });
    return success();
  }
};
} // namespace

void pst::cpu::populateAttentionBackwardKernels(RewritePatternSet &patterns,
                                                KernelContext &context) {
  patterns.add<AttentionBackwardPattern>(patterns.getContext(), context);
}
