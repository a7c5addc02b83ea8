//===- EmitPTX.h - PTX from a module of GPU kernels -------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_BUNDLE_EMITPTX_H
#define PST_BUNDLE_EMITPTX_H

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include <string>

namespace pst {

/// Compiles kernels in the nvvm and llvm dialects to PTX for `arch` ("sm_80",
/// "sm_90a"), in this process: neither ptxas nor libdevice are needed. Emits an
/// error at `kernels` for an architecture that is not known, and for code that
/// would call a function from outside.
mlir::FailureOr<std::string> emitPTX(mlir::gpu::GPUModuleOp kernels,
                                     llvm::StringRef arch);

} // namespace pst

#endif // PST_BUNDLE_EMITPTX_H
