//===- CompressedWeight.cpp - Compresses a matrix to its elements ---------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "CompressedWeight.h"
#include "KernelContext.h"
#include "QuantizedWeight.h"

using namespace mlir;
using namespace pst;
using namespace pst::cpu;

using Layout = CompressedLayout;

Value CompressedMatrix::isWhole(KernelBuilder &b) const {
  return b.cmpi(arith::CmpIPredicate::sle, b.load(used, {}), b.i32(room()));
}

CompressedMatrix::Row CompressedMatrix::rowAt(KernelBuilder &b, Value cell,
                                              Value i) const {
  Value entry = b.load(cells, {cell, b.addi(i, 1)});
  Value bits = b.i32(Layout::kCountBits);
  Value mask = b.i32((1 << Layout::kCountBits) - 1);
  return {toIndex(b, arith::ShRUIOp::create(b, entry, bits)),
          toIndex(b, arith::AndIOp::create(b, entry, mask))};
}

static Value toI8(KernelBuilder &b, Value i32s) {
  Type type = b.lanesType(KernelBuilder::lanesOf(i32s), b.getI8Type());
  return arith::TruncIOp::create(b, type, i32s);
}

namespace {

/// Compresses one cell, first into rows on the stack, then to a place that no
/// other cell has.
class CellCompression {
public:
  CellCompression(KernelBuilder &b, const Layout &layout, int64_t lanes,
                  const CompressedMatrix &compressed)
      : b(b), layout(layout), lanes(lanes), compressed(compressed) {
    // A vector may be stored behind the last element.
    int64_t width = Layout::kColumns + lanes;
    values = b.stackBuffer({Layout::kRows, width});
    columns = b.stackBuffer({Layout::kRows, width}, b.getI32Type());
    counts = b.stackBuffer(Layout::kRows, b.getI32Type());
  }

  /// Reads a cell to the stack, and counts the elements of its rows.
  void read(const MatrixReader &matrix, bool transposed, Value cell) {
    this->cell = cell;
    firstRow = b.muli(b.divi(cell, layout.blocks()), Layout::kRows);
    firstColumn = b.muli(b.remi(cell, layout.blocks()), Layout::kColumns);
    rows = remaining(b, layout.rows, firstRow, Layout::kRows);
    depth = remaining(b, layout.columns, firstColumn, Layout::kColumns);
    if (layout.rows % Layout::kRows)
      b.loop(rows, b.index(Layout::kRows), 1,
             [&](Value row) { storeCount(b.index(0), row); });
    if (transposed)
      readTransposed(matrix);
    else
      readRows(matrix);
  }

  /// The slots of the cell that was read.
  Value size() {
    return b.loop(b.index(0), rows, 1, {b.index(Layout::kSlack)},
                  [&](Value row, ValueRange sum) -> SmallVector<Value> {
                    return {b.addi(sum[0], loadCount(row))};
                  })[0];
  }

  /// Copies its rows, one behind the other, to the slots from `first` on;
  /// returns the slot after them. A vector's rest lies in the slack.
  Value place(Value first) {
    orderRows();
    return b.loop(b.index(0), rows, 1, {first},
                  [&](Value i, ValueRange at) -> SmallVector<Value> {
                    auto [row, count] = compressed.rowAt(b, cell, i);
                    b.loop(b.index(0), count, lanes, [&](Value e) {
                      Value to = b.addi(at[0], e);
                      b.store(b.load(values, {row, e}, lanes),
                              compressed.values, to);
                      b.store(toI8(b, b.load(columns, {row, e}, lanes)),
                              compressed.columns, to);
                    });
                    return {b.addi(at[0], count)};
                  })[0];
  }

private:
  /// Writes the entries of the cell's rows. A row's place is how many have more
  /// elements, or as many and a smaller number: keys that all differ.
  void orderRows() {
    constexpr int64_t kRows = Layout::kRows;
    Value keys = b.stackBuffer(kRows, b.getI32Type());
    b.loop(0, kRows, 1, [&](Value row) {
      Value key = b.subi(b.muli(loadCount(row), kRows), row);
      b.store(toI32(b, key), keys, row);
    });
    b.loop(0, kRows, 1, [&](Value row) {
      Value own = b.splat(b.load(keys, row), lanes);
      Value place =
          b.loop(b.index(0), b.index(kRows), lanes, {b.index(0)},
                 [&](Value i, ValueRange before) -> SmallVector<Value> {
                   Value isBefore = b.cmpi(arith::CmpIPredicate::sgt,
                                           b.load(keys, i, lanes), own);
                   return {b.addi(before[0], b.countLanes(isBefore))};
                 })[0];
      Value entry =
          b.addi(b.muli(row, 1 << Layout::kCountBits), loadCount(row));
      b.store(toI32(b, entry), compressed.cells, {cell, b.addi(place, 1)});
    });
  }

