//===- GemmMMA.cpp - Products by mma.sync ---------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// Products of bf16, or of f32 rounded to tf32, on the tensor cores of sm_80 and
// newer, for any shape. A block of 2 x 2 warps computes a tile of 128 x 128,
// 128 x 64 or 64 x 64 elements, each warp a quarter of it, and copies run two
// steps ahead. With D = 32 of k (of tf32 16):
//
//   for s in {0, 1}: copy the s-th D of k to stage s; commit
//   for s in [0, ceil(k / D)):
//     wait for the copies of stage s % 3; barrier
//     copy the (s + 2)-th D of k to stage (s + 2) % 3; commit
//     for each D / 2 of the stage's k:
//       fragments of the warp's rows of op(A), columns of op(B): by ldmatrix,
//         or word by word where it cannot transpose; of f32 rounded
//       for each 16 rows, each 8 columns: sums += fragment * fragment
//
// The barrier tells of both: every thread's part of stage s has arrived, and
// no warp still reads stage (s + 2) % 3 = (s - 1) % 3. What lies outside of the
// operands is copied as zeros. Buffers begin at multiples of 16 bytes; a copy
// takes as many bytes as rows are multiples of.

#include "Gemm.h"
#include "IndexCode.h"
#include "WarpBuilder.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include <numeric>

using namespace mlir;
using namespace pst::cuda;

static constexpr int64_t kStages = 3;
/// Tiles of rows that blocks which run together share.
static constexpr int64_t kBand = 8;
/// Of all of shared memory's banks.
static constexpr int64_t kBanksBytes = 128;

namespace {
/// An operand on its way to shared memory.
struct Operand {
  Value source; ///< Pointer to the matrix, in global memory.
  Value shared; ///< Pointer to the stages.
  MmaTile tile;
  int64_t extent, depth; ///< The matrix's: rows of op(A) or columns of op(B).
  int64_t rowLength;     ///< In memory, in elements.
  Value depthEnd;        ///< Of k, if there is less of it; else null.
  Value first;           ///< Of the tile along `extent`.

  int64_t columns() const { return tile.depthIsInner ? depth : extent; }
  /// Elements that a copy moves: as many as all rows are aligned to.
  int64_t copied() const { return std::gcd(rowLength, tile.chunk()); }
};

class MMATile : public GemmTile {
public:
  MMATile(ThreadBuilder &b, const GemmPlan &plan, const GemmExtent &extent,
          Place<Code> place, Value left, Value right);

  int64_t groupSize() const override { return 2; }
  void forGroups(ThreadBuilder &b, GroupBody body) const override;
  Value scratch(ThreadBuilder &b, int64_t columns) const override;

private:
  void copyStage(ThreadBuilder &b, const Operand &operand, Value step,
                 Value steps);
  static void copy(ThreadBuilder &b, const Operand &operand, Value from,
                   Value inside, Value target);
  SmallVector<Value> loadFragments(ThreadBuilder &b, const Operand &operand,
                                   bool isLeft, Value stage, int64_t k);
  SmallVector<Value> multiplyStage(ThreadBuilder &b, Value step,
                                   ValueRange carried);
  int64_t rowsOfMma() const { return grid.rows() / kMmaRows; }
  int64_t columnsOfMma() const { return grid.columns() / kMmaColumns; }

  WarpGrid grid;
  Operand lhs, rhs;
  Value stages;              ///< Shared memory.
  Value warpRow, warpColumn; ///< First of the warp, in the tile.
  SmallVector<Value> sums;   ///< By 16 rows, 8 columns, element.
};
} // namespace

/// All stages of both operands, from the first of the banks on.
static Value stagesBuffer(ThreadBuilder &b, int64_t bytes) {
  Value buffer = b.sharedBuffer(bytes, b.getI8Type());
  auto argument = cast<BlockArgument>(buffer);
  auto kernel = cast<gpu::GPUFuncOp>(argument.getOwner()->getParentOp());
  kernel.setWorkgroupAttributionAttr(
      argument.getArgNumber() - kernel.getNumArguments(), "llvm.align",
      b.getI64IntegerAttr(kBanksBytes));
  return buffer;
}

static Operand makeOperand(ThreadBuilder &b, const GemmPlan &plan,
                           const GemmExtent &extent, Value matrix, bool isLeft,
                           Value first) {
  Operand operand;
  operand.source = globalPointer(b, matrix);
  operand.tile = {isLeft ? !plan.leftTransposed : plan.rightTransposed,
                  isLeft ? plan.tileM : plan.tileN,
                  plan.leftType.getIntOrFloatBitWidth() / 8};
  operand.extent = isLeft ? plan.m : plan.n;
  operand.depth = plan.k;
  operand.depthEnd = extent.depth;
  operand.rowLength = isLeft ? plan.leftLength : plan.rightLength;
  operand.first = first;
  return operand;
}

