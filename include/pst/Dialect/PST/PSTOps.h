//===- PSTOps.h - Operations of the pst dialect -----------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_DIALECT_PST_PSTOPS_H
#define PST_DIALECT_PST_PSTOPS_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/DestinationStyleOpInterface.h"
#include "mlir/Interfaces/InferTypeOpInterface.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "pst/Dialect/Interfaces/OpInterfaces.h"
#include "pst/Dialect/NN/NNEnums.h"
#include "pst/Dialect/PST/PSTDialect.h"

#include "pst/Dialect/PST/PSTEnums.h.inc"
#define GET_ATTRDEF_CLASSES
#include "pst/Dialect/PST/PSTAttributes.h.inc"

namespace pst {
class ParameterOp;
class YieldOp;
} // namespace pst

#define GET_OP_CLASSES
#include "pst/Dialect/PST/PSTOps.h.inc"

namespace pst {

/// Checks that the tensors `factors` (of the types given) are what
/// `criterion`'s kinds ask for, for one n x m weight. Emits an error at `op`
/// that names the factor, the dimension expected and the type found. On
/// success sets `rows` and `columns`.
mlir::LogicalResult verifyFactors(mlir::Operation *op, CriterionOp criterion,
                                  mlir::TypeRange factors, int64_t &rows,
                                  int64_t &columns);

/// Checks that the tensors `stored` hold a rows x columns matrix as `storage`
/// says; else emits an error at `op`.
mlir::LogicalResult verifyStored(mlir::Operation *op, Storage storage,
                                 mlir::TypeRange stored, int64_t rows,
                                 int64_t columns);

/// The n x m shape of the weight that the (verified) `factors` describe: that
/// of the first dense factor.
mlir::RankedTensorType getWeightType(CriterionOp criterion,
                                     mlir::ValueRange factors);

/// The selection that a user's words name: "topk", "row",
/// "global", "2:4", "block:16x16" or "rows", with "mean" or "max" for the score
/// of a block. Emits an error that says which are known.
mlir::FailureOr<SelectionAttr>
parseSelection(mlir::MLIRContext *context, llvm::StringRef text,
               llvm::StringRef blockScore,
               llvm::function_ref<mlir::InFlightDiagnostic()> emitError);

} // namespace pst

#endif // PST_DIALECT_PST_PSTOPS_H
