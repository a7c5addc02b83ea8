//===- Passes.h - Passes that choose and lower kernels ----------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_CODEGEN_PASSES_H
#define PST_CODEGEN_PASSES_H

#include "mlir/Pass/Pass.h"
#include "pst/Options/PassOptions.h"

namespace pst {
#define GEN_PASS_DECL
#define GEN_PASS_REGISTRATION
#include "pst/Codegen/Passes.h.inc"
} // namespace pst

#endif // PST_CODEGEN_PASSES_H
