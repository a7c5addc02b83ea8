//===- Trainer.h - The training loop ----------------------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_RUNTIME_TRAINER_H
#define PST_RUNTIME_TRAINER_H

#include "pst/Runtime/Checkpoint.h"
#include "pst/Runtime/Evaluation.h"
#include "pst/Runtime/TrainingOptions.h"

#include <functional>

namespace pst::runtime {

class RunLog;

/// How a run stands after a step.
struct StepRecord {
  int64_t step = 0; ///< optimizer steps completed
  int64_t totalSteps = 0;
  double epoch = 0;
  double loss =
      0; ///< mean per example; onLog: mean over the steps since the last
  double learningRate = 0; ///< of this step
  double sparsity = 0;     ///< at which this step ran
  double gradNorm = 0;     ///< before clipping
  double secondsPerStep = 0;
  double tokensPerSecond = 0; ///< without padding, of all ranks
  int64_t memoryBytes = 0;    ///< resident set of this rank, peak so far
  double secondsLeft = 0;
};

/// All optional. What a callback throws ends the run.
struct TrainingCallbacks {
  std::function<void(const StepRecord &)> onStep; ///< every step
  std::function<void(const StepRecord &)> onLog;  ///< every loggingSteps
  std::function<void(const EvaluationRecord &)> onEvaluate;
  std::function<void(const std::filesystem::path &)> onSave;
  /// Something worth a line: resuming, leftovers removed.
  std::function<void(const std::string &)> onMessage;
  /// Metrics of one's own, called with each evaluation; they go before those of
  /// the runtime with the same names, and any rank must give the same.
  std::function<Metrics(const Evaluation &)> computeMetrics;
  /// Asked after every step: true ends the run with a checkpoint. A step that
  /// an accelerator has begun by then is finished first.
  std::function<bool()> shouldStop;
  /// The same, but the run is then over, as it is after its last step.
  std::function<bool()> shouldEnd;
};

struct TrainingResult {
  int64_t step = 0;
  int64_t totalSteps = 0;
  bool stopped = false;      ///< by shouldStop
  bool endedEarly = false;   ///< by shouldEnd, or earlyStoppingPatience
  double seconds = 0;        ///< of this call
  double secondsPerStep = 0; ///< without evaluation and saving
  std::vector<EvaluationRecord> history;
  /// The best evaluation at the final sparsity, and its checkpoint.
  std::optional<EvaluationRecord> best;
  std::filesystem::path bestCheckpoint;
  /// Sparsity of the parameters that the model now holds.
  double sparsity = 0;
};

/// Trains a model. One run at a time per output directory (a lock sees to it).
///
/// With peers, every rank has the same options and data, and takes its share of
/// each batch: N ranks with batches of b make the steps of one rank with
/// batches of N * b, but for rounding, and but for dropout, whose masks are
/// other ones. Rank 0 alone writes; all read its checkpoints.
class Trainer {
public:
  /// Checks options and data. Throws Error. The data's memory must outlive the
  /// trainer. Without evaluation data nothing is evaluated.
  Trainer(Model &model, TrainingOptions options, Dataset train,
          std::optional<Dataset> eval = std::nullopt,
          TrainingCallbacks callbacks = {}, Peers peers = {});
  ~Trainer();

  const TrainingPlan &plan() const { return trainingPlan; }

  /// Runs, or resumes, to the end. Throws Error; checkpoints written so far
  /// stay. Afterwards the model holds the last parameters, or the best ones
  /// (loadBestModelAtEnd).
  TrainingResult train();

private:
  struct Clock;
  struct Flight;
  struct Abandon;
  void openOutput();
  void centreHead();
  void resume();
  void requireSameStart() const;
  void requireSameParameters(const std::string &when) const;
  void beginStep(Flight &flight, int64_t step);
  void finishSelection(Flight &flight);
  void collectLoss();
  void settleLoss(Flight &flight);
  void finishStep(Flight &flight, Clock &clock);
  bool mayLookAhead(int64_t step) const;
  void evaluateNow();
  bool hasOutput() const;
  [[noreturn]] void saveLost();
  void saveNow();
  void removeOldCheckpoints() const;
  bool isDue(int64_t step, Interval interval,
             std::optional<int64_t> steps) const;
  bool isLogged(int64_t step) const;
  bool isBest(const EvaluationRecord &record,
              const EvaluationRecord *best) const;
  const EvaluationRecord *bestRecord() const;
  bool hasStalled() const;
  void askWhetherToGoOn(TrainingResult &result) const;
  std::filesystem::path checkpointOf(const EvaluationRecord &record) const;
  void message(const std::string &text) const;

  Model &model;
  TrainingOptions options;
  Dataset trainData;
  std::optional<Dataset> evalData;
  TrainingCallbacks callbacks;
  Peers peers;
  TrainingPlan trainingPlan;
  TrainerState state;
  Batch batch;
  Flight *lossOf = nullptr;   // whose loss is to be asked for next
  std::vector<int64_t> order; // of orderEpoch
  int64_t orderEpoch = -1;
  int outputLock = -1;
  std::unique_ptr<RunLog> log;
};

} // namespace pst::runtime

#endif // PST_RUNTIME_TRAINER_H
