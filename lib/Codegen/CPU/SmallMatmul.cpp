//===- SmallMatmul.cpp - Matrix products inside a kernel ------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "SmallMatmul.h"

using namespace mlir;
using namespace pst::cpu;

Value pst::cpu::loadColumns(KernelBuilder &b, Window window,
                            const ResultVector &place) {
  return b.loadFirst(
      window.buffer,
      {b.addi(window.row, place.row), b.addi(window.column, place.column)},
      place.lanes, place.valid);
}

void pst::cpu::storeColumns(KernelBuilder &b, Value value, Window window,
                            const ResultVector &place) {
  b.storeFirst(
      value, window.buffer,
      {b.addi(window.row, place.row), b.addi(window.column, place.column)},
      place.valid);
}

//===----------------------------------------------------------------------===//
// Panels
//===----------------------------------------------------------------------===//

Panels::Panels(KernelBuilder &b, int64_t depth, int64_t columns, int64_t lanes)
    : depth(depth), columns(columns), lanes(lanes),
      vectors(columns > lanes ? 2 : 1) {
  buffer = b.stackBuffer({paddedColumns() * depth});
}

/// body(first) for 0, step, ... below `whole` (a multiple of the step), then
/// `rest(whole)` if there is one; those that begin at `end` (null: none) or
/// later are left out.
static void forSteps(KernelBuilder &b, int64_t whole, int64_t step, Value end,
                     function_ref<void(Value)> body,
                     function_ref<void(Value)> rest) {
  Value last = b.index(whole);
  if (whole)
    b.loop(b.index(0), end ? b.mini(end, last) : last, step, body);
  if (!rest)
    return;
  if (end)
    b.ifThen(b.cmpi(arith::CmpIPredicate::slt, last, end), [&] { rest(last); });
  else
    rest(last);
}

/// body(panel, valid columns of it) for every panel that begins before column
/// `end` (null: all): a loop over those that are full, then the last one if it
/// is not.
static void forPanels(KernelBuilder &b, const Panels &panels,
                      function_ref<void(Value, int64_t)> body,
                      Value end = nullptr) {
  int64_t width = panels.width(), whole = panels.columns / width * width;
  int64_t valid = panels.columns - whole;
  auto full = [&](Value column) { body(b.divi(column, width), width); };
  auto rest = [&](Value column) { body(b.divi(column, width), valid); };
  forSteps(b, whole, width, end, full,
           valid ? function_ref<void(Value)>(rest) : nullptr);
}

/// The flat index of element (k, 0) of a panel.
static Value rowOfPanel(KernelBuilder &b, const Panels &panels, Value panel,
                        Value k) {
  return b.muli(b.addi(b.muli(panel, panels.depth), k), panels.width());
}

void Panels::pack(KernelBuilder &b, Window window, Value end) const {
  forPanels(b, *this, [&](Value panel, int64_t valid) {
    Value column = b.muli(panel, width());
    b.loop(b.index(0), end ? end : b.index(depth), 1, [&](Value k) {
      Value place = rowOfPanel(b, *this, panel, k);
      for (int64_t v = 0; v < vectors; ++v) {
        int64_t rest = valid - v * lanes;
        Value value =
            rest <= 0
                ? b.f32(0.0, lanes)
                : loadColumns(b, window,
                              {k, b.addi(column, v * lanes), lanes, rest});
        b.store(value, buffer, b.addi(place, v * lanes));
      }
    });
  });
}

/// Transposes `rows` (as many vectors as they have lanes, a power of two) by
/// exchanging ever smaller blocks of two rows.
static void transpose(KernelBuilder &b, MutableArrayRef<Value> rows) {
  int64_t size = rows.size();
  for (int64_t block = size / 2; block > 0; block /= 2) {
    SmallVector<int64_t> even, odd;
    for (int64_t lane = 0; lane < size; ++lane) {
      // Lane `lane` comes from the first row in even blocks, from the second
      // in odd ones.
      bool second = lane & block;
      even.push_back(second ? size + lane - block : lane);
      odd.push_back(second ? size + lane : lane + block);
    }
    for (int64_t i = 0; i < size; ++i) {
      if (i & block)
        continue;
      Value first = rows[i], second = rows[i + block];
      rows[i] = vector::ShuffleOp::create(b, first, second, even);
      rows[i + block] = vector::ShuffleOp::create(b, first, second, odd);
    }
  }
}

