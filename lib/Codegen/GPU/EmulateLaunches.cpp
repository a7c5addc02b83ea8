//===- EmulateLaunches.cpp - -pst-emulate-launches ------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "EmulateAsync.h"
#include "EmulateWarpOps.h"
#include "mlir/Conversion/LLVMCommon/MemRefBuilder.h"
#include "mlir/Conversion/LLVMCommon/TypeConverter.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/NVGPU/IR/NVGPUDialect.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/AttrTypeSubElements.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "pst/Codegen/GPUPasses.h"
#include "llvm/Support/MathExtras.h"

namespace pst {
#define GEN_PASS_DEF_EMULATELAUNCHES
#include "pst/Codegen/GPUPasses.h.inc"
} // namespace pst

using namespace mlir;
using namespace pst::cuda;

/// Shared buffers begin at multiples of this.
static constexpr int64_t kAlignment = 1024;

namespace {
struct EmulateLaunches : pst::impl::EmulateLaunchesBase<EmulateLaunches> {
  using EmulateLaunchesBase::EmulateLaunchesBase;
  void runOnOperation() override;

private:
  LogicalResult convert(gpu::GPUFuncOp kernel);
  void placeSharedBuffers(gpu::GPUFuncOp kernel, ImplicitLocOpBuilder &b,
                          Value shared, SmallVectorImpl<Value> &buffers);
  LogicalResult replaceThreadOps(LLVM::LLVMFuncOp function, int64_t ownShared);
  LogicalResult convert(gpu::LaunchFuncOp launch);
  void exportThreadFunctions();
  Value buffer(ImplicitLocOpBuilder &b, MemRefType type, Value pointer);

  Type pointer, i64, i32;
  llvm::StringMap<int64_t> sharedBytes; // by kernel
};
} // namespace

static Type voidType(MLIRContext *context) {
  return LLVM::LLVMVoidType::get(context);
}

/// The function of one thread; a kernel may be called as its op's function is.
static std::string threadFunction(StringRef kernel) {
  return (kernel + "_thread").str();
}

/// A type without the GPU's address spaces.
static MemRefType plain(MemRefType type) {
  return MemRefType::get(type.getShape(), type.getElementType(),
                         type.getLayout());
}

/// The memref of a static shape at a pointer.
Value EmulateLaunches::buffer(ImplicitLocOpBuilder &b, MemRefType type,
                              Value pointer) {
  LLVMTypeConverter converter(&getContext());
  Value descriptor = MemRefDescriptor::fromStaticShape(b, b.getLoc(), converter,
                                                       type, pointer);
  return UnrealizedConversionCastOp::create(b, type, descriptor).getResult(0);
}

static Value element(ImplicitLocOpBuilder &b, Value array, int64_t i) {
  return LLVM::GEPOp::create(b, array.getType(), b.getI64Type(), array,
                             ArrayRef<LLVM::GEPArg>{int32_t(i)});
}

/// The bits of a scalar as an i64, and back.
static Value toBits(ImplicitLocOpBuilder &b, Value value) {
  Type type = value.getType();
  if (isa<IndexType>(type))
    return arith::IndexCastOp::create(b, b.getI64Type(), value);
  unsigned width = type.getIntOrFloatBitWidth();
  if (isa<FloatType>(type))
    value = arith::BitcastOp::create(b, b.getIntegerType(width), value);
  return width == 64 ? value
                     : Value(arith::ExtUIOp::create(b, b.getI64Type(), value));
}

static Value fromBits(ImplicitLocOpBuilder &b, Type type, Value bits) {
  if (isa<IndexType>(type))
    return arith::IndexCastOp::create(b, type, bits);
  unsigned width = type.getIntOrFloatBitWidth();
  if (width != 64)
    bits = arith::TruncIOp::create(b, b.getIntegerType(width), bits);
  return isa<FloatType>(type) ? Value(arith::BitcastOp::create(b, type, bits))
                              : bits;
}

/// The kernel's shared buffers, one after the other, in the block's memory.
void EmulateLaunches::placeSharedBuffers(gpu::GPUFuncOp kernel,
                                         ImplicitLocOpBuilder &b, Value shared,
                                         SmallVectorImpl<Value> &buffers) {
  int64_t offset = 0;
  for (BlockArgument attribution : kernel.getWorkgroupAttributions()) {
    MemRefType type = plain(cast<MemRefType>(attribution.getType()));
    Value at = LLVM::GEPOp::create(b, pointer, b.getI8Type(), shared,
                                   ArrayRef<LLVM::GEPArg>{int32_t(offset)});
    buffers.push_back(buffer(b, type, at));
    offset += llvm::alignTo(
        type.getNumElements() * type.getElementTypeBitWidth() / 8, kAlignment);
  }
  sharedBytes[kernel.getName()] = offset;
}

