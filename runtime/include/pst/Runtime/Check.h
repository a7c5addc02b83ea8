//===- Check.h - A program against recorded results -------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_RUNTIME_CHECK_H
#define PST_RUNTIME_CHECK_H

#include "pst/Runtime/Accelerator.h"

#include <filesystem>
#include <vector>

namespace pst::runtime {

/// How far a program's results are from those recorded beside it.
struct CheckResult {
  int64_t numElements = 0;
  /// Largest |result - wanted| / allowed; infinite where a result is no number,
  /// or differs and must not. At most 1 if all is well.
  double worst = 0;
  std::string where;                ///< "output \"y\"[17]: 0.5 instead of 0.25"
  double seconds = 0;               ///< of a call; 0 unless it was measured
  std::vector<LaunchTime> launches; ///< the same

  bool passed() const { return worst <= 1; }
};

/// Runs the bundle in `directory` on the inputs of its check.safetensors
/// (docs/BundleFormat.md, "Checks"), and compares. On a GPU measures the call,
/// the median of `repetitions`, if that is not 0. Throws Error if the directory
/// holds no check, or the bundle cannot run here.
CheckResult checkBundle(const std::filesystem::path &directory,
                        int repetitions = 0);

} // namespace pst::runtime

#endif // PST_RUNTIME_CHECK_H
