//===- KernelContext.cpp - GPU kernels of a module, each made once --------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "KernelContext.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include <algorithm>

using namespace mlir;
using namespace pst::cuda;

/// The gpu.module that holds all kernels.
static constexpr StringLiteral kModule = "kernels";
/// Threads of a block that maps elements, and elements of each.
static constexpr int64_t kThreads = 256;
static constexpr int64_t kElements = 4;

static gpu::GPUModuleOp kernelModule(ModuleOp module) {
  if (auto found = module.lookupSymbol<gpu::GPUModuleOp>(kModule))
    return found;
  module->setAttr(gpu::GPUDialect::getContainerModuleAttrName(),
                  UnitAttr::get(module.getContext()));
  OpBuilder builder = OpBuilder::atBlockEnd(module.getBody());
  return gpu::GPUModuleOp::create(builder, module.getLoc(), kModule);
}

void KernelContext::launch(cpu::KernelBuilder &host, StringRef name,
                           int64_t blocks, int64_t threads,
                           ValueRange arguments,
                           function_ref<void(ThreadBuilder &, ValueRange)> body,
                           int64_t sharedBytes) {
  Location loc = host.getLoc();
  gpu::GPUModuleOp kernels = kernelModule(module);
  auto kernel = kernels.lookupSymbol<gpu::GPUFuncOp>(name);
  if (!kernel) {
    OpBuilder builder = OpBuilder::atBlockEnd(kernels.getBody());
    kernel = gpu::GPUFuncOp::create(
        builder, loc, name,
        FunctionType::get(builder.getContext(), arguments.getTypes(), {}));
    kernel->setAttr(gpu::GPUDialect::getKernelFuncAttrName(),
                    builder.getUnitAttr());
    kernel.setKnownBlockSizeAttr(
        builder.getDenseI32ArrayAttr({int32_t(threads), 1, 1}));
    ThreadBuilder thread(loc, kernel, threads);
    SmallVector<Value> inner(kernel.getArguments());
    body(thread, inner);
    gpu::ReturnOp::create(thread);
  }
  Value one = host.index(1);
  std::optional<gpu::KernelDim3> cluster;
  if (auto size = kernel->getAttrOfType<DenseI32ArrayAttr>(
          NVVM::NVVMDialect::getClusterDimAttrName()))
    cluster = gpu::KernelDim3{host.index(size[0]), one, one};
  gpu::LaunchFuncOp::create(
      host, kernel, gpu::KernelDim3{host.index(blocks), one, one},
      gpu::KernelDim3{host.index(threads), one, one},
      sharedBytes ? host.i32(sharedBytes) : Value(), arguments,
      /*asyncTokenType=*/nullptr, /*asyncDependencies=*/{}, cluster);
}

void KernelContext::launchElements(
    cpu::KernelBuilder &host, StringRef name, int64_t count,
    ValueRange arguments,
    function_ref<void(ThreadBuilder &, ValueRange, Value)> body) {
  int64_t perBlock = kThreads * kElements;
  int64_t blocks = (count + perBlock - 1) / perBlock;
  launch(host, name, blocks, kThreads, arguments,
         [&](ThreadBuilder &b, ValueRange values) {
           Value begin = b.muli(b.block(), perBlock);
           Value end = b.mini(b.addi(begin, perBlock), b.index(count));
           b.strided(begin, end, [&](Value i) { body(b, values, i); });
         });
}

void KernelContext::launchRows(
    cpu::KernelBuilder &host, StringRef name, int64_t rows, int64_t columns,
    ValueRange arguments,
    function_ref<void(ThreadBuilder &, ValueRange, Value)> body) {
  int64_t wanted = (columns + kElements - 1) / kElements;
  int64_t threads =
      std::clamp((wanted + kWarp - 1) / kWarp * kWarp, kWarp, kThreads);
  launch(
      host, name, rows, threads, arguments,
      [&](ThreadBuilder &b, ValueRange values) { body(b, values, b.block()); });
}

void KernelContext::launchZeros(cpu::KernelBuilder &host, Value result) {
  int64_t count = cast<MemRefType>(result.getType()).getNumElements();
  launchElements(host, "zeros_" + shapeName(result), count, result,
                 [&](ThreadBuilder &b, ValueRange values, Value i) {
                   b.store(b.f32(0.0), b.flatten(values[0]), i);
                 });
}

void KernelContext::launchSum(cpu::KernelBuilder &host, Value partials,
                              Value result) {
  auto type = cast<MemRefType>(partials.getType());
  int64_t parts = type.getDimSize(0);
  int64_t count = type.getNumElements() / parts;
  std::string name = "sum_" + std::to_string(parts) + "x" +
                     std::to_string(count) + "_to_" + shapeName(result);
  launchElements(host, name, count, {partials, result},
                 [&](ThreadBuilder &b, ValueRange values, Value i) {
                   Value in = b.flatten(values[0]), out = b.flatten(values[1]);
                   Value sum = b.loop(
                       b.index(0), b.index(parts), 1, {b.f32(0.0)},
                       [&](Value p, ValueRange carried) -> SmallVector<Value> {
                         Value at = b.addi(b.muli(p, count), i);
                         return {b.addf(carried[0], b.load(in, at))};
                       })[0];
                   b.store(sum, out, i);
                 });
}
