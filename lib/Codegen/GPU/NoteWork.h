//===- NoteWork.h - What launches are for, and how much of it ---*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_LIB_CODEGEN_GPU_NOTEWORK_H
#define PST_LIB_CODEGEN_GPU_NOTEWORK_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "pst/Dialect/Interfaces/Work.h"

namespace pst::cuda {

/// Notes on the launch, for the manifest (Launch::op), that `op` begins here.
void setWork(mlir::gpu::LaunchFuncOp launch, llvm::StringRef op, Work work);

/// Notes on the first of a kernel's launches that has no note what they all are
/// for: `op`.
void noteWork(mlir::func::FuncOp kernel, mlir::Operation *op);

} // namespace pst::cuda

#endif // PST_LIB_CODEGEN_GPU_NOTEWORK_H
