//===- Check.h - A program against recorded results -------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_RUNTIME_CHECK_H
#define PST_RUNTIME_CHECK_H

#include "pst/Runtime/Accelerator.h"
#include "pst/Runtime/Dataset.h"
#include "pst/Runtime/SafeTensors.h"

#include <filesystem>
#include <vector>

namespace pst::runtime {

/// How far a program's results are from those recorded beside it.
struct CheckResult {
  int64_t numElements = 0;
  /// Largest |result - wanted| / allowed; infinite where a result is no number,
  /// or differs and must not. At most 1 if all is well.
  double worst = 0;
  /// "output \"y\"[17]: 0.5 instead of 0.25", "gradient of \"p\"[2]: ..."
  std::string where;
  double seconds = 0;               ///< of a call; 0 unless it was measured
  std::vector<LaunchTime> launches; ///< the same

  bool passed() const { return worst <= 1; }
};

/// Runs the bundle in `directory` on the inputs and from the state of its
/// check.safetensors (docs/BundleFormat.md, "Checks"), and compares what comes
/// out and the state that is left. On a GPU measures the call,
/// the median of `repetitions`, if that is not 0. Throws Error if the directory
/// holds no check, or the bundle cannot run here.
CheckResult checkBundle(const std::filesystem::path &directory,
                        int repetitions = 0);

/// |value - wanted| / allowed: 0 for the same, infinite where one of them is no
/// number, or they differ and nothing is allowed.
double errorShare(double value, double wanted, double allowed);

struct StepCheckOptions {
  /// The first batch of these; null: random tokens.
  const Dataset *data = nullptr;
  double sparsity = 0.5;
  uint64_t seed = 1; ///< of the state, of dropout and of random tokens
  /// Unit roundoff of activations, in the more narrow of the two programs.
  double rounding = 0x1p-24;
};

/// What was compared of a step: "loss", "gradient", ...
struct StepQuantity {
  std::string name;
  CheckResult check;
};

/// One training step of `program` against one of `reference`, for the same
/// model and method, with the weights of `files`, from the same state: what
/// `select` finds, bit by bit, and what `forward_backward` and `apply` give, up
/// to rounding. Throws Error if the two cannot be compared, or do not run here.
std::vector<StepQuantity> checkStep(std::shared_ptr<const Program> program,
                                    std::shared_ptr<const Program> reference,
                                    std::shared_ptr<const ModelFiles> files,
                                    const StepCheckOptions &options);

} // namespace pst::runtime

#endif // PST_RUNTIME_CHECK_H
