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
static constexpr int64_t kColumnRegisters = 72;

/// Rows whose scores a thread computes at once: more take more registers than
/// leave room for two blocks.
static constexpr int64_t kTogether = 2;

WeightTiles::WeightTiles(ShapedType weight, int64_t wanted)
    : rows(weight.getDimSize(0)), columns(weight.getDimSize(1)) {
  constexpr int64_t kLanes = 4;
  // Were all of a block's threads in one row, ptxas would keep rows' addresses
  // in uniform registers, and each load would begin with copying one.
  constexpr int64_t kWidth = kThreads / 2;
  lanes = columns % kLanes == 0 ? kLanes : 1;
  chunk = std::min<int64_t>(rows, 64 / weight.getElementTypeBitWidth());
  groups = columns / lanes;
  stripes = llvm::divideCeil(groups, kWidth);
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
  // A chunk of whole rows, also if it is nobody's or not a whole one.
  auto inside = [&](Value row) { return b.mini(row, lastRow); };
  bool isWhole = t.rows % t.chunk == 0;
  auto loadDense = [&](Value row) {
    return weight.loadDense(b, row, t.chunk, column, t.lanes);
  };
  size_t numCarried = carried.size();
  SmallVector<Value> state(carried);
  llvm::append_range(state, loadDense(inside(begin)));
  int64_t step = t.chunk * t.depth;
  SmallVector<Value> results = b.loop(
      begin, end, step, state,
      [&](Value row, ValueRange state) -> SmallVector<Value> {
        // After the last chunk, that one again.
        Value next = b.addi(row, step);
        Value more = b.cmpi(arith::CmpIPredicate::slt, next, end);
        next = b.select(more, next, row);
        SmallVector<Value> dense = loadDense(isWhole ? next : inside(next));
        ValueRange now = state.drop_front(numCarried);
        Value first = isWhole ? row : inside(row);
        SmallVector<Value> after(state.take_front(numCarried));
        for (int64_t i = 0; i < t.chunk; i += kTogether) {
          int64_t count = std::min(kTogether, t.chunk - i);
          WeightChunk chunk;
          chunk.row = b.addi(first, i);
          chunk.column = column;
          chunk.offset = i;
          chunk.isLast = i + count == t.chunk;
          loaded.dense.clear();
          for (size_t f = 0; f < now.size(); f += t.chunk)
            llvm::append_range(loaded.dense, now.slice(f + i, count));
          chunk.elements =
              weight.evaluateRows(b, chunk.row, count, column, t.lanes, loaded);
          for (int64_t r = 0; r < count; ++r)
            chunk.isOwn.push_back(isWhole ? Value()
                                          : b.cmpi(arith::CmpIPredicate::sge,
                                                   b.addi(chunk.row, r), row));
          after = body(chunk, after);
        }
        llvm::append_range(after, dense);
        return after;
      });
  results.truncate(numCarried);
  return results;
}
