//===- LowerTensorMaps.cpp - -pst-lower-tensor-maps -----------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/NVGPU/IR/NVGPUDialect.h"
#include "pst/Codegen/GPUPasses.h"
#include "pst/Dialect/PST/StageAttributes.h"

namespace pst {
#define GEN_PASS_DEF_LOWERTENSORMAPS
#include "pst/Codegen/GPUPasses.h.inc"
} // namespace pst

using namespace mlir;
using namespace pst;

/// Of a tensor map (CUtensorMap), which must begin at a multiple of 64.
static constexpr int64_t kBytes = 128, kAlignment = 64;

static bool isTensorMap(Type type) {
  return isa<nvgpu::TensorMapDescriptorType>(type);
}

static Value toPointer(OpBuilder &builder, Value map) {
  return UnrealizedConversionCastOp::create(
             builder, map.getLoc(),
             LLVM::LLVMPointerType::get(map.getContext()), map)
      .getResult(0);
}

/// The kernel reads its maps through casts to pointers, which fall away. What
/// else the arguments are does not survive the conversion to llvm.func: it is
/// noted for `passByValue`.
static void lower(gpu::GPUFuncOp kernel) {
  Builder builder(kernel.getContext());
  SmallVector<int32_t> maps;
  SmallVector<Type> types(kernel.getArgumentTypes());
  for (auto [i, type] : llvm::enumerate(types)) {
    if (!isTensorMap(type))
      continue;
    type = LLVM::LLVMPointerType::get(kernel.getContext());
    BlockArgument argument = kernel.getArgument(i);
    argument.setType(type);
    for (Operation *user : llvm::make_early_inc_range(argument.getUsers())) {
      user->getResult(0).replaceAllUsesWith(argument);
      user->erase();
    }
    maps.push_back(i);
  }
  if (maps.empty())
    return;
  kernel.setType(builder.getFunctionType(types, {}));
  kernel->setAttr(kTensorMapsAttribute, builder.getDenseI32ArrayAttr(maps));
}

static void passByValue(LLVM::LLVMFuncOp kernel) {
  auto maps = kernel->getAttrOfType<DenseI32ArrayAttr>(kTensorMapsAttribute);
  if (!maps)
    return;
  Builder builder(kernel.getContext());
  auto bytes = LLVM::LLVMArrayType::get(builder.getI8Type(), kBytes);
  for (int32_t i : maps.asArrayRef()) {
    kernel.setArgAttr(i, LLVM::LLVMDialect::getByValAttrName(),
                      TypeAttr::get(bytes));
    kernel.setArgAttr(i, LLVM::LLVMDialect::getAlignAttrName(),
                      builder.getI64IntegerAttr(kAlignment));
    kernel.setArgAttr(i, NVVM::NVVMDialect::getGridConstantAttrName(),
                      builder.getUnitAttr());
  }
  kernel->removeAttr(kTensorMapsAttribute);
}

namespace {
struct LowerTensorMaps : pst::impl::LowerTensorMapsBase<LowerTensorMaps> {
  void runOnOperation() override {
    getOperation().walk([](gpu::GPUFuncOp kernel) { lower(kernel); });
    getOperation().walk([](LLVM::LLVMFuncOp kernel) { passByValue(kernel); });
    getOperation().walk([](gpu::LaunchFuncOp launch) {
      OpBuilder builder(launch);
      for (OpOperand &operand : launch.getKernelOperandsMutable())
        if (isTensorMap(operand.get().getType()))
          operand.set(toPointer(builder, operand.get()));
    });
  }
};
} // namespace
