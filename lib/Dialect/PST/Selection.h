//===- Selection.h - Masks in the text and types of ops ---------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_LIB_DIALECT_PST_SELECTION_H
#define PST_LIB_DIALECT_PST_SELECTION_H

#include "pst/Dialect/PST/PSTOps.h"

namespace pst {

/// Nothing, `threshold(%tau, %cut)` for top-k over a layer, or
/// `selection<nm 2:4>(%kept : tensor<i64>)`.
mlir::ParseResult
parseMask(mlir::OpAsmParser &parser, SelectionAttr &selection,
          llvm::SmallVectorImpl<mlir::OpAsmParser::UnresolvedOperand> &state,
          llvm::SmallVectorImpl<mlir::Type> &types);
void printMask(mlir::OpAsmPrinter &printer, mlir::Operation *op,
               SelectionAttr selection, mlir::ValueRange state,
               mlir::TypeRange types);

/// Looks the criterion up and checks the factors; sets the weight's shape.
mlir::FailureOr<CriterionOp>
verifyCriterionUse(mlir::Operation *op, mlir::FlatSymbolRefAttr name,
                   mlir::ValueRange factors, mlir::SymbolTableCollection &table,
                   int64_t &rows, int64_t &columns);
/// Whether there is a score to select by.
mlir::LogicalResult verifyHasScore(mlir::Operation *op, CriterionOp criterion);

/// Checks the factors of an op on several layers, of which `what` says how many
/// there are, and that there is a score.
template <typename OpT>
mlir::LogicalResult verifyLayers(OpT op, size_t layers, llvm::StringRef what,
                                 mlir::SymbolTableCollection &table) {
  auto factors = op.getFactors();
  auto criterion =
      table.lookupNearestSymbolFrom<CriterionOp>(op, op.getCriterionAttr());
  // Of one layer, or of none that can be told apart, the usual errors.
  size_t tensors = criterion ? criterion.getNumTensors() : 0;
  size_t step = layers > 1 && tensors ? tensors : factors.size();
  if (layers == 0 ||
      (criterion && layers > 1 && factors.size() != layers * tensors))
    return op.emitOpError("must have ")
           << tensors << " factor tensors for each of its " << layers << " "
           << what << ", but got " << factors.size();
  size_t first = 0;
  do {
    int64_t rows, columns;
    mlir::FailureOr<CriterionOp> found =
        verifyCriterionUse(op, op.getCriterionAttr(),
                           factors.slice(first, step), table, rows, columns);
    if (failed(found) || failed(verifyHasScore(op, *found)))
      return mlir::failure();
    first += step;
  } while (first < factors.size());
  return mlir::success();
}

/// Checks the mask of an op on a rows x columns weight: that the criterion has
/// a score where there is one (and there is one where that has a score, if
/// `required`), that the weight can be selected from so, and the state's types.
mlir::LogicalResult verifyMask(mlir::Operation *op, CriterionOp criterion,
                               SelectionAttr selection, mlir::TypeRange state,
                               int64_t rows, int64_t columns, bool required);

/// Checks that a count of the pruned comes with the selection that prunes.
template <typename OpT> mlir::LogicalResult verifyPruned(OpT op) {
  if (!op.getPruned() || op.getSelection())
    return mlir::success();
  return op.emitOpError("counts pruned elements, but has no selection, which "
                        "would prune them");
}

/// Checks that what is added to a product has the product's type.
template <typename OpT> mlir::LogicalResult verifyAddend(OpT op) {
  if (!op.getAddend() || op.getAddend().getType() == op.getType())
    return mlir::success();
  return op.emitOpError("must have an addend of the result's type ")
         << op.getType() << ", but got " << op.getAddend().getType();
}

} // namespace pst

#endif // PST_LIB_DIALECT_PST_SELECTION_H
