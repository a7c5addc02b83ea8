//===- CompiledProgram.h - What the compiler makes --------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_BUNDLE_COMPILEDPROGRAM_H
#define PST_BUNDLE_COMPILEDPROGRAM_H

#include "pst/Bundle/Manifest.h"

#include <string>
#include <vector>

namespace pst {

/// Code of a program, and what it says about itself.
struct CompiledProgram {
  Manifest manifest;
  // ELF, to be linked together; for a GPU the PTX of all kernels.
  std::vector<std::string> objects;
};

} // namespace pst

#endif // PST_BUNDLE_COMPILEDPROGRAM_H