  /// Adds what is not zero of `value`, the elements of a row from depth k on,
  /// behind the `count` that are there; returns how many there are then.
  Value append(Value value, Value row, Value k, Value count) {
    int64_t lanes = KernelBuilder::lanesOf(value);
    Value kept = b.cmpf(arith::CmpFPredicate::UNE, value, b.f32(0.0, lanes));
    Value column = arith::IndexCastOp::create(b, b.getI32Type(), k);
    if (lanes == 1) {
      b.store(value, values, {row, count});
      b.store(column, columns, {row, count});
      return b.addi(count, toIndex(b, kept));
    }
    SmallVector<int32_t> steps;
    for (int64_t lane = 0; lane < lanes; ++lane)
      steps.push_back(lane);
    Value step = arith::ConstantOp::create(b, b.getI32VectorAttr(steps));
    Value all = arith::AddIOp::create(b, b.splat(column, lanes), step);
    b.store(b.compress(value, kept), values, {row, count});
    b.store(b.compress(all, kept), columns, {row, count});
    return b.addi(count, b.countLanes(kept));
  }

  Value loadCount(Value row) {
    return arith::IndexCastOp::create(b, b.getIndexType(), b.load(counts, row));
  }
  void storeCount(Value count, Value row) {
    b.store(toI32(b, count), counts, row);
  }

