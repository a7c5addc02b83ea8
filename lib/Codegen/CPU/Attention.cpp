//===- Attention.cpp - Attention ------------------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Attention.h"
#include "../Kernel/Dropout.h"
#include "../Kernel/VectorMath.h"
#include "pst/Dialect/NN/NNOps.h"
#include "llvm/Support/MathExtras.h"
#include <cmath>
#include <limits>
#include <numeric>

using namespace mlir;
using namespace pst;
using namespace pst::cpu;

int64_t AttentionShape::blockRows() const {
  // Long sequences get smaller blocks, so that keys, values and both blocks
  // of the backward stay in the second-level cache.
  int64_t most = length > 256 ? 16 : 32;
  if (length <= most)
    return length;
  for (int64_t rows = most; rows >= most / 2; --rows)
    if (length % rows == 0)
      return rows;
  return most;
}

/// Half of what OpenMP's threads have unless OMP_STACKSIZE says otherwise.
static constexpr int64_t kMostScratch = 2 << 20;

/// Bytes of a task that packs so many matrices and blocks, with `keys` rows and
/// columns.
static int64_t scratchBytes(const AttentionShape &shape, int64_t keys,
                            int64_t matrices, int64_t blocks) {
  int64_t padding = 2 * shape.lanes;
  int64_t floats = matrices * (keys + padding) * (shape.width + padding) +
                   blocks * shape.blockRows() * (keys + padding);
  return floats * int64_t(sizeof(float));
}

int64_t AttentionShape::keyTile() const {
  // The backward packs most: what it has room for, attention has.
  int64_t keys = std::min<int64_t>(length, 1024);
  while (keys > 64 && scratchBytes(*this, keys, 3, 2) > kMostScratch)
    keys = llvm::PowerOf2Ceil(keys) / 2;
  return keys;
}

LogicalResult AttentionShape::checkScratch(Operation *op, int64_t matrices,
                                           int64_t blocks) const {
  int64_t bytes = scratchBytes(*this, keyTile(), matrices, blocks);
  if (bytes <= kMostScratch)
    return success();
  return op->emitOpError("needs ")
         << bytes << " bytes of scratch for " << keyTile()
         << " keys of a head of " << width << " columns, but at most "
         << kMostScratch << " are there; use more, narrower heads";
}

SmallVector<RankedTensorType> AttentionShape::statistics(OpBuilder &builder,
                                                         int64_t values) const {
  if (!isTiled())
    return {};
  return SmallVector<RankedTensorType>(
      values,
      RankedTensorType::get({batch * heads, length}, builder.getF32Type()));
}

AttentionHead::AttentionHead(KernelBuilder &b, const AttentionShape &shape,
                             Value batch, Value head, Value mask,
                             const PackedRows *packed)
    : shape(shape), mask(packed ? Value() : mask), batch(batch) {
  int64_t length = shape.length, lanes = shape.lanes;
  row = b.muli(batch, length);
  if (packed) {
    auto start = [&](Value sequence) {
      return PackedRows::readStart(b, packed->starts, sequence);
    };
    row = start(batch);
    count = b.subi(start(b.addi(batch, 1)), row);
  } else if (shape.isTiled()) {
    count = b.index(length);
  }
  keyColumn = b.muli(b.divi(head, shape.groups()), shape.width);
  setHead(b, head);
  // As long as a row of panels: at most one vector more than the keys.
  bias = b.stackBuffer(int64_t(llvm::alignTo(shape.keyTile() + lanes, lanes)));
  if (!shape.isTiled())
    fillBias(b);
}

void AttentionHead::fillBias(KernelBuilder &b) {
  Value there = keys() ? keys() : b.index(shape.length);
  b.loop(b.index(0), there, 1, [&](Value j) {
    if (!mask)
      return b.store(b.f32(0.0), bias, j);
    Value key = tileBegin ? b.addi(tileBegin, j) : j;
    Value isToken =
        b.cmpi(arith::CmpIPredicate::ne, b.load(mask, {batch, key}), b.i32(0));
    Value lowest = b.f32(std::numeric_limits<float>::lowest());
    b.store(b.select(isToken, b.f32(0.0), lowest), bias, j);
  });
  int64_t padded = cast<MemRefType>(bias.getType()).getDimSize(0);
  b.loop(there, b.index(padded), 1, [&](Value j) {
    b.store(b.f32(-std::numeric_limits<double>::infinity()), bias, j);
  });
}

void AttentionHead::forKeyTiles(KernelBuilder &b, function_ref<void()> body) {
  if (!shape.isTiled())
    return body();
  int64_t size = shape.keyTile();
  b.loop(b.index(0), count, size, [&](Value begin) {
    tileBegin = begin;
    tileKeys = b.mini(b.subi(count, begin), b.index(size));
    fillBias(b);
    body();
  });
  tileBegin = tileKeys = nullptr;
}

