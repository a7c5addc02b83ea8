//===- CacheRows.h - Where a token's rows lie in a cache --------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_LIB_CODEGEN_KERNEL_CACHEROWS_H
#define PST_LIB_CODEGEN_KERNEL_CACHEROWS_H

#include "CodeBuilder.h"

namespace pst::kernel {

/// A token of a sequence whose keys and values are cached (nn.cache_rows).
struct CachedToken {
  CachedToken(CodeBuilder &b, Value token, Value sequences, Value positions,
              Value slots);

  /// The slot of the position `at` of its sequence, an index below `rows`.
  Value slotAt(CodeBuilder &b, Value at, int64_t rows) const;

  Value sequence, position; ///< index, in range
  Value slots;
};

} // namespace pst::kernel

#endif // PST_LIB_CODEGEN_KERNEL_CACHEROWS_H
