//===- BuildManifest.h - The manifest of a planned module -------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_BUNDLE_BUILDMANIFEST_H
#define PST_BUNDLE_BUILDMANIFEST_H

#include "mlir/IR/BuiltinOps.h"
#include "pst/Bundle/Manifest.h"

namespace pst {

/// Reads the manifest off a module after `-pst-plan-memory`: parameters,
/// layers, entry points (in the order of their arguments), memory plan. The
/// target's fields are the caller's.
mlir::FailureOr<Manifest> buildManifest(mlir::ModuleOp module);

} // namespace pst

#endif // PST_BUNDLE_BUILDMANIFEST_H
