//===- ThreadBuilder.cpp - Builds the code of one GPU thread --------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ThreadBuilder.h"
#include "mlir/Conversion/LLVMCommon/MemRefBuilder.h"
#include "mlir/Conversion/LLVMCommon/TypeConverter.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"

using namespace mlir;
using namespace pst::cuda;

/// NVPTX's address space of memory that a block shares.
static constexpr unsigned kSharedSpace = 3;

ThreadBuilder::ThreadBuilder(Location loc, gpu::GPUFuncOp kernel,
                             int64_t threads)
    : CodeBuilder(loc, kernel.getContext()), kernel(kernel),
      numThreads(threads) {
  setInsertionPointToEnd(&kernel.getBody().front());
  threadIndex = gpu::ThreadIdOp::create(*this, gpu::Dimension::x);
  blockIndex = gpu::BlockIdOp::create(*this, gpu::Dimension::x);
}

llvm::MaybeAlign ThreadBuilder::alignmentOf(int64_t lanes, Type element) const {
  return llvm::MaybeAlign(lanes * element.getIntOrFloatBitWidth() / 8);
}

Value ThreadBuilder::lane() { return remi(threadIndex, kWarp); }

Value ThreadBuilder::sharedBuffer(ArrayRef<int64_t> shape, Type element) {
  if (!element)
    element = getF32Type();
  auto space =
      gpu::AddressSpaceAttr::get(getContext(), gpu::AddressSpace::Workgroup);
  auto type =
      MemRefType::get(shape, element, MemRefLayoutAttrInterface(), space);
  const auto *found =
      llvm::find_if(free, [&](Value of) { return of.getType() == type; });
  if (found != free.end()) {
    Value buffer = *found;
    free.erase(found);
    return buffer;
  }
  unsigned number = kernel.getNumWorkgroupAttributions();
  Value buffer = kernel.addWorkgroupAttribution(type, getLoc());
  kernel.setWorkgroupAttributionAttr(number, "llvm.align",
                                     getI64IntegerAttr(16));
  if (inPart)
    ofParts.push_back(buffer);
  return buffer;
}

void ThreadBuilder::onPart(Value condition, Value block,
                           function_ref<void()> body) {
  Value before = std::exchange(blockIndex, block);
  llvm::DenseMap<Type, Value> reductions;
  std::swap(reductions, reductionBuffers);
  free = ofParts;
  inPart = true;
  ifThen(condition, body);
  inPart = false;
  free.clear();
  reductionBuffers = std::move(reductions);
  blockIndex = before;
}

void ThreadBuilder::barrier() { gpu::BarrierOp::create(*this); }

void ThreadBuilder::setBlocksPerMultiprocessor(int64_t blocks) {
  kernel->setAttr(NVVM::NVVMDialect::getMinctasmAttrName(),
                  getI32IntegerAttr(blocks));
}

void ThreadBuilder::fence() {
  LLVM::FenceOp::create(*this, LLVM::AtomicOrdering::acq_rel, "device");
}

Value ThreadBuilder::isLastBlock(int64_t blocks, Value tickets, Value place) {
  Value last = sharedBuffer({1}, getI32Type());
  fence();
  barrier();
  onFirstThread([&] {
    store(atomicAdd(i32(1), tickets, place), last, index(0));
    fence();
  });
  barrier();
  return cmpi(arith::CmpIPredicate::eq, load(last, index(0)), i32(blocks - 1));
}

void ThreadBuilder::strided(Value begin, Value end,
                            function_ref<void(Value)> body) {
  loop(addi(begin, threadIndex), end, numThreads, body);
}

Value ThreadBuilder::sumOverBlock(int64_t count,
                                  function_ref<Value(Value)> element) {
  return sumGroupsOverBlock(
      count, [&](Value i) -> SmallVector<Value> { return {element(i)}; });
}

