//===- Precompiled.h - The runtime's heaviest headers, parsed once *- C++
//-*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// What takes longer to parse than the files that use it. Files include what
// they use all the same, and none includes this.

#ifndef PST_RUNTIME_LIB_PRECOMPILED_H
#define PST_RUNTIME_LIB_PRECOMPILED_H

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <span>
#include <sstream>
#include <string>
#include <vector>

#endif // PST_RUNTIME_LIB_PRECOMPILED_H
