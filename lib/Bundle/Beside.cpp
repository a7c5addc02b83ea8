//===- Beside.cpp - Files that are installed with this code ---------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Beside.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

#include <dlfcn.h>

using namespace llvm;

std::string pst::findBeside(StringRef name) {
  void *here = reinterpret_cast<void *>(&findBeside);
  Dl_info info;
  if (!dladdr(here, &info))
    return "";
  std::string code = info.dli_fname;
  // A program's own name is what it was called by.
  if (!sys::path::is_absolute(code))
    code = sys::fs::getMainExecutable(info.dli_fname, here);
  for (StringRef place : {"", "bin", "..", "../lib"}) {
    SmallString<128> path(sys::path::parent_path(code));
    sys::path::append(path, place, name);
    if (sys::fs::exists(path))
      return path.str().str();
  }
  return "";
}