/// The kernel as a function of its arguments (one i64 each), block, thread and
/// the block's shared memory.
LogicalResult EmulateLaunches::convert(gpu::GPUFuncOp kernel) {
  Location loc = kernel.getLoc();
  OpBuilder module = OpBuilder::atBlockEnd(getOperation().getBody());
  auto function = LLVM::LLVMFuncOp::create(
      module, loc, threadFunction(kernel.getName()),
      LLVM::LLVMFunctionType::get(voidType(&getContext()),
                                  {pointer, i64, i64, pointer}),
      LLVM::Linkage::Internal);
  Block *entry = function.addEntryBlock(module);
  ImplicitLocOpBuilder b(loc, module);
  b.setInsertionPointToStart(entry);
  SmallVector<Value> values;
  for (auto [i, type] : llvm::enumerate(kernel.getArgumentTypes())) {
    Value slot = element(b, entry->getArgument(0), i);
    if (isa<nvgpu::TensorMapDescriptorType>(type)) {
      Value map = LLVM::LoadOp::create(b, pointer, slot);
      values.push_back(
          UnrealizedConversionCastOp::create(b, type, map).getResult(0));
      continue;
    }
    if (auto memref = dyn_cast<MemRefType>(type)) {
      values.push_back(
          buffer(b, memref, LLVM::LoadOp::create(b, pointer, slot)));
      continue;
    }
    values.push_back(fromBits(b, type, LLVM::LoadOp::create(b, i64, slot)));
  }
  placeSharedBuffers(kernel, b, entry->getArgument(3), values);
  Block &body = kernel.getBody().front();
  for (auto [argument, value] : llvm::zip(body.getArguments(), values))
    argument.replaceAllUsesWith(value);
  entry->getOperations().splice(entry->end(), body.getOperations());
  reportSharedWrites(function);
  AttrTypeReplacer replacer;
  replacer.addReplacement([](MemRefType type) { return plain(type); });
  replacer.addReplacement([](LLVM::LLVMPointerType type) {
    return LLVM::LLVMPointerType::get(type.getContext());
  });
  replacer.recursivelyReplaceElementsIn(function, /*replaceAttrs=*/false,
                                        /*replaceLocs=*/false,
                                        /*replaceTypes=*/true);
  return replaceThreadOps(function, sharedBytes[kernel.getName()]);
}

/// Frozen weights lie on the CPU where their file has them, which a GPU's copy
/// does not.
static void dropAlignment(LLVM::LLVMFuncOp function) {
  function.walk([](Operation *op) {
    if (isa<vector::LoadOp, vector::StoreOp>(op))
      op->removeAttr("alignment");
    else if (auto load = dyn_cast<LLVM::LoadOp>(op);
             load && isa<VectorType>(load.getType()))
      load.setAlignment(1);
    else if (auto store = dyn_cast<LLVM::StoreOp>(op);
             store && isa<VectorType>(store.getValue().getType()))
      store.setAlignment(1);
  });
}

LogicalResult EmulateLaunches::replaceThreadOps(LLVM::LLVMFuncOp function,
                                                int64_t ownShared) {
  dropAlignment(function);
  WalkResult result = function.walk([&](Operation *op) {
    if (emulateAsync(op) || emulateWarpOp(op))
      return WalkResult::advance();
    if (!isa_and_nonnull<gpu::GPUDialect, NVVM::NVVMDialect>(
            op->getDialect()) &&
        !isa<LLVM::AddressOfOp, LLVM::InlineAsmOp>(op))
      return WalkResult::advance();
    ImplicitLocOpBuilder b(op->getLoc(), op);
    if (isa<gpu::ThreadIdOp, gpu::BlockIdOp>(op)) {
      Value number = function.getArgument(isa<gpu::BlockIdOp>(op) ? 1 : 2);
      op->getResult(0).replaceAllUsesWith(
          arith::IndexCastOp::create(b, b.getIndexType(), number));
    } else if (auto address = dyn_cast<LLVM::AddressOfOp>(op)) {
      // Dynamic shared memory comes after the kernel's own buffers.
      address.getResult().replaceAllUsesWith(LLVM::GEPOp::create(
          b, pointer, b.getI8Type(), function.getArgument(3),
          ArrayRef<LLVM::GEPArg>{int32_t(ownShared)}));
    } else if (isa<gpu::BarrierOp>(op)) {
      callEmulator(b, "pst_emulate_barrier", {}, {});
    } else if (isa<gpu::ReturnOp>(op)) {
      LLVM::ReturnOp::create(b, ValueRange{});
    } else if (auto shuffle = dyn_cast<gpu::ShuffleOp>(op);
               shuffle && shuffle.getMode() == gpu::ShuffleMode::XOR) {
      Value bits =
          callEmulator(b, "pst_emulate_shuffle_xor", i64,
                       {toBits(b, shuffle.getValue()), shuffle.getOffset()});
      shuffle.getShuffleResult().replaceAllUsesWith(
          fromBits(b, shuffle.getValue().getType(), bits));
    } else {
      op->emitOpError("has no emulation");
      return WalkResult::interrupt();
    }
    op->erase();
    return WalkResult::advance();
  });
  return failure(result.wasInterrupted());
}

