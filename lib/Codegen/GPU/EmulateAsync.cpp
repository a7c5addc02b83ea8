//===- EmulateAsync.cpp - Calls of the emulator's units -------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "EmulateAsync.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/NVGPU/IR/NVGPUDialect.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;

Value pst::cuda::callEmulator(ImplicitLocOpBuilder &b, StringRef name,
                              Type result, ValueRange arguments) {
  auto module =
      b.getInsertionBlock()->getParentOp()->getParentOfType<ModuleOp>();
  auto callee = module.lookupSymbol<LLVM::LLVMFuncOp>(name);
  if (!callee) {
    OpBuilder builder = OpBuilder::atBlockEnd(module.getBody());
    callee = LLVM::LLVMFuncOp::create(
        builder, module.getLoc(), name,
        LLVM::LLVMFunctionType::get(
            result ? result : LLVM::LLVMVoidType::get(b.getContext()),
            llvm::to_vector(arguments.getTypes())));
  }
  auto call = LLVM::CallOp::create(b, callee, arguments);
  return result ? call.getResult() : Value();
}

static Value i32(ImplicitLocOpBuilder &b, int64_t value) {
  return arith::ConstantIntOp::create(b, b.getI32Type(), value);
}

/// A place on the stack for a value of this type, made where the function
/// begins: the stack must not grow in a loop.
static Value stackPlace(ImplicitLocOpBuilder &b, Type type) {
  OpBuilder::InsertionGuard guard(b);
  auto function =
      b.getInsertionBlock()->getParentOp()->getParentOfType<LLVM::LLVMFuncOp>();
  if (!function)
    function = cast<LLVM::LLVMFuncOp>(b.getInsertionBlock()->getParentOp());
  b.setInsertionPointToStart(&function.front());
  auto pointer = LLVM::LLVMPointerType::get(b.getContext());
  return LLVM::AllocaOp::create(b, pointer, type, i32(b, 1));
}

/// Whether `op` is the wait that accumulators go through.
static bool isTiedWait(LLVM::InlineAsmOp op) {
  return op.getAsmString() == "wgmma.wait_group.sync.aligned 0;";
}

/// Accumulators go by way of memory: the emulator changes them there.
static Value throughMemory(ImplicitLocOpBuilder &b, Value accumulators,
                           function_ref<void(Value)> call) {
  Type type = accumulators.getType();
  Value place = stackPlace(b, type);
  LLVM::StoreOp::create(b, accumulators, place);
  call(place);
  return LLVM::LoadOp::create(b, type, place);
}

static Value multiply(ImplicitLocOpBuilder &b, NVVM::WgmmaMmaAsyncOp op) {
  using namespace NVVM;
  auto flag = [&](bool value) { return i32(b, value); };
  Value aDepthMajor = flag(op.getLayoutA() == MMALayout::row);
  // A column of B is what a row of A is: k inside.
  Value bDepthMajor = flag(op.getLayoutB() == MMALayout::col);
  Value accumulates = flag(op.getScaleD() == WGMMAScaleOut::one);
  return throughMemory(b, op.getInouts(), [&](Value accumulators) {
    pst::cuda::callEmulator(b, "pst_emulate_wgmma", {},
                            {accumulators, op.getDescriptorA(),
                             op.getDescriptorB(), i32(b, op.getShape().getN()),
                             aDepthMajor, bDepthMajor, accumulates});
  });
}

static Value finish(ImplicitLocOpBuilder &b, LLVM::InlineAsmOp op) {
  Type type = op.getResult(0).getType();
  Value accumulators = LLVM::UndefOp::create(b, type);
  for (auto [i, value] : llvm::enumerate(op.getOperands()))
    accumulators = LLVM::InsertValueOp::create(b, accumulators, value, i);
  return throughMemory(b, accumulators, [&](Value place) {
    pst::cuda::callEmulator(b, "pst_emulate_wgmma_wait", {},
                            {i32(b, 0), place, i32(b, op.getNumOperands())});
  });
}

