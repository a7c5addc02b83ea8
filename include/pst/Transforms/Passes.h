//===- Passes.h - Passes from a model to a training step --------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_TRANSFORMS_PASSES_H
#define PST_TRANSFORMS_PASSES_H

#include "mlir/Pass/Pass.h"
#include "pst/Options/PassOptions.h"

namespace pst {
#define GEN_PASS_DECL
#define GEN_PASS_REGISTRATION
#include "pst/Transforms/Passes.h.inc"

std::unique_ptr<mlir::Pass> createSparsify(const RecipeOptions &options);
} // namespace pst

#endif // PST_TRANSFORMS_PASSES_H
