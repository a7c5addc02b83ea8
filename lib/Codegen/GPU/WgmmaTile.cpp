//===- WgmmaTile.cpp - Tiles of wgmma on their way out --------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// If the result's rows are such that TMA can store them, a warpgroup's part of
// a tile goes out by way of two boxes of 64 rows of 128 bytes:
//
//   for each 128 bytes of columns, box = the one or the other:
//     wait until the store before the last has read it
//     box = the warpgroup's elements, as they are to be stored
//     one thread: store the box
//
// The last stores go on beside the next tile's products.

#include "WgmmaTile.h"
#include "WarpBuilder.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"

using namespace mlir;
using namespace pst::cuda;

WgmmaTile::WgmmaTile(const GemmPlan &plan, const WgmmaBuffers &buffers,
                     AsyncBuilder &async, Place<Code> place, Value part,
                     Code thread, ArrayRef<Value> sums, Value scratchPointer)
    : GemmTile(plan), buffers(buffers), async(async), thread(thread),
      sums(sums), scratchPointer(scratchPointer) {
  tileOfM = place.row;
  tileOfN = place.column;
  split = part;
  row = place.row * plan.tileM;
  column = place.column * plan.tileN;
}

void WgmmaTile::forGroups(ThreadBuilder &b, GroupBody body) const {
  Code first = thread / kWarpgroup * kWgmmaRows;
  for (int64_t i = 0; i < int64_t(sums.size()); i += 2) {
    Place<Code> place = accumulatorPlace(thread % kWarpgroup, i);
    body(first + place.row, place.column, sums.slice(i, 2));
  }
}

static void createBarrier(ThreadBuilder &b, Value number, int64_t threads) {
  NVVM::BarrierOp::create(b, TypeRange{}, number, b.i32(threads),
                          NVVM::BarrierReductionAttr(),
                          /*reductionPredicate=*/Value());
}

/// Of a warpgroup, each of which has a barrier.
static void barrierOfGroup(ThreadBuilder &b, Code group) {
  Value number = arith::IndexCastOp::create(b, b.getI32Type(), group + 2);
  createBarrier(b, number, kWarpgroup);
}

void WgmmaTile::store(ThreadBuilder &b, ArrayRef<Result> results) const {
  if (!plan.storedBytes)
    return GemmTile::store(b, results);
  for (const Result &result : results)
    storeBoxes(b, result);
}

void WgmmaTile::storeBoxes(ThreadBuilder &b, const Result &result) const {
  ResultBox box{plan.storedBytes};
  Value tensorMap = async.tensorMapAddress(result.buffer);
  Code group = thread / kWarpgroup;
  Value isFirst =
      b.cmpi(arith::CmpIPredicate::eq, thread % kWarpgroup, b.index(0));
  int64_t count = plan.tileN / box.columns();
  for (int64_t number = 0; number < count; ++number) {
    Code start = buffers.results(group) +
                 number % WgmmaBuffers::kBoxes * ResultBox::kBytes;
    // Each box is the one before last, but with an odd number of them the
    // first: it was the last of the tile, or result, before, too.
    int64_t pending = number == 0 ? (count + 1) % WgmmaBuffers::kBoxes
                                  : WgmmaBuffers::kBoxes - 1;
    b.ifThen(isFirst, [&] { async.awaitStores(pending); });
    barrierOfGroup(b, group);
    fill(b, box, number, start, result);
    async.fenceWrites();
    barrierOfGroup(b, group);
    b.ifThen(isFirst, [&] {
      async.store(tensorMap, async.shared(start),
                  Code(b, column) + number * box.columns(),
                  Code(b, storedRow(b, row)) + group * kWgmmaRows);
      async.commitStores();
    });
  }
}

void pst::cuda::barrierOfConsumers(ThreadBuilder &b) {
  createBarrier(b, b.i32(1), kWgmmaConsumers * kWarpgroup);
}

void WgmmaTile::barrier(ThreadBuilder &b) const { barrierOfConsumers(b); }

Value WgmmaTile::scratch(ThreadBuilder &b, int64_t columns) const {
  assert(scratchPointer && columns <= WgmmaBuffers::scratchColumns(plan));
  barrier(b); // others may still read what the tile before left there
  return AsyncBuilder::bufferAt(b, scratchPointer, {plan.tileM, columns});
}

/// The `number`-th box = the thread's elements there, as they are stored.
void WgmmaTile::fill(ThreadBuilder &b, const ResultBox &box, int64_t number,
                     Code start, const Result &result) const {
  int64_t each = box.columns() / 2;
  for (int64_t i = number * each; i < (number + 1) * each; i += 2) {
    Place<Code> place = accumulatorPlace(thread % kWarpgroup, i);
    Value inTile = thread / kWarpgroup * kWgmmaRows + place.row;
    auto write = [&] {
      SmallVector<Value> values = result.map(
          b.addi(row, inTile), b.addi(column, place.column), sums.slice(i, 2));
      Code inBox = place.column + -number * box.columns();
      writePair(b, box, start, place.row, inBox, values);
    };
    // The parts of k have room for whole tiles.
    Value inside = split || plan.storesBeyond
                       ? Value()
                       : isElement(b, inTile, place.column);
    if (inside)
      b.ifThen(inside, write);
    else
      write();
  }
}

void WgmmaTile::writePair(ThreadBuilder &b, const ResultBox &box, Code start,
                          Code row, Code column, ArrayRef<Value> values) const {
  auto write = [&](Value value, Code column) {
    LLVM::StoreOp::create(b, value,
                          async.shared(start + box.offset(row, column)),
                          /*alignment=*/4);
  };
  if (box.elementBytes == kElementBytes)
    return write(packBF16(b, values[0], values[1]), column);
  for (int64_t part : {0, 1}) {
    Code word = ResultBox::word(row, part);
    Value isSecond = b.cmpi(arith::CmpIPredicate::ne, word, b.index(0));
    write(b.select(isSecond, values[1], values[0]), column + word);
  }
}
