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

LogicalResult AttentionShape::checkScratch(Operation *op, int64_t matrices,
                                           int64_t blocks) const {
  // Half of what OpenMP's threads have unless OMP_STACKSIZE says otherwise.
  constexpr int64_t kMost = 2 << 20;
  int64_t padding = 2 * lanes;
  int64_t floats = matrices * (length + padding) * (width + padding) +
                   blocks * blockRows() * (length + padding);
  int64_t bytes = floats * int64_t(sizeof(float));
  if (bytes <= kMost)
    return success();
  return op->emitOpError("needs ")
         << bytes << " bytes of scratch for a head of " << length
         << " tokens x " << width << " columns, but at most " << kMost
         << " are there; shorten the sequence";
}

AttentionHead::AttentionHead(KernelBuilder &b, const AttentionShape &shape,
                             Value batch, Value head, Value mask,
                             const PackedRows *packed)
    : shape(shape), batch(batch) {
  int64_t length = shape.length, lanes = shape.lanes;
  row = b.muli(batch, length);
  if (packed) {
    auto start = [&](Value sequence) {
      return arith::IndexCastOp::create(b, b.getIndexType(),
                                        b.load(packed->starts, sequence));
    };
    row = start(batch);
    count = b.subi(start(b.addi(batch, 1)), row);
  }
  keyColumn = b.muli(b.divi(head, shape.groups()), shape.width);
  setHead(b, head);
  // As long as a row of panels: at most one vector more than the sequence.
  int64_t padded = (length + 2 * lanes - 1) / lanes * lanes;
  bias = b.stackBuffer({padded});
  Value tokens = count ? count : b.index(length);
  b.loop(b.index(0), tokens, 1, [&](Value j) {
    if (count)
      return b.store(b.f32(0.0), bias, j);
    Value isToken =
        b.cmpi(arith::CmpIPredicate::ne, b.load(mask, {batch, j}), b.i32(0));
    Value lowest = b.f32(std::numeric_limits<float>::lowest());
    b.store(b.select(isToken, b.f32(0.0), lowest), bias, j);
  });
  b.loop(tokens, b.index(padded), 1, [&](Value j) {
    b.store(b.f32(-std::numeric_limits<double>::infinity()), bias, j);
  });
}

void AttentionHead::setHead(KernelBuilder &b, Value head) {
  task = b.addi(b.muli(batch, shape.heads), head);
  column = b.muli(head, shape.width);
}

void AttentionHead::forBlocks(
    KernelBuilder &b, function_ref<void(const QueryBlock &)> body) const {
  int64_t rows = shape.blockRows(), whole = shape.length / rows * rows;
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
  Value all = b.index((shape.length + lanes - 1) / lanes * lanes);
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

Value AttentionHead::probabilityIndex(KernelBuilder &b, Value i,
                                      Value j) const {
  Value rowOfAll = b.addi(b.muli(task, shape.length), i);
  return b.addi(b.muli(rowOfAll, shape.length), j);
}

void AttentionHead::emitExponentials(
    KernelBuilder &b, Window query, const QueryBlock &block, const Panels &keys,
    Value scores, Value sums,
    function_ref<Value(Value, Value, Value)> store) const {
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
  Value end = scoresEnd(b, block, keys);
  block.forRows(b, [&](Value i) {
    Value largest = b.maxLanes(
        b.loop(b.index(0), end, lanes,
               {b.f32(std::numeric_limits<float>::lowest(), lanes)},
               [&](Value j, ValueRange carried) -> SmallVector<Value> {
                 return {b.maxf(b.load(scores, {i, j}, lanes), carried[0])};
               })[0]);
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

namespace {
/// for heads of sequences in parallel:
///   K^T, V into panels
///   for blocks of query rows, with the keys they see:
///     E = exponentials of Q K^T, zero where dropped
///     result = E V / (row sums * (1 - probability))
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
        rewriter, op, inputs, /*workspaces=*/{},
        [&](KernelBuilder &b, ValueRange arguments) {
          context.emitParallelTasks(
              b, "head", shape.batch * shape.heads, arguments,
              [&](KernelBuilder &b, Value task, ValueRange arguments) {
                std::optional<DropoutMask> dropout;
                if (op.getSeed())
                  dropout.emplace(b, arguments[4], arguments[5],
                                  op.getProbability()->convertToDouble(),
                                  shape.probabilities());
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
    Panels keys(b, shape.width, shape.length, lanes);
    Panels values(b, shape.length, shape.width, lanes);
    keys.packTransposed(b, head.keyWindow(arguments[1]), head.tokens());
    values.pack(b, head.keyWindow(arguments[2]), head.tokens());
    Value scores = b.stackBuffer({shape.blockRows(), keys.paddedColumns()});
    Value sums = b.stackBuffer({shape.blockRows()});
    head.forBlocks(b, [&](const QueryBlock &block) {
      Window query = head.window(b, arguments[0], block.begin);
      head.emitExponentials(
          b, query, block, keys, scores, sums, [&](Value i, Value j, Value e) {
            if (!dropout)
              return e;
            Value index = head.probabilityIndex(b, b.addi(block.begin, i), j);
            return b.select(dropout->kept(b, index, lanes), e,
                            b.f32(0.0, lanes));
          });
      Window result = head.window(b, arguments.back(), block.begin);
      emitProduct(
          b, block.rows, values,
          [&](Value i, Value k) { return b.load(scores, {i, k}); },
          /*initial=*/nullptr,
          [&](const ResultVector &place, Value sum) {
            Value factor = b.divf(b.f32(dropout ? dropout->scale() : 1.0),
                                  b.load(sums, place.row));
            storeColumns(b, b.mulf(sum, b.splat(factor, lanes)), result, place);
          },
          {block.count, /*columns=*/nullptr, block.keys,
           block.count != nullptr});
    });
  }
};
} // namespace

void pst::cpu::populateAttentionKernels(RewritePatternSet &patterns,
                                        KernelContext &context) {
  patterns.add<AttentionPattern>(patterns.getContext(), context);
  populateAttentionBackwardKernels(patterns, context);
}
