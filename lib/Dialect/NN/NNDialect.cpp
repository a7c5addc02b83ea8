//===- NNDialect.cpp - The nn dialect -------------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Dialect/NN/NNDialect.h"
#include "pst/Dialect/NN/NNOps.h"

using namespace mlir;
using namespace pst::nn;

#include "pst/Dialect/NN/NNDialect.cpp.inc"
#include "pst/Dialect/NN/NNEnums.cpp.inc"

void NNDialect::initialize() {
  addOperations<
#define GET_OP_LIST
#include "pst/Dialect/NN/NNOps.cpp.inc"
      >();
}