Value ThreadBuilder::sumGroupsOverBlock(
    int64_t groups, function_ref<SmallVector<Value>(Value)> terms) {
  Value sum = loop(threadIndex, index(groups), numThreads, {f32(0.0)},
                   [&](Value i, ValueRange carried) -> SmallVector<Value> {
                     Value sum = carried[0];
                     for (Value term : terms(i))
                       sum = addf(sum, term);
                     return {sum};
                   })[0];
  return blockSum(sum);
}

Value ThreadBuilder::blockSum(Value value) {
  return reduceBlock(value, [&](Value a, Value b) { return addf(a, b); });
}

Value ThreadBuilder::blockMax(Value value) {
  return reduceBlock(value, [&](Value lhs, Value rhs) {
    return isa<IntegerType>(lhs.getType())
               ? arith::MaxUIOp::create(*this, lhs, rhs).getResult()
               : maxf(lhs, rhs);
  });
}

/// Within warps by shuffles: both lanes of a pair combine the same two values,
/// so all lanes end with the same bits. Then the warps' results, in ascending
/// order, by every thread.
Value ThreadBuilder::reduceBlock(Value value,
                                 function_ref<Value(Value, Value)> combine) {
  for (int64_t mask = 1; mask < kWarp; mask *= 2)
    value = combine(value, shuffleXor(value, mask));
  int64_t warps = numThreads / kWarp;
  if (warps == 1)
    return value;
  Value &buffer = reductionBuffers[value.getType()];
  if (!buffer)
    buffer = sharedBuffer({warps}, value.getType());
  ifThen(cmpi(arith::CmpIPredicate::eq, lane(), index(0)),
         [&] { store(value, buffer, divi(threadIndex, kWarp)); });
  barrier();
  Value result = load(buffer, index(0));
  for (int64_t warp = 1; warp < warps; ++warp)
    result = combine(result, load(buffer, index(warp)));
  barrier(); // the next reduction writes to the buffer
  return result;
}

void ThreadBuilder::ifBelow(Value i, Value size, function_ref<void()> body) {
  if (!size)
    return body();
  ifThen(cmpi(arith::CmpIPredicate::slt, i, size), body);
}

void ThreadBuilder::onFirstThread(function_ref<void()> body) {
  ifThen(cmpi(arith::CmpIPredicate::eq, threadIndex, index(0)), body);
}

Value ThreadBuilder::choose(Value condition, function_ref<Value()> then,
                            Value otherwise) {
  auto op = scf::IfOp::create(*this, TypeRange{otherwise.getType()}, condition,
                              /*addThenBlock=*/true, /*addElseBlock=*/true);
  InsertionGuard guard(*this);
  setInsertionPointToEnd(op.thenBlock());
  Value result = then();
  scf::YieldOp::create(*this, result);
  setInsertionPointToEnd(op.elseBlock());
  scf::YieldOp::create(*this, otherwise);
  return op.getResult(0);
}

Value ThreadBuilder::shuffleXor(Value value, int64_t mask) {
  if (value.getType().isF64()) {
    // Shuffles move 32 bits.
    Value bits = arith::BitcastOp::create(*this, getI64Type(), value);
    Value low = arith::TruncIOp::create(*this, getI32Type(), bits);
    Value high = arith::TruncIOp::create(
        *this, getI32Type(), arith::ShRUIOp::create(*this, bits, i64(32)));
    low = arith::ExtUIOp::create(*this, getI64Type(), shuffleXor(low, mask));
    high = arith::ExtUIOp::create(*this, getI64Type(), shuffleXor(high, mask));
    bits = arith::OrIOp::create(*this, low,
                                arith::ShLIOp::create(*this, high, i64(32)));
    return arith::BitcastOp::create(*this, getF64Type(), bits);
  }
  return gpu::ShuffleOp::create(*this, value, mask, kWarp,
                                gpu::ShuffleMode::XOR)
      .getShuffleResult();
}

Value ThreadBuilder::atomicAdd(Value value, Value memref, ValueRange indices) {
  Value address = elementPointer(memref, indices);
  bool isShared =
      cast<LLVM::LLVMPointerType>(address.getType()).getAddressSpace() ==
      kSharedSpace;
  // It orders nothing but itself: a stronger one would come with fences.
  return LLVM::AtomicRMWOp::create(*this, LLVM::AtomicBinOp::add, address,
                                   value, LLVM::AtomicOrdering::monotonic,
                                   isShared ? "block" : "device");
}

