//===- Selections.h - What a selection adds to a model ----------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_LIB_TRANSFORMS_SELECTIONS_H
#define PST_LIB_TRANSFORMS_SELECTIONS_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "pst/Dialect/PST/PSTOps.h"

#include <optional>
#include <string>

namespace pst {

/// The parameters of a layer whose weight is virtual.
struct Layer {
  /// In the order of the criterion's tensors: the weight is the first.
  llvm::SmallVector<ParameterOp> tensors;
  /// What the selection leaves, in the order of #pst.selection; empty without
  /// a score.
  llvm::SmallVector<ParameterOp> state;
  /// What ops under the mask read: the same, or the mask that it has left.
  llvm::SmallVector<ParameterOp> mask;
  /// How many elements that prunes, where it is counted; or null.
  ParameterOp pruned;
  /// Its own final sparsity, if it does not go with the run's.
  std::optional<double> sparsity;
};

/// The input of @select that says how sparse a layer is to be: "sparsity", or
/// one for all layers with that final sparsity of their own.
std::string sparsityInput(const Layer &layer);

/// The values of the parameters.
llvm::SmallVector<mlir::Value> loadAll(mlir::OpBuilder &builder,
                                       mlir::Location loc,
                                       llvm::ArrayRef<ParameterOp> parameters);

/// Declares the state of a layer behind its factors, with which everything
/// stays until the first selection; with the mask itself, if that is `held`.
void declareState(Layer &layer, SelectionAttr selection, bool held);

/// Adds @select(%sparsity: f64, ...): the state of all layers, found anew.
/// Beside the run's sparsity it has those of layers that have their own, which
/// selections over a layer, its rows or its blocks follow. Where masks are
/// `held`, it writes these, too, and there is @freeze_mask(), after which no
/// gradient goes to scores.
void addSelect(mlir::ModuleOp module, llvm::ArrayRef<Layer> layers,
               CriterionOp criterion, SelectionAttr selection, bool held);

/// An empty public function at the end of the module.
mlir::func::FuncOp addFunction(mlir::ModuleOp module, llvm::StringRef name,
                               mlir::FunctionType type);

} // namespace pst

#endif // PST_LIB_TRANSFORMS_SELECTIONS_H