  /// Rows of the matrix are rows of S; several at once, where that is less work
  /// to read.
  void readRows(const MatrixReader &matrix) {
    int64_t atOnce = lanes == 16 ? 8 : 4;
    if (!matrix.readRows || layout.rows % atOnce != 0)
      atOnce = 1;
    Value whole = b.muli(b.divi(depth, lanes), lanes);
    b.loop(b.index(0), rows, atOnce, [&](Value row) {
      auto step = [&](int64_t lanes) {
        return [&, lanes](Value k, ValueRange counts) {
          Value fromRow = b.addi(firstRow, row);
          Value fromColumn = b.addi(firstColumn, k);
          if (atOnce > 1 && lanes > 1)
            matrix.prefetchNextRows(b, fromRow, atOnce, fromColumn);
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
          b.loop(b.index(0), whole, lanes,
                 SmallVector<Value>(atOnce, b.index(0)), step(lanes));
      if (layout.columns % lanes)
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
          matrix.read(b, b.addi(firstColumn, k), b.addi(firstRow, row), 1);
      storeCount(append(value, row, k, loadCount(row)), row);
    };
    Value wholeDepth = b.muli(b.divi(depth, lanes), lanes);
    Value wholeRows = b.muli(b.divi(rows, lanes), lanes);
    b.loop(b.index(0), wholeDepth, lanes, [&](Value k) {
      b.loop(b.index(0), wholeRows, lanes, [&](Value row) {
        Value fromRow = b.addi(firstColumn, k);
        Value fromColumn = b.addi(firstRow, row);
        SmallVector<Value> square;
        if (matrix.readRows) {
          matrix.prefetchNextRows(b, fromRow, lanes, fromColumn);
          square = matrix.readRows(b, fromRow, lanes, fromColumn, lanes);
        } else {
          for (int64_t i = 0; i < lanes; ++i)
            square.push_back(
                matrix.read(b, b.addi(fromRow, i), fromColumn, lanes));
        }
        transpose(b, square);
        for (int64_t i = 0; i < lanes; ++i) {
          Value at = b.addi(row, i);
          storeCount(append(square[i], at, k, loadCount(at)), at);
        }
      });
      if (layout.rows % lanes)
        b.loop(wholeRows, rows, 1, [&](Value row) {
          b.loop(b.index(0), b.index(lanes), 1,
                 [&](Value i) { element(b.addi(k, i), row); });
        });
    });
    if (layout.columns % lanes)
      b.loop(b.index(0), rows, 1, [&](Value row) {
        b.loop(wholeDepth, depth, 1, [&](Value k) { element(k, row); });
      });
  }

  KernelBuilder &b;
  const Layout &layout;
  int64_t lanes;
  const CompressedMatrix &compressed;
  Value values, columns; ///< The cell's rows.
  Value counts;          ///< Of their elements, i32.
  Value cell, firstRow, firstColumn, rows, depth;
};

} // namespace

void pst::cpu::emitNothing(KernelBuilder &b,
                           const CompressedMatrix &compressed) {
  b.store(b.i32(Layout::kNothing), compressed.used, {});
}

// parallel for cells of S:
//   read it to the stack; take the next free slots; place it, if they are there
//
// Which slots a cell gets depends on the threads, whether there are enough does
// not: if there are not, the cells beyond the room are not written.
static void emitUnordered(KernelBuilder &b, const Layout &layout, int64_t lanes,
                          const MatrixReader &matrix, bool transposed,
                          const CompressedMatrix &compressed) {
  b.store(b.i32(0), compressed.used, {});
  b.parallel(layout.cells(), [&](Value cell) {
    CellCompression compression(b, layout, lanes, compressed);
    compression.read(matrix, transposed, cell);
    Value size = compression.size();
    Value start = memref::AtomicRMWOp::create(b, arith::AtomicRMWKind::addi,
                                              toI32(b, size), compressed.used,
                                              ValueRange{});
    b.store(start, compressed.cells, {cell, b.index(0)});
    Value first = arith::IndexCastOp::create(b, b.getIndexType(), start);
    Value fits = b.cmpi(arith::CmpIPredicate::sle, b.addi(first, size),
                        b.index(compressed.room()));
    b.ifThen(fits, [&] { compression.place(first); });
  });
}

static void storeZeros(KernelBuilder &b, const CompressedMatrix &compressed,
                       Value slot, int64_t lanes) {
  b.store(b.f32(0.0, lanes), compressed.values, slot);
  b.store(toI8(b, b.splat(b.i32(0), lanes)), compressed.columns, slot);
}

// parallel for cells of S: count; parallel for slots: zero
// for cells: the slots begin where those of the cell before end
// if there are enough: parallel for cells of S: read it again; place it, and
//   zeros behind it
static void emitOrdered(KernelBuilder &b, const Layout &layout, int64_t lanes,
                        const MatrixReader &matrix, bool transposed,
                        const CompressedMatrix &compressed) {
  b.parallel(layout.cells(), [&](Value cell) {
    CellCompression compression(b, layout, lanes, compressed);
    compression.read(matrix, transposed, cell);
    b.store(toI32(b, compression.size()), compressed.cells, {cell, b.index(0)});
  });
  b.parallelVectorLoop(
      compressed.room(), 1 << 14, lanes,
      [&](Value i, int64_t width) { storeZeros(b, compressed, i, width); });
  Value used = b.loop(b.index(0), b.index(layout.cells()), 1, {b.i32(0)},
                      [&](Value cell, ValueRange at) -> SmallVector<Value> {
                        SmallVector<Value> place{cell, b.index(0)};
                        Value size = b.load(compressed.cells, place);
                        b.store(at[0], compressed.cells, place);
                        return {b.addi(at[0], size)};
                      })[0];
  b.store(used, compressed.used, {});
  b.ifThen(compressed.isWhole(b), [&] {
    b.parallel(layout.cells(), [&](Value cell) {
      CellCompression compression(b, layout, lanes, compressed);
      compression.read(matrix, transposed, cell);
      Value first = b.load(compressed.cells, {cell, b.index(0)});
      Value end = compression.place(
          arith::IndexCastOp::create(b, b.getIndexType(), first));
      b.loop(0, Layout::kSlack, lanes, [&](Value i) {
        storeZeros(b, compressed, b.addi(end, i), lanes);
      });
    });
  });
}

void pst::cpu::emitCompress(KernelBuilder &b, const Layout &layout,
                            int64_t lanes, const MatrixReader &matrix,
                            bool transposed, bool unordered,
                            const CompressedMatrix &compressed) {
  auto emit = unordered ? emitUnordered : emitOrdered;
  // A vector behind a cell's last element must end in its slack.
  emit(b, layout, std::min(lanes, Layout::kSlack), matrix, transposed,
       compressed);
}

namespace {
struct CompressedWeightPattern : KernelPattern<MaterializeOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(MaterializeOp op,
                                PatternRewriter &rewriter) const override {
    if (op.getStorage() != Storage::Compressed)
      return failure();
    CriterionOp criterion = context.getCriterion(op.getCriterionAttr());
    Layout layout = compressedLayout(op, criterion);
    SmallVector<Value> inputs = weightOperands(op);
    size_t operands = inputs.size();
    if (op.getPruned())
      inputs.push_back(op.getPruned());
    context.replaceByLaunch(
        rewriter, op, inputs, /*workspaces=*/{},
        [&](KernelBuilder &b, ValueRange arguments) {
          MatrixReader matrix = MatrixReader::of(
              VirtualWeight(b, criterion, op.getSelectionAttr(),
                            arguments.take_front(operands)));
          auto compressed =
              CompressedMatrix::of(arguments.take_back(op.getStored().size()));
          if (compressed.scales) {
            emitRowScales(b, context.lanes(), matrix, op.getTransposed(),
                          compressed.scales);
            matrix =
                wholeNumbers(matrix, op.getTransposed(), compressed.scales);
          }
          auto compress = [&] {
            emitCompress(b, layout, context.lanes(), matrix, op.getTransposed(),
                         op.getUnordered(), compressed);
          };
          if (!op.getPruned())
            return compress();
          int64_t fewest =
              layout.rows * layout.columns - layout.keptIn(compressed.room());
          Value enough = b.cmpi(arith::CmpIPredicate::sge,
                                b.load(arguments[operands], {}), b.i64(fewest));
          b.ifElse(enough, compress, [&] { emitNothing(b, compressed); });
        });
    return success();
  }
};
} // namespace

void pst::cpu::populateCompressedWeightKernels(RewritePatternSet &patterns,
                                               KernelContext &context) {
  patterns.add<CompressedWeightPattern>(patterns.getContext(), context);
}
