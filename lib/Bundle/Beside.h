//===- Beside.h - Files that are installed with this code -------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_LIB_BUNDLE_BESIDE_H
#define PST_LIB_BUNDLE_BESIDE_H

#include "llvm/ADT/StringRef.h"

#include <string>

namespace pst {

/// The path of the file `name` that lies with the Python module or the program
/// that this code is part of; empty if there is none. Modules lie in a folder
/// with libraries in it and programs in its `bin`; programs of a build tree
/// have their libraries in a `lib` beside their `bin`.
std::string findBeside(llvm::StringRef name);

} // namespace pst

#endif // PST_LIB_BUNDLE_BESIDE_H
