//===- Schedule.cpp - Learning rate and sparsity over a run ---------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Runtime/Schedule.h"

#include <algorithm>

using namespace pst::runtime;

double pst::runtime::linearSchedule(int64_t step, int64_t warmupSteps,
                                    int64_t totalSteps) {
  if (step < warmupSteps)
    return static_cast<double>(step) /
           static_cast<double>(std::max<int64_t>(1, warmupSteps));
  return std::max(0.0, static_cast<double>(totalSteps - step) /
                           static_cast<double>(
                               std::max<int64_t>(1, totalSteps - warmupSteps)));
}

double SparsitySchedule::at(int64_t step) const {
  double t = static_cast<double>(step), T = static_cast<double>(totalSteps);
  // The end comes first: with finalWarmup 0 the formula reaches the final
  // sparsity at t = T only up to rounding.
  if (step >= totalSteps || t > T - finalWarmup * T)
    return finalSparsity;
  if (t <= initialWarmup * T)
    return initialSparsity;
  double left =
      1 - (t - initialWarmup * T) / (T - (initialWarmup + finalWarmup) * T);
  return finalSparsity +
         (initialSparsity - finalSparsity) * (left * left * left);
}
