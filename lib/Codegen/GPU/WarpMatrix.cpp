//===- WarpMatrix.cpp - Products of small matrices by a warp --------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "WarpMatrix.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"

using namespace mlir;
using namespace pst::cuda;

static constexpr unsigned kGlobalSpace = 1;

static Value advance(ThreadBuilder &b, Value pointer, Value elements) {
  Value count = arith::IndexCastOp::create(b, b.getI64Type(), elements);
  return LLVM::GEPOp::create(b, pointer.getType(), b.getBF16Type(), pointer,
                             count);
}

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
  part.buffer = advance(b, buffer, b.muli(first, columns + kChunk));
  return part;
}

Value SharedMatrix::place(ThreadBuilder &b, Value row, Value chunk) const {
  return advance(b, buffer,
                 b.addi(b.muli(row, columns + kChunk), b.muli(chunk, kChunk)));
}

void SharedMatrix::copy(ThreadBuilder &b, Value source, Value row, Value column,
                        Value end) const {
  int64_t length = cast<MemRefType>(source.getType()).getShape().back();
  Value global = LLVM::AddrSpaceCastOp::create(
      b, LLVM::LLVMPointerType::get(b.getContext(), kGlobalSpace),
      b.pointer(source));
  int64_t chunks = columns / kChunk;
  b.strided(rows * chunks, [&](Value i) {
    Value r = b.divi(i, chunks), chunk = b.remi(i, chunks);
    Value from = b.addi(row, r);
    Value inside = b.cmpi(arith::CmpIPredicate::slt, from, end);
    Value at =
        b.addi(b.muli(from, length), b.addi(column, b.muli(chunk, kChunk)));
    at = b.select(inside, at, b.index(0));
    Value bytes = b.select(inside, b.i32(kChunkBytes), b.i32(0));
    NVVM::CpAsyncOp::create(b, place(b, r, chunk), advance(b, global, at),
                            kChunkBytes, NVVM::LoadCacheModifierKind::CG,
                            bytes);
  });
}

SmallVector<Value> SharedMatrix::fragments(ThreadBuilder &b, Value row,
                                           Value chunk, bool transposed) const {
  MLIRContext *context = b.getContext();
  Type registers = LLVM::LLVMStructType::getLiteral(
      context, SmallVector<Type>(4, b.getI32Type()));
  Value loaded = NVVM::LdMatrixOp::create(
      b, registers, place(b, row, chunk), /*num=*/4,
      transposed ? NVVM::MMALayout::col : NVVM::MMALayout::row,
      NVVM::LdStMatrixShapeAttr::get(context, 8, 8),
      NVVM::LdStMatrixEltType::B16);
  SmallVector<Value> result;
  for (int64_t r = 0; r < 4; ++r)
    result.push_back(LLVM::ExtractValueOp::create(b, loaded, r));
  return result;
}

/// Lanes 8 j to 8 j + 7 name the rows of what becomes register j. Half `fast`
/// (lane / 8 % 2) and half `slow` (lane / 16) of the 16 x 16.
static std::array<Value, 3> lanePlace(ThreadBuilder &b) {
  Value lane = b.lane();
  return {b.remi(b.divi(lane, kChunk), 2), b.divi(lane, 2 * kChunk),
          b.remi(lane, kChunk)};
}

SmallVector<Value> SharedMatrix::left(ThreadBuilder &b, Value row,
                                      int64_t step) const {
  auto [fast, slow, within] = lanePlace(b);
  return fragments(b, b.addi(row, b.addi(b.muli(fast, kChunk), within)),
                   b.addi(slow, 2 * step), /*transposed=*/false);
}

SmallVector<Value> SharedMatrix::rightTransposed(ThreadBuilder &b, int64_t row,
                                                 int64_t step) const {
  auto [fast, slow, within] = lanePlace(b);
  return fragments(b, b.addi(b.addi(b.muli(slow, kChunk), within), row),
                   b.addi(fast, 2 * step), /*transposed=*/false);
}

SmallVector<Value> SharedMatrix::right(ThreadBuilder &b, int64_t column,
                                       int64_t step) const {
  auto [fast, slow, within] = lanePlace(b);
  return fragments(
      b, b.addi(b.addi(b.muli(fast, kChunk), within), step * kMmaDepth),
      b.addi(slow, column / kChunk), /*transposed=*/true);
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
  Type result = LLVM::LLVMStructType::getLiteral(
      b.getContext(), SmallVector<Type>(kEach, b.getF32Type()));
  auto part = MutableArrayRef(values).slice(block * kEach, kEach);
  SmallVector<Value> lefts(left), rights(right), sums(part);
  Value product = NVVM::MmaOp::create(
      b, result, lefts, rights, sums, {kMmaRows, kMmaColumns, kMmaDepth},
      /*b1Op=*/std::nullopt, /*intOverflow=*/std::nullopt,
      std::array{NVVM::MMATypes::bf16, NVVM::MMATypes::bf16},
      std::array{NVVM::MMALayout::row, NVVM::MMALayout::col});
  for (int64_t e = 0; e < kEach; ++e)
    part[e] = LLVM::ExtractValueOp::create(b, product, e);
}

/// Two f32 as the bf16 halves of a register, the first one below.
static Value pack(ThreadBuilder &b, Value low, Value high) {
  Value both = LLVM::PoisonOp::create(b, VectorType::get(2, b.getF32Type()));
  both = LLVM::InsertElementOp::create(b, both, low, b.i64(0));
  both = LLVM::InsertElementOp::create(b, both, high, b.i64(1));
  both = arith::TruncFOp::create(b, VectorType::get(2, b.getBF16Type()), both);
  return LLVM::BitcastOp::create(b, b.getI32Type(), both);
}

SmallVector<Value> WarpSums::asLeft(ThreadBuilder &b, int64_t step) const {
  SmallVector<Value> result;
  for (int64_t block : {2 * step, 2 * step + 1})
    for (int64_t half : {0, 1}) {
      int64_t first = block * kEach + 2 * half;
      result.push_back(pack(b, values[first], values[first + 1]));
    }
  return result;
}

Value WarpSums::overRow(ThreadBuilder &b, Value value,
                        function_ref<Value(Value, Value)> combine) {
  for (int64_t mask : {1, 2})
    value = combine(value, b.shuffleXor(value, mask));
  return value;
}

void pst::cuda::commitCopies(ThreadBuilder &b) {
  NVVM::CpAsyncCommitGroupOp::create(b);
}

void pst::cuda::awaitCopies(ThreadBuilder &b, int64_t pending) {
  NVVM::CpAsyncWaitGroupOp::create(b, pending);
}
