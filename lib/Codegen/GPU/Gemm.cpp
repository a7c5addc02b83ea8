//===- Gemm.cpp - Tiles of matrix products --------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// The portable product, in f32 by fused multiply-adds. A block of 16 x 16
// threads computes a tile of T x T elements (T = 64 or 128), and a thread U x U
// of them (U = T / 16), in groups of four that are 64 apart:
//
//   for k0 in steps of D:
//     shared A[kk, i] = op(A)[row + i, k0 + kk],   zero outside
//     shared B[kk, j] = op(B)[k0 + kk, column + j]
//     barrier
//     for kk in [0, D): sums[r, c] += A[kk, i(r)] * B[kk, j(c)]
//     barrier

#include "Gemm.h"

using namespace mlir;
using namespace pst::cuda;

/// Multiprocessors that large tiles must be able to keep busy.
static constexpr int64_t kBusy = 128;
/// What a row of a shared tile is longer by, against bank conflicts.
static constexpr int64_t kPadding = 4;
/// Rows, and columns, of a thread that lie together, and threads along each.
static constexpr int64_t kGroup = 4;
static constexpr int64_t kSide = 16;

GemmShape GemmShape::of(int64_t m, int64_t n, int64_t k) {
  GemmShape shape{m, n, k, /*tile=*/128};
  if (shape.blocks() < kBusy)
    shape.tile = 64;
  return shape;
}

/// Elements that each thread loads of each operand decide the depth.
static int64_t depthOf(const GemmShape &shape) {
  return GemmShape::kThreads * 4 / shape.tile;
}

/// All of the conditions; null if there are none.
static Value both(ThreadBuilder &b, Value lhs, Value rhs) {
  if (!lhs || !rhs)
    return lhs ? lhs : rhs;
  return arith::AndIOp::create(b, lhs, rhs);
}

/// first + i < size; null where a multiple of `step` makes it sure.
static Value below(ThreadBuilder &b, Value first, Value i, int64_t size,
                   int64_t step) {
  if (size % step == 0)
    return nullptr;
  return b.cmpi(arith::CmpIPredicate::slt, b.addi(first, i), b.index(size));
}

GemmTile::GemmTile(ThreadBuilder &b, const GemmShape &shape, GemmOperand left,
                   GemmOperand right)
    : shape(shape) {
  tileOfM = b.divi(b.block(), shape.tilesOfN());
  tileOfN = b.remi(b.block(), shape.tilesOfN());
  row = b.muli(tileOfM, shape.tile);
  column = b.muli(tileOfN, shape.tile);
  groupOfRows = b.divi(b.thread(), kSide);
  groupOfColumns = b.remi(b.thread(), kSide);
  int64_t depth = depthOf(shape), unit = shape.tile / kSide;
  SmallVector<int64_t> size{depth, shape.tile + kPadding};
  Value sharedA = b.sharedBuffer(size), sharedB = b.sharedBuffer(size);
  SmallVector<Value> zeros(unit * unit, b.f32(0.0));
  sums = b.loop(
      b.index(0), b.index(shape.k), depth, zeros,
      [&](Value k, ValueRange carried) -> SmallVector<Value> {
        load(b, left, row, shape.m, k, /*depthIsInner=*/!left.transposed,
             sharedA);
        load(b, right, column, shape.n, k, /*depthIsInner=*/right.transposed,
             sharedB);
        b.barrier();
        SmallVector<Value> next(carried);
        for (int64_t kk = 0; kk < depth; ++kk) {
          SmallVector<Value> lefts, rights;
          for (int64_t i = 0; i < unit; ++i) {
            lefts.push_back(
                b.load(sharedA, {b.index(kk), offset(b, groupOfRows, i)}));
            rights.push_back(
                b.load(sharedB, {b.index(kk), offset(b, groupOfColumns, i)}));
          }
          for (int64_t r = 0; r < unit; ++r)
            for (int64_t c = 0; c < unit; ++c)
              next[r * unit + c] =
                  b.fma(lefts[r], rights[c], next[r * unit + c]);
        }
        b.barrier();
        return next;
      });
}