bool pst::cuda::emulateAsync(Operation *op) {
  ImplicitLocOpBuilder b(op->getLoc(), op);
  auto call = [&](StringRef name, ValueRange arguments) {
    callEmulator(b, name, {}, arguments);
    return true;
  };
  auto replace = [&](Value value) {
    op->getResult(0).replaceAllUsesWith(value);
    return true;
  };
  bool known =
      llvm::TypeSwitch<Operation *, bool>(op)
          .Case([&](NVVM::MBarrierInitOp init) {
            return call("pst_emulate_mbarrier_init",
                        {init.getAddr(), init.getCount()});
          })
          .Case([&](NVVM::FenceMbarrierInitOp) {
            return call("pst_emulate_mbarrier_fence", {});
          })
          .Case([&](NVVM::MBarrierArriveOp arrive) {
            return call("pst_emulate_mbarrier_arrive",
                        {arrive.getAddr(), i32(b, 0)});
          })
          .Case([&](NVVM::MBarrierArriveExpectTxOp arrive) {
            return call("pst_emulate_mbarrier_arrive",
                        {arrive.getAddr(), arrive.getTxcount()});
          })
          .Case([&](NVVM::MBarrierTryWaitParityOp wait) {
            return call("pst_emulate_mbarrier_wait",
                        {wait.getAddr(), wait.getPhase()});
          })
          .Case([&](NVVM::CpAsyncBulkTensorGlobalToSharedClusterOp load) {
            return !load.getMulticastMask() &&
                   call("pst_emulate_tensor_load",
                        {load.getDstMem(), load.getTmaDescriptor(),
                         load.getMbar(), load.getCoordinates()[0],
                         load.getCoordinates()[1]});
          })
          .Case([&](NVVM::CpAsyncBulkTensorSharedCTAToGlobalOp store) {
            return call("pst_emulate_tensor_store",
                        {store.getTmaDescriptor(), store.getSrcMem(),
                         store.getCoordinates()[0], store.getCoordinates()[1]});
          })
          .Case([&](NVVM::CpAsyncBulkCommitGroupOp) {
            return call("pst_emulate_store_commit", {});
          })
          .Case([&](NVVM::CpAsyncBulkWaitGroupOp wait) {
            return wait.getRead() &&
                   call("pst_emulate_store_wait", i32(b, wait.getGroup()));
          })
          .Case([&](NVVM::FenceProxyOp fence) {
            return fence.getKind() == NVVM::ProxyKind::async_shared &&
                   call("pst_emulate_proxy_fence", {});
          })
          .Case([&](NVVM::WgmmaFenceAlignedOp) {
            return call("pst_emulate_wgmma_fence", {});
          })
          .Case([&](NVVM::WgmmaMmaAsyncOp product) {
            return replace(multiply(b, product));
          })
          .Case([&](NVVM::WgmmaGroupSyncAlignedOp) {
            return call("pst_emulate_wgmma_commit", {});
          })
          .Case([&](NVVM::WgmmaWaitGroupSyncOp wait) {
            Value none = LLVM::ZeroOp::create(
                b, LLVM::LLVMPointerType::get(b.getContext()));
            return call("pst_emulate_wgmma_wait",
                        {i32(b, wait.getGroup()), none, i32(b, 0)});
          })
          .Case([&](LLVM::InlineAsmOp assembly) {
            return isTiedWait(assembly) && replace(finish(b, assembly));
          })
          .Case([&](NVVM::SetMaxRegisterOp registers) {
            return call("pst_emulate_set_max_registers",
                        i32(b, registers.getRegCount()));
          })
          .Case([&](NVVM::BarrierOp barrier) {
            return barrier.getBarrierId() && barrier.getNumberOfThreads() &&
                   call("pst_emulate_barrier_part",
                        {barrier.getBarrierId(), barrier.getNumberOfThreads()});
          })
          .Case([](NVVM::PrefetchOp) { return true; })
          .Case([&](LLVM::AddrSpaceCastOp cast) {
            return replace(cast.getArg());
          })
          .Default([](Operation *) { return false; });
  if (known)
    op->erase();
  return known;
}

void pst::cuda::reportSharedWrites(LLVM::LLVMFuncOp function) {
  SmallVector<LLVM::StoreOp> writes;
  bool copies = false;
  function.walk([&](Operation *op) {
    copies |= isa<NVVM::CpAsyncBulkTensorSharedCTAToGlobalOp>(op);
    auto store = dyn_cast<LLVM::StoreOp>(op);
    if (store && store.getAddr().getType().getAddressSpace() ==
                     unsigned(NVVM::NVVMMemorySpace::Shared))
      writes.push_back(store);
  });
  if (!copies)
    return;
  DataLayout layout = DataLayout::closest(function);
  for (LLVM::StoreOp store : writes) {
    ImplicitLocOpBuilder b(store.getLoc(), store);
    Value generic = LLVM::AddrSpaceCastOp::create(
        b, LLVM::LLVMPointerType::get(b.getContext()), store.getAddr());
    int64_t bytes = layout.getTypeSize(store.getValue().getType());
    callEmulator(b, "pst_emulate_shared_write", {}, {generic, i32(b, bytes)});
  }
}

Value pst::cuda::emulatedTensorMap(ImplicitLocOpBuilder &b, Value descriptor) {
  auto map = descriptor.getDefiningOp<nvgpu::TmaCreateDescriptorOp>();
  auto type = cast<nvgpu::TensorMapDescriptorType>(descriptor.getType());
  Value matrix = map.getTensor().getDefiningOp<memref::CastOp>().getSource();
  auto matrixType = cast<MemRefType>(matrix.getType());
  int64_t bytes = matrixType.getElementTypeBitWidth() / 8;
  int64_t rows = matrixType.getDimSize(0), columns = matrixType.getDimSize(1);
  ArrayRef<int64_t> box = type.getTensor().getShape();
  Type i64 = b.getI64Type();
  Value base = arith::IndexCastOp::create(
      b, i64, memref::ExtractAlignedPointerAsIndexOp::create(b, matrix));
  SmallVector<Value> words{base};
  for (int64_t word : {columns, rows, columns * bytes, box[1], box[0], bytes,
                       int64_t(type.getSwizzle())})
    words.push_back(arith::ConstantIntOp::create(b, i64, word));
  auto pointer = LLVM::LLVMPointerType::get(b.getContext());
  Value count = arith::ConstantIntOp::create(b, i64, words.size());
  Value array = LLVM::AllocaOp::create(b, pointer, i64, count);
  for (auto [i, word] : llvm::enumerate(words))
    LLVM::StoreOp::create(
        b, word,
        LLVM::GEPOp::create(b, pointer, i64, array,
                            ArrayRef<LLVM::GEPArg>{int32_t(i)}));
  return array;
}
