//===- AttentionBackward.cpp - Gradients of attention ---------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "../Kernel/Dropout.h"
#include "Attention.h"
#include "pst/Dialect/NN/NNOps.h"
#include <cmath>

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
        gradient(arguments[4]), queryGradient(arguments.end()[-3]),
        keyGradient(arguments.end()[-2]), valueGradient(arguments.end()[-1]),
        firstHead(b.muli(b.remi(task, shape.keyHeads), shape.groups())),
        head(b, shape, b.divi(task, shape.keyHeads), firstHead, arguments[3],
             packed),
        keysT(b, shape.width, shape.length, lanes),
        valuesT(b, shape.width, shape.length, lanes),
        keys(b, shape.length, shape.width, lanes),
        blockRows(b, shape.blockRows(), shape.width, lanes) {
    SmallVector<int64_t> block{shape.blockRows(), keysT.paddedColumns()};
    probabilities = b.stackBuffer(block);
    scoreGradients = b.stackBuffer(block);
    sums = b.stackBuffer({shape.blockRows()});
  }

  void emit() {
    Value tokens = head.tokens();
    keysT.packTransposed(b, head.keyWindow(key), tokens);
    valuesT.packTransposed(b, head.keyWindow(value), tokens);
    keys.pack(b, head.keyWindow(key), tokens);
    if (isAdded())
      for (Value result : {keyGradient, valueGradient})
        clear(head.keyWindow(result), tokens ? tokens : b.index(shape.length),
              shape.width);
    auto emitHead = [&] {
      // The rows of dK and dV are rounded up to a tile: what lies behind the
      // keys that a block sees must add nothing.
      if (shape.causal)
        for (Value block : {probabilities, scoreGradients})
          clear({block, b.index(0), b.index(0)}, b.index(shape.blockRows()),
                keysT.paddedColumns());
      head.forBlocks(b, [&](const QueryBlock &block) { emitBlock(block); });
    };
    if (shape.groups() == 1)
      return emitHead();
    b.loop(0, shape.groups(), 1, [&](Value group) {
      head.setHead(b, b.addi(firstHead, group));
      emitHead();
    });
  }

private:
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

  void emitBlock(const QueryBlock &block) {
    Window queryBlock = head.window(b, query, block.begin);
    Window gradientBlock = head.window(b, gradient, block.begin);
    head.emitExponentials(b, queryBlock, block, keysT, probabilities, sums,
                          [](Value, Value, Value e) { return e; });
    // dD = gradient V^T
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
    block.forRows(b, [&](Value i) { emitRow(block, i); });
    // dQ = dS K (dS is scaled already)
    Window queryGradientBlock = head.window(b, queryGradient, block.begin);
    emitProduct(
        b, block.rows, keys,
        [&](Value i, Value k) { return b.load(scoreGradients, {i, k}); },
        /*initial=*/nullptr,
        [&](const ResultVector &place, Value sum) {
          storeColumns(b, sum, queryGradientBlock, place);
        },
        {block.count, /*columns=*/nullptr, block.keys, block.count != nullptr});
    addTransposed(scoreGradients, queryBlock, block,
                  head.keyWindow(keyGradient));
    addTransposed(probabilities, gradientBlock, block,
                  head.keyWindow(valueGradient));
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
    Value product = b.loop(
        b.index(0), end, lanes, {zero},
        [&](Value j, ValueRange carried) -> SmallVector<Value> {
          Value p = b.mulf(b.load(probabilities, {i, j}, lanes), reciprocal);
          Value d = b.load(scoreGradients, {i, j}, lanes);
          Value marked = p;
          if (dropout) {
            Value index = head.probabilityIndex(b, b.addi(block.begin, i), j);
            Value kept = dropout->kept(b, index, lanes);
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
    auto initial = [&](const ResultVector &place) {
      return loadColumns(b, result, place);
    };
    auto finish = [&](const ResultVector &place, Value sum) {
      storeColumns(b, sum, result, place);
    };
    auto lhs = [&](Value i, Value k) { return b.load(scores, {k, i}); };
    // Beyond the keys that there are, rows are those of another sequence.
    ProductExtent extent{block.keys, /*columns=*/nullptr, block.count,
                         block.count != nullptr};
    if (isAdded())
      emitProduct(b, shape.length, panels, lhs, initial, finish, extent);
    else
      emitProduct(b, shape.length, panels, lhs, /*initial=*/nullptr, finish,
                  extent);
  }

  KernelBuilder &b;
  const AttentionShape &shape;
  int64_t lanes;
  const std::optional<DropoutMask> &dropout;
  Value query, key, value, gradient, queryGradient, keyGradient, valueGradient;
  Value firstHead; ///< Of the queries, the first one that shares the keys.
  AttentionHead head;
  Panels keysT, valuesT, keys;
  Panels blockRows; ///< A block's rows of query or gradient.
  Value probabilities, scoreGradients, sums;
};

/// for heads of keys of sequences in parallel:
///   K^T, V^T, K into panels
///   for heads of queries that share them, for blocks of query rows: P again;
///   dS and D; dQ; dK and dV added to
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
        rewriter, op, inputs, /*workspaces=*/{},
        [&](KernelBuilder &b, ValueRange arguments) {
          context.emitParallelTasks(
              b, "head", shape.batch * shape.keyHeads, arguments,
              [&](KernelBuilder &b, Value task, ValueRange arguments) {
                std::optional<DropoutMask> dropout;
                if (op.getSeed())
                  dropout.emplace(b, arguments[5], arguments[6],
                                  op.getProbability()->convertToDouble(),
                                  shape.probabilities());
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
