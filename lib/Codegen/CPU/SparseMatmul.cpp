//===- SparseMatmul.cpp - The product with a compressed weight ------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "SparseMatmul.h"
#include <algorithm>

using namespace mlir;
using namespace pst::cpu;
using llvm::alignTo;
using llvm::divideCeil;

SparseBlocking::SparseBlocking(int64_t tokens, int64_t n, int64_t k,
                               int64_t lanes, int64_t largestDensity)
    : tokens(tokens), n(n), k(k), lanes(lanes), largestDensity(largestDensity),
      panelTokens(std::min<int64_t>(64, alignTo(tokens, lanes))) {}

// Measured on Zen 4, in ns for one element of S (docs/Benchmarks.md): a dense
// product takes 0.021 a token and 0.5 for the packing; this one 0.03 a token of
// a kept element, 1.1 for compressing, and 0.5 for each element of X and Y that
// is transposed. Room is kept for half of that, since it costs memory.
int64_t SparseBlocking::profitableDensity(int64_t tokens, int64_t n,
                                          int64_t k) {
  double transposed = 0.5 * tokens * (1.0 / n + 1.0 / k);
  double gain = 0.021 * tokens + 0.5 - 1.1 - transposed;
  return std::clamp<int64_t>(50.0 * gain / (0.03 * tokens), 0, 40);
}

// Each cell's last vector may reach beyond its last element.
int64_t SparseBlocking::capacity() const {
  return alignTo(keptRoom() + cells() * lanes, 16);
}

SmallVector<RankedTensorType>
CompressedMatrix::types(const SparseBlocking &blocking, OpBuilder &builder) {
  auto tensor = [](ArrayRef<int64_t> shape, Type element) {
    return RankedTensorType::get(shape, element);
  };
  Type i32 = builder.getI32Type();
  return {tensor(blocking.capacity(), builder.getF32Type()),
          tensor(blocking.capacity(), i32),
          tensor({blocking.cells(), 1 + SparseBlocking::kRows}, i32),
          tensor(1, i32)};
}

namespace {

/// Compresses one cell, first into rows on the stack, then to a place that no
/// other cell has.
class CellCompression {
public:
  CellCompression(KernelBuilder &b, const SparseBlocking &s,
                  const CompressedMatrix &compressed)
      : b(b), s(s), compressed(compressed) {
    // A vector may be stored behind the last element.
    int64_t width = SparseBlocking::kDepth + s.lanes;
    values = b.stackBuffer({SparseBlocking::kRows, width});
    offsets = b.stackBuffer({SparseBlocking::kRows, width}, b.getI32Type());
  }

  void emit(const MatrixReader &matrix, bool transposed, Value cell) {
    this->cell = cell;
    firstRow = b.muli(b.divi(cell, s.blocks()), SparseBlocking::kRows);
    firstDepth = b.muli(b.remi(cell, s.blocks()), SparseBlocking::kDepth);
    rows = remaining(b, s.n, firstRow, SparseBlocking::kRows);
    depth = remaining(b, s.k, firstDepth, SparseBlocking::kDepth);
    if (transposed)
      readTransposed(matrix);
    else
      read(matrix);
    place();
  }

private:
  /// Adds what is not zero of `value`, the elements of a row from depth k on,
  /// behind the `count` that are there; returns how many there are then.
  Value append(Value value, Value row, Value k, Value count) {
    int64_t lanes = KernelBuilder::lanesOf(value);
    Value kept = b.cmpf(arith::CmpFPredicate::UNE, value, b.f32(0.0, lanes));
    Value offset =
        arith::IndexCastOp::create(b, b.getI32Type(), b.muli(k, s.panelTokens));
    if (lanes == 1) {
      b.store(value, values, {row, count});
      b.store(offset, offsets, {row, count});
      return b.addi(count,
                    arith::IndexCastUIOp::create(b, b.getIndexType(), kept));
    }
    SmallVector<int32_t> steps;
    for (int64_t lane = 0; lane < lanes; ++lane)
      steps.push_back(lane * s.panelTokens);
    Value step = arith::ConstantOp::create(b, b.getI32VectorAttr(steps));
    Value all = arith::AddIOp::create(b, b.splat(offset, lanes), step);
    b.store(b.compress(value, kept), values, {row, count});
    b.store(b.compress(all, kept), offsets, {row, count});
    return b.addi(count, b.countLanes(kept));
  }

  Value loadCount(Value row) {
    return arith::IndexCastOp::create(
        b, b.getIndexType(), b.load(compressed.cells, {cell, b.addi(row, 1)}));
  }
  void storeCount(Value count, Value row) {
    b.store(arith::IndexCastOp::create(b, b.getI32Type(), count),
            compressed.cells, {cell, b.addi(row, 1)});
  }

