//===- AsyncBuilder.cpp - The asynchronous instructions of sm_90a ---------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "AsyncBuilder.h"
#include "mlir/Conversion/LLVMCommon/MemRefBuilder.h"
#include "mlir/Conversion/LLVMCommon/TypeConverter.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/NVGPU/IR/NVGPUDialect.h"

using namespace mlir;
using namespace pst::cuda;

/// Shared memory of a size that the launch names. gpu.dynamic_shared_memory
/// would give it one byte and little alignment.
static constexpr StringLiteral kDynamicShared = "dynamic_shared_memory";
static constexpr unsigned kSharedSpace = 3, kClusterSpace = 7;
/// A hint, in nanoseconds, of how long a thread may sleep at a barrier.
static constexpr int64_t kSleep = 10000000;

Value pst::cuda::createTensorMap(CodeBuilder &host, Value matrix,
                                 int64_t rows) {
  auto type = cast<MemRefType>(matrix.getType());
  int64_t columns = 128 / (type.getElementTypeBitWidth() / 8);
  auto space = gpu::AddressSpaceAttr::get(host.getContext(),
                                          gpu::AddressSpace::Workgroup);
  auto box = MemRefType::get({rows, columns}, type.getElementType(),
                             MemRefLayoutAttrInterface(), space);
  auto descriptor = nvgpu::TensorMapDescriptorType::get(
      host.getContext(), box, nvgpu::TensorMapSwizzleKind::SWIZZLE_128B,
      nvgpu::TensorMapL2PromoKind::L2PROMO_256B,
      nvgpu::TensorMapOOBKind::OOB_ZERO,
      nvgpu::TensorMapInterleaveKind::INTERLEAVE_NONE);
  Value unranked = memref::CastOp::create(
      host, UnrankedMemRefType::get(type.getElementType(), Attribute()),
      matrix);
  return nvgpu::TmaCreateDescriptorOp::create(
      host, descriptor, unranked,
      ValueRange{host.index(rows), host.index(columns)});
}

static Value sharedMemory(ThreadBuilder &b) {
  auto kernels =
      b.getInsertionBlock()->getParentOp()->getParentOfType<gpu::GPUModuleOp>();
  if (!kernels.lookupSymbol(kDynamicShared)) {
    OpBuilder builder = OpBuilder::atBlockBegin(kernels.getBody());
    LLVM::GlobalOp::create(
        builder, b.getLoc(), LLVM::LLVMArrayType::get(b.getI8Type(), 0),
        /*isConstant=*/false, LLVM::Linkage::External, kDynamicShared,
        /*value=*/Attribute(), /*alignment=*/1024, kSharedSpace);
  }
  return LLVM::AddressOfOp::create(
      b, LLVM::LLVMPointerType::get(b.getContext(), kSharedSpace),
      kDynamicShared);
}

static Code addressOf(ThreadBuilder &b, Value pointer) {
  Value address = LLVM::PtrToIntOp::create(b, b.getI32Type(), pointer);
  return {b, arith::IndexCastUIOp::create(b, b.getIndexType(), address)};
}

static Value toI32(ThreadBuilder &b, Value index) {
  return arith::IndexCastOp::create(b, b.getI32Type(), index);
}

AsyncBuilder::AsyncBuilder(ThreadBuilder &b)
    : b(b), memory(sharedMemory(b)), start(addressOf(b, memory)) {}

Value AsyncBuilder::shared(Code offset) {
  Value bytes = arith::IndexCastOp::create(b, b.getI64Type(), offset);
  return LLVM::GEPOp::create(b, memory.getType(), b.getI8Type(), memory,
                             ArrayRef<LLVM::GEPArg>{bytes});
}

Value AsyncBuilder::bufferAt(ThreadBuilder &b, Value address,
                             ArrayRef<int64_t> shape) {
  auto type = MemRefType::get(shape, b.getF32Type(), AffineMap(),
                              b.getI64IntegerAttr(kSharedSpace));
  return b.bufferAt(address, type);
}