LogicalResult EmulateLaunches::convert(gpu::LaunchFuncOp launch) {
  ImplicitLocOpBuilder b(launch.getLoc(), launch);
  auto kernel = launch.getKernelName();
  auto constant = [&](int64_t value) -> Value {
    return LLVM::ConstantOp::create(b, i64, b.getI64IntegerAttr(value));
  };
  auto array = LLVM::AllocaOp::create(
      b, pointer, i64, constant(std::max(1u, launch.getNumKernelOperands())));
  for (auto [i, operand] : llvm::enumerate(launch.getKernelOperands())) {
    Value slot = element(b, array, i);
    if (isa<nvgpu::TensorMapDescriptorType>(operand.getType())) {
      LLVM::StoreOp::create(b, emulatedTensorMap(b, operand), slot);
      continue;
    }
    Value bits =
        isa<MemRefType>(operand.getType())
            ? Value(memref::ExtractAlignedPointerAsIndexOp::create(b, operand))
            : operand;
    LLVM::StoreOp::create(b, toBits(b, bits), slot);
  }
  auto size = [&](Value index) -> Value {
    return arith::IndexCastOp::create(b, i64, index);
  };
  Value shared = constant(sharedBytes.lookup(kernel.getValue()));
  if (Value dynamic = launch.getDynamicSharedMemorySize())
    shared = arith::AddIOp::create(b, shared,
                                   arith::ExtUIOp::create(b, i64, dynamic));
  callEmulator(b, "pst_emulate_launch", {},
               {LLVM::AddressOfOp::create(b, pointer, threadFunction(kernel)),
                array, size(launch.getGridSizeX()),
                size(launch.getBlockSizeX()), shared});
  SmallVector<Value> operands(launch.getKernelOperands());
  launch.erase();
  for (Value operand : operands)
    if (auto map = operand.getDefiningOp<nvgpu::TmaCreateDescriptorOp>();
        map && map->use_empty()) {
      auto cast = map.getTensor().getDefiningOp<memref::CastOp>();
      map.erase();
      if (cast->use_empty()) // several maps may be of one matrix
        cast.erase();
    }
  return success();
}

void EmulateLaunches::exportThreadFunctions() {
  ModuleOp module = getOperation();
  for (auto function :
       llvm::make_early_inc_range(module.getOps<func::FuncOp>()))
    function.erase();
  OpBuilder builder = OpBuilder::atBlockEnd(module.getBody());
  for (const auto &kernel : sharedBytes) {
    StringRef name = kernel.getKey();
    module.lookupSymbol<LLVM::LLVMFuncOp>(threadFunction(name))
        .setLinkage(LLVM::Linkage::External);
    LLVM::GlobalOp::create(builder, module.getLoc(), i64, /*isConstant=*/true,
                           LLVM::Linkage::External, (name + "_shared").str(),
                           builder.getI64IntegerAttr(kernel.getValue()));
  }
}

void EmulateLaunches::runOnOperation() {
  ModuleOp module = getOperation();
  pointer = LLVM::LLVMPointerType::get(&getContext());
  i64 = IntegerType::get(&getContext(), 64);
  i32 = IntegerType::get(&getContext(), 32);
  for (auto kernels :
       llvm::make_early_inc_range(module.getOps<gpu::GPUModuleOp>())) {
    for (auto kernel : kernels.getOps<gpu::GPUFuncOp>())
      if (failed(convert(kernel)))
        return signalPassFailure();
  }
  if (exportKernels)
    exportThreadFunctions();
  WalkResult result = module.walk([&](gpu::LaunchFuncOp launch) {
    return failed(convert(launch)) ? WalkResult::interrupt()
                                   : WalkResult::advance();
  });
  if (result.wasInterrupted())
    return signalPassFailure();
  for (auto kernels :
       llvm::make_early_inc_range(module.getOps<gpu::GPUModuleOp>()))
    kernels.erase();
  module->removeAttr(gpu::GPUDialect::getContainerModuleAttrName());
}