MMATile::MMATile(ThreadBuilder &b, const GemmPlan &plan,
                 const GemmExtent &extent, Place<Code> place, Value left,
                 Value right)
    : GemmTile(plan), grid{plan.tileM, plan.tileN} {
  assert(plan.threads == WarpGrid::kThreads);
  if (plan.splits > 1)
    split = b.remi(b.block(), plan.splits);
  tileOfM = place.row;
  tileOfN = place.column;
  row = b.muli(tileOfM, plan.tileM);
  column = b.muli(tileOfN, plan.tileN);
  Place<Code> first = grid.first(Code(b, b.thread()));
  warpRow = first.row;
  warpColumn = first.column;
  lhs = makeOperand(b, plan, extent, left, /*isLeft=*/true, row);
  rhs = makeOperand(b, plan, extent, right, /*isLeft=*/false, column);
  int64_t leftBytes = kStages * lhs.tile.bytes();
  stages = stagesBuffer(b, leftBytes + kStages * rhs.tile.bytes());
  lhs.shared = b.pointer(stages);
  rhs.shared = advance(b, lhs.shared, b.getI8Type(), b.index(leftBytes));

  // Of the block; `step` counts from its first.
  int64_t most = plan.stepsOfPart(lhs.tile.depth());
  Value steps = stepsOfPart(b, plan, extent, lhs.tile.depth());
  auto copyStep = [&](Value step) {
    copyStage(b, lhs, step, steps);
    copyStage(b, rhs, step, steps);
  };
  for (int64_t step = 0; step < kStages - 1; ++step) {
    if (step < most)
      b.ifBelow(b.index(step), extent.depth ? steps : Value(),
                [&] { copyStep(b.index(step)); });
    commitCopies(b);
  }
  SmallVector<Value> zeros(rowsOfMma() * columnsOfMma() * kMmaSums, b.f32(0.0));
  sums =
      b.loop(b.index(0), steps, 1, zeros, [&](Value step, ValueRange carried) {
        awaitCopies(b, /*pending=*/kStages - 2);
        b.barrier();
        Value ahead = b.addi(step, kStages - 1);
        b.ifBelow(ahead, steps, [&] { copyStep(ahead); });
        // Groups are counted, also where there is nothing to copy.
        commitCopies(b);
        return multiplyStage(b, step, carried);
      });
}

/// The operand's `step`-th part of the block's k, of `steps`, to its stage.
void MMATile::copyStage(ThreadBuilder &b, const Operand &operand, Value step,
                        Value steps) {
  const MmaTile &tile = operand.tile;
  Value stage = b.muli(pipelineStage(Code(b, step), kStages), tile.bytes());
  Value depth = b.muli(step, tile.depth());
  if (split)
    depth = b.addi(
        depth, b.muli(arith::MulIOp::create(b, split, steps), tile.depth()));
  // Parts of k need not be whole, nor need steps.
  int64_t rowStep = tile.rows(), innerStep = tile.chunks() * tile.chunk();
  (tile.depthIsInner ? innerStep : rowStep) *=
      plan.stepsOfPart(tile.depth()) * plan.splits;
  Value firstRow = tile.depthIsInner ? operand.first : depth;
  Value firstInner = tile.depthIsInner ? depth : operand.first;
  int64_t rows = tile.depthIsInner ? operand.extent : operand.depth;
  for (int64_t part = 0; part < tile.rows() * tile.chunks() / plan.threads;
       ++part) {
    Place<Code> place =
        copiedChunk(tile, Code(b, b.thread()), plan.threads, part);
    Value chunk = b.addi(tile.offset(place.row, place.column), stage);
    Value row = b.addi(firstRow, place.row);
    Value isRow = isBelow(b, firstRow, place.row, rows, rowStep);
    if (operand.depthEnd) // of what is transposed: k runs along its rows
      isRow = b.cmpi(arith::CmpIPredicate::slt, row, operand.depthEnd);
    for (int64_t piece = 0; piece < tile.chunk(); piece += operand.copied()) {
      Value inner = place.column * tile.chunk() + piece;
      Value inside =
          allOf(b, isRow,
                isBelow(b, firstInner, inner, operand.columns(), innerStep));
      Value from =
          b.addi(b.muli(row, operand.rowLength), b.addi(firstInner, inner));
      Value target = advance(b, operand.shared, b.getI8Type(),
                             b.addi(chunk, piece * tile.elementBytes));
      copy(b, operand, from, inside, target);
    }
  }
}

/// As many elements as a copy moves from source[from], or zeros where they are
/// not inside.
void MMATile::copy(ThreadBuilder &b, const Operand &operand, Value from,
                   Value inside, Value target) {
  int64_t elementBytes = operand.tile.elementBytes;
  int64_t bytes = operand.copied() * elementBytes;
  Type element = b.getIntegerType(8 * elementBytes);
  if (bytes == 2) { // less than cp.async can
    auto read = [&]() -> Value {
      return LLVM::LoadOp::create(
          b, element, advance(b, operand.source, element, from), bytes);
    };
    Value zero = arith::ConstantOp::create(b, b.getI16IntegerAttr(0));
    Value value = inside ? b.choose(inside, read, zero) : read();
    LLVM::StoreOp::create(b, value, target, bytes);
    return;
  }
  Value read;
  if (inside) {
    from = b.select(inside, from, b.index(0));
    read = b.select(inside, b.i32(bytes), b.i32(0));
  }
  copyAsync(b, target, advance(b, operand.source, element, from), bytes, read);
}

