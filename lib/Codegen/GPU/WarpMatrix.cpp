//===- WarpMatrix.cpp - Products of small matrices by a warp --------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "WarpMatrix.h"
#include "IndexCode.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

using namespace mlir;
using namespace pst::cuda;

SharedMatrix::SharedMatrix(ThreadBuilder &b, int64_t rows, int64_t columns)
    : rows(rows), columns(columns),
      buffer(b.pointer(
          b.sharedBuffer({rows, columns + kChunk}, b.getBF16Type()))) {
  assert(columns % kMmaDepth == 0 && "a product takes 16 at a time");
}

SharedMatrix SharedMatrix::rowsFrom(ThreadBuilder &b, Value first,
                                    int64_t count) const {
  SharedMatrix part = *this;
  part.rows = count;
  part.buffer =
      advance(b, buffer, b.getBF16Type(), b.muli(first, columns + kChunk));
  return part;
}

Value SharedMatrix::place(ThreadBuilder &b, Value row, Value chunk) const {
  return advance(b, buffer, b.getBF16Type(),
                 b.addi(b.muli(row, columns + kChunk), b.muli(chunk, kChunk)));
}

void SharedMatrix::copy(ThreadBuilder &b, Value source, Value row, Value column,
                        Value end) const {
  int64_t length = cast<MemRefType>(source.getType()).getShape().back();
  Value global = globalPointer(b, source);
  int64_t chunks = columns / kChunk;
  b.strided(rows * chunks, [&](Value i) {
    Value r = b.divi(i, chunks), chunk = b.remi(i, chunks);
    Value from = b.addi(row, r);
    Value inside = b.cmpi(arith::CmpIPredicate::slt, from, end);
    Value at =
        b.addi(b.muli(from, length), b.addi(column, b.muli(chunk, kChunk)));
    at = b.select(inside, at, b.index(0));
    Value bytes = b.select(inside, b.i32(kChunkBytes), b.i32(0));
    copyAsync(b, place(b, r, chunk), advance(b, global, b.getBF16Type(), at),
              kChunkBytes, bytes);
  });
}

void SharedMatrix::store(ThreadBuilder &b, Value row, Value column,
                         Value value) const {
  Value at = b.addi(b.muli(row, columns + kChunk), column);
  Value bits = LLVM::BitcastOp::create(b, b.getI16Type(), value);
  LLVM::StoreOp::create(b, bits, advance(b, buffer, b.getBF16Type(), at));
}

SmallVector<Value> SharedMatrix::fragments(ThreadBuilder &b, bool depthIsInner,
                                           bool isLeft, Value first,
                                           int64_t step) const {
  Place<Code> chunk = fragmentChunk(depthIsInner, isLeft, Code(b, b.lane()),
                                    Code(b, first), step);
  return loadMatrices(b, place(b, chunk.row, chunk.column),
                      /*transposed=*/!depthIsInner);
}

SmallVector<Value> SharedMatrix::left(ThreadBuilder &b, Value row,
                                      int64_t step) const {
  return fragments(b, /*depthIsInner=*/true, /*isLeft=*/true, row, step);
}

SmallVector<Value> SharedMatrix::rightTransposed(ThreadBuilder &b, int64_t row,
                                                 int64_t step) const {
  return fragments(b, /*depthIsInner=*/true, /*isLeft=*/false, b.index(row),
                   step);
}

SmallVector<Value> SharedMatrix::right(ThreadBuilder &b, int64_t column,
                                       int64_t step) const {
  return fragments(b, /*depthIsInner=*/false, /*isLeft=*/false, b.index(column),
                   step);
}

WarpSums::WarpSums(ThreadBuilder &b, int64_t blocks)
    : values(blocks * kEach, b.f32(0.0)) {}

Value WarpSums::row(ThreadBuilder &b) { return b.divi(b.lane(), 4); }

Value WarpSums::column(ThreadBuilder &b, int64_t block, int64_t e) {
  return b.addi(b.muli(b.remi(b.lane(), 4), 2), block * kMmaColumns + e % 2);
}

void WarpSums::map(function_ref<Value(int64_t, int64_t, Value)> body) {
  for (int64_t i = 0; i < int64_t(values.size()); ++i)
    values[i] = body(i / kEach, i % kEach, values[i]);
}

void WarpSums::multiply(ThreadBuilder &b, int64_t block, ValueRange left,
                        ValueRange right) {
  cuda::multiply(b, MutableArrayRef(values).slice(block * kEach, kEach), left,
                 right);
}

SmallVector<Value> WarpSums::asLeft(ThreadBuilder &b, int64_t step) const {
  SmallVector<Value> result;
  for (int64_t block : {2 * step, 2 * step + 1})
    for (int64_t half : {0, 1}) {
      int64_t first = block * kEach + 2 * half;
      result.push_back(packBF16(b, values[first], values[first + 1]));
    }
  return result;
}

Value WarpSums::overRow(ThreadBuilder &b, Value value,
                        function_ref<Value(Value, Value)> combine) {
  for (int64_t mask : {1, 2})
    value = combine(value, b.shuffleXor(value, mask));
  return value;
}
