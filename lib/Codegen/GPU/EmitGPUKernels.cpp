//===- EmitGPUKernels.cpp - -pst-emit-gpu-kernels -------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "KernelContext.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/NVGPU/IR/NVGPUDialect.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Transforms/WalkPatternRewriteDriver.h"
#include "pst/Codegen/GPUPasses.h"

namespace pst {
#define GEN_PASS_DEF_EMITGPUKERNELS
#include "pst/Codegen/GPUPasses.h.inc"
} // namespace pst

using namespace mlir;
using namespace pst;

namespace {
struct EmitGPUKernels : pst::impl::EmitGPUKernelsBase<EmitGPUKernels> {
  using EmitGPUKernelsBase::EmitGPUKernelsBase;

  void runOnOperation() override {
    llvm::Expected<cuda::GemmOverride> plan =
        cuda::GemmOverride::parse(gemmPlan);
    if (!plan) {
      getOperation().emitError()
          << "--gemm_plan: " << llvm::toString(plan.takeError());
      return signalPassFailure();
    }
    cuda::KernelContext context(getOperation(), arch, tf32, *plan);
    RewritePatternSet patterns(&getContext());
    kernel::populateSharedKernels(patterns, context);
    cuda::populateAdamWKernels(patterns, context);
    cuda::populateAttentionKernels(patterns, context);
    cuda::populateBlockScoresKernels(patterns, context);
    cuda::populateColumnSumKernels(patterns, context);
    cuda::populateCommonThresholdKernels(patterns, context);
    cuda::populateCompressedWeightKernels(patterns, context);
    cuda::populateEmbeddingBackwardKernels(patterns, context);
    cuda::populateHostValueKernels(patterns, context);
    cuda::populateLinearCrossEntropyKernels(patterns, context);
    cuda::populateLossKernels(patterns, context);
    cuda::populateLowRankAccumulateKernels(patterns, context);
    cuda::populateMaskedWeightKernels(patterns, context);
    cuda::populateMatmulKernels(patterns, context);
    cuda::populateRowThresholdsKernels(patterns, context);
    cuda::populateTopKThresholdKernels(patterns, context);
    WalkResult offers = getOperation().walk([](MaskedMatmulOp op) {
      if (op.getStored().empty())
        return WalkResult::advance();
      op.emitOpError("is offered a stored weight, but products on GPUs with "
                     "virtual weights write them to a buffer: leave it out, or "
                     "multiply by 'pst.stored_matmul'");
      return WalkResult::interrupt();
    });
    if (offers.wasInterrupted())
      return signalPassFailure();
    FrozenRewritePatternSet frozen(std::move(patterns));
    // Functions made on the way are kernels and hold nothing to lower.
    SmallVector<func::FuncOp> functions(getOperation().getOps<func::FuncOp>());
    for (func::FuncOp function : functions) {
      context.takeAccumulations(function);
      if (failed(context.storePacked(function)))
        return signalPassFailure();
    }
    for (func::FuncOp function : functions) {
      walkAndApplyPatterns(function, frozen);
      context.forgetPacked(function);
    }
    if (failed(context.checkAllLowered("GPUs")))
      signalPassFailure();
  }
};
} // namespace
