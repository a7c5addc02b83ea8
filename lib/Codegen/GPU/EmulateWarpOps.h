//===- EmulateWarpOps.h - Calls of the emulator's tensor cores --*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_LIB_CODEGEN_GPU_EMULATEWARPOPS_H
#define PST_LIB_CODEGEN_GPU_EMULATEWARPOPS_H

#include "mlir/IR/Operation.h"

namespace pst::cuda {

/// If `op` is an mma.sync, ldmatrix or cp.async of a form that kernels have,
/// replaces it by a call of the emulator and erases it; else returns false.
/// Pointers have lost their address spaces.
bool emulateWarpOp(mlir::Operation *op);

} // namespace pst::cuda

#endif // PST_LIB_CODEGEN_GPU_EMULATEWARPOPS_H
