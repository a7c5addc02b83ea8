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

/// How the learning rate goes on after its warm-up.
enum class RateCurve {
  linear,
  cosine,
  constant,
  constantWithWarmup,
  warmupStableDecay
};

/// The factor of the learning rate, as Hugging Face's get_scheduler has it:
///
///   t < w    t / w, with `constant` 1
///   linear   (T - t) / (T - w), not below 0
///   cosine   (1 + cos(pi (t - w) / (T - w))) / 2
///   stable   1 until t = s, then (T - t) / (T - s)
///   else     1
struct RateSchedule {
  RateCurve curve = RateCurve::linear;
  int64_t warmupSteps = 0; ///< w
  int64_t totalSteps = 0;  ///< T
  int64_t stableUntil = 0; ///< s, of warmupStableDecay

  /// `step` (t) counts the completed optimizer steps, so the first step of a
  /// warm-up has factor 0.
  double at(int64_t step) const;
};

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

/// When the mask is selected anew: before every `interval`-th step (from 0),
/// until `frozenFrom` steps are done.
struct MaskSchedule {
  bool held = false; ///< between steps; else each step selects it
  int64_t interval = 1;
  int64_t frozenFrom = 0;

  bool selectsAt(int64_t step) const { return lastSelection(step) == step; }
  /// The last step up to `step` that selected it.
  int64_t lastSelection(int64_t step) const;
};

} // namespace pst::runtime

#endif // PST_RUNTIME_SCHEDULE_H
