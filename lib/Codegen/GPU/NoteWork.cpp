//===- NoteWork.cpp - What launches are for, and how much of it -----------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "NoteWork.h"
#include "pst/Dialect/PST/StageAttributes.h"

using namespace mlir;
using namespace pst;
using namespace pst::cuda;

void pst::cuda::setWork(gpu::LaunchFuncOp launch, StringRef op, Work work) {
  Builder builder(launch.getContext());
  launch->setAttr(kOpAttribute, builder.getStringAttr(op));
  launch->setAttr(kFlopsAttribute, builder.getI64IntegerAttr(work.flops));
  launch->setAttr(kBytesAttribute, builder.getI64IntegerAttr(work.bytes));
}

void pst::cuda::noteWork(func::FuncOp kernel, Operation *op) {
  for (auto launch : kernel.getOps<gpu::LaunchFuncOp>())
    if (!launch->hasAttr(kOpAttribute))
      return setWork(launch, op->getName().getStringRef(), countWork(op));
}
