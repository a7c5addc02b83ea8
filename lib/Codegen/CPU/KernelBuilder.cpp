//===- KernelBuilder.cpp - Builds loops over cores and vectors ------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "KernelBuilder.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace pst::cpu;

// What is built later may lie in a region that belongs to no op yet.
KernelBuilder::KernelBuilder(const CodeBuilder &builder)
    : CodeBuilder(builder),
      module(getInsertionBlock()->getParentOp()->getParentOfType<ModuleOp>()) {}

void KernelBuilder::parallel(int64_t count, function_ref<void(Value)> body) {
  parallel(index(count), body);
}

void KernelBuilder::parallel(Value count, function_ref<void(Value)> body) {
  auto op = scf::ParallelOp::create(*this, ValueRange{index(0)},
                                    ValueRange{count}, ValueRange{index(1)});
  InsertionGuard guard(*this);
  setInsertionPoint(op.getBody()->getTerminator());
  body(op.getInductionVars()[0]);
}

void KernelBuilder::vectorLoop(int64_t count, int64_t lanes,
                               function_ref<void(Value, int64_t)> body) {
  int64_t whole = count / lanes * lanes;
  if (whole)
    loop(0, whole, lanes, [&](Value i) { body(i, lanes); });
  if (whole != count && lanes > 1)
    loop(whole, count, 1, [&](Value i) { body(i, 1); });
}

void KernelBuilder::parallelVectorLoop(
    int64_t count, int64_t chunk, int64_t lanes,
    function_ref<void(Value, int64_t)> body) {
  int64_t whole = count / chunk;
  if (whole)
    parallel(whole, [&](Value i) {
      Value base = muli(i, chunk);
      vectorLoop(chunk, lanes, [&](Value offset, int64_t width) {
        body(addi(base, offset), width);
      });
    });
  vectorLoop(count - whole * chunk, lanes, [&](Value offset, int64_t width) {
    body(addi(offset, whole * chunk), width);
  });
}

void KernelBuilder::parallelVectorLoop(
    Value count, int64_t chunk, int64_t lanes,
    function_ref<void(Value, int64_t)> body) {
  parallelChunks(count, chunk, [&](Value begin, Value end) {
    Value whole = addi(begin, muli(divi(subi(end, begin), lanes), lanes));
    loop(begin, whole, lanes, [&](Value i) { body(i, lanes); });
    if (lanes > 1)
      loop(whole, end, 1, [&](Value i) { body(i, 1); });
  });
}

void KernelBuilder::parallelChunks(Value count, int64_t chunk,
                                   function_ref<void(Value, Value)> body) {
  std::optional<int64_t> known = getConstantIntValue(count);
  Value chunks = known ? index((*known + chunk - 1) / chunk)
                       : divi(addi(count, chunk - 1), chunk);
  parallel(chunks, [&](Value i) {
    Value begin = muli(i, chunk);
    body(begin, mini(addi(begin, chunk), count));
  });
}

Value KernelBuilder::vectorSum(int64_t count, int64_t lanes,
                               function_ref<Value(Value, int64_t)> element) {
  int64_t whole = count / lanes * lanes;
  Value sum = f32(0.0);
  if (whole) {
    Value lanesSum =
        loop(index(0), index(whole), lanes, {f32(0.0, lanes)},
             [&](Value i, ValueRange carried) -> SmallVector<Value> {
               return {addf(carried[0], element(i, lanes))};
             })[0];
    sum = sumLanes(lanesSum);
  }
  if (whole != count && lanes > 1)
    sum = loop(index(whole), index(count), 1, {sum},
               [&](Value i, ValueRange carried) -> SmallVector<Value> {
                 return {addf(carried[0], element(i, 1))};
               })[0];
  return sum;
}

Value KernelBuilder::sumLanes(Value value) {
  if (lanesOf(value) == 1)
    return value;
  Value sum = vector::ExtractOp::create(*this, value, 0);
  for (int64_t lane = 1; lane < lanesOf(value); ++lane)
    sum = addf(sum, vector::ExtractOp::create(*this, value, lane));
  return sum;
}

Value KernelBuilder::maxLanes(Value value) {
  if (lanesOf(value) == 1)
    return value;
  return vector::ReductionOp::create(*this, vector::CombiningKind::MAXIMUMF,
                                     value);
}

