//===- Error.h - The one exception of the runtime ---------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_RUNTIME_ERROR_H
#define PST_RUNTIME_ERROR_H

#include <stdexcept>

namespace pst::runtime {

/// Everything that goes wrong in the runtime for a reason outside of it: a
/// damaged file, data that do not fit the program, a full disk. The message
/// speaks to the user: what was wrong and where, what was expected, what to do.
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

} // namespace pst::runtime

#endif // PST_RUNTIME_ERROR_H
