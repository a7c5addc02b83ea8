//===- TrainingOptions.h - What determines a run ----------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_RUNTIME_TRAININGOPTIONS_H
#define PST_RUNTIME_TRAININGOPTIONS_H

#include "pst/Runtime/Option.h"
#include "pst/Runtime/Schedule.h"

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace pst::runtime {

class Model;
class Dataset;

/// When something is done: never, after each epoch, every so many steps.
enum class Interval { no, epoch, steps };

template <> struct Words<Interval> {
  static constexpr const char *list[] = {"no", "epoch", "steps"};
};

/// Hugging Face's names.
template <> struct Words<RateCurve> {
  static constexpr const char *list[] = {"linear", "cosine", "constant",
                                         "constant_with_warmup",
                                         "warmup_stable_decay"};
};

/// What TrainingOptions.def lists. The size of a batch is the program's.
struct TrainingOptions {
#define PST_TRAINING_OPTION(type, member, name, initial, range, group, help)   \
  type member = initial;
#include "pst/Runtime/TrainingOptions.def"
};

const OptionTable<TrainingOptions> &trainingOptions();

/// The numbers that options, program and data make together.
struct TrainingPlan {
  int64_t numExamples = 0;
  int64_t batchSize = 0;            ///< of a micro-batch, on each rank
  int numRanks = 1;                 ///< data-parallel processes
  int64_t microBatchesPerEpoch = 0; ///< ceil(examples / (batch * ranks))
  int64_t stepsPerEpoch = 0;        ///< ceil(micro-batches / accumulation)
  int64_t totalSteps = 0;
  /// Of weights and what is added to them, of the mask, of the head.
  double learningRate = 0, maskLearningRate = 0, headLearningRate = 0;
  /// One factor for all rates of a step.
  RateSchedule rate;
  SparsitySchedule sparsity;
  MaskSchedule mask;
  /// Of the mask of step `step` (from 0), and of the model after `steps` steps.
  double sparsityOf(int64_t step) const {
    return sparsity.at(mask.lastSelection(step));
  }
  double sparsityAfter(int64_t steps) const {
    return mask.held ? sparsityOf(steps - 1) : sparsity.at(steps);
  }
  std::vector<float> classWeights; ///< in the loss; empty: all 1
  /// Share of a teacher in it, and the temperature of its logits.
  double distillShare = 0, distillTemperature = 1;
  std::string metric;
  bool greaterIsBetter = true;
};

/// Throws Error if an option is out of its range or does not fit the program;
/// the message names the option as its command-line flag. With `ownMetrics` the
/// metric may be one that only an evaluation will show.
TrainingPlan makePlan(const TrainingOptions &options, const Model &model,
                      int64_t numExamples, int numRanks = 1,
                      bool ownMetrics = false);

/// Everything that determines the trajectory of a run, by flag: a checkpoint
/// can only be resumed if all are equal.
std::map<std::string, std::string> trajectory(const TrainingOptions &options,
                                              const TrainingPlan &plan,
                                              const Model &model,
                                              const Dataset &data);

} // namespace pst::runtime

#endif // PST_RUNTIME_TRAININGOPTIONS_H
