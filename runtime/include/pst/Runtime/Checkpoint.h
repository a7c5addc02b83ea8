//===- Checkpoint.h - The state of a run on disk ----------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// docs/CheckpointFormat.md says what lies in a checkpoint.
//
//===----------------------------------------------------------------------===//

#ifndef PST_RUNTIME_CHECKPOINT_H
#define PST_RUNTIME_CHECKPOINT_H

#include "pst/Runtime/Metrics.h"
#include "pst/Runtime/Model.h"

namespace pst::runtime {

/// One evaluation of a run.
struct EvaluationRecord {
  int64_t step = 0;
  double epoch = 0;
  double sparsity = 0;
  double loss = 0;
  Metrics metrics;
  int64_t numExamples = 0;
  /// 0 when read from a checkpoint, in which no times are written: the bytes of
  /// a checkpoint are those of every other run with the same options and data.
  double seconds = 0;
  /// Whether it was made at the final sparsity, so that it can be the best.
  bool eligible = false;
  /// Whether it was the best one so far.
  bool best = false;

  /// The metric of that name, or the loss; NaN if there is none.
  double value(const std::string &metric) const;
};

/// What a run knows besides parameters and moments.
struct TrainerState {
  int64_t step = 0; ///< optimizer steps completed
  int64_t totalSteps = 0;
  double epoch = 0;
  double sparsity = 0; ///< at which the thresholds were selected
  /// runtime::trajectory.
  std::map<std::string, std::string> options;
  /// Sum and number of the losses since the last line of the log.
  double lossSum = 0;
  int64_t lossCount = 0;
  std::vector<EvaluationRecord> history;
};

/// Writes `outputDir/checkpoint-N` (N: completed steps) aside, flushes it,
/// renames it over what may lie there. Returns its path. Throws Error; then
/// nothing has changed in `outputDir`.
std::filesystem::path saveCheckpoint(const std::filesystem::path &outputDir,
                                     const Model &model,
                                     const TrainerState &state);

/// Reads only trainer_state.json. Throws Error if it is damaged or belongs to
/// another model or method.
TrainerState readTrainerState(const std::filesystem::path &checkpoint,
                              const Model &model);

/// Loads parameters, moments and thresholds. Throws Error if the checkpoint is
/// damaged or belongs to another model; then the model must not be used.
TrainerState loadCheckpoint(const std::filesystem::path &checkpoint,
                            Model &model);

/// The checkpoints of a run, oldest first.
std::vector<std::pair<int64_t, std::filesystem::path>>
listCheckpoints(const std::filesystem::path &outputDir);

/// Removes a checkpoint, such that a half-removed one is never taken for one.
void removeCheckpoint(const std::filesystem::path &checkpoint);

} // namespace pst::runtime

#endif // PST_RUNTIME_CHECKPOINT_H
