//===- GPUPasses.h - Passes for NVIDIA GPUs ---------------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_CODEGEN_GPUPASSES_H
#define PST_CODEGEN_GPUPASSES_H

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Pass/Pass.h"

namespace pst {

#define GEN_PASS_DECL
#include "pst/Codegen/GPUPasses.h.inc"

#define GEN_PASS_REGISTRATION
#include "pst/Codegen/GPUPasses.h.inc"

} // namespace pst

#endif // PST_CODEGEN_GPUPASSES_H
