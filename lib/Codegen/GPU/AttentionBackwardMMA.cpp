//===- AttentionBackwardMMA.cpp - Its gradients on the tensor cores -------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// queryGradients, for 64 queries of a head:
//   for tiles of keys: S = Q K^T, dP = dO V^T;
//     rows: maximum m, sum l, and sum of dP e^(S - m), hence r = rowsum(dP P)
//   for tiles of keys again: dS = P (dP - r) / sqrt(width); dQ += dS K
// keyGradients, for 64 keys of a head:
//   for heads of queries that share them, for tiles of queries that see them:
//     S^T = K Q^T, dP^T = V dO^T;
//     D = dropout(P) and dS with the statistics of the first kernel;
//     dV += D^T dO, dK += dS^T Q

#include "AttentionMMA.h"
#include <cmath>
#include <limits>

using namespace mlir;
using namespace pst;
using namespace pst::cuda;

/// P (dP - r) / sqrt(width)
static Value scoreGradient(ThreadBuilder &b, const AttentionShape &shape,
                           Value p, Value gradient, Value product) {
  Value scale = b.f32(1.0 / std::sqrt(double(shape.width)));
  return b.mulf(b.mulf(p, scale), b.subf(gradient, product));
}

/// Of the lane's two rows, by RowStatistic: maximum, reciprocal and product.
SmallVector<Value> AttentionMMA::emitStatistics(const SharedMatrix &queries,
                                                const SharedMatrix &gradients,
                                                Value statistics) {
  SmallVector<Value> initial(2, b.f32(std::numeric_limits<float>::lowest()));
  initial.append(4, b.f32(0.0));
  SmallVector<Value> state = forTiles(
      place.keysBegin(b), place.keysEnd(b), Keys, Values, initial,
      [&](Value key, const Pair &pair,
          ValueRange carried) -> SmallVector<Value> {
        WarpSums s = scores(queries, pair[0]);
        WarpSums d = scores(gradients, pair[1]);
        SmallVector<Value> next(carried);
        s.map([&](int64_t block, int64_t e, Value score) {
          int64_t half = WarpSums::half(e);
          score = masked(score, rowOf(half), columnOf(key, block, e));
          next[half] = b.maxf(score, next[half]);
          return score;
        });
        for (int64_t half : {0, 1}) {
          next[half] =
              WarpSums::overRow(b, next[half], [&](Value lhs, Value rhs) {
                return b.maxf(lhs, rhs);
              });
          Value correction = exponential(carried[half], next[half]);
          for (int64_t sum : {2 + half, 4 + half})
            next[sum] = b.mulf(next[sum], correction);
        }
        s.map([&](int64_t block, int64_t e, Value score) {
          int64_t half = WarpSums::half(e);
          Value p = exponential(score, next[half]);
          Value gradient = dropped(d.values[block * WarpSums::kEach + e],
                                   rowOf(half), columnOf(key, block, e))
                               .gradient;
          next[2 + half] = b.addf(next[2 + half], p);
          next[4 + half] = b.fma(gradient, p, next[4 + half]);
          return p;
        });
        return next;
      });
  SmallVector<Value> rows;
  for (int64_t half : {0, 1}) {
    auto total = [&](Value value) {
      return WarpSums::overRow(
          b, value, [&](Value lhs, Value rhs) { return b.addf(lhs, rhs); });
    };
    Value reciprocal = b.divf(b.f32(1.0), total(state[2 + half]));
    Value product = b.mulf(total(state[4 + half]), reciprocal);
    Value query = rowOf(half);
    Value writes = arith::AndIOp::create(
        b, b.cmpi(arith::CmpIPredicate::slt, query, place.end(b)),
        b.cmpi(arith::CmpIPredicate::eq, b.remi(b.lane(), 4), b.index(0)));
    SmallVector<Value> found{state[half], reciprocal, product};
    b.ifThen(writes, [&] {
      for (auto [which, value] : llvm::enumerate(found))
        b.store(value, statistics, {place.task, query, b.index(which)});
    });
    rows.append(found);
  }
  return rows;
}