//===----------------------------------------------------------------------===//
// Barriers
//===----------------------------------------------------------------------===//

void AsyncBuilder::initBarrier(Value barrier, int64_t arrivals) {
  NVVM::MBarrierInitOp::create(b, barrier, b.i32(arrivals),
                               /*predicate=*/Value());
}

void AsyncBuilder::fenceBarrierInit() { NVVM::FenceMbarrierInitOp::create(b); }

void AsyncBuilder::arrive(Value barrier) {
  NVVM::MBarrierArriveOp::create(b, TypeRange{}, barrier, /*count=*/Value());
}

void AsyncBuilder::arriveExpecting(Value barrier, int64_t bytes) {
  NVVM::MBarrierArriveExpectTxOp::create(
      b, TypeRange{}, barrier, b.i32(bytes), NVVM::MemScopeKind::CTA,
      /*relaxed=*/false, /*predicate=*/Value());
}

void AsyncBuilder::waitParity(Value barrier, Code parity) {
  NVVM::MBarrierTryWaitParityOp::create(b, barrier, toI32(b, parity),
                                        b.i32(kSleep));
}

//===----------------------------------------------------------------------===//
// Copies
//===----------------------------------------------------------------------===//

Value AsyncBuilder::tensorMapAddress(Value argument) {
  return UnrealizedConversionCastOp::create(
             b, LLVM::LLVMPointerType::get(b.getContext()), argument)
      .getResult(0);
}

void AsyncBuilder::prefetch(Value tensorMap) {
  NVVM::PrefetchOp::create(b, /*cacheLevel=*/nullptr, /*evictPriority=*/nullptr,
                           tensorMap, /*predicate=*/Value(),
                           /*tensormap=*/true);
}

void AsyncBuilder::load(Value target, Value tensorMap, Value barrier, Code x,
                        Code y) {
  Value inCluster = LLVM::AddrSpaceCastOp::create(
      b, LLVM::LLVMPointerType::get(b.getContext(), kClusterSpace), target);
  NVVM::CpAsyncBulkTensorGlobalToSharedClusterOp::create(
      b, inCluster, tensorMap, ValueRange{toI32(b, x), toI32(b, y)}, barrier,
      /*im2colOffsets=*/ValueRange{}, /*multicastMask=*/Value(),
      /*l2CacheHint=*/Value(), NVVM::TMALoadMode::TILE, /*isCTAOnly=*/false,
      /*group=*/nullptr, /*predicate=*/Value());
}

void AsyncBuilder::fenceWrites() {
  MLIRContext *context = b.getContext();
  NVVM::FenceProxyOp::create(
      b, NVVM::ProxyKindAttr::get(context, NVVM::ProxyKind::async_shared),
      NVVM::SharedSpaceAttr::get(context, NVVM::SharedSpace::shared_cta));
}

void AsyncBuilder::store(Value tensorMap, Value source, Code x, Code y) {
  NVVM::CpAsyncBulkTensorSharedCTAToGlobalOp::create(
      b, tensorMap, source, ValueRange{toI32(b, x), toI32(b, y)},
      /*l2CacheHint=*/Value(), NVVM::TMAStoreMode::TILE, /*predicate=*/Value());
}

void AsyncBuilder::commitStores() { NVVM::CpAsyncBulkCommitGroupOp::create(b); }

void AsyncBuilder::awaitStores(int64_t pending) {
  NVVM::CpAsyncBulkWaitGroupOp::create(b, pending, /*read=*/b.getUnitAttr());
}

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

Type AsyncBuilder::accumulatorsType(int64_t n) {
  return LLVM::LLVMStructType::getLiteral(
      b.getContext(), SmallVector<Type>(n / 2, b.getF32Type()));
}

Value AsyncBuilder::noAccumulators(int64_t n) {
  return LLVM::PoisonOp::create(b, accumulatorsType(n));
}

