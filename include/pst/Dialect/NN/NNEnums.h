//===- NNEnums.h - Enumerations of the nn dialect ---------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_DIALECT_NN_NNENUMS_H
#define PST_DIALECT_NN_NNENUMS_H

#include "mlir/IR/BuiltinAttributes.h"

#include "pst/Dialect/NN/NNEnums.h.inc"

#endif // PST_DIALECT_NN_NNENUMS_H