void AttentionHead::setHead(KernelBuilder &b, Value head) {
  task = b.addi(b.muli(batch, shape.heads), head);
  column = b.muli(head, shape.width);
}

void AttentionHead::forBlocks(
    KernelBuilder &b, function_ref<void(const QueryBlock &)> body) const {
  int64_t rows = shape.blockRows(), whole = shape.length / rows * rows;
  if (tileBegin) {
    Value first = b.index(0), end = count;
    if (shape.causal)
      first = b.muli(b.divi(tileBegin, rows), rows);
    if (shape.window)
      end = b.mini(end, b.addi(tileBegin, shape.keyTile() + shape.window - 1));
    return b.loop(first, end, rows, [&](Value begin) {
      Value here = b.mini(b.subi(count, begin), b.index(rows));
      Value seen = tileKeys;
      if (shape.causal)
        seen = b.mini(seen, b.subi(b.addi(begin, here), tileBegin));
      body({begin, rows, here, seen});
    });
  }
  if (count)
    return b.loop(b.index(0), count, rows, [&](Value begin) {
      Value here = b.mini(b.subi(count, begin), b.index(rows));
      body({begin, rows, here, shape.causal ? b.addi(begin, here) : count});
    });
  auto emit = [&](Value begin, int64_t rows) {
    body({begin, rows, /*count=*/nullptr,
          shape.causal ? b.addi(begin, rows) : Value()});
  };
  b.loop(0, whole, rows, [&](Value begin) { emit(begin, rows); });
  if (whole != shape.length)
    emit(b.index(whole), shape.length - whole);
}

Value AttentionHead::scoresEnd(KernelBuilder &b, const QueryBlock &block,
                               const Panels &keys) const {
  int64_t lanes = shape.lanes, width = keys.width();
  Value all = b.index(llvm::alignTo(shape.keyTile(), lanes));
  if (!block.keys)
    return all;
  // Whole panels, as the product has made them.
  Value panels = b.divi(b.addi(block.keys, width - 1), width);
  return b.mini(b.muli(panels, width), all);
}

Value AttentionHead::excludeUnseen(KernelBuilder &b, const QueryBlock &block,
                                   const ResultVector &place,
                                   Value scores) const {
  int64_t lanes = place.lanes;
  SmallVector<int32_t> numbers(lanes);
  std::iota(numbers.begin(), numbers.end(), 0);
  auto type = cast<VectorType>(b.lanesType(lanes, b.getI32Type()));
  Value lane = arith::ConstantOp::create(
      b, DenseElementsAttr::get(type, ArrayRef(numbers)));
  Value query = b.addi(block.begin, place.row);
  if (tileBegin)
    query = b.subi(query, tileBegin);
  Value lowest = b.f32(-std::numeric_limits<double>::infinity(), lanes);
  auto keep = [&](arith::CmpIPredicate predicate, Value limit) {
    Value inVector = arith::IndexCastOp::create(b, b.getI32Type(),
                                                b.subi(limit, place.column));
    Value seen = b.cmpi(predicate, lane, b.splat(inVector, lanes));
    scores = b.select(seen, scores, lowest);
  };
  keep(arith::CmpIPredicate::sle, query);
  if (shape.window)
    keep(arith::CmpIPredicate::sgt, b.subi(query, b.index(shape.window)));
  return scores;
}

DropoutPlace AttentionHead::probabilityPlace(KernelBuilder &b, Value i,
                                             Value j) const {
  return DropoutPlace::ofProbability(b, task, i,
                                     tileBegin ? b.addi(tileBegin, j) : j);
}

void AttentionHead::emitScores(KernelBuilder &b, Window query,
                               const QueryBlock &block, const Panels &keys,
                               Value scores) const {
  int64_t lanes = shape.lanes;
  double scale = 1.0 / std::sqrt(double(shape.width));
  emitProduct(
      b, block.rows, keys,
      [&](Value i, Value k) {
        return b.load(query.buffer,
                      {b.addi(query.row, i), b.addi(query.column, k)});
      },
      /*initial=*/nullptr,
      [&](const ResultVector &place, Value sum) {
        Value score =
            b.fma(sum, b.f32(scale, lanes), b.load(bias, place.column, lanes));
        if (shape.causal)
          score = excludeUnseen(b, block, place, score);
        b.store(score, scores, {place.row, place.column});
      },
      {block.count, block.keys, /*depth=*/nullptr, block.count != nullptr});
}

