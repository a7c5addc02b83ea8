//===- PSTInterfaces.h - Interfaces of differentiable ops -------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_DIALECT_PST_PSTINTERFACES_H
#define PST_DIALECT_PST_PSTINTERFACES_H

#include "mlir/IR/OpDefinition.h"
#include "llvm/ADT/BitVector.h"

#include "pst/Dialect/PST/PSTInterfaces.h.inc"

#endif // PST_DIALECT_PST_PSTINTERFACES_H
