//===- SparseFewRows.cpp - Products of few rows with S --------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "SparseFewRows.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace pst;
using namespace pst::cpu;

using Layout = CompressedLayout;

/// Elements before one whose line is on its way: what the hardware's prefetcher
/// asks for by itself comes at a third of the memory's rate.
static constexpr int64_t kAhead = 2048;

// parallel for groups of rows:
//   for cells of the group, for rows r of the cell, for vectors of r's
//   elements:
//     sums[token, r] += values * X[token, columns], by lanes
//   Y[token, rows] = sums over lanes, and what follows
void SparseFewRows::emit(KernelBuilder &b, Value input,
                         const Epilogue &epilogue, Value result,
                         const CompressedMatrix &compressed) const {
  b.parallel(layout.groups(), [&](Value group) {
    Value sums = b.stackBuffer({tokens, Layout::kRows, lanes});
    Value flat = b.flatten(sums);
    b.loop(0, tokens * Layout::kRows * lanes, lanes,
           [&](Value i) { b.store(b.f32(0.0, lanes), flat, i); });
    Value firstRow = b.muli(group, Layout::kRows);
    Value rows = remaining(b, layout.rows, firstRow, Layout::kRows);
    b.loop(0, layout.blocks(), 1, [&](Value block) {
      addCell(b, input, compressed,
              b.addi(b.muli(group, layout.blocks()), block),
              b.muli(block, Layout::kColumns), rows, sums);
    });
    storeLaneSums(b, epilogue, result, /*firstToken=*/0, firstRow, rows, sums);
    epilogue.activate(b, result, b.index(0), b.index(tokens), firstRow, rows,
                      lanes);
  });
}

void SparseFewRows::addCell(KernelBuilder &b, Value input,
                            const CompressedMatrix &compressed, Value cell,
                            Value column, Value rows, Value sums) const {
  auto laneNumbers = llvm::to_vector(llvm::seq<int32_t>(0, lanes));
  Value lane = arith::ConstantOp::create(b, b.getI32VectorAttr(laneNumbers));
  auto vector = cast<VectorType>(b.lanesType(lanes));
  auto stored = cast<VectorType>(
      b.lanesType(lanes, getElementTypeOrSelf(compressed.values.getType())));
  Value zeros = b.f32(0.0, lanes);
  Value nothing = arith::ConstantOp::create(b, stored, b.getZeroAttr(stored));
  Value first = toIndex(b, b.load(compressed.cells, {cell, b.index(0)}));
  b.loop(
      b.index(0), rows, 1, {first},
      [&](Value i, ValueRange at) -> SmallVector<Value> {
        auto [row, count] = compressed.rowAt(b, cell, i);
        Value end = b.addi(at[0], count);
        SmallVector<Value> sum;
        for (int64_t t = 0; t < tokens; ++t)
          sum.push_back(b.load(sums, {b.index(t), row, b.index(0)}, lanes));
        sum = b.loop(at[0], end, lanes, sum, [&](Value e, ValueRange carried) {
          // Beyond the last element it does no harm.
          for (Value stream : {compressed.values, compressed.columns})
            memref::PrefetchOp::create(
                b, stream, ValueRange{b.addi(e, kAhead)}, /*isWrite=*/false,
                /*localityHint=*/3, /*isDataCache=*/true);
          Value left =
              arith::IndexCastOp::create(b, b.getI32Type(), b.subi(end, e));
          Value isThere =
              b.cmpi(arith::CmpIPredicate::slt, lane, b.splat(left, lanes));
          // What lies behind the row is another's, or nobody's, and may be no
          // number, but of bytes: these are multiplied by an X of 0.
          Value values =
              stored.getElementType().isInteger(8)
                  ? b.load(compressed.values, e, lanes)
                  : b.widen(vector::MaskedLoadOp::create(
                        b, stored, compressed.values, e, isThere, nothing));
          Value columns = arith::ExtUIOp::create(
              b, b.lanesType(lanes, b.getI32Type()),
              b.loadAsStored(compressed.columns, e, lanes));
          SmallVector<Value> next;
          for (int64_t t = 0; t < tokens; ++t) {
            Value x = vector::GatherOp::create(b, vector, input,
                                               ValueRange{b.index(t), column},
                                               columns, isThere, zeros);
            next.push_back(b.fma(values, x, carried[t]));
          }
          return next;
        });
        for (int64_t t = 0; t < tokens; ++t)
          b.store(sum[t], sums, {b.index(t), row, b.index(0)});
        return {end};
      });
}

// Vectors of rows by transposing, whose lanes are then added as sumLanes adds
// those of one.
void pst::cpu::storeLaneSums(KernelBuilder &b, const Epilogue &epilogue,
                             Value result, int64_t firstToken, Value firstRow,
                             Value rows, Value sums) {
  ArrayRef<int64_t> shape = cast<MemRefType>(sums.getType()).getShape();
  int64_t tokens = shape[0], lanes = shape[2];
  Value whole = b.muli(b.divi(rows, lanes), lanes);
  for (int64_t t = 0; t < tokens; ++t) {
    Value token = b.index(firstToken + t);
    auto put = [&](Value sum, Value row) {
      Value column = b.addi(firstRow, row);
      b.store(epilogue.add(b, sum, token, column), result, {token, column});
    };
    auto load = [&](Value row) {
      return b.load(sums, {b.index(t), row, b.index(0)}, lanes);
    };
    b.loop(b.index(0), whole, lanes, [&](Value row) {
      SmallVector<Value> square;
      for (int64_t i = 0; i < lanes; ++i)
        square.push_back(load(b.addi(row, i)));
      transpose(b, square);
      Value sum = square[0];
      for (int64_t i = 1; i < lanes; ++i)
        sum = b.addf(sum, square[i]);
      put(sum, row);
    });
    b.loop(whole, rows, 1, [&](Value row) { put(b.sumLanes(load(row)), row); });
  }
}