/// The largest of a row's scores before `end`.
static Value largestScore(KernelBuilder &b, Value scores, Value i, Value end,
                          int64_t lanes) {
  return b.maxLanes(
      b.loop(b.index(0), end, lanes,
             {b.f32(std::numeric_limits<float>::lowest(), lanes)},
             [&](Value j, ValueRange carried) -> SmallVector<Value> {
               return {b.maxf(b.load(scores, {i, j}, lanes), carried[0])};
             })[0]);
}

void AttentionHead::emitExponentials(
    KernelBuilder &b, Window query, const QueryBlock &block, const Panels &keys,
    Value scores, Value sums,
    function_ref<Value(Value, Value, Value)> store) const {
  int64_t lanes = shape.lanes;
  emitScores(b, query, block, keys, scores);
  Value end = scoresEnd(b, block, keys);
  block.forRows(b, [&](Value i) {
    Value largest = largestScore(b, scores, i, end, lanes);
    Value sum = b.loop(b.index(0), end, lanes, {b.f32(0.0, lanes)},
                       [&](Value j, ValueRange carried) -> SmallVector<Value> {
                         Value e = expNonPositive(
                             b, b.subf(b.load(scores, {i, j}, lanes),
                                       b.splat(largest, lanes)));
                         b.store(store(i, j, e), scores, {i, j});
                         return {b.addf(carried[0], e)};
                       })[0];
    b.store(b.sumLanes(sum), sums, i);
  });
}

Value AttentionHead::continueSums(
    KernelBuilder &b, const QueryBlock &block, const Panels &keys, Value scores,
    Value i, ValueRange statistics,
    function_ref<SmallVector<Value>(Value, Value)> visit) const {
  int64_t lanes = shape.lanes;
  Value end = scoresEnd(b, block, keys);
  SmallVector<Value> place = statisticsAt(b.addi(block.begin, i));
  Value before = b.load(statistics[0], place);
  Value largest = b.maxf(largestScore(b, scores, i, end, lanes), before);
  SmallVector<Value> zeros(statistics.size() - 1, b.f32(0.0, lanes));
  auto sums =
      b.loop(b.index(0), end, lanes, zeros,
             [&](Value j, ValueRange carried) -> SmallVector<Value> {
               Value e = expNonPositive(b, b.subf(b.load(scores, {i, j}, lanes),
                                                  b.splat(largest, lanes)));
               SmallVector<Value> next = visit(j, e);
               for (auto [sum, value] : llvm::zip_equal(next, carried))
                 sum = b.addf(value, sum);
               return next;
             });
  Value factor = expNonPositive(b, b.subf(before, largest));
  b.store(largest, statistics[0], place);
  for (auto [buffer, sum] : llvm::zip_equal(statistics.drop_front(), sums))
    b.store(b.fma(b.load(buffer, place), factor, b.sumLanes(sum)), buffer,
            place);
  return factor;
}

void AttentionHead::forQueries(
    KernelBuilder &b, function_ref<void(Value, ArrayRef<Value>)> body) const {
  b.loop(b.index(0), count, 1,
         [&](Value query) { body(query, statisticsAt(query)); });
}

