//===- CodeBuilder.cpp - What all kernels are written in ------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "CodeBuilder.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace pst::kernel;

static constexpr auto kNoWrap = arith::IntegerOverflowFlags::nsw;

//===----------------------------------------------------------------------===//
// Constants and index arithmetic
//===----------------------------------------------------------------------===//

Value CodeBuilder::index(int64_t value) {
  return arith::ConstantIndexOp::create(*this, value);
}

Value CodeBuilder::i32(int64_t value) {
  return arith::ConstantIntOp::create(*this, getI32Type(), value);
}

Value CodeBuilder::i64(int64_t value) {
  return arith::ConstantIntOp::create(*this, getI64Type(), value);
}

Value CodeBuilder::f64(double value) {
  return arith::ConstantOp::create(*this, getF64FloatAttr(value));
}

Value CodeBuilder::f32(double value, int64_t lanes) {
  FloatAttr scalar = getF32FloatAttr(value);
  if (lanes == 1)
    return arith::ConstantOp::create(*this, scalar);
  return arith::ConstantOp::create(
      *this, DenseElementsAttr::get(cast<VectorType>(lanesType(lanes)),
                                    scalar.getValue()));
}

Value CodeBuilder::addi(Value lhs, Value rhs) {
  return arith::AddIOp::create(*this, lhs, rhs, kNoWrap);
}

Value CodeBuilder::addi(Value lhs, int64_t rhs) {
  return rhs == 0 ? lhs : addi(lhs, index(rhs));
}

Value CodeBuilder::subi(Value lhs, Value rhs) {
  return arith::SubIOp::create(*this, lhs, rhs, kNoWrap);
}

Value CodeBuilder::muli(Value lhs, int64_t rhs) {
  return rhs == 1
             ? lhs
             : Value(arith::MulIOp::create(*this, lhs, index(rhs), kNoWrap));
}

Value CodeBuilder::divi(Value lhs, int64_t rhs) {
  return rhs == 1 ? lhs : Value(arith::DivUIOp::create(*this, lhs, index(rhs)));
}

Value CodeBuilder::remi(Value lhs, int64_t rhs) {
  return arith::RemUIOp::create(*this, lhs, index(rhs));
}

Value CodeBuilder::mini(Value lhs, Value rhs) {
  return arith::MinSIOp::create(*this, lhs, rhs);
}

//===----------------------------------------------------------------------===//
// Loops and choices
//===----------------------------------------------------------------------===//

void CodeBuilder::loop(Value lower, Value upper, int64_t step,
                       function_ref<void(Value)> body) {
  auto op = scf::ForOp::create(*this, lower, upper, index(step));
  InsertionGuard guard(*this);
  setInsertionPoint(op.getBody()->getTerminator());
  body(op.getInductionVar());
}

SmallVector<Value>
CodeBuilder::loop(Value lower, Value upper, int64_t step, ValueRange carried,
                  function_ref<SmallVector<Value>(Value, ValueRange)> body) {
  auto op = scf::ForOp::create(*this, lower, upper, index(step), carried);
  InsertionGuard guard(*this);
  setInsertionPointToEnd(op.getBody());
  SmallVector<Value> next = body(op.getInductionVar(), op.getRegionIterArgs());
  scf::YieldOp::create(*this, next);
  return SmallVector<Value>(op.getResults());
}

void CodeBuilder::ifThen(Value condition, function_ref<void()> body) {
  auto op = scf::IfOp::create(*this, condition, /*withElseRegion=*/false);
  InsertionGuard guard(*this);
  setInsertionPoint(op.thenYield());
  body();
}

