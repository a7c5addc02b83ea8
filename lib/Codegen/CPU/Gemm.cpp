//===- Gemm.cpp - The product of two matrices -----------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Gemm.h"
#include "pst/Dialect/PST/StageAttributes.h"

using namespace mlir;
using namespace pst::cpu;
using llvm::alignTo;
using llvm::divideCeil;

MatrixReader MatrixReader::of(Value buffer) {
  auto type = cast<MemRefType>(buffer.getType());
  return {type.getDimSize(0), type.getDimSize(1),
          [buffer](KernelBuilder &b, Value row, Value column, int64_t lanes) {
            return b.load(buffer, {row, column}, lanes);
          },
          /*readRows=*/{},
          /*prefetchNextRows=*/{}};
}

MatrixReader MatrixReader::of(const VirtualWeight &weight) {
  return {weight.getRows(), weight.getColumns(),
          [weight](KernelBuilder &b, Value row, Value column, int64_t lanes) {
            return weight.maskedWeight(b, row, column, lanes);
          },
          [weight](KernelBuilder &b, Value row, int64_t count, Value column,
                   int64_t lanes) {
            // As many as the registers hold two rank sums of.
            return weight.maskedWeights(b, row, count, column, lanes,
                                        /*most=*/lanes == 16 ? 8 : 4);
          },
          [weight](KernelBuilder &b, Value row, int64_t count, Value column) {
            weight.prefetchNextRows(b, row, count, column);
          }};
}

//===----------------------------------------------------------------------===//
// Block sizes
//===----------------------------------------------------------------------===//

/// `total` in as few equal blocks of at most `largest` as possible: the size
/// of a block, a multiple of `multiple`.
static int64_t balancedBlock(int64_t total, int64_t largest, int64_t multiple) {
  int64_t blocks = divideCeil(total, std::max(largest, multiple));
  return alignTo(divideCeil(total, blocks), multiple);
}

/// Deeper blocks than L1 would like: reading and writing C once more costs
/// more.
static constexpr int64_t kLargestDepth = 768;

/// A block of A takes a quarter of L2, and of the stack as much; a block of B
/// a quarter of what a thread has of L3.
GemmBlocking::GemmBlocking(int64_t m, int64_t n, int64_t k,
                           const Target &target)
    : GemmBlocking(m, n, k, target.vectorWidth, m, n,
                   target.kBlock ? target.kBlock : kLargestDepth) {
  int64_t depthBytes = kBlock * sizeof(float);
  *this = GemmBlocking(
      m, n, k, target.vectorWidth,
      target.mBlock ? target.mBlock : target.l2Cache / 4 / depthBytes,
      target.nBlock ? target.nBlock : target.l3Cache / 4 / depthBytes, kBlock);
}

/// The tile fills the registers: accumulators, a row of B, and what A's
/// element is spread to. 16 registers of 8 lanes (AVX2): 6 x 2 vectors; 32 of
/// 16 lanes (AVX-512): 12 x 2; 32 of 4 (NEON): 8 x 2.
GemmBlocking::GemmBlocking(int64_t m, int64_t n, int64_t k, int64_t lanes,
                           int64_t largestM, int64_t largestN, int64_t largestK)
    : m(m), n(n), k(k), lanes(lanes) {
  tileRows = lanes == 16 ? 12 : lanes == 8 ? 6 : 8;
  tileColumns = 2 * lanes;
  kBlock = balancedBlock(k, largestK, std::max(lanes, kUnroll));
  // Threads share the blocks of rows out: a multiple of four, unless few rows.
  int64_t blocks = divideCeil(m, largestM);
  if (m > 4 * tileRows)
    blocks = alignTo(blocks, 4);
  mBlock = alignTo(divideCeil(m, blocks), tileRows);
  nBlock = balancedBlock(n, largestN, tileColumns);
}

void GemmBlocking::note(KernelBuilder &b) const {
  auto kernel =
      dyn_cast_if_present<func::FuncOp>(b.getInsertionBlock()->getParentOp());
  if (!kernel) // one of several products
    return;
  auto size = [&](StringRef name, int64_t value) {
    return b.getNamedAttr(name, b.getI64IntegerAttr(value));
  };
  kernel->setAttr(
      kBlocksAttribute,
      b.getDictionaryAttr({size("m", mBlock), size("n", nBlock),
                           size("k", kBlock), size("tile_rows", tileRows),
                           size("tile_columns", tileColumns)}));
}

