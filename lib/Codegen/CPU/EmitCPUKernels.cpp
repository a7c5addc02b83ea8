//===- EmitCPUKernels.cpp - -pst-emit-cpu-kernels -------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "KernelContext.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/TypeUtilities.h"
#include "mlir/Transforms/WalkPatternRewriteDriver.h"
#include "pst/Codegen/Passes.h"

namespace pst {
#define GEN_PASS_DEF_EMITCPUKERNELS
#include "pst/Codegen/Passes.h.inc"
} // namespace pst

using namespace mlir;
using namespace pst;

/// Whether the op stores a weight, whose values products widen.
static bool storesWeight(Operation *op) {
  auto stored = dyn_cast<MaterializeOp>(op);
  return stored && stored.getStorage() != Storage::Dense;
}

/// Fails if an op computes an activation in bf16: kernels read weights of it,
/// and have no other use for it.
static LogicalResult checkPrecision(ModuleOp module) {
  WalkResult result = module.walk([](Operation *op) {
    bool isNarrow = llvm::any_of(op->getResultTypes(), [](Type type) {
      return getElementTypeOrSelf(type).isBF16();
    });
    if (!isNarrow || isa<LoadOp>(op) || storesWeight(op))
      return WalkResult::advance();
    op->emitOpError("has a result of bf16, but kernels for CPUs compute in "
                    "f32; bf16 (--precision) is for the targets 'cuda' and "
                    "'emulated'");
    return WalkResult::interrupt();
  });
  return failure(result.wasInterrupted());
}

namespace {
struct EmitCPUKernels : pst::impl::EmitCPUKernelsBase<EmitCPUKernels> {
  using EmitCPUKernelsBase::EmitCPUKernelsBase;

  void runOnOperation() override {
    if (mBlock < 0 || nBlock < 0 || kBlock < 0) {
      getOperation().emitError("block sizes must be positive, or 0 for those "
                               "of the cost model, but got ")
          << mBlock.getValue() << ", " << nBlock.getValue() << ", "
          << kBlock.getValue();
      return signalPassFailure();
    }
    if (vectorWidth < 1 || vectorWidth > 64 ||
        !llvm::isPowerOf2_64(vectorWidth)) {
      getOperation().emitError("vector-width must be a power of two from 1 to "
                               "64, but is ")
          << vectorWidth.getValue();
      return signalPassFailure();
    }
    if (expandBits != 0 && expandBits != 8 && expandBits != 32) {
      getOperation().emitError("expand-bits must be 0, 8 or 32, but is ")
          << expandBits.getValue();
      return signalPassFailure();
    }
    if (l2Cache < 1 || l3Cache < 1 || l2Cache > (1 << 30) ||
        l3Cache > (1 << 30)) {
      getOperation().emitError("l2-cache and l3-cache must lie between 1 and "
                               "2^30 KiB, but are ")
          << l2Cache.getValue() << " and " << l3Cache.getValue();
      return signalPassFailure();
    }
    if (failed(checkPrecision(getOperation())))
      return signalPassFailure();
    cpu::Target target;
    target.vectorWidth = vectorWidth;
    target.expandBits = expandBits;
    target.l2Cache = l2Cache << 10;
    target.l3Cache = l3Cache << 10;
    target.mBlock = mBlock;
    target.nBlock = nBlock;
    target.kBlock = kBlock;
    cpu::KernelContext context(getOperation(), target);
    RewritePatternSet patterns(&getContext());
    kernel::populateSharedKernels(patterns, context);
    cpu::populateAdamWKernels(patterns, context);
    cpu::populateAttentionKernels(patterns, context);
    cpu::populateBitmaskMatmulKernels(patterns, context);
    cpu::populateBitmaskWeightKernels(patterns, context);
    cpu::populateBlockScoresKernels(patterns, context);
    cpu::populateCachedAttentionKernels(patterns, context);
    cpu::populateColumnSumKernels(patterns, context);
    cpu::populateCommonThresholdKernels(patterns, context);
    cpu::populateCompressedWeightKernels(patterns, context);
    cpu::populateEmbeddingBackwardKernels(patterns, context);
    cpu::populateLinearCrossEntropyKernels(patterns, context);
    cpu::populateLossKernels(patterns, context);
    cpu::populateLowRankAccumulateKernels(patterns, context);
    cpu::populateMaskedWeightKernels(patterns, context);
    cpu::populateMatmulKernels(patterns, context);
    cpu::populateQuantizedWeightKernels(patterns, context);
    cpu::populateRowThresholdsKernels(patterns, context);
    cpu::populateSparseMatmulKernels(patterns, context);
    cpu::populateTopKThresholdKernels(patterns, context);
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
    if (failed(context.checkAllLowered("CPUs")))
      signalPassFailure();
  }
};
} // namespace
