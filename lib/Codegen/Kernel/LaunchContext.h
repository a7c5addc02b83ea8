//===- LaunchContext.h - Kernels of a module, each made once ----*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_LIB_CODEGEN_KERNEL_LAUNCHCONTEXT_H
#define PST_LIB_CODEGEN_KERNEL_LAUNCHCONTEXT_H

#include "CodeBuilder.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/IR/SymbolTable.h"
#include "pst/Dialect/PST/PSTOps.h"

namespace pst::kernel {

/// Replaces the ops of one module by launches of kernels.
class LaunchContext {
public:
  explicit LaunchContext(mlir::ModuleOp module)
      : module(module), symbols(module) {}
  virtual ~LaunchContext() = default;

  CriterionOp getCriterion(mlir::FlatSymbolRefAttr name) {
    return symbols.lookup<CriterionOp>(name.getValue());
  }

  /// Builds a function whose arguments are the values.
  using Body = llvm::function_ref<void(CodeBuilder &, ValueRange)>;

  /// Replaces `op` by a launch of the kernel `name`, whose arguments are the
  /// inputs, one destination for each result of `op`, and the workspaces, all
  /// as buffers of identity layout (scalars by value). `body` builds the
  /// kernel, the first time that the name is asked for; the name must tell
  /// everything that the code depends on: op, shapes, attributes.
  void replaceByLaunch(mlir::RewriterBase &rewriter, mlir::Operation *op,
                       llvm::StringRef name, ValueRange inputs,
                       llvm::ArrayRef<mlir::RankedTensorType> workspaces,
                       Body body) {
    replaceByLaunchInto(rewriter, op, name, inputs, /*outputs=*/{}, workspaces,
                        body);
  }
  /// The same for an op that also writes into what `outputs` (from pst.load or
  /// pst.space) already hold: they come after the inputs.
  void replaceByLaunchInto(mlir::RewriterBase &rewriter, mlir::Operation *op,
                           llvm::StringRef name, ValueRange inputs,
                           ValueRange outputs,
                           llvm::ArrayRef<mlir::RankedTensorType> workspaces,
                           Body body);

  /// The function `name` of these argument types, made by `body` the first
  /// time. Also serves for a helper that several kernels call.
  mlir::func::FuncOp getOrCreateFunction(mlir::Location loc,
                                         llvm::StringRef name,
                                         mlir::TypeRange arguments, Body body);

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

  mlir::ModuleOp module;

private:
  mlir::SymbolTable symbols;
};

/// "2x3" for a tensor of that shape, "2x3_bf16" if it is narrow: the part of a
/// kernel's name.
std::string shapeName(Value value);
/// "_bf16xf32" for values of those element types, empty if all are f32: tells
/// kernels apart whose shapes do not.
std::string elementsName(ValueRange values);
/// A floating-point attribute in a kernel's name: its bits in hexadecimal,
/// for different values must give different names.
std::string attributeName(const llvm::APFloat &value);

/// Lowers one kind of op in a target's context.
template <typename OpT, typename ContextT>
class LaunchPattern : public mlir::OpRewritePattern<OpT> {
public:
  LaunchPattern(mlir::MLIRContext *mlirContext, ContextT &context)
      : mlir::OpRewritePattern<OpT>(mlirContext), context(context) {}

protected:
  ContextT &context;
};

} // namespace pst::kernel

#endif // PST_LIB_CODEGEN_KERNEL_LAUNCHCONTEXT_H