int64_t GemmBlocking::packedSizeA() const {
  return mBlock / tileRows * panelStrideA();
}

int64_t GemmBlocking::packedSizeB() const {
  return nBlock / tileColumns * panelStrideB() + lanes;
}

//===----------------------------------------------------------------------===//
// Packing
//===----------------------------------------------------------------------===//

// At each step the off-diagonal quarters of every square of 2h lanes change
// places.
void pst::cpu::transpose(KernelBuilder &b, MutableArrayRef<Value> rows) {
  int64_t lanes = rows.size();
  for (int64_t half = lanes / 2; half; half /= 2) {
    SmallVector<int64_t> low, high;
    for (int64_t lane = 0; lane < lanes; ++lane) {
      bool right = lane & half;
      low.push_back(right ? lanes + lane - half : lane);
      high.push_back(right ? lanes + lane : lane + half);
    }
    for (int64_t i = 0; i < lanes; ++i) {
      if (i & half)
        continue;
      Value first = rows[i], second = rows[i + half];
      rows[i] = vector::ShuffleOp::create(b, first, second, low);
      rows[i + half] = vector::ShuffleOp::create(b, first, second, high);
    }
  }
}

void pst::cpu::packPanel(KernelBuilder &b, int64_t lanes,
                         const MatrixReader &matrix, bool transposed,
                         const PanelBuffer &panels, Value base, Value first,
                         Value firstDepth, Value depth, bool wholeDepth) {
  int64_t width = panels.width;
  int64_t columns = transposed ? matrix.rows : matrix.columns;
  auto place = [&](Value k) { return b.addi(base, b.muli(k, width)); };
  Value last = b.index(columns - 1);
  auto clamped = [&](Value column) {
    return columns % width == 0 ? column : b.mini(column, last);
  };
  // Element by element: what no vector fits.
  auto scalars = [&](Value from, Value to) {
    b.loop(from, to, 1, [&](Value k) {
      Value at = place(k), inner = b.addi(firstDepth, k);
      b.loop(0, width, 1, [&](Value c) {
        Value outer = b.mini(b.addi(first, c), last);
        Value value = transposed ? matrix.read(b, outer, inner, 1)
                                 : matrix.read(b, inner, outer, 1);
        b.store(value, panels.buffer, b.addi(at, c));
      });
    });
  };

  if (transposed) {
    Value whole = wholeDepth ? depth : b.muli(b.divi(depth, lanes), lanes);
    auto square = [&](Value k, Value c, int64_t rowsHere) {
      Value inner = b.addi(firstDepth, k);
      SmallVector<Value> rows;
      if (matrix.readRows && columns % width == 0)
        rows = matrix.readRows(b, b.addi(first, c), rowsHere, inner, lanes);
      else
        for (int64_t r = 0; r < rowsHere; ++r)
          rows.push_back(matrix.read(b, clamped(b.addi(first, b.addi(c, r))),
                                     inner, lanes));
      rows.resize(lanes, b.f32(0.0, lanes));
      transpose(b, rows);
      Value at = b.addi(place(k), c);
      for (int64_t i = 0; i < lanes; ++i)
        b.store(rows[i], panels.buffer, b.addi(at, i * width));
    };
    auto forDepth = [&](function_ref<void(Value)> body) {
      b.loop(b.index(0), whole, lanes, body);
    };
    // Stores of a narrow panel, or beside a wide one, overlap; ascending k
    // makes them right. Else rows are read as prefetchers expect: few at once,
    // from one end to the other.
    if (width <= lanes)
      forDepth([&](Value k) { square(k, b.index(0), width); });
    else if (width % lanes == 0)
      b.loop(0, width, lanes,
             [&](Value c) { forDepth([&](Value k) { square(k, c, lanes); }); });
    else
      forDepth([&](Value k) {
        b.loop(0, width, lanes, [&](Value c) { square(k, c, lanes); });
      });
    if (!wholeDepth)
      scalars(whole, depth);
  } else {
    int64_t reach = alignTo(width, lanes);
    Value fits =
        b.cmpi(arith::CmpIPredicate::sle, first, b.index(columns - reach));
    auto vectors = [&] {
      b.loop(b.index(0), depth, 1, [&](Value k) {
        Value at = place(k), inner = b.addi(firstDepth, k);
        // Of the row after the next seven, which were asked for before.
        if (matrix.prefetchNextRows)
          for (int64_t c = 0; c < width; c += lanes)
            matrix.prefetchNextRows(b, b.addi(inner, 7), /*count=*/1,
                                    b.addi(first, c));
        for (int64_t c = 0; c < width; c += lanes)
          b.store(matrix.read(b, inner, b.addi(first, c), lanes), panels.buffer,
                  b.addi(at, c));
      });
    };
    if (columns % width == 0 && reach == width)
      vectors();
    else
      b.ifElse(fits, vectors, [&] { scalars(b.index(0), depth); });
  }

  if (!wholeDepth) {
    Value padded = b.muli(
        b.divi(b.addi(depth, GemmBlocking::kUnroll - 1), GemmBlocking::kUnroll),
        GemmBlocking::kUnroll);
    b.loop(b.muli(depth, width), b.muli(padded, width), 1, [&](Value i) {
      b.store(b.f32(0.0), panels.buffer, b.addi(base, i));
    });
  }
}

