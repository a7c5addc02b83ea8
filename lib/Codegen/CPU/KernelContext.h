//===- KernelContext.h - Kernels of a module, each made once ----*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_LIB_CODEGEN_CPU_KERNELCONTEXT_H
#define PST_LIB_CODEGEN_CPU_KERNELCONTEXT_H

#include "KernelBuilder.h"
#include "Target.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/IR/SymbolTable.h"
#include "pst/Dialect/PST/PSTOps.h"

namespace pst::cpu {

/// The kernels of one module.
class KernelContext {
public:
  KernelContext(mlir::ModuleOp module, Target target)
      : module(module), symbols(module), target(target) {}
  virtual ~KernelContext() = default;

  const Target &getTarget() const { return target; }
  int64_t lanes() const { return target.vectorWidth; }

  CriterionOp getCriterion(mlir::FlatSymbolRefAttr name) {
    return symbols.lookup<CriterionOp>(name.getValue());
  }

  /// Replaces `op` by a launch of the kernel `name`, whose arguments are the
  /// inputs, one destination for each result of `op`, and the workspaces, all
  /// as buffers of identity layout (scalars by value). `body` builds the
  /// kernel, the first time that the name is asked for; the name must tell
  /// everything that the code depends on: op, shapes, attributes.
  void replaceByLaunch(
      mlir::RewriterBase &rewriter, mlir::Operation *op, llvm::StringRef name,
      mlir::ValueRange inputs,
      llvm::ArrayRef<mlir::RankedTensorType> workspaces,
      llvm::function_ref<void(KernelBuilder &, mlir::ValueRange)> body) {
    replaceByLaunchInto(rewriter, op, name, inputs, /*outputs=*/{}, workspaces,
                        body);
  }

  /// The same for an op without results that writes into what `outputs` (from
  /// pst.load or pst.space) already hold.
  void replaceByLaunchInto(
      mlir::RewriterBase &rewriter, mlir::Operation *op, llvm::StringRef name,
      mlir::ValueRange inputs, mlir::ValueRange outputs,
      llvm::function_ref<void(KernelBuilder &, mlir::ValueRange)> body) {
    replaceByLaunchInto(rewriter, op, name, inputs, outputs, /*workspaces=*/{},
                        body);
  }
  /// Both: the kernel's arguments are the inputs, the `outputs`, one
  /// destination for each result of `op`, and the workspaces.
  void replaceByLaunchInto(
      mlir::RewriterBase &rewriter, mlir::Operation *op, llvm::StringRef name,
      mlir::ValueRange inputs, mlir::ValueRange outputs,
      llvm::ArrayRef<mlir::RankedTensorType> workspaces,
      llvm::function_ref<void(KernelBuilder &, mlir::ValueRange)> body);

  /// The function `name` of these argument types, made by `body` the first
  /// time. Also serves for a helper that several kernels call.
  mlir::func::FuncOp getOrCreateFunction(
      mlir::Location loc, llvm::StringRef name, mlir::TypeRange arguments,
      llvm::function_ref<void(KernelBuilder &, mlir::ValueRange)> body);

  /// for task in [0, count), in parallel: name(task, arguments)
  ///
  /// where `body` builds the function `name`. For tasks with scratch on the
  /// stack, which belongs at the start of a function.
  void emitParallelTasks(
      KernelBuilder &builder, llvm::StringRef name, int64_t count,
      mlir::ValueRange arguments,
      llvm::function_ref<void(KernelBuilder &, Value, mlir::ValueRange)> body);

  /// Whether anybody reads what the op leaves in `result`.
  virtual bool isWanted(mlir::OpResult result) const {
    return !result.use_empty();
  }

protected:
  /// Called once for each kernel that an op is replaced by a launch of.
  virtual void made(mlir::func::FuncOp kernel, mlir::Operation *op) {}
  /// What the kernel that replaces an op writes `result` to.
  virtual Value createDestination(mlir::RewriterBase &rewriter,
                                  mlir::OpResult result);

private:
  mlir::ModuleOp module;
  mlir::SymbolTable symbols;
  Target target;
};

/// "2x3" for a tensor of that shape, "2x3_bf16" if it is narrow: the part of a
/// kernel's name.
std::string shapeName(mlir::Value value);
/// "_bf16xf32" for values of those element types, empty if all are f32: tells
/// kernels apart whose shapes do not.
std::string elementsName(mlir::ValueRange values);
/// A floating-point attribute in a kernel's name: its bits in hexadecimal,
/// for different values must give different names.
std::string attributeName(const llvm::APFloat &value);

/// Lowers one kind of op to a kernel.
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
void populateLayerNormKernels(mlir::RewritePatternSet &, KernelContext &);
void populateLinearCrossEntropyKernels(mlir::RewritePatternSet &,
                                       KernelContext &);
void populateLossKernels(mlir::RewritePatternSet &, KernelContext &);
void populateLowRankAccumulateKernels(mlir::RewritePatternSet &,
                                      KernelContext &);
void populateMaskedWeightKernels(mlir::RewritePatternSet &, KernelContext &);
void populateMatmulKernels(mlir::RewritePatternSet &, KernelContext &);
void populateTopKThresholdKernels(mlir::RewritePatternSet &, KernelContext &);

} // namespace pst::cpu

#endif // PST_LIB_CODEGEN_CPU_KERNELCONTEXT_H
