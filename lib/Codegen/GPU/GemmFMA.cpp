//===- GemmFMA.cpp - Products by fused multiply-adds ----------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// The portable product, in f32. A block of 16 x 16 threads computes a tile of
// T x T elements (T = 64 or 128), and a thread U x U of them (U = T / 16), in
// groups of four that are 64 apart:
//
//   for k0 in steps of D:
//     shared A[kk, i] = op(A)[row + i, k0 + kk],   zero outside
//     shared B[kk, j] = op(B)[k0 + kk, column + j]
//     barrier
//     for kk in [0, D): sums[r, c] += A[kk, i(r)] * B[kk, j(c)]
//     barrier
//
// A sum of n terms, one after the other, may err by n roundings: long ones are
// summed in parts, and then the parts.

#include "Gemm.h"

using namespace mlir;
using namespace pst::cuda;

/// What a row of a shared tile is longer by, against bank conflicts.
static constexpr int64_t kPadding = 4;
/// Rows, and columns, of a thread that lie together, and threads along each.
static constexpr int64_t kGroup = 4;
static constexpr int64_t kSide = 16;
/// Terms that are summed one after the other at most, as sums of sums take
/// registers; and those of a part of more, a multiple of any depth.
static constexpr int64_t kLongest = 4096, kPart = 512;

namespace {
class FMATile : public GemmTile {
public:
  FMATile(ThreadBuilder &b, const GemmPlan &plan, const GemmExtent &extent,
          Value left, Value right);

  int64_t groupSize() const override { return kGroup; }
  void forGroups(ThreadBuilder &b, GroupBody body) const override;

private:
  SmallVector<Value> sumOver(ThreadBuilder &b, Value begin, Value end,
                             Value left, Value right, Value sharedA,
                             Value sharedB) const;
  void load(ThreadBuilder &b, Value matrix, Value first, int64_t size,
            Value depth, bool depthIsInner, Value shared) const;
  Value offset(ThreadBuilder &b, Value group, int64_t i) const;
  /// Whether the depth lies in k; null if all do.
  Value isDepth(ThreadBuilder &b, Value depth, Value kk) const;
  /// Elements that each thread loads of each operand decide the depth.
  int64_t depthOfTile() const { return plan.threads * 4 / plan.tileM; }

  GemmExtent extent;
  Value groupOfRows, groupOfColumns; ///< of the thread, 0 to 15
  SmallVector<Value> sums;
};
} // namespace

FMATile::FMATile(ThreadBuilder &b, const GemmPlan &plan,
                 const GemmExtent &extent, Value left, Value right)
    : GemmTile(plan), extent(extent) {
  assert(plan.tileM == plan.tileN && plan.threads == kSide * kSide);
  Value number = b.divi(b.block(), plan.splits);
  if (plan.splits > 1)
    split = b.remi(b.block(), plan.splits);
  tileOfM = b.divi(number, plan.tilesOfN());
  tileOfN = b.remi(number, plan.tilesOfN());
  row = b.muli(tileOfM, plan.tileM);
  column = b.muli(tileOfN, plan.tileN);
  groupOfRows = b.divi(b.thread(), kSide);
  groupOfColumns = b.remi(b.thread(), kSide);
  SmallVector<int64_t> size{depthOfTile(), plan.tileM + kPadding};
  Value sharedA = b.sharedBuffer(size), sharedB = b.sharedBuffer(size);
  auto sumPart = [&](Value begin, Value end) {
    return sumOver(b, begin, end, left, right, sharedA, sharedB);
  };
  int64_t longest = plan.stepsOfPart(depthOfTile()) * depthOfTile();
  Value begin = b.index(0), end = extent.depth ? extent.depth : b.index(plan.k);
  if (split) {
    Value length =
        b.muli(stepsOfPart(b, plan, extent, depthOfTile()), depthOfTile());
    begin = arith::MulIOp::create(b, split, length);
    end = b.mini(b.addi(begin, length), end);
  }
  if (longest <= kLongest) {
    sums = sumPart(begin, end);
    return;
  }
  int64_t unit = plan.tileM / kSide;
  SmallVector<Value> zeros(unit * unit, b.f32(0.0));
  sums = b.loop(begin, end, kPart, zeros, [&](Value first, ValueRange carried) {
    SmallVector<Value> totals =
        sumPart(first, b.mini(b.addi(first, kPart), end));
    for (auto [total, before] : llvm::zip(totals, carried))
      total = b.addf(before, total);
    return totals;
  });
}

