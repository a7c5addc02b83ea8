//===- KernelContext.h - GPU kernels of a module, each made once *- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_LIB_CODEGEN_GPU_KERNELCONTEXT_H
#define PST_LIB_CODEGEN_GPU_KERNELCONTEXT_H

#include "../CPU/KernelContext.h"
#include "ThreadBuilder.h"

namespace pst::cuda {

using cpu::attributeName;
using cpu::elementsName;
using cpu::shapeName;

/// The function of an op (cpu::KernelContext makes it) is for GPUs a list of
/// launches: `launch` adds one.
class KernelContext : public cpu::KernelContext {
public:
  /// Kernels work on scalars, and are for GPUs of `arch` (sm_80, sm_90a).
  KernelContext(mlir::ModuleOp module, llvm::StringRef arch)
      : cpu::KernelContext(module, cpu::Target{/*vectorWidth=*/1}),
        module(module), arch(arch) {}

  llvm::StringRef getArch() const { return arch; }

  /// Launches `blocks` blocks of `threads` threads of the kernel `name`, built
  /// by `body` the first time that the name is asked for. `arguments` are
  /// buffers of identity layout, scalars of `host`'s function and tensor maps.
  /// Blocks have `sharedBytes` of dynamic shared memory.
  void launch(cpu::KernelBuilder &host, llvm::StringRef name, int64_t blocks,
              int64_t threads, ValueRange arguments,
              llvm::function_ref<void(ThreadBuilder &, ValueRange)> body,
              int64_t sharedBytes = 0);

  /// body(b, arguments, i) on some thread for each i in [0, count), a few of
  /// them on each.
  void launchElements(
      cpu::KernelBuilder &host, llvm::StringRef name, int64_t count,
      ValueRange arguments,
      llvm::function_ref<void(ThreadBuilder &, ValueRange, Value)> body);

  /// A block for each of `rows`, of as many threads as suit `columns`.
  void
  launchRows(cpu::KernelBuilder &host, llvm::StringRef name, int64_t rows,
             int64_t columns, ValueRange arguments,
             llvm::function_ref<void(ThreadBuilder &, ValueRange, Value)> body);

  /// Every element of `result`, of f32, becomes 0.
  void launchZeros(cpu::KernelBuilder &host, Value result);

  /// result[i] = sum over p ascending of partials[p, i], where `result` has as
  /// many elements as a slice of `partials`.
  void launchSum(cpu::KernelBuilder &host, Value partials, Value result);

private:
  mlir::ModuleOp module;
  std::string arch;
};

/// Lowers one kind of op to launches.
template <typename OpT>
class KernelPattern : public mlir::OpRewritePattern<OpT> {
public:
  KernelPattern(mlir::MLIRContext *mlirContext, KernelContext &context)
      : mlir::OpRewritePattern<OpT>(mlirContext), context(context) {}

protected:
  KernelContext &context;
};

// One function for each family of kernels, each in the file of its name.
void populateActivationKernels(mlir::RewritePatternSet &, KernelContext &);
void populateAdamWKernels(mlir::RewritePatternSet &, KernelContext &);
void populateAttentionKernels(mlir::RewritePatternSet &, KernelContext &);
void populateElementwiseKernels(mlir::RewritePatternSet &, KernelContext &);
void populateEmbeddingKernels(mlir::RewritePatternSet &, KernelContext &);
void populateHostValueKernels(mlir::RewritePatternSet &, KernelContext &);
void populateLayerNormKernels(mlir::RewritePatternSet &, KernelContext &);
void populateLossKernels(mlir::RewritePatternSet &, KernelContext &);
void populateLowRankAccumulateKernels(mlir::RewritePatternSet &,
                                      KernelContext &);
void populateMaskedWeightKernels(mlir::RewritePatternSet &, KernelContext &);
void populateMatmulKernels(mlir::RewritePatternSet &, KernelContext &);
void populateTopKThresholdKernels(mlir::RewritePatternSet &, KernelContext &);

} // namespace pst::cuda

#endif // PST_LIB_CODEGEN_GPU_KERNELCONTEXT_H
