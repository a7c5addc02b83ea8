//===- Step.h - A training step of a model ----------------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_BENCH_STEP_H
#define PST_BENCH_STEP_H

#include "pst/Bench/Cases.h"
#include "pst/Runtime/Model.h"

namespace pst::bench {

struct StepOptions {
  std::string model; // directory
  int64_t batch = 32, length = 128;
  std::string method = "pst";
  double sparsity = 0.9;
  /// A second method to be timed in turns with the first; may be empty.
  std::string against;
  std::string products = "auto";
  std::string cpu;
  /// Whether to measure each kernel, too.
  bool profile = false;
  TimingOptions timing;
};

struct StepResult {
  CaseResult times;
  /// Of one step, longest first; empty without `profile`. What lies between the
  /// kernels of an entry point (copies, bounds, the calls) is "(between
  /// kernels)".
  std::vector<runtime::KernelTime> kernels;
  /// Share of the step that its products with weights take, those whose packing
  /// evaluates the criterion and those folded into gradients included.
  double shareOfProducts = 0;
};

/// Times selection, forward, backward, clipping and AdamW on a batch of random
/// tokens. The selection is made anew in every step. Throws runtime::Error.
StepResult runStep(const StepOptions &options);

/// Whether a kernel, by its name, is a matrix product with a weight.
bool isProduct(const std::string &kernel);

} // namespace pst::bench

#endif // PST_BENCH_STEP_H
