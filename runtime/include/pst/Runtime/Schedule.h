//===- Schedule.h - Learning rate and sparsity over a run -------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_RUNTIME_SCHEDULE_H
#define PST_RUNTIME_SCHEDULE_H

#include <cstdint>

namespace pst::runtime {

/// Linear warm-up from 0, then linear decay to 0 at `totalSteps`: the factor of
/// Hugging Face's get_linear_schedule_with_warmup. `step` counts the completed
/// optimizer steps, so the first step of a warm-up has factor 0.
double linearSchedule(int64_t step, int64_t warmupSteps, int64_t totalSteps);

/// The cubic schedule of PST (Li et al., IJCAI 2022): sparsity after `step` of
/// `totalSteps` optimizer steps.
///
///   t <= i T       initial
///   t >  T - f T   final
///   otherwise      final + (initial - final) (1 - (t - i T) / (T - (i+f) T))^3
struct SparsitySchedule {
  double initialSparsity = 0;
  double finalSparsity = 0.9;
  double initialWarmup = 0.1; ///< i, a share of totalSteps
  double finalWarmup = 0.3;   ///< f, a share of totalSteps
  int64_t totalSteps = 0;     ///< T

  double at(int64_t step) const;
};

} // namespace pst::runtime

#endif // PST_RUNTIME_SCHEDULE_H
