//===- PrecompiledDialects.h - The dialects' headers, parsed once *- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// On top of PrecompiledMLIR.h, so that a change of an op costs a second here,
// not half a minute. None includes this.

#ifndef PST_LIB_PRECOMPILEDDIALECTS_H
#define PST_LIB_PRECOMPILEDDIALECTS_H

#include "pst/Dialect/NN/NNOps.h"
#include "pst/Dialect/PST/PSTOps.h"

#endif // PST_LIB_PRECOMPILEDDIALECTS_H
