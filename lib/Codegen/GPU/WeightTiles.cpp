//===- WeightTiles.cpp - A pass over a virtual weight ---------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "WeightTiles.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace pst;
using namespace pst::cuda;

/// f32 of the columns' factors that a thread keeps in registers.
static constexpr int64_t kColumnRegisters = 64;

WeightTiles::WeightTiles(int64_t rows, int64_t columns, int64_t wanted)
    : rows(rows), columns(columns) {
  constexpr int64_t kLanes = 4, kChunk = 2;
  lanes = columns % kLanes == 0 ? kLanes : 1;
  chunk = std::min(rows, kChunk);
  groups = columns / lanes;
  stripes = llvm::divideCeil(groups, kThreads);
  width = llvm::divideCeil(groups, stripes);
  depth = kThreads / width;
  int64_t steps = llvm::divideCeil(rows, chunk * depth);
  int64_t down = std::max<int64_t>(wanted / stripes, 1);
  height = llvm::divideCeil(steps, down) * chunk * depth;
  rowTiles = llvm::divideCeil(rows, height);
}

SmallVector<Value> pst::cuda::forTile(
    ThreadBuilder &b, const VirtualWeight &weight, const WeightTiles &t,
    Value tile, ValueRange carried,
    function_ref<SmallVector<Value>(const WeightChunk &, ValueRange)> body) {
  Value stripe = b.remi(tile, t.stripes);
  Value top = b.muli(b.divi(tile, t.stripes), t.height);
  Value group = b.addi(b.muli(stripe, t.width), b.remi(b.thread(), t.width));
  Value begin = b.addi(top, b.muli(b.divi(b.thread(), t.width), t.chunk));
  Value end = b.mini(b.addi(top, t.height), b.index(t.rows));
  // Threads that are left over read what others do, and have no rows.
  if (t.depth * t.width < WeightTiles::kThreads)
    end = b.select(b.cmpi(arith::CmpIPredicate::ult, b.thread(),
                          b.index(t.depth * t.width)),
                   end, b.index(0));
  if (t.stripes * t.width > t.groups) {
    Value last = b.index(t.groups - 1);
    end = b.select(b.cmpi(arith::CmpIPredicate::ule, group, last), end,
                   b.index(0));
    group = b.mini(group, last);
  }
  Value column = b.muli(group, t.lanes);
  VirtualWeight::Loaded loaded;
  std::optional<int64_t> values = weight.numColumnValues();
  if (values && *values * t.lanes <= kColumnRegisters)
    loaded.columns = weight.loadColumns(b, column, t.lanes);
  Value lastRow = b.index(t.rows - t.chunk);
  auto loadDense = [&](Value row) {
    return weight.loadDense(b, b.mini(row, lastRow), t.chunk, column, t.lanes);
  };
  size_t numCarried = carried.size();
  SmallVector<Value> state(carried);
  llvm::append_range(state, loadDense(begin));
  int64_t step = t.chunk * t.depth;
  SmallVector<Value> results = b.loop(
      begin, end, step, state,
      [&](Value row, ValueRange state) -> SmallVector<Value> {
        // After the last chunk, that one again.
        Value next = b.addi(row, step);
        Value more = b.cmpi(arith::CmpIPredicate::slt, next, end);
        SmallVector<Value> dense = loadDense(b.select(more, next, row));
        loaded.dense = state.drop_front(numCarried);
        WeightChunk chunk;
        chunk.row = t.rows % t.chunk ? b.mini(row, lastRow) : row;
        chunk.column = column;
        chunk.elements =
            weight.evaluateRows(b, chunk.row, t.chunk, column, t.lanes, loaded);
        for (int64_t i = 0; i < t.chunk; ++i)
          chunk.isOwn.push_back(
              t.rows % t.chunk
                  ? b.cmpi(arith::CmpIPredicate::sge, b.addi(chunk.row, i), row)
                  : Value());
        SmallVector<Value> after = body(chunk, state.take_front(numCarried));
        llvm::append_range(after, dense);
        return after;
      });
  results.truncate(numCarried);
  return results;
}
