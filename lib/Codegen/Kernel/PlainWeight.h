//===- PlainWeight.h - Weights that are one factor --------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_LIB_CODEGEN_KERNEL_PLAINWEIGHT_H
#define PST_LIB_CODEGEN_KERNEL_PLAINWEIGHT_H

#include "pst/Dialect/PST/PSTOps.h"

namespace pst::kernel {

/// pst.criterion @pst_as_it_is(%w: dense) { pst.yield weight %w }, which a
/// module gets once.
CriterionOp declarePlainWeight(mlir::ModuleOp module);

/// Whether the weights of a criterion are those of its one factor.
bool isPlainWeight(CriterionOp criterion);

} // namespace pst::kernel

#endif // PST_LIB_CODEGEN_KERNEL_PLAINWEIGHT_H
