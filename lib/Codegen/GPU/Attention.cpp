//===- Attention.cpp - Attention ------------------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "../Kernel/VectorMath.h"
#include "AttentionMMA.h"
#include "pst/Dialect/NN/NNOps.h"
#include <cmath>
#include <limits>

using namespace mlir;
using namespace pst;
using namespace pst::cuda;

/// Bytes of shared memory that every GPU gives a block without being asked.
static constexpr int64_t kSharedBytes = 48 << 10;

/// Of the backward's kernels, which need most: four tiles of matrices, two of
/// scores, and some rows.
static int64_t sharedBytes(int64_t tile, int64_t width) {
  return 4 * (4 * tile * (width + 1) + 2 * tile * (tile + 1) + 4 * tile);
}

int64_t AttentionShape::tile() const {
  for (int64_t tile : {32, 16, 8})
    if (sharedBytes(tile, width) <= kSharedBytes)
      return tile;
  return 4;
}

LogicalResult AttentionShape::check(Operation *op) const {
  if (sharedBytes(tile(), width) <= kSharedBytes)
    return success();
  return op->emitOpError("has heads of ")
         << width << " columns, which do not fit the " << kSharedBytes
         << " bytes of a block's shared memory; use more heads";
}

static Value isBelow(ThreadBuilder &b, Value i, Value size) {
  return b.cmpi(arith::CmpIPredicate::slt, i, size);
}

BlockPlace::BlockPlace(ThreadBuilder &b, const AttentionShape &shape, Side side,
                       int64_t tile, const PackedRows *packed)
    : shape(shape), tile(tile) {
  int64_t tiles = (shape.length + tile - 1) / tile;
  int64_t heads = shape.headsOf(side);
  Value unit = b.divi(b.block(), tiles), head = b.remi(unit, heads);
  first = b.muli(b.remi(b.block(), tiles), tile);
  batch = b.divi(unit, heads);
  if (packed) {
    row = PackedRows::readStart(b, packed->starts, batch);
    count =
        b.subi(PackedRows::readStart(b, packed->starts, b.addi(batch, 1)), row);
  } else {
    row = b.muli(batch, shape.length);
  }
  if (side == Side::queries) {
    task = unit;
    queryColumn = b.muli(head, shape.width);
    keyColumn = b.muli(b.divi(head, shape.groups()), shape.width);
    return;
  }
  keyColumn = b.muli(head, shape.width);
  firstHead = b.muli(head, shape.groups());
  setGroup(b, b.index(0));
}

void BlockPlace::setGroup(ThreadBuilder &b, Value index) {
  Value head = b.addi(firstHead, index);
  task = b.addi(b.muli(batch, shape.heads), head);
  queryColumn = b.muli(head, shape.width);
}

SmallVector<Value>
BlockPlace::forGroup(ThreadBuilder &b, ValueRange carried,
                     function_ref<SmallVector<Value>(ValueRange)> loop) {
  if (shape.groups() == 1)
    return loop(carried);
  return b.loop(b.index(0), b.index(shape.groups()), 1, carried,
                [&](Value index, ValueRange carried) {
                  setGroup(b, index);
                  return loop(carried);
                });
}

Value BlockPlace::end(ThreadBuilder &b) const {
  return count ? count : b.index(shape.length);
}

Value BlockPlace::keysBegin(ThreadBuilder &b) const {
  if (!shape.window)
    return b.index(0);
  Value before = b.mini(first, b.index(shape.window - 1));
  return b.muli(b.divi(b.subi(first, before), tile), tile);
}

Value BlockPlace::keysEnd(ThreadBuilder &b) const {
  return shape.causal ? b.mini(b.addi(first, tile), end(b)) : end(b);
}

Value BlockPlace::queriesBegin(ThreadBuilder &b) const {
  return shape.causal ? first : b.index(0);
}

Value BlockPlace::queriesEnd(ThreadBuilder &b) const {
  return shape.window ? b.mini(b.addi(first, tile + shape.window - 1), end(b))
                      : end(b);
}

Value BlockPlace::sees(ThreadBuilder &b, Value query, Value key) const {
  Value last = b.subi(end(b), b.index(1));
  // Rows behind the sequence's end see its last key, lest they see none.
  query = b.mini(query, last);
  Value sees =
      b.cmpi(arith::CmpIPredicate::sle, key, shape.causal ? query : last);
  if (!shape.window)
    return sees;
  Value inWindow =
      b.cmpi(arith::CmpIPredicate::slt, query, b.addi(key, shape.window));
  return arith::AndIOp::create(b, sees, inWindow);
}

AttentionBlock::AttentionBlock(ThreadBuilder &b, const AttentionShape &shape,
                               Side side, Value mask, const PackedRows *packed)
    : b(b), shape(shape), place(b, shape, side, shape.tile(), packed),
      mask(mask) {}