/// Four registers of each 16 rows of op(A), or columns of op(B), of the warp.
SmallVector<Value> MMATile::loadFragments(ThreadBuilder &b,
                                          const Operand &operand, bool isLeft,
                                          Value stage, int64_t k) {
  const MmaTile &tile = operand.tile;
  int64_t count = (isLeft ? grid.rows() : grid.columns()) / kMmaRows;
  Code first(b, isLeft ? warpRow : warpColumn), lane(b, b.lane());
  SmallVector<Value> fragments;
  auto at = [&](Code row, Code chunk) -> Value {
    return b.addi(b.muli(stage, tile.bytes()), tile.offset(row, chunk));
  };
  for (int64_t i = 0; i < count; ++i) {
    Code from = first + i * kMmaRows;
    if (tile.hasMatrices()) {
      Place<Code> place =
          fragmentChunk(tile.depthIsInner, isLeft, lane, from, k);
      Value row = advance(b, operand.shared, b.getI8Type(),
                          at(place.row, place.column));
      llvm::append_range(
          fragments, loadMatrices(b, row, /*transposed=*/!tile.depthIsInner));
      continue;
    }
    for (int64_t r = 0; r < 4; ++r) {
      Place<Code> place = fragmentElement(isLeft, lane, from, k, r);
      Value offset = b.addi(at(place.row, place.column / tile.chunk()),
                            place.column % tile.chunk() * tile.elementBytes);
      fragments.push_back(LLVM::LoadOp::create(
          b, b.getI32Type(), advance(b, operand.shared, b.getI8Type(), offset),
          tile.elementBytes));
    }
  }
  if (tile.elementBytes == kWordBytes)
    for (Value &fragment : fragments)
      fragment = roundToTF32(b, fragment);
  return fragments;
}

/// The sums with the products of a stage.
SmallVector<Value> MMATile::multiplyStage(ThreadBuilder &b, Value step,
                                          ValueRange carried) {
  Value stage = pipelineStage(Code(b, step), kStages);
  SmallVector<Value> next(carried);
  for (int64_t k = 0; k < lhs.tile.depth() / lhs.tile.mmaDepth(); ++k) {
    SmallVector<Value> lefts = loadFragments(b, lhs, /*isLeft=*/true, stage, k);
    SmallVector<Value> rights =
        loadFragments(b, rhs, /*isLeft=*/false, stage, k);
    for (int64_t i = 0; i < rowsOfMma(); ++i)
      for (int64_t j = 0; j < columnsOfMma(); ++j)
        multiply(b,
                 MutableArrayRef(next).slice(
                     (i * columnsOfMma() + j) * kMmaSums, kMmaSums),
                 ArrayRef(lefts).slice(4 * i, 4),
                 ArrayRef(rights).slice(2 * j, 2), lhs.tile.mmaDepth());
  }
  return next;
}

void MMATile::forGroups(ThreadBuilder &b, GroupBody body) const {
  for (int64_t i = 0; i < rowsOfMma(); ++i)
    for (int64_t j = 0; j < columnsOfMma(); ++j)
      for (int64_t e = 0; e < kMmaSums; e += groupSize()) {
        Place<Code> place = accumulatorPlace(Code(b, b.lane()), e);
        Value row = b.addi(warpRow, place.row + i * kMmaRows);
        Value column = b.addi(warpColumn, place.column + j * kMmaColumns);
        body(row, column,
             ArrayRef(sums).slice((i * columnsOfMma() + j) * kMmaSums + e,
                                  groupSize()));
      }
}

/// Where the stages were, if they have room.
Value MMATile::scratch(ThreadBuilder &b, int64_t columns) const {
  auto bytes = cast<MemRefType>(stages.getType());
  auto type =
      MemRefType::get({plan.tileM, columns}, b.getF32Type(),
                      MemRefLayoutAttrInterface(), bytes.getMemorySpace());
  if (type.getNumElements() * 4 > bytes.getNumElements())
    return GemmTile::scratch(b, columns);
  barrier(b); // others may still read the last stage
  return memref::ViewOp::create(b, type, stages, b.index(0), ValueRange());
}

void pst::cuda::emitMMATiles(ThreadBuilder &b, const GemmPlan &plan,
                             const GemmExtent &extent, Value left, Value right,
                             TileFunction body) {
  Place<Code> place = tilePlace(Code(b, b.divi(b.block(), plan.splits)),
                                plan.tilesOfM(), plan.tilesOfN(), kBand);
  b.ifBelow(place.row * plan.tileM, extent.rows,
            [&] { body(MMATile(b, plan, extent, place, left, right)); });
}