/// The tile's sums over k in [begin, end).
SmallVector<Value> FMATile::sumOver(ThreadBuilder &b, Value begin, Value end,
                                    Value left, Value right, Value sharedA,
                                    Value sharedB) const {
  int64_t depth = depthOfTile(), unit = plan.tileM / kSide;
  SmallVector<Value> zeros(unit * unit, b.f32(0.0));
  return b.loop(
      begin, end, depth, zeros,
      [&](Value k, ValueRange carried) -> SmallVector<Value> {
        load(b, left, row, plan.m, k, /*depthIsInner=*/!plan.leftTransposed,
             sharedA);
        load(b, right, column, plan.n, k,
             /*depthIsInner=*/plan.rightTransposed, sharedB);
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
Value FMATile::offset(ThreadBuilder &b, Value group, int64_t i) const {
  return b.addi(b.muli(group, kGroup),
                i / kGroup * kGroup * kSide + i % kGroup);
}

/// shared[kk, i] = matrix at (first + i, depth + kk), or the other way round if
/// the depth is not its inner dimension; neighbouring threads take neighbouring
/// elements of the matrix.
void FMATile::load(ThreadBuilder &b, Value matrix, Value first, int64_t size,
                   Value depth, bool depthIsInner, Value shared) const {
  int64_t depths = depthOfTile();
  int64_t inner = depthIsInner ? depths : plan.tileM;
  for (int64_t part = 0; part < plan.tileM * depths / plan.threads; ++part) {
    Value place = b.addi(b.thread(), part * plan.threads);
    Value outerAt = b.divi(place, inner), innerAt = b.remi(place, inner);
    Value i = depthIsInner ? outerAt : innerAt;
    Value kk = depthIsInner ? innerAt : outerAt;
    Value inside =
        allOf(b, isBelow(b, first, i, size, plan.tileM), isDepth(b, depth, kk));
    Value at = b.addi(first, i), atDepth = b.addi(depth, kk);
    auto read = [&] {
      return depthIsInner ? b.load(matrix, {at, atDepth})
                          : b.load(matrix, {atDepth, at});
    };
    b.store(inside ? b.choose(inside, read, b.f32(0.0)) : read(), shared,
            {kk, i});
  }
}

Value FMATile::isDepth(ThreadBuilder &b, Value depth, Value kk) const {
  if (extent.depth)
    return b.cmpi(arith::CmpIPredicate::slt, b.addi(depth, kk), extent.depth);
  return isBelow(b, depth, kk, plan.k, depthOfTile());
}

void FMATile::forGroups(ThreadBuilder &b, GroupBody body) const {
  int64_t unit = plan.tileM / kSide;
  for (int64_t r = 0; r < unit; ++r)
    for (int64_t c = 0; c < unit; c += kGroup)
      body(offset(b, groupOfRows, r), offset(b, groupOfColumns, c),
           ArrayRef(sums).slice(r * unit + c, kGroup));
}

void pst::cuda::emitFMATiles(ThreadBuilder &b, const GemmPlan &plan,
                             const GemmExtent &extent, Value left, Value right,
                             TileFunction body) {
  int64_t ofTileRow = plan.tilesOfN() * plan.splits;
  Value row = b.muli(b.divi(b.block(), ofTileRow), plan.tileM);
  b.ifBelow(row, extent.rows,
            [&] { body(FMATile(b, plan, extent, left, right)); });
}