Value ThreadBuilder::pointer(Value memref) {
  auto type = cast<MemRefType>(memref.getType());
  unsigned space =
      gpu::GPUDialect::isWorkgroupMemoryAddressSpace(type.getMemorySpace())
          ? kSharedSpace
          : 0;
  Value bits = arith::IndexCastOp::create(
      *this, getI64Type(),
      memref::ExtractAlignedPointerAsIndexOp::create(*this, memref));
  return LLVM::IntToPtrOp::create(
      *this, LLVM::LLVMPointerType::get(getContext(), space), bits);
}

Value ThreadBuilder::bufferAt(Value pointer, MemRefType type) {
  LLVMTypeConverter converter(getContext());
  Value descriptor = MemRefDescriptor::fromStaticShape(
      *this, getLoc(), converter, type, pointer);
  return UnrealizedConversionCastOp::create(*this, type, descriptor)
      .getResult(0);
}

Value ThreadBuilder::elementPointer(Value memref, ValueRange indices) {
  auto type = cast<MemRefType>(memref.getType());
  Value place = index(0);
  for (auto [i, size] : llvm::zip(indices, type.getShape()))
    place = addi(muli(place, size), i);
  Value base = pointer(memref);
  return LLVM::GEPOp::create(
      *this, base.getType(), type.getElementType(), base,
      arith::IndexCastOp::create(*this, getI64Type(), place).getResult());
}

/// Bytes of the largest access.
static constexpr int64_t kAccess = 16;

/// Elements that an access moves at a time: of `count` adjacent ones all, as
/// many as it can, or one.
static int64_t elementsOfAccess(Value memref, int64_t count) {
  auto type = cast<MemRefType>(memref.getType());
  Type element = type.getElementType();
  if (type.getShape().back() % count != 0 || !llvm::isPowerOf2_64(count) ||
      !(element.isF32() || element.isBF16()))
    return 1;
  return std::min(count, kAccess * 8 / element.getIntOrFloatBitWidth());
}

SmallVector<Value> ThreadBuilder::loadGroup(Value memref, ValueRange indices,
                                            int64_t count) {
  int64_t size = elementsOfAccess(memref, count);
  Type element = cast<MemRefType>(memref.getType()).getElementType();
  SmallVector<Value> values, place(indices);
  for (int64_t i = 0; i < count; i += size) {
    if (size == 1) {
      values.push_back(load(memref, place));
    } else {
      Value vector = LLVM::LoadOp::create(
          *this, lanesType(size, element), elementPointer(memref, place),
          /*alignment=*/size * element.getIntOrFloatBitWidth() / 8);
      vector = widen(vector);
      for (int64_t lane = 0; lane < size; ++lane)
        values.push_back(
            LLVM::ExtractElementOp::create(*this, vector, i64(lane)));
    }
    place.back() = addi(place.back(), size);
  }
  return values;
}

void ThreadBuilder::storeGroup(ValueRange values, Value memref,
                               ValueRange indices) {
  int64_t size = elementsOfAccess(memref, values.size());
  Type element = cast<MemRefType>(memref.getType()).getElementType();
  SmallVector<Value> place(indices);
  for (; !values.empty(); values = values.drop_front(size)) {
    if (size == 1) {
      store(values[0], memref, place);
    } else {
      Value vector = LLVM::PoisonOp::create(*this, lanesType(size));
      for (auto [lane, value] : llvm::enumerate(values.take_front(size)))
        vector = LLVM::InsertElementOp::create(*this, vector, value, i64(lane));
      if (element.isBF16())
        vector =
            arith::TruncFOp::create(*this, lanesType(size, element), vector);
      LLVM::StoreOp::create(*this, vector, elementPointer(memref, place),
                            /*alignment=*/size *
                                element.getIntOrFloatBitWidth() / 8);
    }
    place.back() = addi(place.back(), size);
  }
}