Value AttentionBlock::matrixBuffer() {
  return b.sharedBuffer({shape.tile(), shape.width + 1});
}

Value AttentionBlock::scoreBuffer() {
  return b.sharedBuffer({shape.tile(), shape.tile() + 1});
}

double AttentionBlock::scale() const {
  return 1.0 / std::sqrt(double(shape.width));
}

void AttentionBlock::load(Side side, Value matrix, Value first, Value shared) {
  b.strided(shape.tile() * shape.width, [&](Value element) {
    Value i = b.divi(element, shape.width), c = b.remi(element, shape.width);
    Value at = b.addi(first, i);
    Value value = b.choose(
        isBelow(b, at, place.end(b)),
        [&] {
          return b.load(matrix,
                        {b.addi(place.row, at), b.addi(place.column(side), c)});
        },
        b.f32(0.0));
    b.store(value, shared, {i, c});
  });
}

void AttentionBlock::forScores(function_ref<void(Value, Value)> body) {
  b.strided(shape.tile() * shape.tile(), [&](Value element) {
    body(b.divi(element, shape.tile()), b.remi(element, shape.tile()));
  });
}

Value AttentionBlock::dot(Value left, Value i, Value right, Value j) {
  return b.loop(
      b.index(0), b.index(shape.width), 1, {b.f32(0.0)},
      [&](Value c, ValueRange carried) -> SmallVector<Value> {
        return {b.fma(b.load(left, {i, c}), b.load(right, {j, c}), carried[0])};
      })[0];
}

Value AttentionBlock::score(Value queries, Value keys, Value firstQuery,
                            Value i, Value firstKey, Value j) {
  Value sum = dot(queries, i, keys, j), key = b.addi(firstKey, j);
  Value excluded = b.f32(-std::numeric_limits<double>::infinity());
  return b.choose(
      place.sees(b, b.addi(firstQuery, i), key),
      [&] {
        Value bias = b.f32(0.0);
        if (!place.count) { // else all that there are are tokens
          Value isToken = b.cmpi(arith::CmpIPredicate::ne,
                                 b.load(mask, {place.batch, key}), b.i32(0));
          bias = b.select(isToken, bias,
                          b.f32(std::numeric_limits<float>::lowest()));
        }
        return b.fma(sum, b.f32(scale()), bias);
      },
      excluded);
}

int64_t AttentionBlock::elements() const {
  return (shape.tile() * shape.width + b.threads() - 1) / b.threads();
}

void AttentionBlock::forElements(
    function_ref<void(int64_t, Value, Value)> body) {
  for (int64_t e = 0; e < elements(); ++e) {
    Value element = b.addi(b.thread(), e * b.threads());
    // The last ones may lie behind the tile: they repeat its last element.
    if ((e + 1) * b.threads() > shape.tile() * shape.width)
      element = b.mini(element, b.index(shape.tile() * shape.width - 1));
    body(e, b.divi(element, shape.width), b.remi(element, shape.width));
  }
}

Value AttentionBlock::accumulate(Value scores, bool transposed, Value matrix,
                                 Value i, Value c, Value sum) {
  return b.loop(b.index(0), b.index(shape.tile()), 1, {sum},
                [&](Value s, ValueRange carried) -> SmallVector<Value> {
                  Value score = transposed ? b.load(scores, {s, i})
                                           : b.load(scores, {i, s});
                  return {b.fma(score, b.load(matrix, {s, c}), carried[0])};
                })[0];
}

void AttentionBlock::store(Side side, Value value, Value result, Value i,
                           Value c) {
  Value at = b.addi(place.first, i);
  b.ifThen(isBelow(b, at, place.end(b)), [&] {
    b.store(value, result,
            {b.addi(place.row, at), b.addi(place.column(side), c)});
  });
}

Value AttentionBlock::scoreRow() { return b.divi(b.thread(), threadsPerRow()); }

void AttentionBlock::forRowColumns(function_ref<void(Value)> body) {
  Value part = b.remi(b.thread(), threadsPerRow());
  for (int64_t j = 0; j < shape.tile(); j += threadsPerRow())
    body(b.addi(part, j));
}

Value AttentionBlock::rowMax(Value value) {
  for (int64_t mask = 1; mask < threadsPerRow(); mask *= 2)
    value = b.maxf(value, b.shuffleXor(value, mask));
  return value;
}

Value AttentionBlock::rowSum(Value value) {
  for (int64_t mask = 1; mask < threadsPerRow(); mask *= 2)
    value = b.addf(value, b.shuffleXor(value, mask));
  return value;
}

namespace {
struct ForwardBlock : AttentionBlock {
  ForwardBlock(ThreadBuilder &b, const AttentionShape &shape, Side side,
               ValueRange values, const std::optional<DropoutMask> &dropout,
               const PackedRows *packed)
      : AttentionBlock(b, shape, side, values[3], packed), dropout(dropout) {}

