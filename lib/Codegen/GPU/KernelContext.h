//===- KernelContext.h - GPU kernels of a module, each made once *- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_LIB_CODEGEN_GPU_KERNELCONTEXT_H
#define PST_LIB_CODEGEN_GPU_KERNELCONTEXT_H

#include "../Kernel/LaunchContext.h"
#include "GemmOverride.h"
#include "ThreadBuilder.h"

namespace pst::cuda {

/// Which kernel a launch launches.
class KernelPart {
public:
  /// The one of that name among those of the function that launches it, or its
  /// only one.
  KernelPart(llvm::StringRef part) : part(part) {}
  KernelPart(const char *part) : part(part) {}
  KernelPart(std::string part) : part(std::move(part)) {}
  /// One that several functions may share.
  KernelPart(KernelIdentity identity) : shared(std::move(identity)) {}

  KernelIdentity of(llvm::StringRef function) const;
  /// What follows it.
  KernelPart then(llvm::StringRef part) const;

private:
  std::string part;
  std::optional<KernelIdentity> shared;
};

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
  /// `tf32`: products of f32 may round their operands to tf32. `gemmOverride`
  /// goes before what chooseGemm would choose.
  KernelContext(mlir::ModuleOp module, llvm::StringRef arch, bool tf32,
                const GemmOverride &gemmOverride)
      : LaunchContext(module), arch(arch), tf32(tf32),
        gemmOverride(gemmOverride) {}

  llvm::StringRef getArch() const { return arch; }
  bool multipliesTF32() const { return tf32; }
  const GemmOverride &getGemmOverride() const { return gemmOverride; }

  /// Launches `blocks` blocks of `threads` threads of the kernel `part`, built
  /// by `body` the first time that it is asked for. `arguments` are buffers of
  /// identity layout, scalars of `host`'s function and tensor maps. Blocks have
  /// `sharedBytes` of dynamic shared memory. Grids are for what packed matrices
  /// have room for; as `body` builds the kernel, their rows (rowsOf) are those
  /// that there are.
  mlir::gpu::LaunchFuncOp
  launch(CodeBuilder &host, const KernelPart &part, int64_t blocks,
         int64_t threads, ValueRange arguments,
         llvm::function_ref<void(ThreadBuilder &, ValueRange)> body,
         int64_t sharedBytes = 0);

  /// body(b, arguments, i) on some thread for each i in [0, count), a few of
  /// them on each.
  void launchElements(
      CodeBuilder &host, const KernelPart &part, int64_t count,
      ValueRange arguments,
      llvm::function_ref<void(ThreadBuilder &, ValueRange, Value)> body);

  /// body(b, arguments, row, column, size), each on a thread of its own, for
  /// the elements of `matrix`, one of the arguments, as many adjacent ones of a
  /// row at a time as an access moves.
  void launchMatrix(CodeBuilder &host, const KernelPart &part, Value matrix,
                    ValueRange arguments,
                    llvm::function_ref<void(ThreadBuilder &, ValueRange, Value,
                                            Value, int64_t)>
                        body);

  /// Driver::mapElements, as many at a time as an access moves.
  void launchMap(
      CodeBuilder &host, const KernelPart &part, size_t inputs,
      ValueRange arguments,
      llvm::function_ref<ElementFunction(CodeBuilder &, ValueRange)> prepare);

  /// A block for each row of `matrix`, one of the arguments, of as many threads
  /// as suit `columns` that come in groups of `group`.
  void
  launchRows(CodeBuilder &host, const KernelPart &part, Value matrix,
             int64_t columns, ValueRange arguments,
             llvm::function_ref<void(ThreadBuilder &, ValueRange, Value)> body,
             int64_t group = 1);

  /// body(), whose launches take `matrices` to have as many rows as `count`
  /// says, a buffer of one i32: some of those that packed matrices have.
  void withRows(Value count, ValueRange matrices,
                llvm::function_ref<void()> body);

  /// All in one launch.
  void launchSums(CodeBuilder &host, llvm::ArrayRef<PartialSum> sums);

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
  void made(mlir::func::FuncOp kernel, mlir::Operation *op) override;
  void placeTokens(CodeBuilder &host, Value mask, Value places,
                   Value starts) override;
  Value countRows(CodeBuilder &, Value) override { return nullptr; }

  /// What `body` builds, of the arguments `values` of a kernel that is launched
  /// on packed matrices where `packedOnes` says so.
  void buildKernel(ThreadBuilder &b, ValueRange values,
                   const llvm::BitVector &packedOnes,
                   llvm::function_ref<void(ThreadBuilder &, ValueRange)> body);

  std::string arch;
  bool tf32;
  GemmOverride gemmOverride;
  KernelNames kernelNames;
};

/// Adjacent elements of the rows of `matrix` that a thread takes at a time: as
/// many as 16 bytes hold, if all rows are made of such groups, else one.
int64_t groupOf(Value matrix);

template <typename OpT>
struct KernelPattern : LaunchPattern<OpT, KernelContext> {
  using LaunchPattern<OpT, KernelContext>::LaunchPattern;
};

// One function for each family of kernels, each in the file of its name.
void populateAdamWKernels(mlir::RewritePatternSet &, KernelContext &);
void populateAttentionKernels(mlir::RewritePatternSet &, KernelContext &);
void populateBlockScoresKernels(mlir::RewritePatternSet &, KernelContext &);
void populateColumnSumKernels(mlir::RewritePatternSet &, KernelContext &);
void populateCommonThresholdKernels(mlir::RewritePatternSet &, KernelContext &);
void populateCompressedWeightKernels(mlir::RewritePatternSet &,
                                     KernelContext &);
void populateEmbeddingBackwardKernels(mlir::RewritePatternSet &,
                                      KernelContext &);
void populateHostValueKernels(mlir::RewritePatternSet &, KernelContext &);
void populateLinearCrossEntropyKernels(mlir::RewritePatternSet &,
                                       KernelContext &);
void populateLossKernels(mlir::RewritePatternSet &, KernelContext &);
void populateLowRankAccumulateKernels(mlir::RewritePatternSet &,
                                      KernelContext &);
void populateMaskedWeightKernels(mlir::RewritePatternSet &, KernelContext &);
void populateMatmulKernels(mlir::RewritePatternSet &, KernelContext &);
void populateRowThresholdsKernels(mlir::RewritePatternSet &, KernelContext &);
void populateTopKThresholdKernels(mlir::RewritePatternSet &, KernelContext &);

} // namespace pst::cuda

#endif // PST_LIB_CODEGEN_GPU_KERNELCONTEXT_H
