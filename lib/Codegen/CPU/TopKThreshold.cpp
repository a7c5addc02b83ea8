//===- TopKThreshold.cpp - TopKThreshold kernels --------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "KernelContext.h"

using namespace mlir;
using namespace pst;
using namespace pst::cpu;

void pst::cpu::populateTopKThresholdKernels(RewritePatternSet &, KernelContext &) {}