//===----------------------------------------------------------------------===//
// The micro-kernel
//===----------------------------------------------------------------------===//

SmallVector<Value> pst::cpu::multiplyPanels(KernelBuilder &b,
                                            const GemmBlocking &blocking,
                                            Value packedA, Value baseA,
                                            Value packedB, Value baseB,
                                            Value depth) {
  int64_t lanes = blocking.lanes, rows = blocking.tileRows;
  int64_t vectors = blocking.tileColumns / lanes;
  SmallVector<Value> zeros(rows * vectors, b.f32(0.0, lanes));
  return b.loop(
      b.index(0), depth, GemmBlocking::kUnroll, zeros,
      [&](Value k, ValueRange carried) {
        SmallVector<Value> sums(carried);
        Value atA = b.addi(baseA, b.muli(k, rows));
        Value atB = b.addi(baseB, b.muli(k, blocking.tileColumns));
        for (int64_t u = 0; u < GemmBlocking::kUnroll; ++u) {
          SmallVector<Value> right;
          for (int64_t v = 0; v < vectors; ++v)
            right.push_back(b.load(
                packedB, b.addi(atB, u * blocking.tileColumns + v * lanes),
                lanes));
          for (int64_t r = 0; r < rows; ++r) {
            Value left = b.loadSplat(packedA, b.addi(atA, u * rows + r), lanes);
            for (int64_t v = 0; v < vectors; ++v) {
              Value &sum = sums[r * vectors + v];
              sum = b.fma(left, right[v], sum);
            }
          }
        }
        return sums;
      });
}

//===----------------------------------------------------------------------===//
// The product
//===----------------------------------------------------------------------===//

Value pst::cpu::remaining(KernelBuilder &b, int64_t total, Value from,
                          int64_t block) {
  if (total % block == 0)
    return b.index(block);
  return b.mini(b.subi(b.index(total), from), b.index(block));
}

Value pst::cpu::remaining(KernelBuilder &b, Value total, Value from,
                          int64_t block) {
  return b.mini(b.subi(total, from), b.index(block));
}

Value pst::cpu::ceilDivide(KernelBuilder &b, Value value, int64_t by) {
  return b.divi(b.addi(value, by - 1), by);
}

Value Epilogue::scale(KernelBuilder &b, Value sum, Value column) const {
  return scales
             ? b.mulf(sum, b.load(scales, column, KernelBuilder::lanesOf(sum)))
             : sum;
}

Value Epilogue::add(KernelBuilder &b, Value sum, Value row,
                    Value column) const {
  int64_t lanes = KernelBuilder::lanesOf(sum);
  sum = scale(b, sum, column);
  if (bias)
    sum = b.addf(sum, b.load(bias, column, lanes));
  return addend ? b.addf(sum, b.load(addend, {row, column}, lanes)) : sum;
}

// Through memory that is in L1: unrolled over a register tile, a polynomial
// would be most of the kernel's code.
void Epilogue::activate(KernelBuilder &b, Value result, Value row, Value rows,
                        Value column, Value columns, int64_t lanes) const {
  if (!activation)
    return;
  Value whole = b.muli(b.divi(columns, lanes), lanes);
  b.loop(b.index(0), rows, 1, [&](Value i) {
    auto step = [&](int64_t width) {
      return [&, width](Value j) {
        SmallVector<Value> at{b.addi(row, i), b.addi(column, j)};
        b.store(activation(b, b.load(result, at, width)), result, at);
      };
    };
    b.loop(b.index(0), whole, lanes, step(lanes));
    b.loop(whole, columns, 1, step(1));
  });
}

