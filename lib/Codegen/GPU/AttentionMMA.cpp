//===- AttentionMMA.cpp - Attention on the tensor cores -------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// forward, for 64 queries of a head, 16 of them in each warp's registers:
//   for tiles of keys (if causal, up to the queries' own):
//     S = Q K^T, masked; its rows' maximum m and sum l, corrected as m grows
//     P = e^(S - m), zero where dropped, as bf16; O = O * correction + P V
//   result = O / (l * (1 - probability))
//
// Sums, maxima and exponentials are f32; what is multiplied is bf16.

#include "AttentionMMA.h"
#include "../Kernel/VectorMath.h"
#include <cmath>
#include <limits>

using namespace mlir;
using namespace pst;
using namespace pst::cuda;

bool AttentionMMA::suits(const AttentionShape &shape, Type element) {
  return element.isBF16() && shape.width % kMmaDepth == 0 && shape.width <= 128;
}

AttentionMMA::AttentionMMA(ThreadBuilder &b, const AttentionShape &shape,
                           Side side, ValueRange values, const Dropout &dropout,
                           const PackedRows *packed)
    : place(b, shape, side, kRows, packed), b(b), shape(shape), values(values),
      dropout(dropout) {
  warpRow = b.muli(b.divi(b.thread(), kWarp), kMmaRows);
}

Value AttentionMMA::rowOf(int64_t half) {
  Value inBlock = b.addi(warpRow, WarpSums::row(b));
  return b.addi(place.first, b.addi(inBlock, half * kChunk));
}

Value AttentionMMA::columnOf(Value first, int64_t block, int64_t e) {
  return b.addi(first, WarpSums::column(b, block, e));
}

void AttentionMMA::load(const SharedMatrix &matrix, Argument which,
                        Value first) {
  Side side = which == Keys || which == Values ? Side::keys : Side::queries;
  matrix.copy(b, values[which], b.addi(place.row, first), place.column(side),
              b.addi(place.row, place.end(b)));
}

SmallVector<Value> AttentionMMA::forTiles(Value begin, Value end, Argument one,
                                          Argument two, ValueRange carried,
                                          TileBody body) {
  if (!tiles) {
    SharedMatrix all(b, taken() * stages(), shape.width);
    tiles = {all, SharedMatrix(b, taken() * stages(), shape.width)};
  }
  auto stageOf = [&](Value tile) -> Pair {
    Value at = b.muli(b.remi(tile, stages()), taken());
    return {(*tiles)[0].rowsFrom(b, at, taken()),
            (*tiles)[1].rowsFrom(b, at, taken())};
  };
  auto loadTile = [&](Value tile, Value at) {
    Pair stage = stageOf(tile);
    load(stage[0], one, at);
    load(stage[1], two, at);
  };
  bool ahead = stages() > 1;
  if (ahead) {
    loadTile(b.index(0), begin);
    commitCopies(b);
  }
  SmallVector<Value> result =
      b.loop(begin, end, taken(), carried,
             [&](Value at, ValueRange state) -> SmallVector<Value> {
               Value tile = b.divi(b.subi(at, begin), taken());
               if (ahead)
                 loadTile(b.addi(tile, 1), b.addi(at, taken()));
               else
                 loadTile(tile, at);
               commitCopies(b);
               awaitCopies(b, ahead ? 1 : 0);
               b.barrier();
               SmallVector<Value> next = body(at, stageOf(tile), state);
               b.barrier(); // the next tile is written over this one
               return next;
             });
  awaitCopies(b, 0); // of a tile behind the end
  return result;
}

WarpSums AttentionMMA::scores(const SharedMatrix &left,
                              const SharedMatrix &right) {
  WarpSums sums(b, scoreBlocks());
  for (int64_t step = 0; step < steps(); ++step) {
    SmallVector<Value> rows = left.left(b, warpRow, step);
    for (int64_t block = 0; block < scoreBlocks(); block += 2) {
      SmallVector<Value> columns =
          right.rightTransposed(b, block * kMmaColumns, step);
      for (int64_t i : {0, 1})
        sums.multiply(b, block + i, rows, ArrayRef(columns).slice(2 * i, 2));
    }
  }
  return sums;
}

void AttentionMMA::accumulate(WarpSums &sums, const WarpSums &left,
                              const SharedMatrix &right) {
  for (int64_t step = 0; step < taken() / kMmaDepth; ++step) {
    SmallVector<Value> rows = left.asLeft(b, step);
    for (int64_t block = 0; block < sums.blocks(); block += 2) {
      SmallVector<Value> columns = right.right(b, block * kMmaColumns, step);
      for (int64_t i : {0, 1})
        sums.multiply(b, block + i, rows, ArrayRef(columns).slice(2 * i, 2));
    }
  }
}

