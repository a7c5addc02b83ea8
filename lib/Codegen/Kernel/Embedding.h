//===- Embedding.h - What moving rows of tokens shares ----------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_LIB_CODEGEN_KERNEL_EMBEDDING_H
#define PST_LIB_CODEGEN_KERNEL_EMBEDDING_H

#include "CodeBuilder.h"

namespace pst::kernel {

/// The table row of the token at place `token`, an i32: its index among
/// `indices` (i32, of any shape), brought into [0, rows).
Value tableRow(CodeBuilder &b, Value indices, Value token, int64_t rows);

} // namespace pst::kernel

#endif // PST_LIB_CODEGEN_KERNEL_EMBEDDING_H
