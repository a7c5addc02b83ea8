//===- WarpBuilder.cpp - The tensor cores as warps see them ---------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "WarpBuilder.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"

using namespace mlir;
using namespace pst::cuda;

static constexpr unsigned kGlobalSpace = 1;

Value pst::cuda::globalPointer(ThreadBuilder &b, Value buffer) {
  return LLVM::AddrSpaceCastOp::create(
      b, LLVM::LLVMPointerType::get(b.getContext(), kGlobalSpace),
      b.pointer(buffer));
}

Value pst::cuda::advance(ThreadBuilder &b, Value pointer, Type element,
                         Value offset) {
  Value bits = arith::IndexCastOp::create(b, b.getI64Type(), offset);
  return LLVM::GEPOp::create(b, pointer.getType(), element, pointer, bits);
}

void pst::cuda::copyAsync(ThreadBuilder &b, Value target, Value source,
                          int64_t bytes, Value read) {
  // Whole chunks go round the first-level cache.
  NVVM::CpAsyncOp::create(b, target, source, bytes,
                          bytes == kChunkBytes
                              ? NVVM::LoadCacheModifierKind::CG
                              : NVVM::LoadCacheModifierKind::CA,
                          read);
}

void pst::cuda::commitCopies(ThreadBuilder &b) {
  NVVM::CpAsyncCommitGroupOp::create(b);
}

void pst::cuda::awaitCopies(ThreadBuilder &b, int64_t pending) {
  NVVM::CpAsyncWaitGroupOp::create(b, pending);
}

/// Four values of one type, as an instruction returns them.
static Type fourOf(ThreadBuilder &b, Type type) {
  return LLVM::LLVMStructType::getLiteral(b.getContext(),
                                          SmallVector<Type>(4, type));
}

SmallVector<Value> pst::cuda::loadMatrices(ThreadBuilder &b, Value row,
                                           bool transposed) {
  Value loaded = NVVM::LdMatrixOp::create(
      b, fourOf(b, b.getI32Type()), row, /*num=*/4,
      transposed ? NVVM::MMALayout::col : NVVM::MMALayout::row,
      NVVM::LdStMatrixShapeAttr::get(b.getContext(), 8, 8),
      NVVM::LdStMatrixEltType::B16);
  SmallVector<Value> registers;
  for (int64_t r = 0; r < 4; ++r)
    registers.push_back(LLVM::ExtractValueOp::create(b, loaded, r));
  return registers;
}

void pst::cuda::multiply(ThreadBuilder &b, MutableArrayRef<Value> sums,
                         ValueRange left, ValueRange right, int64_t depth) {
  NVVM::MMATypes type =
      depth == kMmaDepth ? NVVM::MMATypes::bf16 : NVVM::MMATypes::tf32;
  Value product = NVVM::MmaOp::create(
      b, fourOf(b, b.getF32Type()), left, right, ValueRange(sums),
      {kMmaRows, kMmaColumns, depth}, /*b1Op=*/std::nullopt,
      /*intOverflow=*/std::nullopt, std::array{type, type},
      std::array{NVVM::MMALayout::row, NVVM::MMALayout::col});
  for (int64_t e = 0; e < kMmaSums; ++e)
    sums[e] = LLVM::ExtractValueOp::create(b, product, e);
}

Value pst::cuda::packBF16(ThreadBuilder &b, Value low, Value high) {
  Value both = LLVM::PoisonOp::create(b, VectorType::get(2, b.getF32Type()));
  both = LLVM::InsertElementOp::create(b, both, low, b.i64(0));
  both = LLVM::InsertElementOp::create(b, both, high, b.i64(1));
  both = arith::TruncFOp::create(b, VectorType::get(2, b.getBF16Type()), both);
  return LLVM::BitcastOp::create(b, b.getI32Type(), both);
}

Value pst::cuda::roundToTF32(ThreadBuilder &b, Value bits) {
  Value value = LLVM::BitcastOp::create(b, b.getF32Type(), bits);
  return NVVM::ConvertFloatToTF32Op::create(b, b.getI32Type(), value,
                                            NVVM::FPRoundingMode::RNA);
}

void pst::cuda::warpBarrier(ThreadBuilder &b) {
  NVVM::SyncWarpOp::create(b, b.i32(-1));
}
