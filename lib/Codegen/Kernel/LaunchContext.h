//===- LaunchContext.h - Kernels of a module, each made once ----*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_LIB_CODEGEN_KERNEL_LAUNCHCONTEXT_H
#define PST_LIB_CODEGEN_KERNEL_LAUNCHCONTEXT_H

#include "Driver.h"
#include "KernelNames.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/IR/SymbolTable.h"
#include "pst/Dialect/PST/PSTOps.h"

namespace pst::kernel {

/// Replaces the ops of one module by launches of kernels.
class LaunchContext : public Driver {
public:
  explicit LaunchContext(mlir::ModuleOp module);

  CriterionOp getCriterion(mlir::FlatSymbolRefAttr name) {
    return symbols.lookup<CriterionOp>(name.getValue());
  }

  /// Builds a function whose arguments are the values.
  using Body = llvm::function_ref<void(CodeBuilder &, ValueRange)>;

  /// Replaces `op` by a launch of a kernel, whose arguments are the inputs, one
  /// destination for each result of `op`, and the workspaces, all as buffers of
  /// identity layout (scalars by value). `body` builds the kernel, unless there
  /// is one: for ops of the same types and attributes it must build the same.
  void replaceByLaunch(mlir::RewriterBase &rewriter, mlir::Operation *op,
                       ValueRange inputs,
                       llvm::ArrayRef<mlir::RankedTensorType> workspaces,
                       Body body) {
    replaceByLaunchInto(rewriter, op, inputs, /*outputs=*/{}, workspaces, body);
  }
  /// The same for an op that also writes into what `outputs` (from pst.load or
  /// pst.space) already hold: they come after the inputs.
  void replaceByLaunchInto(mlir::RewriterBase &rewriter, mlir::Operation *op,
                           ValueRange inputs, ValueRange outputs,
                           llvm::ArrayRef<mlir::RankedTensorType> workspaces,
                           Body body) {
    replaceByLaunch(rewriter, op, KernelIdentity(op), inputs, outputs,
                    workspaces, body);
  }
  /// Where more than the op itself, or less, tells what the kernel does.
  void replaceByLaunch(mlir::RewriterBase &rewriter, mlir::Operation *op,
                       KernelIdentity identity, ValueRange inputs,
                       ValueRange outputs,
                       llvm::ArrayRef<mlir::RankedTensorType> workspaces,
                       Body body);

  /// Fails if an op is left that computes and has no kernel for `target`
  /// ("CPUs").
  mlir::LogicalResult checkAllLowered(llvm::StringRef target);

  /// The function `part` of the kernel that `builder` is in, made by `body` the
  /// first time.
  mlir::func::FuncOp getOrCreatePart(CodeBuilder &builder, llvm::StringRef part,
                                     mlir::TypeRange arguments, Body body);

  /// Takes the fused `pst.accumulate`s (-pst-fuse-accumulations) of `function`
  /// away: from now on the kernels of the ops before them add.
  void takeAccumulations(mlir::func::FuncOp function);
  /// Whether the kernel has to add `result` to what its destination holds.
  bool isAdded(mlir::OpResult result) const {
    return accumulations.contains(result);
  }
  /// Whether anybody reads what the op leaves in `result`.
  bool isWanted(mlir::OpResult result) const {
    return isAdded(result) || !result.use_empty();
  }

protected:
  /// Called once for each kernel that an op is replaced by a launch of.
  virtual void made(mlir::func::FuncOp kernel, mlir::Operation *op) {}
  /// What the kernel that replaces an op writes `result` to.
  Value createDestination(mlir::RewriterBase &rewriter, mlir::OpResult result);
  /// Name of the kernel that is being built. (A builder does not know it: the
  /// regions of an op that is being built belong to nothing yet.)
  llvm::StringRef currentKernel() { return current.getName(); }

  mlir::ModuleOp module;

private:
  mlir::func::FuncOp create(mlir::Location loc, llvm::StringRef name,
                            mlir::TypeRange arguments, Body body);

  mlir::SymbolTable symbols;
  KernelNames names;
  mlir::func::FuncOp current;
  /// The parameters to whose gradients results are added.
  llvm::DenseMap<Value, mlir::FlatSymbolRefAttr> accumulations;
};

/// Lowers one kind of op in a target's context, or in any.
template <typename OpT, typename ContextT = LaunchContext>
class LaunchPattern : public mlir::OpRewritePattern<OpT> {
public:
  LaunchPattern(mlir::MLIRContext *mlirContext, ContextT &context)
      : mlir::OpRewritePattern<OpT>(mlirContext), context(context) {}

protected:
  ContextT &context;
};

// One function for each family of ops that all targets lower the same way, each
// in the file of its name.
void populateBinaryCrossEntropyKernels(mlir::RewritePatternSet &,
                                       LaunchContext &);
void populateElementwiseKernels(mlir::RewritePatternSet &, LaunchContext &);
void populateEmbeddingKernels(mlir::RewritePatternSet &, LaunchContext &);
void populateLayerNormKernels(mlir::RewritePatternSet &, LaunchContext &);
void populateRMSNormKernels(mlir::RewritePatternSet &, LaunchContext &);
void populateRotaryKernels(mlir::RewritePatternSet &, LaunchContext &);
void populateSquaredErrorKernels(mlir::RewritePatternSet &, LaunchContext &);
inline void populateSharedKernels(mlir::RewritePatternSet &patterns,
                                  LaunchContext &context) {
  populateBinaryCrossEntropyKernels(patterns, context);
  populateElementwiseKernels(patterns, context);
  populateEmbeddingKernels(patterns, context);
  populateLayerNormKernels(patterns, context);
  populateRMSNormKernels(patterns, context);
  populateRotaryKernels(patterns, context);
  populateSquaredErrorKernels(patterns, context);
}

} // namespace pst::kernel

#endif // PST_LIB_CODEGEN_KERNEL_LAUNCHCONTEXT_H
