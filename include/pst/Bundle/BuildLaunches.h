//===- BuildLaunches.h - The launches of an entry point ---------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_BUNDLE_BUILDLAUNCHES_H
#define PST_BUNDLE_BUILDLAUNCHES_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "pst/Bundle/LaunchList.h"

namespace pst {

/// Reads the launches off an entry point for a GPU, which is nothing but
/// launches, and copies, over constant places in its arguments: the stage
/// `llvm` of the target cuda. Emits an error at an op that is anything else.
mlir::FailureOr<std::vector<Launch>> buildLaunches(mlir::func::FuncOp entry);

} // namespace pst

#endif // PST_BUNDLE_BUILDLAUNCHES_H
