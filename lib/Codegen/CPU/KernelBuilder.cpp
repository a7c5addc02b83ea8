//===- KernelBuilder.cpp - Builds loops over vectors and scalars ----------===//
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

static constexpr auto kNoWrap = arith::IntegerOverflowFlags::nsw;

//===----------------------------------------------------------------------===//
// Constants and index arithmetic
//===----------------------------------------------------------------------===//

Value KernelBuilder::index(int64_t value) {
  return arith::ConstantIndexOp::create(*this, value);
}

Value KernelBuilder::i32(int64_t value) {
  return arith::ConstantIntOp::create(*this, getI32Type(), value);
}

Value KernelBuilder::i64(int64_t value) {
  return arith::ConstantIntOp::create(*this, getI64Type(), value);
}

Value KernelBuilder::f64(double value) {
  return arith::ConstantOp::create(*this, getF64FloatAttr(value));
}

Value KernelBuilder::f32(double value, int64_t lanes) {
  FloatAttr scalar = getF32FloatAttr(value);
  if (lanes == 1)
    return arith::ConstantOp::create(*this, scalar);
  return arith::ConstantOp::create(
      *this, DenseElementsAttr::get(cast<VectorType>(lanesType(lanes)),
                                    scalar.getValue()));
}

Value KernelBuilder::addi(Value lhs, Value rhs) {
  return arith::AddIOp::create(*this, lhs, rhs, kNoWrap);
}

Value KernelBuilder::addi(Value lhs, int64_t rhs) {
  return rhs == 0 ? lhs : addi(lhs, index(rhs));
}

Value KernelBuilder::subi(Value lhs, Value rhs) {
  return arith::SubIOp::create(*this, lhs, rhs, kNoWrap);
}

Value KernelBuilder::muli(Value lhs, int64_t rhs) {
  return rhs == 1
             ? lhs
             : Value(arith::MulIOp::create(*this, lhs, index(rhs), kNoWrap));
}

Value KernelBuilder::divi(Value lhs, int64_t rhs) {
  return rhs == 1 ? lhs : Value(arith::DivUIOp::create(*this, lhs, index(rhs)));
}

Value KernelBuilder::remi(Value lhs, int64_t rhs) {
  return arith::RemUIOp::create(*this, lhs, index(rhs));
}

Value KernelBuilder::mini(Value lhs, Value rhs) {
  return arith::MinSIOp::create(*this, lhs, rhs);
}

//===----------------------------------------------------------------------===//
// Loops
//===----------------------------------------------------------------------===//

void KernelBuilder::loop(Value lower, Value upper, int64_t step,
                         function_ref<void(Value)> body) {
  auto op = scf::ForOp::create(*this, lower, upper, index(step));
  InsertionGuard guard(*this);
  setInsertionPoint(op.getBody()->getTerminator());
  body(op.getInductionVar());
}

SmallVector<Value>
KernelBuilder::loop(Value lower, Value upper, int64_t step, ValueRange carried,
                    function_ref<SmallVector<Value>(Value, ValueRange)> body) {
  auto op = scf::ForOp::create(*this, lower, upper, index(step), carried);
  InsertionGuard guard(*this);
  setInsertionPointToEnd(op.getBody());
  SmallVector<Value> next = body(op.getInductionVar(), op.getRegionIterArgs());
  scf::YieldOp::create(*this, next);
  return SmallVector<Value>(op.getResults());
}