  /// Rows of the matrix are rows of S; several at once, where that is less work
  /// to read.
  void read(const MatrixReader &matrix) {
    int64_t atOnce = s.lanes == 16 ? 8 : 4;
    if (!matrix.readRows || s.n % atOnce != 0)
      atOnce = 1;
    Value whole = b.muli(b.divi(depth, s.lanes), s.lanes);
    b.loop(b.index(0), rows, atOnce, [&](Value row) {
      auto step = [&](int64_t lanes) {
        return [&, lanes](Value k, ValueRange counts) {
          Value fromRow = b.addi(firstRow, row);
          Value fromColumn = b.addi(firstDepth, k);
          SmallVector<Value> values =
              atOnce == 1
                  ? SmallVector<Value>{matrix.read(b, fromRow, fromColumn,
                                                   lanes)}
                  : matrix.readRows(b, fromRow, atOnce, fromColumn, lanes);
          SmallVector<Value> next;
          for (int64_t i = 0; i < atOnce; ++i)
            next.push_back(append(values[i], b.addi(row, i), k, counts[i]));
          return next;
        };
      };
      SmallVector<Value> counts =
          b.loop(b.index(0), whole, s.lanes,
                 SmallVector<Value>(atOnce, b.index(0)), step(s.lanes));
      if (s.k % s.lanes)
        counts = b.loop(whole, depth, 1, counts, step(1));
      for (int64_t i = 0; i < atOnce; ++i)
        storeCount(counts[i], b.addi(row, i));
    });
  }

  /// Columns of the matrix are rows of S: squares are transposed.
  void readTransposed(const MatrixReader &matrix) {
    b.loop(b.index(0), rows, 1,
           [&](Value row) { storeCount(b.index(0), row); });
    auto element = [&](Value k, Value row) {
      Value value =
          matrix.read(b, b.addi(firstDepth, k), b.addi(firstRow, row), 1);
      storeCount(append(value, row, k, loadCount(row)), row);
    };
    Value wholeDepth = b.muli(b.divi(depth, s.lanes), s.lanes);
    Value wholeRows = b.muli(b.divi(rows, s.lanes), s.lanes);
    b.loop(b.index(0), wholeDepth, s.lanes, [&](Value k) {
      b.loop(b.index(0), wholeRows, s.lanes, [&](Value row) {
        SmallVector<Value> square;
        for (int64_t i = 0; i < s.lanes; ++i)
          square.push_back(matrix.read(b, b.addi(b.addi(firstDepth, k), i),
                                       b.addi(firstRow, row), s.lanes));
        transpose(b, square);
        for (int64_t i = 0; i < s.lanes; ++i) {
          Value at = b.addi(row, i);
          storeCount(append(square[i], at, k, loadCount(at)), at);
        }
      });
      if (s.n % s.lanes)
        b.loop(wholeRows, rows, 1, [&](Value row) {
          b.loop(b.index(0), b.index(s.lanes), 1,
                 [&](Value i) { element(b.addi(k, i), row); });
        });
    });
    if (s.k % s.lanes)
      b.loop(b.index(0), rows, 1, [&](Value row) {
        b.loop(wholeDepth, depth, 1, [&](Value k) { element(k, row); });
      });
  }

  /// Copies the rows, one behind the other, to the next free elements. Which
  /// those are depends on the threads; the product does not. Nor does whether
  /// there is room for all cells: if not, none of those beyond it is written.
  void place() {
    Value total = b.loop(b.index(0), rows, 1, {b.index(s.lanes)},
                         [&](Value row, ValueRange sum) -> SmallVector<Value> {
                           return {b.addi(sum[0], loadCount(row))};
                         })[0];
    Value start = memref::AtomicRMWOp::create(
        b, arith::AtomicRMWKind::addi,
        arith::IndexCastOp::create(b, b.getI32Type(), total), compressed.cursor,
        ValueRange{b.index(0)});
    b.store(start, compressed.cells, {cell, b.index(0)});
    Value first = arith::IndexCastOp::create(b, b.getIndexType(), start);
    Value fits = b.cmpi(arith::CmpIPredicate::sle, b.addi(first, total),
                        b.index(s.capacity()));
    b.ifThen(fits, [&] { copyRows(first); });
  }
  void copyRows(Value first) {
    b.loop(
        b.index(0), rows, 1, {first},
        [&](Value row, ValueRange at) -> SmallVector<Value> {
          Value count = loadCount(row);
          b.loop(b.index(0), count, s.lanes, [&](Value e) {
            Value to = b.addi(at[0], e);
            b.store(b.load(values, {row, e}, s.lanes), compressed.values, to);
            b.store(b.load(offsets, {row, e}, s.lanes), compressed.offsets, to);
          });
          return {b.addi(at[0], count)};
        });
  }