void CodeBuilder::ifElse(Value condition, function_ref<void()> then,
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

int64_t CodeBuilder::lanesOf(Value value) {
  auto type = dyn_cast<VectorType>(value.getType());
  return type ? type.getNumElements() : 1;
}

Type CodeBuilder::lanesType(int64_t lanes, Type element) {
  if (!element)
    element = getF32Type();
  return lanes == 1 ? element : Type(VectorType::get({lanes}, element));
}

Value CodeBuilder::loadAsStored(Value memref, ValueRange indices,
                                int64_t lanes) {
  if (lanes == 1)
    return memref::LoadOp::create(*this, memref, indices);
  Type element = cast<MemRefType>(memref.getType()).getElementType();
  return vector::LoadOp::create(
      *this, cast<VectorType>(lanesType(lanes, element)), memref, indices,
      /*nontemporal=*/false, alignmentOf(lanes, element));
}

Value CodeBuilder::load(Value memref, ValueRange indices, int64_t lanes) {
  return widen(loadAsStored(memref, indices, lanes));
}

/// bf16 is the upper half of an f32.
Value CodeBuilder::widen(Value value) {
  int64_t lanes = lanesOf(value);
  if (getElementTypeOrSelf(value).isInteger(8))
    return arith::SIToFPOp::create(*this, lanesType(lanes), value);
  if (!getElementTypeOrSelf(value).isBF16())
    return value;
  Type words = lanesType(lanes, getI32Type());
  value =
      arith::BitcastOp::create(*this, lanesType(lanes, getI16Type()), value);
  value = arith::ExtUIOp::create(*this, words, value);
  value = arith::ShLIOp::create(*this, value, splat(i32(16), lanes));
  return arith::BitcastOp::create(*this, lanesType(lanes), value);
}

void CodeBuilder::store(Value value, Value memref, ValueRange indices) {
  Type element = cast<MemRefType>(memref.getType()).getElementType();
  Type stored = lanesType(lanesOf(value), element);
  if (element.isBF16())
    value = arith::TruncFOp::create(*this, stored, value);
  else if (element.isInteger(8) && value.getType() != stored)
    value = arith::FPToSIOp::create(*this, stored, value);
  if (isa<VectorType>(value.getType()))
    vector::StoreOp::create(*this, value, memref, indices,
                            /*nontemporal=*/false,
                            alignmentOf(lanesOf(value), element));
  else
    memref::StoreOp::create(*this, value, memref, indices);
}

Value CodeBuilder::splat(Value scalar, int64_t lanes) {
  if (lanes == 1)
    return scalar;
  return vector::BroadcastOp::create(
      *this, cast<VectorType>(lanesType(lanes, scalar.getType())), scalar);
}

Value CodeBuilder::loadSplat(Value memref, ValueRange indices, int64_t lanes) {
  return splat(load(memref, indices), lanes);
}

Value CodeBuilder::addf(Value lhs, Value rhs) {
  return arith::AddFOp::create(*this, lhs, rhs);
}

Value CodeBuilder::subf(Value lhs, Value rhs) {
  return arith::SubFOp::create(*this, lhs, rhs);
}

Value CodeBuilder::mulf(Value lhs, Value rhs) {
  return arith::MulFOp::create(*this, lhs, rhs);
}

Value CodeBuilder::divf(Value lhs, Value rhs) {
  return arith::DivFOp::create(*this, lhs, rhs);
}

Value CodeBuilder::fma(Value lhs, Value rhs, Value acc) {
  return math::FmaOp::create(*this, lhs, rhs, acc);
}

Value CodeBuilder::maxf(Value lhs, Value rhs) {
  return select(cmpf(arith::CmpFPredicate::OGT, lhs, rhs), lhs, rhs);
}

Value CodeBuilder::absf(Value value) {
  return math::AbsFOp::create(*this, value);
}

Value CodeBuilder::sqrt(Value value) {
  return math::SqrtOp::create(*this, value);
}

Value CodeBuilder::cmpf(arith::CmpFPredicate predicate, Value lhs, Value rhs) {
  return arith::CmpFOp::create(*this, predicate, lhs, rhs);
}

Value CodeBuilder::cmpi(arith::CmpIPredicate predicate, Value lhs, Value rhs) {
  return arith::CmpIOp::create(*this, predicate, lhs, rhs);
}

Value CodeBuilder::select(Value condition, Value lhs, Value rhs) {
  return arith::SelectOp::create(*this, condition, lhs, rhs);
}

Value CodeBuilder::flatten(Value memref) {
  auto type = cast<MemRefType>(memref.getType());
  int64_t size = type.getNumElements();
  return memref::ReinterpretCastOp::create(
      *this, MemRefType::get({size}, type.getElementType()), memref,
      /*offset=*/0, ArrayRef<int64_t>{size}, ArrayRef<int64_t>{1});
}