  const std::optional<DropoutMask> &dropout;
};

/// for tiles of queries of heads of sequences, a block:
///   for tiles of keys (if causal, up to the queries' own):
///     S = Q K^T, masked
///     rows: maximum and sum, corrected as the maximum grows;
///       S = e^(S - maximum), zero where dropped
///     O = O * correction + S V
///   result = O / (row sums * (1 - probability))
struct AttentionPattern : KernelPattern<nn::AttentionOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(nn::AttentionOp op,
                                PatternRewriter &rewriter) const override {
    AttentionShape shape = attentionShape(op);
    if (failed(shape.check(op)))
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
        [&](CodeBuilder &host, ValueRange arguments) {
          if (AttentionMMA::suits(shape, elementType(op.getQuery()))) {
            context.launch(host, "", AttentionMMA::blocks(shape, Side::queries),
                           AttentionMMA::kThreads, arguments,
                           emitBlock<AttentionMMA>(
                               context, op, shape, Side::queries,
                               [](AttentionMMA &block, ValueRange values) {
                                 block.forward(values.back());
                               }));
            return;
          }
          context.launch(host, "", shape.blocks(Side::queries),
                         AttentionShape::kThreads, arguments,
                         emitBlock<ForwardBlock>(
                             context, op, shape, Side::queries,
                             [](ForwardBlock &block, ValueRange values) {
                               emitForward(block, values);
                             }));
        });
    return success();
  }

private:
  static void emitForward(ForwardBlock &block, ValueRange values) {
    ThreadBuilder &b = block.b;
    const AttentionShape &shape = block.shape;
    const std::optional<DropoutMask> &dropout = block.dropout;
    Value queries = block.matrixBuffer(), keys = block.matrixBuffer(),
          others = block.matrixBuffer(), scores = block.scoreBuffer();
    Value factors = b.sharedBuffer({shape.tile()}); // of each row of O
    block.load(Side::queries, values[0], block.place.first, queries);
    // Maximum and sum of this thread's row, then its elements of O.
    SmallVector<Value> initial{b.f32(std::numeric_limits<float>::lowest()),
                               b.f32(0.0)};
    initial.append(block.elements(), b.f32(0.0));
    SmallVector<Value> state = b.loop(
        block.place.keysBegin(b), block.place.keysEnd(b), shape.tile(), initial,
        [&](Value key, ValueRange carried) -> SmallVector<Value> {
          block.load(Side::keys, values[1], key, keys);
          block.load(Side::keys, values[2], key, others);
          b.barrier();
          block.forScores([&](Value i, Value j) {
            b.store(block.score(queries, keys, block.place.first, i, key, j),
                    scores, {i, j});
          });
          b.barrier();
          SmallVector<Value> next =
              emitRow(block, scores, factors, key, carried, dropout);
          b.barrier();
          block.forElements([&](int64_t e, Value i, Value c) {
            Value sum = b.mulf(carried[2 + e], b.load(factors, i));
            next.push_back(block.accumulate(scores, /*transposed=*/false,
                                            others, i, c, sum));
          });
          b.barrier();
          return next;
        });
    Value scale = b.f32(dropout ? dropout->scale() : 1.0);
    b.store(b.divf(scale, state[1]), factors, block.scoreRow());
    b.barrier();
    block.forElements([&](int64_t e, Value i, Value c) {
      block.store(Side::queries, b.mulf(state[2 + e], b.load(factors, i)),
                  values.back(), i, c);
    });
  }

  /// The new maximum and sum of the thread's row.
  static SmallVector<Value> emitRow(AttentionBlock &block, Value scores,
                                    Value factors, Value key,
                                    ValueRange carried,
                                    const std::optional<DropoutMask> &dropout) {
    ThreadBuilder &b = block.b;
    Value i = block.scoreRow(), largest = carried[0];
    block.forRowColumns(
        [&](Value j) { largest = b.maxf(b.load(scores, {i, j}), largest); });
    largest = block.rowMax(largest);
    Value correction = expNonPositive(b, b.subf(carried[0], largest));
    Value sum = b.f32(0.0);
    block.forRowColumns([&](Value j) {
      Value e = expNonPositive(b, b.subf(b.load(scores, {i, j}), largest));
      sum = b.addf(sum, e);
      if (dropout) {
        auto place = DropoutPlace::ofProbability(
            b, block.place.task, b.addi(block.place.first, i), b.addi(key, j));
        e = b.select(dropout->kept(b, place, 1), e, b.f32(0.0));
      }
      b.store(e, scores, {i, j});
    });
    sum = b.addf(b.mulf(carried[1], correction), block.rowSum(sum));
    b.store(correction, factors, i);
    return {largest, sum};
  }
};
} // namespace

void pst::cuda::populateAttentionKernels(RewritePatternSet &patterns,
                                         KernelContext &context) {
  patterns.add<AttentionPattern>(patterns.getContext(), context);
  populateAttentionBackwardKernels(patterns, context);
}