void AttentionMMA::queryGradients(Value statistics, Value result) {
  SharedMatrix queries(b, kRows, shape.width);
  SharedMatrix gradients(b, kRows, shape.width);
  load(queries, Queries, place.first);
  load(gradients, Gradient, place.first);
  commitCopies(b);
  SmallVector<Value> rows = emitStatistics(queries, gradients, statistics);
  SmallVector<Value> sums = forTiles(
      place.keysBegin(b), place.keysEnd(b), Keys, Values,
      WarpSums(b, shape.width / kMmaColumns).values,
      [&](Value key, const Pair &pair, ValueRange carried) {
        WarpSums s = scores(queries, pair[0]);
        WarpSums d = scores(gradients, pair[1]);
        s.map([&](int64_t block, int64_t e, Value score) {
          int64_t half = WarpSums::half(e);
          Value query = rowOf(half), column = columnOf(key, block, e);
          auto row = ArrayRef(rows).slice(half * RowStatistics, RowStatistics);
          Value exponent =
              exponential(masked(score, query, column), row[Maximum]);
          Value gradient =
              dropped(d.values[block * WarpSums::kEach + e], query, column)
                  .gradient;
          return scoreGradient(b, shape, b.mulf(exponent, row[Reciprocal]),
                               gradient, row[Product]);
        });
        WarpSums next(carried);
        accumulate(next, s, pair[0]);
        return next.values;
      });
  store(Side::queries, WarpSums(sums), [](int64_t) { return Value(); }, result);
}

void AttentionMMA::keyGradients(Value statistics, Value keys, Value values) {
  SharedMatrix ownKeys(b, kRows, shape.width);
  SharedMatrix ownValues(b, kRows, shape.width);
  load(ownKeys, Keys, place.first);
  load(ownValues, Values, place.first);
  commitCopies(b);
  int64_t blocks = shape.width / kMmaColumns;
  SmallVector<Value> initial = WarpSums(b, 2 * blocks).values;
  auto addTile = [&](Value firstQuery, const Pair &pair, ValueRange carried) {
    WarpSums s = scores(ownKeys, pair[0]);
    WarpSums d = scores(ownValues, pair[1]);
    Value last = b.subi(place.end(b), b.index(1)), zero = b.f32(0.0);
    s.map([&](int64_t block, int64_t e, Value score) {
      Value query = columnOf(firstQuery, block, e);
      Value key = rowOf(WarpSums::half(e));
      Value isQuery = b.cmpi(arith::CmpIPredicate::sle, query, last);
      Value at = b.mini(query, last);
      auto statistic = [&](RowStatistic which) {
        return b.load(statistics, {place.task, at, b.index(which)});
      };
      Value exponent =
          exponential(masked(score, query, key), statistic(Maximum));
      Value p = b.mulf(exponent, statistic(Reciprocal));
      Value &other = d.values[block * WarpSums::kEach + e];
      auto [gradient, kept] = dropped(other, query, key);
      Value result = scoreGradient(b, shape, p, gradient, statistic(Product));
      if (kept)
        p = b.select(kept, b.mulf(p, b.f32(dropout->scale())), zero);
      other = b.select(isQuery, p, zero);
      return b.select(isQuery, result, zero);
    });
    WarpSums ofKeys(carried.take_front(carried.size() / 2));
    WarpSums ofValues(carried.drop_front(carried.size() / 2));
    accumulate(ofKeys, s, pair[0]);
    accumulate(ofValues, d, pair[1]);
    SmallVector<Value> next(ofKeys.values);
    next.append(ofValues.values);
    return next;
  };
  SmallVector<Value> sums = place.forGroup(b, initial, [&](ValueRange carried) {
    return forTiles(place.queriesBegin(b), place.queriesEnd(b), Queries,
                    Gradient, carried, addTile);
  });
  auto all = ArrayRef(sums);
  auto one = [](int64_t) { return Value(); };
  store(Side::keys, WarpSums(all.take_front(sums.size() / 2)), one, keys);
  store(Side::keys, WarpSums(all.drop_front(sums.size() / 2)), one, values);
}