namespace {
/// Adds register tiles to the result (the first block of the depth sets it).
struct TileStore {
  KernelBuilder &b;
  const GemmBlocking &blocking;
  const Epilogue &epilogue;
  Value result;
  Value rows;        ///< How many of the result's rows there are; null: all.
  Value edge;        ///< Scratch of one tile; null if all tiles lie within.
  Value first, last; ///< i1: this block of the depth is.

  int64_t vectors() const { return blocking.tileColumns / blocking.lanes; }

  /// Asks for the tile's lines, which are far apart, before the product; lines
  /// beyond the edge do no harm.
  void prefetch(Value row, Value column) {
    for (int64_t r = 0; r < blocking.tileRows; ++r)
      for (int64_t v = 0; v < vectors(); ++v)
        memref::PrefetchOp::create(
            b, result,
            ValueRange{b.addi(row, r), b.addi(column, v * blocking.lanes)},
            /*isWrite=*/true, /*localityHint=*/3, /*isDataCache=*/true);
  }

  void store(ArrayRef<Value> tile, Value row, Value column) {
    if (!edge) {
      storeWhole(tile, row, column);
    } else {
      Value rowsFit = b.cmpi(arith::CmpIPredicate::sle, row,
                             rows ? b.subi(rows, b.index(blocking.tileRows))
                                  : b.index(blocking.m - blocking.tileRows));
      Value columnsFit = b.cmpi(arith::CmpIPredicate::sle, column,
                                b.index(blocking.n - blocking.tileColumns));
      b.ifElse(
          arith::AndIOp::create(b, rowsFit, columnsFit),
          [&] { storeWhole(tile, row, column); },
          [&] { storeEdge(tile, row, column); });
    }
    if (!epilogue.activation)
      return;
    b.ifThen(last, [&] {
      epilogue.activate(b, result, row, rowsHere(row), column,
                        columnsHere(column), blocking.lanes);
    });
  }

private:
  Value rowsHere(Value row) {
    return b.mini(b.index(blocking.tileRows),
                  b.subi(rows ? rows : b.index(blocking.m), row));
  }
  Value columnsHere(Value column) {
    return b.mini(b.index(blocking.tileColumns),
                  b.subi(b.index(blocking.n), column));
  }

  void put(Value sum, Value row, Value column) {
    b.store(sum, result, {row, column});
  }
  Value old(Value row, Value column, int64_t lanes) {
    return b.load(result, {row, column}, lanes);
  }

  /// set() for the first block of the depth, add() for the others.
  void setOrAdd(function_ref<void()> set, function_ref<void()> add) {
    if (blocking.k <= blocking.kBlock)
      return set();
    b.ifElse(first, set, add);
  }

  void storeWhole(ArrayRef<Value> tile, Value row, Value column) {
    auto forEachVector =
        [&](function_ref<Value(Value sum, Value row, Value column)> next) {
          for (auto [i, sum] : llvm::enumerate(tile)) {
            Value r = b.addi(row, i / vectors());
            Value c = b.addi(column, i % vectors() * blocking.lanes);
            put(next(sum, r, c), r, c);
          }
        };
    setOrAdd(
        [&] {
          forEachVector([&](Value sum, Value r, Value c) {
            return epilogue.add(b, sum, r, c);
          });
        },
        [&] {
          forEachVector([&](Value sum, Value r, Value c) {
            return b.addf(old(r, c, blocking.lanes), epilogue.scale(b, sum, c));
          });
        });
  }

  /// The same for the part of a tile that lies within the result.
  void storeEdge(ArrayRef<Value> tile, Value row, Value column) {
    for (auto [i, sum] : llvm::enumerate(tile))
      b.store(sum, edge, b.index(i * blocking.lanes));
    b.loop(b.index(0), rowsHere(row), 1, [&](Value i) {
      b.loop(b.index(0), columnsHere(column), 1, [&](Value j) {
        Value r = b.addi(row, i), c = b.addi(column, j);
        Value sum = b.load(edge, b.addi(b.muli(i, blocking.tileColumns), j));
        setOrAdd([&] { put(epilogue.add(b, sum, r, c), r, c); },
                 [&] {
                   put(b.addf(old(r, c, 1), epilogue.scale(b, sum, c)), r, c);
                 });
      });
    });
  }
};
} // namespace

