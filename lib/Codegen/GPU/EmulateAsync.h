//===- EmulateAsync.h - Calls of the emulator's units -----------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_LIB_CODEGEN_GPU_EMULATEASYNC_H
#define PST_LIB_CODEGEN_GPU_EMULATEASYNC_H

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace pst::cuda {

/// Calls one of the emulator's functions, which is declared in the module when
/// it is first called; null if it returns nothing.
mlir::Value callEmulator(mlir::ImplicitLocOpBuilder &b, llvm::StringRef name,
                         mlir::Type result, mlir::ValueRange arguments);

/// If `op` is an asynchronous instruction (AsyncBuilder makes them), replaces
/// it by a call of the emulator and erases it; else returns false. Pointers
/// have lost their address spaces.
bool emulateAsync(mlir::Operation *op);

/// If the function copies from shared memory, tells the emulator of each write
/// to it by a pointer that still has its address space.
void reportSharedWrites(mlir::LLVM::LLVMFuncOp function);

/// The pointer to what a tensor map's host side says (emulator::TensorMap), on
/// the stack of the launching function.
mlir::Value emulatedTensorMap(mlir::ImplicitLocOpBuilder &b,
                              mlir::Value descriptor);

} // namespace pst::cuda

#endif // PST_LIB_CODEGEN_GPU_EMULATEASYNC_H
