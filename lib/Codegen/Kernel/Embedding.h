//===- Embedding.h - What moving rows of tokens shares ----------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_LIB_CODEGEN_KERNEL_EMBEDDING_H
#define PST_LIB_CODEGEN_KERNEL_EMBEDDING_H

#include "CodeBuilder.h"

#include <optional>
#include <string>

namespace pst::kernel {

/// What tells kernels apart that begin at another row of a table of positions.
std::string firstName(int64_t first);
/// What tells kernels apart that select another token.
std::string selectionName(std::optional<int64_t> index);

/// The token of sequence `row` that is selected, counted over all sequences of
/// `length` tokens: the one at `index` or, without one, the last whose `mask`
/// (sequences x length, of i32) is not 0, else the first.
Value selectedToken(CodeBuilder &b, std::optional<int64_t> index, Value mask,
                    Value row, int64_t length);

} // namespace pst::kernel

#endif // PST_LIB_CODEGEN_KERNEL_EMBEDDING_H
