//===- NNDialect.h - The nn dialect -----------------------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_DIALECT_NN_NNDIALECT_H
#define PST_DIALECT_NN_NNDIALECT_H

#include "mlir/IR/Dialect.h"

#include "pst/Dialect/NN/NNDialect.h.inc"

#endif // PST_DIALECT_NN_NNDIALECT_H