namespace {
/// for heads of sequences in parallel:
///   for tiles of keys (one, but of long sequences):
///     K^T, V into panels
///     for blocks of query rows, with the keys they see:
///       E = exponentials of Q K^T, zero where dropped
///       result = E V / (row sums * (1 - probability))
/// With several tiles, the result of those before is scaled to the largest
/// score so far, and divided by the sums at the end (Milakov, Gimelshein 2018).
struct AttentionPattern : KernelPattern<nn::AttentionOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(nn::AttentionOp op,
                                PatternRewriter &rewriter) const override {
    AttentionShape shape = attentionShape(op, context.lanes());
    if (failed(shape.checkScratch(op, /*matrices=*/2, /*blocks=*/1)))
      return failure();
    SmallVector<Value> inputs{op.getQuery(), op.getKey(), op.getValue(),
                              op.getMask()};
    if (op.getSeed()) {
      inputs.push_back(op.getSeed());
      inputs.push_back(
          arith::ConstantOp::create(rewriter, op.getLoc(), op.getSiteAttr()));
    }
    context.replaceByLaunch(
        rewriter, op, inputs, shape.statistics(rewriter, 2),
        [&](KernelBuilder &b, ValueRange arguments) {
          context.emitParallelTasks(
              b, "head", shape.batch * shape.heads, arguments,
              [&](KernelBuilder &b, Value task, ValueRange arguments) {
                std::optional<DropoutMask> dropout;
                if (op.getSeed())
                  dropout.emplace(b, arguments[4], arguments[5],
                                  op.getProbability()->convertToDouble());
                emitHead(b, shape, context.packedRows(), arguments, dropout,
                         task);
              });
        });
    return success();
  }

private:
  static void emitHead(KernelBuilder &b, const AttentionShape &shape,
                       const PackedRows *packed, ValueRange arguments,
                       const std::optional<DropoutMask> &dropout, Value task) {
    int64_t lanes = shape.lanes;
    AttentionHead head(b, shape, b.divi(task, shape.heads),
                       b.remi(task, shape.heads), arguments[3], packed);
    int64_t tile = shape.keyTile();
    Panels keys(b, shape.width, tile, lanes);
    Panels values(b, tile, shape.width, lanes);
    Value scores = b.stackBuffer({shape.blockRows(), keys.paddedColumns()});
    // By row: the sums, or what a tile scales the result of those before it by.
    Value factors = b.stackBuffer({shape.blockRows()});
    // The largest score and the sum so far, of keys in tiles.
    ValueRange statistics = arguments.take_back(shape.isTiled() ? 2 : 0);
    Value output = arguments.drop_back(statistics.size()).back();
    Window whole = head.window(b, output, b.index(0));
    auto forOutput = [&](Value query, function_ref<Value(Value)> next) {
      b.vectorLoop(shape.width, lanes, [&](Value column, int64_t width) {
        SmallVector<Value> at{b.addi(whole.row, query),
                              b.addi(whole.column, column)};
        Value value = next ? next(b.load(output, at, width)) : Value();
        b.store(value ? value : b.f32(0.0, width), output, at);
      });
    };
    if (shape.isTiled())
      head.forQueries(b, [&](Value query, ArrayRef<Value> place) {
        b.store(b.f32(std::numeric_limits<float>::lowest()), statistics[0],
                place);
        b.store(b.f32(0.0), statistics[1], place);
        forOutput(query, nullptr);
      });
    head.forKeyTiles(b, [&] {
      keys.packTransposed(b, head.keyWindow(b, arguments[1]), head.keys());
      values.pack(b, head.keyWindow(b, arguments[2]), head.keys());
      head.forBlocks(b, [&](const QueryBlock &block) {
        Window query = head.window(b, arguments[0], block.begin);
        auto kept = [&](Value i, Value j, Value e) {
          if (!dropout)
            return e;
          DropoutPlace place =
              head.probabilityPlace(b, b.addi(block.begin, i), j);
          return b.select(dropout->kept(b, place, lanes), e, b.f32(0.0, lanes));
        };
        if (shape.isTiled()) {
          head.emitScores(b, query, block, keys, scores);
          block.forRows(b, [&](Value i) {
            Value factor =
                head.continueSums(b, block, keys, scores, i, statistics,
                                  [&](Value j, Value e) -> SmallVector<Value> {
                                    b.store(kept(i, j, e), scores, {i, j});
                                    return {e};
                                  });
            b.store(factor, factors, i);
          });
        } else {
          head.emitExponentials(b, query, block, keys, scores, factors, kept);
        }
        Window result = head.window(b, output, block.begin);
        auto scaled = [&](const ResultVector &place) -> Value {
          return b.mulf(loadColumns(b, result, place),
                        b.splat(b.load(factors, place.row), lanes));
        };
        auto finish = [&](const ResultVector &place, Value sum) {
          if (!shape.isTiled()) {
            Value factor = b.divf(b.f32(dropout ? dropout->scale() : 1.0),
                                  b.load(factors, place.row));
            sum = b.mulf(sum, b.splat(factor, lanes));
          }
          storeColumns(b, sum, result, place);
        };
        auto probability = [&](Value i, Value k) {
          return b.load(scores, {i, k});
        };
        ProductExtent extent{block.count, /*columns=*/nullptr, block.keys,
                             block.count != nullptr};
        function_ref<Value(const ResultVector &)> initial;
        if (shape.isTiled())
          initial = scaled;
        emitProduct(b, block.rows, values, probability, initial, finish,
                    extent);
      });
    });
    if (shape.isTiled())
      head.forQueries(b, [&](Value query, ArrayRef<Value> place) {
        Value factor = b.divf(b.f32(dropout ? dropout->scale() : 1.0),
                              b.load(statistics[1], place));
        forOutput(query, [&](Value value) {
          return b.mulf(value, b.splat(factor, b.lanesOf(value)));
        });
      });
  }
};
} // namespace

void pst::cpu::populateAttentionKernels(RewritePatternSet &patterns,
                                        KernelContext &context) {
  patterns.add<AttentionPattern>(patterns.getContext(), context);
  populateAttentionBackwardKernels(patterns, context);
}