  KernelBuilder &b;
  const SparseBlocking &s;
  const CompressedMatrix &compressed;
  Value values, offsets; ///< The cell's rows.
  Value cell, firstRow, firstDepth, rows, depth;
};

/// Multiplies one panel of X by the cells of some groups of rows.
class PanelProduct {
public:
  PanelProduct(KernelBuilder &b, const SparseBlocking &s,
               const CompressedMatrix &compressed, const Epilogue &epilogue,
               Value result)
      : b(b), s(s), compressed(compressed), epilogue(epilogue), result(result) {
    panel =
        b.stackBuffer(SparseBlocking::kPackedDepth * s.panelTokens + s.lanes);
    sums = b.stackBuffer(SparseBlocking::kRows * s.panelTokens);
  }

  void emit(const MatrixReader &input, Value firstToken, Value firstGroup,
            Value endGroup) {
    this->firstToken = firstToken;
    b.loop(0, s.k, SparseBlocking::kPackedDepth, [&](Value packed) {
      Value depth = remaining(b, s.k, packed, SparseBlocking::kPackedDepth);
      packPanel(b, s.lanes, input, /*transposed=*/true, {panel, s.panelTokens},
                b.index(0), firstToken, packed, depth, s.k % s.lanes == 0);
      Value first = b.cmpi(arith::CmpIPredicate::eq, packed, b.index(0));
      Value firstBlock = b.divi(packed, SparseBlocking::kDepth);
      Value blocks = ceilDivide(b, depth, SparseBlocking::kDepth);
      b.loop(firstGroup, endGroup, 1, [&](Value group) {
        b.loop(0, SparseBlocking::kRows * s.panelTokens, s.lanes,
               [&](Value i) { b.store(b.f32(0.0, s.lanes), sums, i); });
        Value row = b.muli(group, SparseBlocking::kRows);
        Value rows = remaining(b, s.n, row, SparseBlocking::kRows);
        b.loop(b.index(0), blocks, 1, [&](Value block) {
          addCell(b.addi(b.muli(group, s.blocks()), b.addi(firstBlock, block)),
                  block, rows);
        });
        store(first, row, rows);
        if (!epilogue.activation)
          return;
        Value last = b.cmpi(arith::CmpIPredicate::sge, packed,
                            b.index(s.k - SparseBlocking::kPackedDepth));
        b.ifThen(last, [&] {
          epilogue.activate(b, result, firstToken,
                            remaining(b, s.tokens, firstToken, s.panelTokens),
                            row, rows, s.lanes);
        });
      });
    });
  }

private:
  int64_t vectors() const { return s.panelTokens / s.lanes; }

  /// sums[r, :] += sum over the elements (r, k) of the cell: value * X[:, k]
  void addCell(Value cell, Value block, Value rows) {
    Value column = b.muli(block, SparseBlocking::kDepth * s.panelTokens);
    auto index = [&](Value i32) {
      return arith::IndexCastUIOp::create(b, b.getIndexType(), i32);
    };
    Value start = index(b.load(compressed.cells, {cell, b.index(0)}));
    b.loop(
        b.index(0), rows, 1, {start},
        [&](Value row, ValueRange at) -> SmallVector<Value> {
          Value end = b.addi(
              at[0], index(b.load(compressed.cells, {cell, b.addi(row, 1)})));
          Value place = b.muli(row, s.panelTokens);
          SmallVector<Value> tile;
          for (int64_t v = 0; v < vectors(); ++v)
            tile.push_back(b.load(sums, b.addi(place, v * s.lanes), s.lanes));
          tile = b.loop(at[0], end, 1, tile, [&](Value e, ValueRange carried) {
            SmallVector<Value> next(carried);
            Value value = b.loadSplat(compressed.values, e, s.lanes);
            Value x = b.addi(column, index(b.load(compressed.offsets, e)));
            for (int64_t v = 0; v < vectors(); ++v)
              next[v] =
                  b.fma(value, b.load(panel, b.addi(x, v * s.lanes), s.lanes),
                        next[v]);
            return next;
          });
          for (int64_t v = 0; v < vectors(); ++v)
            b.store(tile[v], sums, b.addi(place, v * s.lanes));
          return {end};
        });
  }