/// Where in the tile the thread's i-th row (or column) lies.
Value GemmTile::offset(ThreadBuilder &b, Value group, int64_t i) const {
  return b.addi(b.muli(group, kGroup),
                i / kGroup * kGroup * kSide + i % kGroup);
}

/// shared[kk, i] = operand at (first + i, depth + kk), or the other way round
/// if the depth is not its inner dimension; neighbouring threads take
/// neighbouring elements of the operand.
void GemmTile::load(ThreadBuilder &b, GemmOperand operand, Value first,
                    int64_t size, Value depth, bool depthIsInner,
                    Value shared) const {
  int64_t depths = depthOf(shape);
  int64_t inner = depthIsInner ? depths : shape.tile;
  for (int64_t part = 0; part < shape.tile * depths / GemmShape::kThreads;
       ++part) {
    Value place = b.addi(b.thread(), part * GemmShape::kThreads);
    Value outerAt = b.divi(place, inner), innerAt = b.remi(place, inner);
    Value i = depthIsInner ? outerAt : innerAt;
    Value kk = depthIsInner ? innerAt : outerAt;
    Value inside = both(b, below(b, first, i, size, shape.tile),
                        below(b, depth, kk, shape.k, depths));
    Value at = b.addi(first, i), atDepth = b.addi(depth, kk);
    auto read = [&] {
      return depthIsInner ? b.load(operand.buffer, {at, atDepth})
                          : b.load(operand.buffer, {atDepth, at});
    };
    b.store(inside ? b.choose(inside, read, b.f32(0.0)) : read(), shared,
            {kk, i});
  }
}

void GemmTile::forElements(ThreadBuilder &b,
                           function_ref<void(Value, Value, Value)> body) const {
  int64_t unit = shape.tile / kSide;
  for (int64_t r = 0; r < unit; ++r)
    for (int64_t c = 0; c < unit; ++c)
      body(offset(b, groupOfRows, r), offset(b, groupOfColumns, c),
           sums[r * unit + c]);
}

Value GemmTile::isRow(ThreadBuilder &b, Value i) const {
  return below(b, row, i, shape.m, shape.tile);
}

Value GemmTile::isColumn(ThreadBuilder &b, Value j) const {
  return below(b, column, j, shape.n, shape.tile);
}

Value GemmTile::isElement(ThreadBuilder &b, Value i, Value j) const {
  return both(b, isRow(b, i), isColumn(b, j));
}

void pst::cuda::launchGemm(KernelContext &context, cpu::KernelBuilder &host,
                           StringRef name, const GemmShape &shape,
                           GemmOperand left, GemmOperand right,
                           const GemmEpilogue &epilogue, Value result) {
  SmallVector<Value> arguments{left.buffer, right.buffer, result};
  if (epilogue.bias)
    arguments.push_back(epilogue.bias);
  if (epilogue.addend)
    arguments.push_back(epilogue.addend);
  context.launch(
      host, name, shape.blocks(), GemmShape::kThreads, arguments,
      [&](ThreadBuilder &b, ValueRange values) {
        GemmTile tile(b, shape, {values[0], left.transposed},
                      {values[1], right.transposed});
        tile.forElements(b, [&](Value i, Value j, Value value) {
          auto finish = [&] {
            Value row = b.addi(tile.row, i), column = b.addi(tile.column, j);
            size_t next = 3;
            if (epilogue.bias)
              value = b.addf(value, b.load(values[next++], column));
            if (epilogue.addend)
              value = b.addf(value, b.load(values[next++], {row, column}));
            if (epilogue.activation)
              value = cpu::emitActivation(b, *epilogue.activation, value);
            b.store(value, values[2], {row, column});
          };
          if (Value inside = tile.isElement(b, i, j))
            b.ifThen(inside, finish);
          else
            finish();
        });
      });
}
