//===- Schedule.cpp - Learning rate and sparsity over a run ---------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Runtime/Schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

using namespace pst::runtime;

double RateSchedule::at(int64_t step) const {
  if (curve == RateCurve::constant)
    return 1;
  auto ratio = [](int64_t part, int64_t whole) {
    return static_cast<double>(part) /
           static_cast<double>(std::max<int64_t>(1, whole));
  };
  if (step < warmupSteps)
    return ratio(step, warmupSteps);
  switch (curve) {
  case RateCurve::linear:
    return std::max(0.0, ratio(totalSteps - step, totalSteps - warmupSteps));
  case RateCurve::cosine:
    return 0.5 *
           (1 + std::cos(std::numbers::pi *
                         ratio(step - warmupSteps, totalSteps - warmupSteps)));
  case RateCurve::warmupStableDecay:
    return step < stableUntil ? 1
                              : std::max(0.0, ratio(totalSteps - step,
                                                    totalSteps - stableUntil));
  case RateCurve::constant:
  case RateCurve::constantWithWarmup:
    break;
  }
  return 1;
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

int64_t MaskSchedule::lastSelection(int64_t step) const {
  if (!held)
    return step;
  return std::min(step, frozenFrom - 1) / interval * interval;
}