void AsyncBuilder::fenceProducts() { NVVM::WgmmaFenceAlignedOp::create(b); }

Value AsyncBuilder::descriptor(const OperandTile &tile, Code address) {
  Value bits =
      arith::IndexCastOp::create(b, b.getI64Type(), descriptorAddress(address));
  return arith::AddIOp::create(b, bits, b.i64(descriptorBits(tile)));
}

Value AsyncBuilder::advance(Value descriptor, int64_t bytes) {
  return bytes ? Value(arith::AddIOp::create(b, descriptor,
                                             b.i64(descriptorAddress(bytes))))
               : descriptor;
}

Value AsyncBuilder::multiply(Value accumulators, Value left, Value right,
                             int64_t n, bool leftDepthIsInner,
                             bool rightDepthIsInner, bool first) {
  using namespace NVVM;
  // The right one's layouts are named the other way round: col has k inside.
  return WgmmaMmaAsyncOp::create(
      b, accumulators.getType(), accumulators, left, right,
      MMAShapeAttr::get(b.getContext(), kWgmmaRows, n, kWgmmaDepth),
      WGMMATypes::bf16, WGMMATypes::bf16, WGMMATypes::f32,
      first ? WGMMAScaleOut::zero : WGMMAScaleOut::one, WGMMAScaleIn::one,
      WGMMAScaleIn::one, leftDepthIsInner ? MMALayout::row : MMALayout::col,
      rightDepthIsInner ? MMALayout::col : MMALayout::row,
      /*satfinite=*/nullptr);
}

void AsyncBuilder::commitProducts() {
  NVVM::WgmmaGroupSyncAlignedOp::create(b);
}

void AsyncBuilder::waitProducts(int64_t pending) {
  NVVM::WgmmaWaitGroupSyncOp::create(b, pending);
}

/// The op for it carries no data: what reads the accumulators could come
/// before. Here they go through the instruction.
SmallVector<Value> AsyncBuilder::finishProducts(Value accumulators, int64_t n) {
  SmallVector<Value> values;
  std::string outputs, inputs;
  for (int64_t i = 0; i < n / 2; ++i) {
    values.push_back(LLVM::ExtractValueOp::create(b, accumulators, i));
    outputs += i ? ",=f" : "=f";
    inputs += "," + std::to_string(i);
  }
  Value finished =
      LLVM::InlineAsmOp::create(
          b, accumulators.getType(), values, "wgmma.wait_group.sync.aligned 0;",
          outputs + inputs, /*has_side_effects=*/true,
          /*is_align_stack=*/false, LLVM::TailCallKind::None,
          LLVM::AsmDialectAttr::get(b.getContext(), LLVM::AsmDialect::AD_ATT),
          /*operand_attrs=*/ArrayAttr())
          .getResult(0);
  for (auto [i, value] : llvm::enumerate(values))
    value = LLVM::ExtractValueOp::create(b, finished, i);
  return values;
}

gpu::GPUFuncOp AsyncBuilder::kernel() {
  Operation *parent = b.getInsertionBlock()->getParentOp();
  auto kernel = dyn_cast<gpu::GPUFuncOp>(parent);
  return kernel ? kernel : parent->getParentOfType<gpu::GPUFuncOp>();
}

void AsyncBuilder::increaseRegisters(int64_t count) {
  // ptxas ignores setmaxnreg unless it knows how many blocks there may be.
  kernel()->setAttr(NVVM::NVVMDialect::getMinctasmAttrName(),
                    b.getI32IntegerAttr(1));
  NVVM::SetMaxRegisterOp::create(b, count,
                                 NVVM::SetMaxRegisterAction::increase);
}

void AsyncBuilder::decreaseRegisters(int64_t count) {
  NVVM::SetMaxRegisterOp::create(b, count,
                                 NVVM::SetMaxRegisterAction::decrease);
}
