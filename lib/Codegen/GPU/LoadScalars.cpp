//===- LoadScalars.cpp - -pst-load-scalars --------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "pst/Codegen/GPUPasses.h"
#include "llvm/ADT/MapVector.h"
#include <map>

namespace pst {
#define GEN_PASS_DEF_LOADSCALARS
#include "pst/Codegen/GPUPasses.h.inc"
} // namespace pst

using namespace mlir;

/// Whether a launch's operand is a scalar that its caller is given.
static bool isScalarArgument(Value operand) {
  return isa<BlockArgument>(operand) && operand.getType().isIntOrFloat();
}

/// "_loads_2_3": which parameters are in memory, for the kernel's name.
static std::string suffix(ArrayRef<unsigned> positions) {
  std::string text = "_loads";
  for (unsigned position : positions)
    text += "_" + std::to_string(position);
  return text;
}

/// The parameters at `positions` become buffers of one element.
static void loadParameters(gpu::GPUFuncOp kernel,
                           ArrayRef<unsigned> positions) {
  OpBuilder builder = OpBuilder::atBlockBegin(&kernel.getBody().front());
  SmallVector<Type> types(kernel.getArgumentTypes());
  for (unsigned position : positions) {
    BlockArgument argument = kernel.getArgument(position);
    Type scalar = argument.getType();
    types[position] = MemRefType::get({}, scalar);
    argument.setType(types[position]);
    auto load = memref::LoadOp::create(builder, kernel.getLoc(), argument);
    argument.replaceAllUsesExcept(load, load);
  }
  kernel.setFunctionType(
      FunctionType::get(kernel.getContext(), types, TypeRange{}));
}

namespace {
struct LoadScalars : pst::impl::LoadScalarsBase<LoadScalars> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    // By kernel and by the positions of scalar arguments: its launches.
    using Launches = SmallVector<gpu::LaunchFuncOp>;
    llvm::MapVector<SymbolRefAttr, std::map<SmallVector<unsigned>, Launches>>
        uses;
    module.walk([&](gpu::LaunchFuncOp launch) {
      SmallVector<unsigned> positions;
      for (auto [i, operand] : llvm::enumerate(launch.getKernelOperands()))
        if (isScalarArgument(operand))
          positions.push_back(i);
      uses[launch.getKernel()][positions].push_back(launch);
    });
    SymbolTableCollection symbols;
    for (auto &[name, byPositions] : uses) {
      auto kernel =
          symbols.lookupNearestSymbolFrom<gpu::GPUFuncOp>(module, name);
      if (!kernel) {
        byPositions.begin()->second.front().emitOpError("launches ")
            << name << ", which is no gpu.func";
        return signalPassFailure();
      }
      for (auto &[positions, launches] : byPositions) {
        if (positions.empty())
          continue;
        gpu::GPUFuncOp changed = kernel;
        // Others give it constants: they keep it as it is.
        if (byPositions.size() > 1) {
          changed = kernel.clone();
          changed.setName((kernel.getName() + suffix(positions)).str());
          symbols.getSymbolTable(kernel->getParentOp())
              .insert(changed, kernel->getIterator());
        }
        loadParameters(changed, positions);
        for (gpu::LaunchFuncOp launch : launches)
          launch.setKernelAttr(SymbolRefAttr::get(
              name.getRootReference(),
              FlatSymbolRefAttr::get(changed.getNameAttr())));
      }
    }
    for (auto function : module.getOps<func::FuncOp>()) {
      if (function.isExternal())
        continue;
      for (BlockArgument argument : function.getArguments())
        if (argument.getType().isIntOrFloat() && failed(moveToMemory(argument)))
          return signalPassFailure();
      function.setType(FunctionType::get(&getContext(),
                                         function.front().getArgumentTypes(),
                                         function.getResultTypes()));
    }
  }

  LogicalResult moveToMemory(BlockArgument argument) {
    for (Operation *user : argument.getUsers())
      if (!isa<gpu::LaunchFuncOp>(user))
        return user->emitOpError(
            "computes with an argument of an entry point, which for a GPU is "
            "in the GPU's memory: only kernels can read it");
    argument.setType(MemRefType::get({}, argument.getType()));
    return success();
  }
};
} // namespace
