//===- TrainingOptions.h - What determines a run ----------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_RUNTIME_TRAININGOPTIONS_H
#define PST_RUNTIME_TRAININGOPTIONS_H

#include "pst/Runtime/Schedule.h"

#include <filesystem>
#include <map>
#include <optional>
#include <string>

namespace pst::runtime {

class Model;
class Dataset;

/// When something is done: never, after each epoch, every so many steps.
enum class Interval { no, epoch, steps };

/// Names and defaults are those of Hugging Face's TrainingArguments where it
/// has them. The size of a batch is the program's.
struct TrainingOptions {
  std::filesystem::path outputDir;
  /// Starts anew in an output directory that holds a run, whose checkpoints
  /// and log are removed.
  bool overwriteOutputDir = false;
  /// Empty: none. "last": the newest checkpoint of outputDir, or the beginning
  /// if there is none yet. Else a checkpoint's directory.
  std::string resumeFromCheckpoint;

  double learningRate = 5e-5;
  double numTrainEpochs = 3;
  /// If positive, the number of optimizer steps, whatever numTrainEpochs is.
  int64_t maxSteps = 0;
  /// Steps of warm-up; if 0, warmupRatio of all steps, rounded up.
  int64_t warmupSteps = 0;
  double warmupRatio = 0;
  double adamBeta1 = 0.9, adamBeta2 = 0.999, adamEpsilon = 1e-8;
  double weightDecay = 0;
  /// Global norm to which gradients are clipped; 0: no clipping.
  double maxGradNorm = 1;
  int64_t gradientAccumulationSteps = 1;
  uint64_t seed = 42;

  /// Final sparsity, in [0, 1). Not set: 0.9 if the method has a mask, else 0.
  std::optional<double> sparsity;
  double initialSparsity = 0;
  double initialWarmup = 0.1;
  double finalWarmup = 0.3;

  int64_t loggingSteps = 10;
  Interval evalStrategy = Interval::epoch;
  int64_t evalSteps = 500;
  /// A checkpoint is written at the end in any case, unless this is `no`.
  Interval saveStrategy = Interval::epoch;
  int64_t saveSteps = 500;
  /// If positive, older checkpoints are removed, except the best one.
  int64_t saveTotalLimit = 0;
  /// "accuracy", "f1", "matthews", "pearson", "spearman", "mse" or "loss".
  /// Empty: accuracy, or pearson for regression.
  std::string metricForBestModel;
  /// Evaluations at the final sparsity compete; the best one's checkpoint is
  /// written, kept, and loaded when training has ended.
  bool loadBestModelAtEnd = false;
  /// 0: as many as OpenMP chooses.
  int numThreads = 0;
};

/// The numbers that options, program and data make together.
struct TrainingPlan {
  int64_t numExamples = 0;
  int64_t batchSize = 0;            ///< of a micro-batch, on each rank
  int numRanks = 1;                 ///< data-parallel processes
  int64_t microBatchesPerEpoch = 0; ///< ceil(examples / (batch * ranks))
  int64_t stepsPerEpoch = 0;        ///< ceil(micro-batches / accumulation)
  int64_t totalSteps = 0;
  int64_t warmupSteps = 0;
  SparsitySchedule sparsity;
  std::string metric;
  bool greaterIsBetter = true;
};

/// Throws Error if an option is out of its range or does not fit the program;
/// the message names the option as its command-line flag.
TrainingPlan makePlan(const TrainingOptions &options, const Model &model,
                      int64_t numExamples, int numRanks = 1);

/// Everything that determines the trajectory of a run, by flag: a checkpoint
/// can only be resumed if all are equal.
std::map<std::string, std::string> trajectory(const TrainingOptions &options,
                                              const TrainingPlan &plan,
                                              const Model &model,
                                              const Dataset &data);

} // namespace pst::runtime

#endif // PST_RUNTIME_TRAININGOPTIONS_H