Value AttentionMMA::masked(Value score, Value query, Value key) {
  Value isSeen = place.sees(b, query, key), bias = b.f32(0.0);
  if (!place.count) { // else all that there are are tokens
    Value at = b.mini(key, b.index(shape.length - 1));
    Value isToken = b.cmpi(arith::CmpIPredicate::ne,
                           b.load(values[Mask], {place.batch, at}), b.i32(0));
    bias = b.select(isToken, bias, b.f32(std::numeric_limits<float>::lowest()));
  }
  Value scaled =
      b.fma(score, b.f32(1.0 / std::sqrt(double(shape.width))), bias);
  return b.select(isSeen, scaled,
                  b.f32(-std::numeric_limits<double>::infinity()));
}

Value AttentionMMA::exponential(Value score, Value maximum) {
  return expNonPositive(b, b.subf(score, maximum));
}

AttentionMMA::Dropped AttentionMMA::dropped(Value gradient, Value query,
                                            Value key) {
  if (!dropout)
    return {gradient, nullptr};
  Value kept = dropout->kept(
      b, DropoutPlace::ofProbability(b, place.task, query, key), 1);
  return {b.select(kept, b.mulf(gradient, b.f32(dropout->scale())), b.f32(0.0)),
          kept};
}

/// result = sums * factor of the row, for rows of the sequence.
void AttentionMMA::store(Side side, const WarpSums &sums,
                         function_ref<Value(int64_t)> factor, Value result) {
  for (int64_t half : {0, 1}) {
    Value at = rowOf(half), scale = factor(half);
    Value inside = b.cmpi(arith::CmpIPredicate::slt, at, place.end(b));
    b.ifThen(inside, [&] {
      for (int64_t block = 0; block < sums.blocks(); ++block) {
        SmallVector<Value> pair;
        for (int64_t e : {0, 1}) {
          Value sum = sums.values[block * WarpSums::kEach + 2 * half + e];
          pair.push_back(scale ? b.mulf(sum, scale) : sum);
        }
        b.storeGroup(
            pair, result,
            {b.addi(place.row, at),
             b.addi(place.column(side), WarpSums::column(b, block, 0))});
      }
    });
  }
}

void AttentionMMA::forward(Value result) {
  SharedMatrix queries(b, kRows, shape.width);
  load(queries, Queries, place.first);
  commitCopies(b);
  // Of the lane's two rows: maxima, then its share of the sums; then O.
  SmallVector<Value> initial(2, b.f32(std::numeric_limits<float>::lowest()));
  initial.append(2, b.f32(0.0));
  initial.append(WarpSums(b, shape.width / kMmaColumns).values);
  SmallVector<Value> state = forTiles(
      place.keysBegin(b), place.keysEnd(b), Keys, Values, initial,
      [&](Value key, const Pair &pair,
          ValueRange carried) -> SmallVector<Value> {
        WarpSums p = scores(queries, pair[0]);
        SmallVector<Value> maxima(carried.take_front(2));
        p.map([&](int64_t block, int64_t e, Value score) {
          int64_t half = WarpSums::half(e);
          score = masked(score, rowOf(half), columnOf(key, block, e));
          maxima[half] = b.maxf(score, maxima[half]);
          return score;
        });
        SmallVector<Value> corrections, sums;
        for (int64_t half : {0, 1}) {
          maxima[half] =
              WarpSums::overRow(b, maxima[half], [&](Value lhs, Value rhs) {
                return b.maxf(lhs, rhs);
              });
          corrections.push_back(exponential(carried[half], maxima[half]));
          sums.push_back(b.mulf(carried[2 + half], corrections[half]));
        }
        p.map([&](int64_t block, int64_t e, Value score) -> Value {
          int64_t half = WarpSums::half(e);
          Value p = exponential(score, maxima[half]);
          sums[half] = b.addf(sums[half], p);
          if (Value kept =
                  dropped(p, rowOf(half), columnOf(key, block, e)).kept)
            p = b.select(kept, p, b.f32(0.0));
          return p;
        });
        WarpSums output(carried.drop_front(4));
        output.map([&](int64_t, int64_t e, Value sum) {
          return b.mulf(sum, corrections[WarpSums::half(e)]);
        });
        accumulate(output, p, pair[1]);
        SmallVector<Value> next(maxima);
        next.append(sums);
        next.append(output.values);
        return next;
      });
  Value scale = b.f32(dropout ? dropout->scale() : 1.0);
  store(
      Side::queries, WarpSums(ArrayRef(state).drop_front(4)),
      [&](int64_t half) {
        Value sum =
            WarpSums::overRow(b, state[2 + half], [&](Value lhs, Value rhs) {
              return b.addf(lhs, rhs);
            });
        return b.divf(scale, sum);
      },
      result);
}
