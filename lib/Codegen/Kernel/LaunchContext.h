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
#include "pst/Dialect/NN/NNOps.h"
#include "pst/Dialect/PST/PSTOps.h"
#include "llvm/ADT/BitVector.h"

namespace pst::kernel {

/// What a kernel on packed matrices (#nn.packed) knows of their rows, as
/// nn.token_places says it.
struct PackedRows {
  Value places; ///< i32 for each row: where it is among all B*L.
  Value starts; ///< i32 for each sequence, and one more: its first row.
  /// An index: the rows that there are; null where a GPU's kernels are launched
  /// from, which cannot read it.
  Value count;
  int64_t length; ///< L.

  /// One of the starts as an index, and the last of them.
  static Value readStart(CodeBuilder &b, Value starts, Value sequence);
  static Value readCount(CodeBuilder &b, Value starts);
};

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

  /// Calls the function `part` of the kernel that is being built, made by
  /// `body` the first time.
  void callPart(CodeBuilder &builder, llvm::StringRef part,
                ValueRange arguments, Body body);

  /// Lowers the function's nn.token_places, if there is one, and gives packed
  /// matrices the shape that they are stored in. To be called before anything
  /// else of the function is lowered. Fails if nothing says which rows there
  /// are, or if packed matrices enter or leave the function.
  mlir::LogicalResult storePacked(mlir::func::FuncOp function);
  /// Takes from the types of the function's values that they are packed.
  static void forgetPacked(mlir::func::FuncOp function);
  /// Of the kernel that is being built; null if no matrix of it is packed.
  const PackedRows *packedRows() const {
    return packed.places ? &packed : nullptr;
  }
  /// How many rows there are of an argument of the kernel that is being built,
  /// or of what `setRows` was called for: a constant, but of packed matrices.
  Value rowsOf(CodeBuilder &b, Value matrix) const;
  bool isPacked(Value matrix) const { return rows.contains(matrix); }
  /// The number of them if it is packed, and known here, else null.
  Value packedCount(Value matrix) const { return rows.lookup(matrix); }
  void setRows(Value matrix, Value count) { rows[matrix] = count; }
  /// `matrix`, a workspace for instance, has the rows that `like` has.
  void setRowsLike(Value matrix, Value like) {
    if (isPacked(like))
      setRows(matrix, packedCount(like));
  }
  /// Where a row is among all B*L: itself, if matrices are not packed.
  Value placeOf(CodeBuilder &b, Value row) const;

  /// Takes the fused `pst.accumulate`s (-pst-fuse-accumulations) of `function`
  /// away: from now on the kernels of the ops before them add.
  void takeAccumulations(mlir::func::FuncOp function);
  /// Whether the kernel has to add `result` to what its destination holds.
  bool isAdded(mlir::OpResult result) const {
    return accumulations.contains(result);
  }
  /// Whether anybody reads what the op leaves in `result`.
  bool isWanted(mlir::OpResult result) const;

protected:
  /// Called once for each kernel that an op is replaced by a launch of.
  virtual void made(mlir::func::FuncOp kernel, mlir::Operation *op) {}
  /// Which rows of packed matrices are which tokens, as nn.token_places says,
  /// row by row.
  virtual void placeTokens(CodeBuilder &b, Value mask, Value places,
                           Value starts);
  /// PackedRows::count where the function of an op begins.
  virtual Value countRows(CodeBuilder &b, Value starts) {
    return PackedRows::readCount(b, starts);
  }

  /// Which of the arguments of what is being built are packed.
  llvm::BitVector packedAmong(ValueRange arguments) const;
  /// While it lives, a function is built that knows of packed matrices what it
  /// is told.
  class PackedScope {
  public:
    explicit PackedScope(LaunchContext &context);
    ~PackedScope();
    PackedScope(const PackedScope &) = delete;
    PackedScope &operator=(const PackedScope &) = delete;
    /// Of `arguments`, the set ones are packed.
    void enter(const PackedRows &packed, ValueRange arguments,
               const llvm::BitVector &packedOnes);

  private:
    LaunchContext &context;
    PackedRows packed;
    llvm::DenseMap<Value, Value> rows;
  };
  /// What the kernel that replaces an op writes `result` to.
  Value createDestination(mlir::RewriterBase &rewriter, mlir::OpResult result);
  /// Name of the kernel that is being built. (A builder does not know it: the
  /// regions of an op that is being built belong to nothing yet.)
  llvm::StringRef currentKernel() { return current.getName(); }

  mlir::ModuleOp module;

private:
  /// Of the arguments, the first two are places and starts if one of `packed`
  /// (of the others) is set; then sequences have `length` tokens at most.
  mlir::func::FuncOp create(mlir::Location loc, llvm::StringRef name,
                            mlir::TypeRange arguments,
                            const llvm::BitVector &packed, int64_t length,
                            Body body);

  mlir::SymbolTable symbols;
  KernelNames names;
  mlir::func::FuncOp current;
  /// Of `current`: what packed matrices share, and the rows of those that have
  /// another number than their types say.
  PackedRows packed;
  llvm::DenseMap<Value, Value> rows;
  /// What the launches of a function on packed matrices are given.
  struct TokenPlaces {
    Value places, starts;
    int64_t length;
  };
  llvm::DenseMap<mlir::Operation *, TokenPlaces> tokenPlaces;
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
void populateCacheRowsKernels(mlir::RewritePatternSet &, LaunchContext &);
void populateDistillationLossKernels(mlir::RewritePatternSet &,
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
  populateCacheRowsKernels(patterns, context);
  populateDistillationLossKernels(patterns, context);
  populateElementwiseKernels(patterns, context);
  populateEmbeddingKernels(patterns, context);
  populateLayerNormKernels(patterns, context);
  populateRMSNormKernels(patterns, context);
  populateRotaryKernels(patterns, context);
  populateSquaredErrorKernels(patterns, context);
}

} // namespace pst::kernel

#endif // PST_LIB_CODEGEN_KERNEL_LAUNCHCONTEXT_H
