//===- Work.h - How much an op has to do ------------------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_DIALECT_INTERFACES_WORK_H
#define PST_DIALECT_INTERFACES_WORK_H

#include "mlir/IR/Operation.h"

namespace pst {

/// The least that an op has to do (WorkOpInterface).
struct Work {
  int64_t flops = 0, bytes = 0;
};

/// What `op` says of itself; nothing if it does not: it is no work then, as a
/// constant is none.
Work countWork(mlir::Operation *op);

/// Bytes of a tensor or a buffer of static shape; 0 for a scalar.
int64_t bytesOf(mlir::Type type);

} // namespace pst

#endif // PST_DIALECT_INTERFACES_WORK_H
