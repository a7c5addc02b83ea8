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

#endif // PST_DIALECT_NN_NNOPS_H
