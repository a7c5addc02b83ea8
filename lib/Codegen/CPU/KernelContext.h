//===- KernelContext.h - Kernels for CPUs -----------------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_LIB_CODEGEN_CPU_KERNELCONTEXT_H
#define PST_LIB_CODEGEN_CPU_KERNELCONTEXT_H

#include "../Kernel/LaunchContext.h"
#include "KernelBuilder.h"
#include "Target.h"

namespace pst::cpu {

/// Kernels for a CPU: the function of an op is its kernel.
class KernelContext : public LaunchContext {
public:
  KernelContext(mlir::ModuleOp module, Target target)
      : LaunchContext(module), target(target) {}

  const Target &getTarget() const { return target; }
  int64_t lanes() const { return target.vectorWidth; }

  using Body = llvm::function_ref<void(KernelBuilder &, ValueRange)>;

  void replaceByLaunch(mlir::RewriterBase &rewriter, mlir::Operation *op,
                       ValueRange inputs,
                       llvm::ArrayRef<mlir::RankedTensorType> workspaces,
                       Body body) {
    replaceByLaunchInto(rewriter, op, inputs, /*outputs=*/{}, workspaces, body);
  }
  void replaceByLaunchInto(mlir::RewriterBase &rewriter, mlir::Operation *op,
                           ValueRange inputs, ValueRange outputs,
                           llvm::ArrayRef<mlir::RankedTensorType> workspaces,
                           Body body);
  void callPart(KernelBuilder &builder, llvm::StringRef part,
                ValueRange arguments, Body body);

  /// for task in [0, count), in parallel: part(task, arguments)
  ///
  /// where `body` builds that function. For tasks with scratch on the stack,
  /// which belongs at the start of a function.
  void emitParallelTasks(
      KernelBuilder &builder, llvm::StringRef part, int64_t count,
      ValueRange arguments,
      llvm::function_ref<void(KernelBuilder &, Value, ValueRange)> body);

  // Loops: Driver.cpp
  void mapElements(
      CodeBuilder &host, int64_t chunk, size_t inputs, ValueRange arguments,
      llvm::function_ref<ElementFunction(CodeBuilder &, ValueRange)> prepare)
      override;
  void writeRows(CodeBuilder &host, unsigned like, ValueRange arguments,
                 llvm::function_ref<RowWrite(CodeBuilder &, ValueRange, Value)>
                     body) override;
  void clear(CodeBuilder &host, Value buffer) override;
  void scaledSum(CodeBuilder &host, int64_t rows, ValueRange arguments,
                 llvm::function_ref<Value(CodeBuilder &, ValueRange, Value)>
                     element) override;
  void forRows(CodeBuilder &host, ValueRange arguments,
               llvm::function_ref<void(Row &, ValueRange)> body) override;
  llvm::SmallVector<mlir::RankedTensorType>
  columnSumWorkspaces(mlir::RankedTensorType matrix, int64_t statistics,
                      int64_t sums) override;
  void rowGradients(CodeBuilder &host, ValueRange arguments, ValueRange results,
                    const ColumnSums *sums,
                    llvm::function_ref<RowGradient(Row &, ValueRange)> gradient,
                    AccumulateFunction accumulate) override;

private:
  Target target;
};

template <typename OpT>
struct KernelPattern : LaunchPattern<OpT, KernelContext> {
  using LaunchPattern<OpT, KernelContext>::LaunchPattern;
};

// One function for each family of kernels, each in the file of its name.
void populateAdamWKernels(mlir::RewritePatternSet &, KernelContext &);
void populateAttentionKernels(mlir::RewritePatternSet &, KernelContext &);
void populateBitmaskMatmulKernels(mlir::RewritePatternSet &, KernelContext &);
void populateBitmaskWeightKernels(mlir::RewritePatternSet &, KernelContext &);
void populateBlockScoresKernels(mlir::RewritePatternSet &, KernelContext &);
void populateCachedAttentionKernels(mlir::RewritePatternSet &, KernelContext &);
void populateColumnSumKernels(mlir::RewritePatternSet &, KernelContext &);
void populateCommonThresholdKernels(mlir::RewritePatternSet &, KernelContext &);
void populateCompressedWeightKernels(mlir::RewritePatternSet &,
                                     KernelContext &);
void populateEmbeddingBackwardKernels(mlir::RewritePatternSet &,
                                      KernelContext &);
void populateLinearCrossEntropyKernels(mlir::RewritePatternSet &,
                                       KernelContext &);
void populateLossKernels(mlir::RewritePatternSet &, KernelContext &);
void populateLowRankAccumulateKernels(mlir::RewritePatternSet &,
                                      KernelContext &);
void populateMaskedWeightKernels(mlir::RewritePatternSet &, KernelContext &);
void populateQuantizedWeightKernels(mlir::RewritePatternSet &, KernelContext &);
void populateMatmulKernels(mlir::RewritePatternSet &, KernelContext &);
void populateRowThresholdsKernels(mlir::RewritePatternSet &, KernelContext &);
void populateSparseMatmulKernels(mlir::RewritePatternSet &, KernelContext &);
void populateTopKThresholdKernels(mlir::RewritePatternSet &, KernelContext &);

} // namespace pst::cpu

#endif // PST_LIB_CODEGEN_CPU_KERNELCONTEXT_H
