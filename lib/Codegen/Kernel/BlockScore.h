//===- BlockScore.h - The score of a block of elements ----------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// All targets must find the same bits, so the order of a block's sum is fixed:
// over the rows of each column, ascending; over each 16th column, ascending;
// then over these kBlockParts sums, ascending. A CPU adds vectors so, and a GPU
// has a thread for each part.

#ifndef PST_LIB_CODEGEN_KERNEL_BLOCKSCORE_H
#define PST_LIB_CODEGEN_KERNEL_BLOCKSCORE_H

#include "CodeBuilder.h"
#include "pst/Dialect/PST/PSTOps.h"

namespace pst::kernel {

inline constexpr int64_t kBlockParts = 16;

/// What a sum (of a mean) or a maximum begins with, in `lanes` lanes.
Value emptyBlockScore(CodeBuilder &b, BlockScore kind, int64_t lanes);
/// With one more score; NaN if either is.
Value addToBlockScore(CodeBuilder &b, BlockScore kind, Value sum, Value score);
/// The score of a block of so many elements (an index), from its sum.
Value finishBlockScore(CodeBuilder &b, BlockScore kind, Value sum, Value count);

} // namespace pst::kernel

#endif // PST_LIB_CODEGEN_KERNEL_BLOCKSCORE_H
