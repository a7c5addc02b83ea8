//===- KernelContext.h - GPU kernels of a module, each made once *- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_LIB_CODEGEN_GPU_KERNELCONTEXT_H
#define PST_LIB_CODEGEN_GPU_KERNELCONTEXT_H

#include "../Kernel/LaunchContext.h"
#include "ThreadBuilder.h"

namespace pst::cuda {

/// result[i] = sum over p ascending of partials[p, i], where `result` has as
/// many elements as a slice of `partials`; or is that sum added to it.
struct PartialSum {
  Value partials, result;
  bool added = false;
};

/// The function of an op is for GPUs a list of launches: `launch` adds one.
class KernelContext : public LaunchContext {
public:
  /// Kernels work on scalars, and are for GPUs of `arch` (sm_80, sm_90a).
  /// `tf32`: products of f32 may round their operands to tf32.
  KernelContext(mlir::ModuleOp module, llvm::StringRef arch, bool tf32)
      : LaunchContext(module), arch(arch), tf32(tf32) {}

  llvm::StringRef getArch() const { return arch; }
  bool multipliesTF32() const { return tf32; }

  /// Launches `blocks` blocks of `threads` threads of the kernel `name`, built
  /// by `body` the first time that the name is asked for. `arguments` are
  /// buffers of identity layout, scalars of `host`'s function and tensor maps.
  /// Blocks have `sharedBytes` of dynamic shared memory.
  mlir::gpu::LaunchFuncOp
  launch(CodeBuilder &host, llvm::StringRef name, int64_t blocks,
         int64_t threads, ValueRange arguments,
         llvm::function_ref<void(ThreadBuilder &, ValueRange)> body,
         int64_t sharedBytes = 0);

  /// body(b, arguments, i) on some thread for each i in [0, count), a few of
  /// them on each.
  void launchElements(
      CodeBuilder &host, llvm::StringRef name, int64_t count,
      ValueRange arguments,
      llvm::function_ref<void(ThreadBuilder &, ValueRange, Value)> body);

  /// body(b, arguments, i, size), each on a thread of its own, for each group
  /// of `size` adjacent elements of [0, count): of `group`, if that divides
  /// `count`, else of one.
  void launchGroups(
      CodeBuilder &host, llvm::StringRef name, int64_t count, int64_t group,
      ValueRange arguments,
      llvm::function_ref<void(ThreadBuilder &, ValueRange, Value, int64_t)>
          body);

  /// The same for the elements of `matrix`, as many at a time as an access
  /// moves: body(b, arguments, row, column, size), within a row.
  void launchMatrix(CodeBuilder &host, llvm::StringRef name, Value matrix,
                    ValueRange arguments,
                    llvm::function_ref<void(ThreadBuilder &, ValueRange, Value,
                                            Value, int64_t)>
                        body);

  /// result[i] = function(b, arguments, elements i of the `inputs`, i), element
  /// by element, as many at a time as an access moves; `arguments` begin with
  /// the inputs and end with the result.
  void launchMap(
      CodeBuilder &host, llvm::StringRef name, size_t inputs,
      ValueRange arguments,
      llvm::function_ref<Value(ThreadBuilder &, ValueRange, ValueRange, Value)>
          function);

  /// A block for each of `rows`, of as many threads as suit `columns` that come
  /// in groups of `group`.
  void
  launchRows(CodeBuilder &host, llvm::StringRef name, int64_t rows,
             int64_t columns, ValueRange arguments,
             llvm::function_ref<void(ThreadBuilder &, ValueRange, Value)> body,
             int64_t group = 1);

  /// Every element of `result` becomes 0.
  void launchZeros(CodeBuilder &host, Value result);

  /// All in one launch.
  void launchSums(CodeBuilder &host, llvm::ArrayRef<PartialSum> sums);

  /// Finds in `function` the results of the ops whose kernels end with sums, or
  /// can add, that are only added to a gradient, and takes the pst.accumulate
  /// away: such kernels add to the gradient themselves.
  void fuseAccumulations(mlir::func::FuncOp function);
  /// Whether the kernel has to add `result` to what its destination holds.
  bool isAdded(mlir::OpResult result) const {
    return accumulations.contains(result);
  }
  bool isWanted(mlir::OpResult result) const override {
    return isAdded(result) || LaunchContext::isWanted(result);
  }

protected:
  Value createDestination(mlir::RewriterBase &rewriter,
                          mlir::OpResult result) override;

private:
  void made(mlir::func::FuncOp kernel, mlir::Operation *op) override;

  std::string arch;
  bool tf32;
  /// The parameters to whose gradients results are added.
  llvm::DenseMap<Value, mlir::FlatSymbolRefAttr> accumulations;
};

/// Adjacent elements of the rows of `matrix` that a thread takes at a time: as
/// many as 16 bytes hold, if all rows are made of such groups, else one.
int64_t groupOf(Value matrix);

template <typename OpT>
struct KernelPattern : LaunchPattern<OpT, KernelContext> {
  using LaunchPattern<OpT, KernelContext>::LaunchPattern;
};

// One function for each family of kernels, each in the file of its name.
void populateActivationKernels(mlir::RewritePatternSet &, KernelContext &);
void populateAdamWKernels(mlir::RewritePatternSet &, KernelContext &);
void populateAttentionKernels(mlir::RewritePatternSet &, KernelContext &);
void populateElementwiseKernels(mlir::RewritePatternSet &, KernelContext &);
void populateEmbeddingKernels(mlir::RewritePatternSet &, KernelContext &);
void populateHostValueKernels(mlir::RewritePatternSet &, KernelContext &);
void populateLayerNormKernels(mlir::RewritePatternSet &, KernelContext &);
void populateLinearCrossEntropyKernels(mlir::RewritePatternSet &,
                                       KernelContext &);
void populateLossKernels(mlir::RewritePatternSet &, KernelContext &);
void populateLowRankAccumulateKernels(mlir::RewritePatternSet &,
                                      KernelContext &);
void populateMaskedWeightKernels(mlir::RewritePatternSet &, KernelContext &);
void populateMatmulKernels(mlir::RewritePatternSet &, KernelContext &);
void populateTopKThresholdKernels(mlir::RewritePatternSet &, KernelContext &);

} // namespace pst::cuda

#endif // PST_LIB_CODEGEN_GPU_KERNELCONTEXT_H
