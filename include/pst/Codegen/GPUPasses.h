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

/// Of a gpu.launch_func that is the first of an op's: the op's name, and what
/// it has to do (Launch::op, flops, bytes).
inline constexpr llvm::StringLiteral kOpAttribute = "pst.op",
                                     kFlopsAttribute = "pst.flops",
                                     kBytesAttribute = "pst.bytes";

#define GEN_PASS_DECL
#include "pst/Codegen/GPUPasses.h.inc"

#define GEN_PASS_REGISTRATION
#include "pst/Codegen/GPUPasses.h.inc"

} // namespace pst

#endif // PST_CODEGEN_GPUPASSES_H
