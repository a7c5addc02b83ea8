//===- PSTDialect.h - The pst dialect ---------------------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_DIALECT_PST_PSTDIALECT_H
#define PST_DIALECT_PST_PSTDIALECT_H

#include "mlir/IR/Dialect.h"

#include "pst/Dialect/PST/PSTDialect.h.inc"

#endif // PST_DIALECT_PST_PSTDIALECT_H