// for jc in blocks of n:                     a block of B: packedB
//   for pc in blocks of k:
//     parallel: pack the panels of B(pc, jc)
//     parallel for ic in blocks of m, and groups of panels of B:
//       pack A(ic, pc) on the stack
//       for jr in panels of B, for ir in panels of A:
//         tile = sum over k (the micro-kernel);  C(ir, jr) += tile
//         after the last block of k: C(ir, jr) = f(C(ir, jr))
void pst::cpu::emitGemm(KernelBuilder &b, const GemmBlocking &blocking,
                        const GemmSpec &spec, const Epilogue &epilogue,
                        Value result, Value workspace) {
  const GemmBlocking &s = blocking;
  s.note(b);
  bool wholeDepth = !spec.depth && s.hasWholeDepth();
  bool edges = spec.rows || s.m % s.tileRows != 0 || s.n % s.tileColumns != 0;
  int64_t panels = s.panelsOfN();
  // With few rows, columns are shared out too; A is then packed once a group.
  int64_t groups = std::min<int64_t>(panels, s.blocksOfM() >= 4 ? 1 : 4);
  int64_t groupPanels = divideCeil(panels, groups);
  // Rows that are there are shared out evenly, too.
  Value blockRows;
  if (spec.rows)
    blockRows = b.muli(
        ceilDivide(b, ceilDivide(b, spec.rows, s.blocksOfM()), s.tileRows),
        s.tileRows);

  b.loop(0, s.n, s.nBlock, [&](Value jc) {
    Value panelCount =
        ceilDivide(b, remaining(b, s.n, jc, s.nBlock), s.tileColumns);
    Value terms = spec.depth ? spec.depth : b.index(s.k);
    b.loop(b.index(0), terms, s.kBlock, [&](Value pc) {
      Value depth = spec.depth ? remaining(b, spec.depth, pc, s.kBlock)
                               : remaining(b, s.k, pc, s.kBlock);
      b.parallel(panels, [&](Value p) {
        b.ifThen(b.cmpi(arith::CmpIPredicate::slt, p, panelCount), [&] {
          packPanel(b, s.lanes, spec.b, spec.transposeB,
                    {workspace, s.tileColumns}, b.muli(p, s.panelStrideB()),
                    b.addi(jc, b.muli(p, s.tileColumns)), pc, depth,
                    wholeDepth);
        });
      });
      b.parallel(s.blocksOfM() * groups, [&](Value task) {
        Value packedA = b.stackBuffer(s.packedSizeA());
        Value edge =
            edges ? b.stackBuffer(s.tileRows * s.tileColumns) : nullptr;
        Value first = b.cmpi(arith::CmpIPredicate::eq, pc, b.index(0));
        Value last = spec.depth ? b.cmpi(arith::CmpIPredicate::sge,
                                         b.addi(pc, s.kBlock), terms)
                                : b.cmpi(arith::CmpIPredicate::sge, pc,
                                         b.index(s.k - s.kBlock));
        TileStore tiles{b, s, epilogue, result, spec.rows, edge, first, last};
        Value block = b.divi(task, groups);
        // The last blocks may have none.
        Value ic =
            blockRows
                ? b.mini(arith::MulIOp::create(b, block, blockRows), spec.rows)
                : b.muli(block, s.mBlock);
        Value group = b.remi(task, groups);
        Value rowsHere = blockRows ? b.mini(b.subi(spec.rows, ic), blockRows)
                                   : remaining(b, s.m, ic, s.mBlock);
        Value panelsA = ceilDivide(b, rowsHere, s.tileRows);
        b.loop(b.index(0), panelsA, 1, [&](Value p) {
          packPanel(b, s.lanes, spec.a, !spec.transposeA, {packedA, s.tileRows},
                    b.muli(p, s.panelStrideA()),
                    b.addi(ic, b.muli(p, s.tileRows)), pc, depth, wholeDepth);
        });
        Value from = b.muli(group, groupPanels);
        Value to = b.mini(b.addi(from, groupPanels), panelCount);
        b.loop(from, to, 1, [&](Value jr) {
          Value column = b.addi(jc, b.muli(jr, s.tileColumns));
          b.loop(b.index(0), panelsA, 1, [&](Value ir) {
            Value row = b.addi(ic, b.muli(ir, s.tileRows));
            tiles.prefetch(row, column);
            SmallVector<Value> tile =
                multiplyPanels(b, s, packedA, b.muli(ir, s.panelStrideA()),
                               workspace, b.muli(jr, s.panelStrideB()), depth);
            tiles.store(tile, row, column);
          });
        });
      });
    });
  });
}