void Panels::packTransposed(KernelBuilder &b, Window window, Value end) const {
  int64_t wholeDepth = depth / lanes * lanes;
  auto at = [&](Value j, Value k) {
    if (end)
      j = b.mini(j, b.addi(end, -1));
    return SmallVector<Value>{b.addi(window.row, j), b.addi(window.column, k)};
  };
  auto packPanel = [&](Value panel, int64_t valid) {
    Value column = b.muli(panel, width());
    for (int64_t v = 0; v < vectors; ++v) {
      int64_t rest = std::min(valid - v * lanes, lanes);
      // Columns that fill a vector, in squares; then one element at a time.
      int64_t squares = rest == lanes ? wholeDepth : 0;
      b.loop(0, squares, lanes, [&](Value k) {
        SmallVector<Value> rows;
        for (int64_t lane = 0; lane < lanes; ++lane)
          rows.push_back(b.load(
              window.buffer, at(b.addi(column, v * lanes + lane), k), lanes));
        transpose(b, rows);
        Value place = rowOfPanel(b, *this, panel, k);
        for (int64_t lane = 0; lane < lanes; ++lane)
          b.store(rows[lane], buffer,
                  b.addi(place, lane * width() + v * lanes));
      });
      b.loop(squares, depth, 1, [&](Value k) {
        Value place = b.addi(rowOfPanel(b, *this, panel, k), v * lanes);
        if (rest < lanes)
          b.store(b.f32(0.0, lanes), buffer, place);
        b.loop(0, std::max<int64_t>(rest, 0), 1, [&](Value lane) {
          Value j = b.addi(b.addi(column, v * lanes), lane);
          b.store(b.load(window.buffer, at(j, k)), buffer, b.addi(place, lane));
        });
      });
    }
  };
  if (!end)
    return forPanels(b, *this, packPanel);
  b.loop(b.index(0), b.divi(b.addi(end, width() - 1), width()), 1,
         [&](Value panel) { packPanel(panel, width()); });
}

//===----------------------------------------------------------------------===//
// Product
//===----------------------------------------------------------------------===//

/// Rows of a register tile of two vectors: as many as leave room for the
/// vectors of both factors, fewer where that leaves no remainder.
static int64_t tileRows(int64_t rows, int64_t lanes) {
  int64_t most = lanes == 8 ? 6 : 8; // AVX2 has 16 registers, the others 32.
  for (int64_t size : {most, int64_t(6), int64_t(5), int64_t(4)})
    if (size <= most && rows % size == 0)
      return size;
  return most;
}

void pst::cpu::emitProduct(
    KernelBuilder &b, int64_t rows, const Panels &rhs,
    function_ref<Value(Value, Value)> lhs,
    function_ref<Value(const ResultVector &)> initial,
    function_ref<void(const ResultVector &, Value)> finish,
    const ProductExtent &extent) {
  int64_t lanes = rhs.lanes;
  auto tile = [&](Value row, int64_t count, Value panel, int64_t valid) {
    Value column = b.muli(panel, rhs.width());
    SmallVector<ResultVector> places;
    SmallVector<Value> rowIndices, sums;
    for (int64_t i = 0; i < count; ++i) {
      rowIndices.push_back(b.addi(row, i));
      for (int64_t v = 0; v < rhs.vectors; ++v) {
        ResultVector place{rowIndices[i], b.addi(column, v * lanes), lanes,
                           valid - v * lanes};
        places.push_back(place);
        sums.push_back(initial && place.valid > 0 ? initial(place)
                                                  : b.f32(0.0, lanes));
      }
    }
    Value depth = extent.depth ? extent.depth : b.index(rhs.depth);
    sums = b.loop(b.index(0), depth, 1, sums, [&](Value k, ValueRange carried) {
      Value place = rowOfPanel(b, rhs, panel, k);
      SmallVector<Value> vectors, next;
      for (int64_t v = 0; v < rhs.vectors; ++v)
        vectors.push_back(b.load(rhs.buffer, b.addi(place, v * lanes), lanes));
      for (int64_t i = 0; i < count; ++i) {
        Value element = b.splat(lhs(rowIndices[i], k), lanes);
        for (int64_t v = 0; v < rhs.vectors; ++v)
          next.push_back(
              b.fma(element, vectors[v], carried[i * rhs.vectors + v]));
      }
      return next;
    });
    for (auto [place, sum] : llvm::zip_equal(places, sums))
      if (place.valid > 0)
        finish(place, sum);
  };
  int64_t size = std::min(tileRows(rows, lanes), rows);
  int64_t whole = rows / size * size;
  forPanels(
      b, rhs,
      [&](Value panel, int64_t valid) {
        auto full = [&](Value row) { tile(row, size, panel, valid); };
        if (extent.exactRows) {
          Value inTiles = b.muli(b.divi(extent.rows, size), size);
          b.loop(b.index(0), inTiles, size, full);
          b.loop(inTiles, extent.rows, 1,
                 [&](Value row) { tile(row, 1, panel, valid); });
          return;
        }
        auto rest = [&](Value row) { tile(row, rows - whole, panel, valid); };
        forSteps(b, whole, size, extent.rows, full,
                 whole != rows ? function_ref<void(Value)>(rest) : nullptr);
      },
      extent.columns);
}
