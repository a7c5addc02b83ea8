//===- TableFlags.h - Flags for the options of the compiler -----*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_LIB_DRIVER_TABLEFLAGS_H
#define PST_LIB_DRIVER_TABLEFLAGS_H

#include "pst/Options/CompilerOptions.h"

#include <memory>
#include <vector>

namespace pst {

/// Makes a flag for each option of the compiler while it lives, spelled as
/// LLVM's are: --mask-rank, or --mask_rank as everywhere else.
class TableFlags {
public:
  TableFlags();
  ~TableFlags();

  /// Sets the options that the command line gives. Throws runtime::Error for a
  /// text that is no value of its option.
  void readTo(CompilerOptions &options) const;

private:
  struct Flag;
  std::vector<std::unique_ptr<Flag>> flags;
};

} // namespace pst

#endif // PST_LIB_DRIVER_TABLEFLAGS_H
