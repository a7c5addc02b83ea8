//===- FewRows.cpp - Dense products of few rows ---------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "FewRows.h"

using namespace mlir;
using namespace pst;
using namespace pst::cpu;

/// Rows or columns of the result that a thread takes at once.
static constexpr int64_t kChunk = 64;
/// Rows of W before a row of it that is read by columns is on its way.
static constexpr int64_t kRowsAhead = 16;

/// Streams of W are shorter than the hardware's prefetcher takes to see them.
static void prefetch(KernelBuilder &b, Value weight, Value row, Value column) {
  memref::PrefetchOp::create(b, weight, ValueRange{row, column},
                             /*isWrite=*/false, /*localityHint=*/3,
                             /*isDataCache=*/true);
}

// for chunks of rows of W in parallel, for `width` of these at a time:
//   sums[t][r] = sum over k of X[t, k] W[r, k], by lanes, then over lanes
// and transposed, for `width` vectors of columns at a time:
//   sums[t][c] = sum over k of X[t, k] W[k, c]
// Y[t, rows] = sums, and what follows
void FewRows::emit(KernelBuilder &b, Value input, Value weight,
                   const Epilogue &epilogue, Value result) const {
  int64_t wide = transposed ? width() * lanes : width();
  int64_t chunk = std::max(kChunk, wide);
  b.parallelChunks(b.index(n), chunk, [&](Value begin, Value end) {
    auto wholes = [&](Value from, int64_t size) {
      return b.addi(from, b.muli(b.divi(b.subi(end, from), size), size));
    };
    auto activate = [&](Value from, Value to) {
      epilogue.activate(b, result, b.index(0), b.index(tokens), from,
                        b.subi(to, from), lanes);
    };
    Value whole = wholes(begin, wide);
    if (!transposed) {
      b.loop(begin, whole, wide, [&](Value row) {
        emitRows(b, input, weight, epilogue, result, row, width());
      });
      b.loop(whole, end, 1, [&](Value row) {
        emitRows(b, input, weight, epilogue, result, row, 1);
      });
      return activate(begin, end);
    }
    auto columns = [&](Value from, Value to, int64_t vectors, int64_t size) {
      b.loop(from, to, vectors * size, [&](Value column) {
        emitColumns(b, input, weight, epilogue, result, column, vectors, size);
      });
    };
    columns(begin, whole, width(), lanes);
    Value last = wholes(whole, lanes);
    columns(whole, last, 1, lanes);
    columns(last, end, 1, 1);
    activate(begin, end);
  });
}

void FewRows::emitRows(KernelBuilder &b, Value input, Value weight,
                       const Epilogue &epilogue, Value result, Value row,
                       int64_t rows) const {
  SmallVector<Value> at, nextRows;
  for (int64_t r = 0; r < rows; ++r) {
    at.push_back(b.addi(row, r));
    nextRows.push_back(b.mini(b.addi(at[r], 2 * rows), b.index(n - 1)));
  }
  auto add = [&](Value from, Value to, SmallVector<Value> sums, int64_t size) {
    return b.loop(from, to, size, sums, [&](Value i, ValueRange carried) {
      SmallVector<Value> weights, next;
      for (auto [r, nextRow] : llvm::zip_equal(at, nextRows)) {
        weights.push_back(b.load(weight, {r, i}, size));
        if (size > 1)
          prefetch(b, weight, nextRow, i);
      }
      for (int64_t t = 0; t < tokens; ++t) {
        Value x = b.load(input, {b.index(t), i}, size);
        for (int64_t r = 0; r < rows; ++r)
          next.push_back(b.fma(x, weights[r], carried[t * rows + r]));
      }
      return next;
    });
  };
  int64_t vectors = k / lanes * lanes;
  SmallVector<Value> sums(tokens * rows, b.f32(0.0, lanes));
  sums = add(b.index(0), b.index(vectors), sums, lanes);
  for (Value &sum : sums)
    sum = b.sumLanes(sum);
  if (vectors != k)
    sums = add(b.index(vectors), b.index(k), sums, 1);
  for (int64_t t = 0; t < tokens; ++t)
    for (int64_t r = 0; r < rows; ++r)
      b.store(epilogue.add(b, sums[t * rows + r], b.index(t), at[r]), result,
              {b.index(t), at[r]});
}

void FewRows::emitColumns(KernelBuilder &b, Value input, Value weight,
                          const Epilogue &epilogue, Value result, Value column,
                          int64_t vectors, int64_t size) const {
  SmallVector<Value> at;
  for (int64_t v = 0; v < vectors; ++v)
    at.push_back(b.addi(column, v * size));
  SmallVector<Value> zeros(tokens * vectors, b.f32(0.0, size));
  auto sums = b.loop(
      b.index(0), b.index(k), 1, zeros, [&](Value i, ValueRange carried) {
        SmallVector<Value> weights, next;
        Value nextRow = b.mini(b.addi(i, kRowsAhead), b.index(k - 1));
        for (Value c : at) {
          weights.push_back(b.load(weight, {i, c}, size));
          prefetch(b, weight, nextRow, c);
        }
        for (int64_t t = 0; t < tokens; ++t) {
          Value x = b.loadSplat(input, {b.index(t), i}, size);
          for (int64_t v = 0; v < vectors; ++v)
            next.push_back(b.fma(x, weights[v], carried[t * vectors + v]));
        }
        return next;
      });
  for (int64_t t = 0; t < tokens; ++t)
    for (int64_t v = 0; v < vectors; ++v)
      b.store(epilogue.add(b, sums[t * vectors + v], b.index(t), at[v]), result,
              {b.index(t), at[v]});
}