/// Row m of the table holds, in ascending order, the lanes that are set in m.
static memref::GlobalOp compressTable(ModuleOp module, int64_t lanes) {
  std::string name = "pst_compress_" + std::to_string(lanes);
  if (auto table = module.lookupSymbol<memref::GlobalOp>(name))
    return table;
  SmallVector<int8_t> rows;
  for (int64_t mask = 0; mask < 1 << lanes; ++mask) {
    for (int64_t lane = 0; lane < lanes; ++lane)
      if (mask >> lane & 1)
        rows.push_back(lane);
    rows.resize((mask + 1) * lanes);
  }
  auto b = OpBuilder::atBlockBegin(module.getBody());
  Type i8 = b.getI8Type();
  auto value = DenseElementsAttr::get(
      RankedTensorType::get({1 << lanes, lanes}, i8), ArrayRef<int8_t>(rows));
  return memref::GlobalOp::create(
      b, module.getLoc(), b.getStringAttr(name), b.getStringAttr("private"),
      TypeAttr::get(MemRefType::get({1 << lanes, lanes}, i8)), value,
      /*constant=*/b.getUnitAttr(), /*alignment=*/b.getI64IntegerAttr(64));
}

// Not vector.compressstore: to memory, the instruction takes a hundred cycles
// on some machines; between registers, two. Where there is none (up to eight
// lanes), the permutation is looked up; what it is made of here is one
// instruction on AVX2.
Value KernelBuilder::compress(Value value, Value mask) {
  auto type = cast<VectorType>(value.getType());
  int64_t lanes = type.getNumElements();
  if (lanes > 8) {
    // What follows the kept lanes is of no account. It is no constant: where a
    // CPU has no such instruction, LLVM 22 expands it wrongly for constants.
    return LLVM::CallIntrinsicOp::create(
               *this, type, getStringAttr("llvm.experimental.vector.compress"),
               ValueRange{value, mask, value})
        .getResult(0);
  }
  memref::GlobalOp table = compressTable(module, lanes);
  Value rows =
      memref::GetGlobalOp::create(*this, table.getType(), table.getSymName());
  Value row = arith::IndexCastUIOp::create(*this, getIndexType(), bitsOf(mask));
  Value places =
      arith::ExtUIOp::create(*this, VectorType::get(lanes, getI32Type()),
                             loadAsStored(rows, {row, index(0)}, lanes));
  Value result = arith::ConstantOp::create(*this, getZeroAttr(type));
  for (int64_t lane = 0; lane < lanes; ++lane) {
    Value place = arith::IndexCastUIOp::create(
        *this, getIndexType(), vector::ExtractOp::create(*this, places, lane));
    Value element =
        vector::ExtractOp::create(*this, value, OpFoldResult(place));
    result = vector::InsertOp::create(*this, element, result, lane);
  }
  return result;
}

Value KernelBuilder::bitsOf(Value mask) {
  if (lanesOf(mask) == 1)
    return mask;
  Type bits = getIntegerType(lanesOf(mask));
  return vector::ExtractOp::create(
      *this, vector::BitCastOp::create(*this, VectorType::get(1, bits), mask),
      0);
}

Value KernelBuilder::countLanes(Value mask) {
  return arith::IndexCastUIOp::create(
      *this, getIndexType(), math::CtPopOp::create(*this, bitsOf(mask)));
}

Value KernelBuilder::firstLanes(int64_t lanes, int64_t there) {
  SmallVector<bool> mask(lanes, false);
  std::fill_n(mask.begin(), there, true);
  auto type = cast<VectorType>(lanesType(lanes, getI1Type()));
  return arith::ConstantOp::create(*this, DenseElementsAttr::get(type, mask));
}

Value KernelBuilder::loadFirst(Value memref, ValueRange indices, int64_t lanes,
                               int64_t there) {
  if (there >= lanes)
    return loadAsStored(memref, indices, lanes);
  Type element = cast<MemRefType>(memref.getType()).getElementType();
  auto type = cast<VectorType>(lanesType(lanes, element));
  Value zeros = arith::ConstantOp::create(*this, getZeroAttr(type));
  return vector::MaskedLoadOp::create(*this, type, memref, indices,
                                      firstLanes(lanes, there), zeros);
}

void KernelBuilder::storeFirst(Value value, Value memref, ValueRange indices,
                               int64_t there) {
  int64_t lanes = lanesOf(value);
  if (there >= lanes)
    store(value, memref, indices);
  else
    vector::MaskedStoreOp::create(*this, memref, indices,
                                  firstLanes(lanes, there), value);
}

Value KernelBuilder::stackBuffer(ArrayRef<int64_t> shape, Type element) {
  if (!element)
    element = getF32Type();
  return memref::AllocaOp::create(*this, MemRefType::get(shape, element),
                                  getI64IntegerAttr(64));
}

Value pst::cpu::toI32(KernelBuilder &b, Value index) {
  return arith::IndexCastOp::create(b, b.getI32Type(), index);
}

Value pst::cpu::toI64(KernelBuilder &b, Value index) {
  return arith::IndexCastOp::create(b, b.getI64Type(), index);
}

Value pst::cpu::toIndex(KernelBuilder &b, Value integer) {
  return arith::IndexCastUIOp::create(b, b.getIndexType(), integer);
}