  /// Y[token, row..] = sums, transposed (and bias, addend), or += where it is
  /// not the first part of the depth.
  void store(Value first, Value row, Value rows) {
    Value tokens = remaining(b, s.tokens, firstToken, s.panelTokens);
    auto put = [&](Value sum, Value token, Value r) {
      int64_t lanes = KernelBuilder::lanesOf(sum);
      SmallVector<Value> at{b.addi(firstToken, token), b.addi(row, r)};
      auto set = [&] {
        b.store(epilogue.add(b, sum, at[0], at[1]), result, at);
      };
      if (s.k <= SparseBlocking::kPackedDepth)
        return set();
      b.ifElse(first, set, [&] {
        b.store(b.addf(b.load(result, at, lanes), sum), result, at);
      });
    };
    b.loop(b.index(0), tokens, s.lanes, [&](Value token) {
      b.loop(b.index(0), rows, s.lanes, [&](Value r) {
        auto place = [&](Value r, Value token) {
          return b.addi(b.muli(r, s.panelTokens), token);
        };
        auto whole = [&] {
          SmallVector<Value> square;
          for (int64_t i = 0; i < s.lanes; ++i)
            square.push_back(b.load(sums, place(b.addi(r, i), token), s.lanes));
          transpose(b, square);
          for (int64_t i = 0; i < s.lanes; ++i)
            put(square[i], b.addi(token, i), r);
        };
        if (s.tokens % s.lanes == 0 && s.n % s.lanes == 0)
          return whole();
        Value tokensFit =
            b.cmpi(arith::CmpIPredicate::sle, b.addi(token, s.lanes), tokens);
        Value rowsFit =
            b.cmpi(arith::CmpIPredicate::sle, b.addi(r, s.lanes), rows);
        b.ifElse(arith::AndIOp::create(b, tokensFit, rowsFit), whole, [&] {
          b.loop(
              token, b.mini(b.addi(token, s.lanes), tokens), 1, [&](Value t) {
                b.loop(r, b.mini(b.addi(r, s.lanes), rows), 1,
                       [&](Value i) { put(b.load(sums, place(i, t)), t, i); });
              });
        });
      });
    });
  }

  KernelBuilder &b;
  const SparseBlocking &s;
  const CompressedMatrix &compressed;
  const Epilogue &epilogue;
  Value result;
  Value panel; ///< X transposed: [kPackedDepth, panelTokens]
  Value sums;  ///< Y transposed: [kRows, panelTokens]
  Value firstToken;
};

} // namespace

// parallel for cells of S: compress
void pst::cpu::emitCompress(KernelBuilder &b, const SparseBlocking &blocking,
                            const MatrixReader &matrix, bool transposed,
                            const CompressedMatrix &compressed) {
  b.store(b.i32(0), compressed.cursor, b.index(0));
  b.parallel(blocking.cells(), [&](Value cell) {
    CellCompression(b, blocking, compressed).emit(matrix, transposed, cell);
  });
}

Value pst::cpu::emitIsWhole(KernelBuilder &b, const SparseBlocking &blocking,
                            const CompressedMatrix &compressed) {
  return b.cmpi(arith::CmpIPredicate::sle,
                b.load(compressed.cursor, b.index(0)),
                b.i32(blocking.capacity()));
}

// parallel for panels of tokens, and parts of the groups of rows:
//   for parts of the depth:
//     pack X(panel, part), transposed, on the stack
//     for groups of rows:
//       for cells of the group in the part, for rows r of the cell:
//         for the row's elements (k, value): sums(r, :) += value * X(k, :)
//       Y(panel, group) += sums, transposed
//
// Each sum runs over ascending k, whatever the threads and the blocks of rows.
void pst::cpu::emitSparseMatmul(KernelBuilder &b,
                                const SparseBlocking &blocking,
                                const MatrixReader &input,
                                const Epilogue &epilogue, Value result,
                                const CompressedMatrix &compressed) {
  const SparseBlocking &s = blocking;
  // With few panels, rows are shared out too; a panel is then packed for each
  // part.
  int64_t parts = std::min<int64_t>(
      s.groups(), divideCeil(8, std::min<int64_t>(8, s.panels())));
  int64_t partGroups = divideCeil(s.groups(), parts);
  b.parallel(s.panels() * parts, [&](Value task) {
    PanelProduct product(b, s, compressed, epilogue, result);
    Value firstGroup = b.muli(b.remi(task, parts), partGroups);
    Value endGroup =
        b.mini(b.addi(firstGroup, partGroups), b.index(s.groups()));
    product.emit(input, b.muli(b.divi(task, parts), s.panelTokens), firstGroup,
                 endGroup);
  });
}
