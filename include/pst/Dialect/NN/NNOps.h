//===- NNOps.h - Operations of the nn dialect -------------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_DIALECT_NN_NNOPS_H
#define PST_DIALECT_NN_NNOPS_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/TensorEncoding.h"
#include "mlir/Interfaces/DestinationStyleOpInterface.h"
#include "mlir/Interfaces/InferTypeOpInterface.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "pst/Dialect/Interfaces/OpInterfaces.h"
#include "pst/Dialect/NN/NNDialect.h"
#include "pst/Dialect/NN/NNEnums.h"

#define GET_ATTRDEF_CLASSES
#include "pst/Dialect/NN/NNAttributes.h.inc"

#define GET_OP_CLASSES
#include "pst/Dialect/NN/NNOps.h.inc"

namespace pst::nn {
/// Positions of a sequence in an attention that drops out: as many as its index
/// of 32 bits has room for.
inline constexpr int64_t kMostDroppedPositions = int64_t(1) << 16;

/// Of a dropout, or of an op that does what one does to a matrix of this type:
/// `length`, where there is one, is positive and divides the rows, and a
/// sequence has at most 2^32 elements.
mlir::LogicalResult verifyDroppedRows(mlir::Operation *op,
                                      mlir::RankedTensorType matrix,
                                      std::optional<int64_t> length);
} // namespace pst::nn

#endif // PST_DIALECT_NN_NNOPS_H
