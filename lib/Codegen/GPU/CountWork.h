//===- CountWork.h - What launches are for, and how much of it --*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_LIB_CODEGEN_GPU_COUNTWORK_H
#define PST_LIB_CODEGEN_GPU_COUNTWORK_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"

namespace pst::cuda {

/// The least that an op has to do, whatever its kernels do.
struct Work {
  /// Of matrix products, two for each multiply-add. Other arithmetic takes less
  /// time than the bytes, and does not count.
  int64_t flops = 0;
  /// Tensors read and written, once each; of a table, the rows that are read.
  int64_t bytes = 0;
};

Work countWork(mlir::Operation *op);

/// Bytes of a tensor or a buffer; 0 for a scalar.
int64_t bytesOf(mlir::Type type);

/// Notes on the launch, for the manifest (Launch::op), that `op` begins here.
void setWork(mlir::gpu::LaunchFuncOp launch, llvm::StringRef op, Work work);

/// Notes on the first of a kernel's launches that has no note what they all are
/// for: `op`.
void noteWork(mlir::func::FuncOp kernel, mlir::Operation *op);

} // namespace pst::cuda

#endif // PST_LIB_CODEGEN_GPU_COUNTWORK_H