void KernelBuilder::parallel(int64_t count, function_ref<void(Value)> body) {
  auto op =
      scf::ParallelOp::create(*this, ValueRange{index(0)},
                              ValueRange{index(count)}, ValueRange{index(1)});
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

void KernelBuilder::parallelChunks(int64_t count, int64_t chunk,
                                   function_ref<void(Value, Value)> body) {
  parallel((count + chunk - 1) / chunk, [&](Value i) {
    Value begin = muli(i, chunk);
    body(begin, mini(addi(begin, chunk), index(count)));
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

void KernelBuilder::ifThen(Value condition, function_ref<void()> body) {
  auto op = scf::IfOp::create(*this, condition, /*withElseRegion=*/false);
  InsertionGuard guard(*this);
  setInsertionPoint(op.thenYield());
  body();
}

void KernelBuilder::ifElse(Value condition, function_ref<void()> then,
                           function_ref<void()> otherwise) {
  auto op = scf::IfOp::create(*this, condition, /*withElseRegion=*/true);
  InsertionGuard guard(*this);
  setInsertionPoint(op.thenYield());
  then();
  setInsertionPoint(op.elseYield());
  otherwise();
}

//===----------------------------------------------------------------------===//
// Values of several lanes
//===----------------------------------------------------------------------===//

int64_t KernelBuilder::lanesOf(Value value) {
  auto type = dyn_cast<VectorType>(value.getType());
  return type ? type.getNumElements() : 1;
}

Type KernelBuilder::lanesType(int64_t lanes, Type element) {
  if (!element)
    element = getF32Type();
  return lanes == 1 ? element : Type(VectorType::get({lanes}, element));
}

llvm::MaybeAlign KernelBuilder::alignmentOf(int64_t lanes, Type element) const {
  return alignedVectors
             ? llvm::MaybeAlign(lanes * element.getIntOrFloatBitWidth() / 8)
             : std::nullopt;
}

Value KernelBuilder::load(Value memref, ValueRange indices, int64_t lanes) {
  Type element = cast<MemRefType>(memref.getType()).getElementType();
  Value value;
  if (lanes == 1)
    value = memref::LoadOp::create(*this, memref, indices);
  else
    value = vector::LoadOp::create(
        *this, cast<VectorType>(lanesType(lanes, element)), memref, indices,
        /*nontemporal=*/false, alignmentOf(lanes, element));
  return element.isBF16() ? widen(value) : value;
}

/// bf16 is the upper half of an f32.
Value KernelBuilder::widen(Value value) {
  int64_t lanes = lanesOf(value);
  Type words = lanesType(lanes, getI32Type());
  value =
      arith::BitcastOp::create(*this, lanesType(lanes, getI16Type()), value);
  value = arith::ExtUIOp::create(*this, words, value);
  value = arith::ShLIOp::create(*this, value, splat(i32(16), lanes));
  return arith::BitcastOp::create(*this, lanesType(lanes), value);
}

void KernelBuilder::store(Value value, Value memref, ValueRange indices) {
  Type element = cast<MemRefType>(memref.getType()).getElementType();
  if (element.isBF16())
    value = arith::TruncFOp::create(*this, lanesType(lanesOf(value), element),
                                    value);
  if (isa<VectorType>(value.getType()))
    vector::StoreOp::create(*this, value, memref, indices,
                            /*nontemporal=*/false,
                            alignmentOf(lanesOf(value), element));
  else
    memref::StoreOp::create(*this, value, memref, indices);
}

Value KernelBuilder::splat(Value scalar, int64_t lanes) {
  if (lanes == 1)
    return scalar;
  return vector::BroadcastOp::create(
      *this, cast<VectorType>(lanesType(lanes, scalar.getType())), scalar);
}

Value KernelBuilder::loadSplat(Value memref, ValueRange indices,
                               int64_t lanes) {
  return splat(load(memref, indices), lanes);
}

Value KernelBuilder::addf(Value lhs, Value rhs) {
  return arith::AddFOp::create(*this, lhs, rhs);
}

Value KernelBuilder::subf(Value lhs, Value rhs) {
  return arith::SubFOp::create(*this, lhs, rhs);
}

Value KernelBuilder::mulf(Value lhs, Value rhs) {
  return arith::MulFOp::create(*this, lhs, rhs);
}

Value KernelBuilder::divf(Value lhs, Value rhs) {
  return arith::DivFOp::create(*this, lhs, rhs);
}

Value KernelBuilder::fma(Value lhs, Value rhs, Value acc) {
  return math::FmaOp::create(*this, lhs, rhs, acc);
}

Value KernelBuilder::maxf(Value lhs, Value rhs) {
  return select(cmpf(arith::CmpFPredicate::OGT, lhs, rhs), lhs, rhs);
}

Value KernelBuilder::absf(Value value) {
  return math::AbsFOp::create(*this, value);
}

Value KernelBuilder::sqrt(Value value) {
  return math::SqrtOp::create(*this, value);
}

Value KernelBuilder::cmpf(arith::CmpFPredicate predicate, Value lhs,
                          Value rhs) {
  return arith::CmpFOp::create(*this, predicate, lhs, rhs);
}

Value KernelBuilder::cmpi(arith::CmpIPredicate predicate, Value lhs,
                          Value rhs) {
  return arith::CmpIOp::create(*this, predicate, lhs, rhs);
}

Value KernelBuilder::select(Value condition, Value lhs, Value rhs) {
  return arith::SelectOp::create(*this, condition, lhs, rhs);
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
    Value zero = arith::ConstantOp::create(*this, getZeroAttr(type));
    return LLVM::CallIntrinsicOp::create(
               *this, type, getStringAttr("llvm.experimental.vector.compress"),
               ValueRange{value, mask, zero})
        .getResult(0);
  }
  memref::GlobalOp table = compressTable(module, lanes);
  Value rows =
      memref::GetGlobalOp::create(*this, table.getType(), table.getSymName());
  Value row = arith::IndexCastUIOp::create(*this, getIndexType(), bitsOf(mask));
  Value places =
      arith::ExtUIOp::create(*this, VectorType::get(lanes, getI32Type()),
                             load(rows, {row, index(0)}, lanes));
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
  Type bits = getIntegerType(lanesOf(mask));
  return vector::ExtractOp::create(
      *this, vector::BitCastOp::create(*this, VectorType::get(1, bits), mask),
      0);
}

Value KernelBuilder::countLanes(Value mask) {
  return arith::IndexCastUIOp::create(
      *this, getIndexType(), math::CtPopOp::create(*this, bitsOf(mask)));
}

Value KernelBuilder::stackBuffer(ArrayRef<int64_t> shape, Type element) {
  if (!element)
    element = getF32Type();
  return memref::AllocaOp::create(*this, MemRefType::get(shape, element),
                                  getI64IntegerAttr(64));
}

Value KernelBuilder::flatten(Value memref) {
  auto type = cast<MemRefType>(memref.getType());
  int64_t size = type.getNumElements();
  return memref::ReinterpretCastOp::create(
      *this, MemRefType::get({size}, type.getElementType()), memref,
      /*offset=*/0, ArrayRef<int64_t>{size}, ArrayRef<int64_t>{1});
}
