//===- Trainer.cpp - The training loop ------------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Runtime/Trainer.h"
#include "RunLog.h"
#include "TrainerStep.h"
#include "pst/Runtime/Digest.h"
#include "pst/Runtime/Error.h"
#include "pst/Runtime/Files.h"

#include <array>
#include <cerrno>
#include <cmath>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace pst;
using namespace pst::runtime;
namespace fs = std::filesystem;

/// Time and tokens of the training steps alone, in all and since the last line
/// of the log.
Trainer::Trainer(Model &model, TrainingOptions opts, Dataset train,
                 std::optional<Dataset> eval, TrainingCallbacks callbacks,
                 Peers peers)
    : model(model), options(std::move(opts)), trainData(std::move(train)),
      evalData(std::move(eval)), callbacks(std::move(callbacks)),
      peers(std::move(peers)),
      batch(model.program().entryPoint("forward_backward"),
            model.manifest().tokenCapacity) {
  model.program().entryPoint("apply");
  trainData.check(model.manifest(), "forward_backward", /*needLabels=*/true);
  if (evalData)
    evalData->check(model.manifest(), "forward", /*needLabels=*/true);
  trainingPlan = makePlan(options, model, trainData.size(), this->peers.count(),
                          this->callbacks.computeMetrics != nullptr);
  for (auto [flag, isGiven, what] :
       {std::tuple("mask_learning_rate",
                   options.maskLearningRate && !model.trainsMask(),
                   "tensors of which scores alone are made"),
        {"head_learning_rate",
         options.headLearningRate.value_or(0) != 0 && !model.trainsHead(),
         "a head"}})
    if (isGiven)
      throw Error("--" + std::string(flag) + " is the rate of " + what +
                  ", but the program trains none: leave it out");
  bool evaluates =
      evalData && (options.evalStrategy != Interval::no || options.evalSteps);
  for (auto [flag, isGiven] :
       {std::pair{"load_best_model_at_end", options.loadBestModelAtEnd},
        {"early_stopping_patience", options.earlyStoppingPatience > 0}})
    if (isGiven && !evaluates)
      throw Error("--" + std::string(flag) +
                  " needs evaluation data and an --eval_strategy");
}

Trainer::~Trainer() {
  if (outputLock >= 0)
    ::close(outputLock);
}

void Trainer::message(const std::string &text) const {
  if (callbacks.onMessage)
    callbacks.onMessage(text);
}

//===----------------------------------------------------------------------===//
// Starting and resuming
//===----------------------------------------------------------------------===//

void Trainer::openOutput() {
  const fs::path &directory = options.outputDir;
  std::error_code code;
  fs::create_directories(directory, code);
  if (code || !fs::is_directory(directory))
    throwSystemError(directory, "make the output directory",
                     code ? code.value() : ENOTDIR);
  if (outputLock < 0)
    outputLock = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (outputLock < 0)
    throwSystemError(directory, "open", errno);
  if (::flock(outputLock, LOCK_EX | LOCK_NB) != 0)
    throw Error(directory.string() + ": another run is writing to this output "
                                     "directory; wait for it, or choose "
                                     "another --output_dir");
  if (int count = removeLeftovers(directory))
    message("removed " + std::to_string(count) +
            " unfinished file(s) of a killed run");

  auto checkpoints = listCheckpoints(directory);
  fs::path logFile = directory / "log.jsonl";
  if (!options.resumeFromCheckpoint.empty()) {
    if (options.overwriteOutputDir)
      throw Error("--overwrite_output_dir and --resume_from_checkpoint "
                  "contradict each other");
    return;
  }
  if (checkpoints.empty() && !isNamed(logFile))
    return;
  if (!options.overwriteOutputDir)
    throw Error(directory.string() + ": already holds a run (" +
                (checkpoints.empty()
                     ? "log.jsonl"
                     : checkpoints.back().second.filename().string()) +
                "): continue it with --resume_from_checkpoint last, or replace "
                "it with --overwrite_output_dir");
  for (const auto &[step, path] : checkpoints)
    removeCheckpoint(path);
  fs::remove(logFile, code);
}

/// A regression's new head begins at the labels' mean, which its bias would
/// take thousands of steps to reach.
void Trainer::centreHead() {
  // A head that is not trained stays what it is.
  if (model.task() != ModelTask::regression || options.headLearningRate == 0.0)
    return;
  const DataArray *labels = trainData.find("labels");
  double sum = 0;
  int64_t count = 0;
  for (int64_t row = 0; row < trainData.size(); ++row)
    if (float label = static_cast<const float *>(labels->data)[row];
        !std::isnan(label)) {
      sum += label;
      ++count;
    }
  if (count == 0)
    return;
  for (const Parameter &parameter : model.manifest().parameters)
    if (parameter.role == Role::trainable &&
        parameter.initializer.kind == Initializer::Kind::zeros &&
        parameter.type.numElements() == 1) {
      void *bias = model.parameters().data(parameter, "trainable");
      *static_cast<float *>(bias) =
          static_cast<float>(sum / static_cast<double>(count));
    }
}

void Trainer::resume() {
  state = TrainerState();
  state.totalSteps = trainingPlan.totalSteps;
  state.options = trajectory(options, trainingPlan, model, trainData);
  for (const char *space : {"gradient", "moment1", "moment2"})
    if (model.parameters().spaceBytes(space))
      model.parameters().clearSpace(space);
  if (options.resumeFromCheckpoint.empty())
    return;

  fs::path checkpoint = options.resumeFromCheckpoint;
  // The Trainer of Hugging Face takes a truth value for it.
  if (checkpoint == "last" ||
      ((checkpoint == "True" || checkpoint == "true") &&
       !fs::exists(checkpoint))) {
    auto checkpoints = listCheckpoints(options.outputDir);
    if (checkpoints.empty()) {
      message("no checkpoint yet: starting from the beginning");
      return;
    }
    checkpoint = checkpoints.back().second;
  }
  TrainerState found = readTrainerState(checkpoint, model);
  std::string differences;
  for (const auto &[flag, value] : state.options) {
    auto old = found.options.find(flag);
    // What a run did not know when it was made, it did by default.
    const auto *option = trainingOptions().find(flag);
    std::string before = old != found.options.end() ? old->second
                         : option                   ? option->initial
                                                    : "absent";
    if (before != value)
      differences += "\n  " + flag + ": " + before + " in the checkpoint, " +
                     value + " now";
  }
  if (!differences.empty())
    throw Error(checkpoint.string() +
                ": the run was made with other options, with which it cannot "
                "be continued:" +
                differences);
  if (found.totalSteps != trainingPlan.totalSteps)
    throw Error(checkpoint.string() + ": is of a run of " +
                std::to_string(found.totalSteps) +
                " steps, but these options and data make " +
                std::to_string(trainingPlan.totalSteps));
  state = loadCheckpoint(checkpoint, model);
  // The metric may be another one now, and a checkpoint may have been removed.
  const EvaluationRecord *best = nullptr;
  for (EvaluationRecord &record : state.history) {
    record.best = isBest(record, best) && (!options.loadBestModelAtEnd ||
                                           fs::exists(checkpointOf(record)));
    if (record.best)
      best = &record;
  }
  message("resuming from " + checkpoint.string() + ", after step " +
          std::to_string(state.step) + " of " +
          std::to_string(state.totalSteps));
}

/// Ranks that began with different options would wait for one another for
/// ever, or train different models.
void Trainer::requireSameStart() const {
  if (peers.alone())
    return;
  auto settings = trajectory(options, trainingPlan, model, trainData);
  settings["program"] = model.manifest().fingerprint();
  // Ranks exchange in an order that depends on how far they look ahead.
  settings["target"] = model.manifest().isForGPU() ? "cuda" : "cpu";
  settings["pretrained weights"] = model.parameters().modelDigest();
  for (const auto &option : trainingOptions())
    if (option.group == "evaluation and checkpoints")
      settings[option.name] = option.text(options);
  settings["metric_for_best_model"] = trainingPlan.metric;
  settings["resume_from_checkpoint (checkpoints of a directory that not all "
           "ranks see?)"] = std::to_string(state.step);
  settings["validation data (digest)"] = evalData ? evalData->digest() : "none";
  peers.requireEqual(settings);
}

/// The masks are a function of the parameters, so that these say all.
void Trainer::requireSameParameters(const std::string &when) const {
  if (peers.alone())
    return;
  uint64_t digest = 0;
  for (const char *space : {"trainable", "moment1", "moment2"})
    if (int64_t bytes = model.parameters().spaceBytes(space))
      digest = digestBytes(model.parameters().readSpace(space), bytes, digest);
  peers.requireEqual(digest, "the trained parameters",
                     when +
                         ". The ranks would train different models; do they "
                         "run the same build of the program? " +
                         lastCheckpoint(options.outputDir));
}

//===----------------------------------------------------------------------===//
// Evaluating and saving
//===----------------------------------------------------------------------===//

fs::path Trainer::checkpointOf(const EvaluationRecord &record) const {
  return options.outputDir / ("checkpoint-" + std::to_string(record.step));
}

bool Trainer::isLogged(int64_t step) const {
  return step % options.loggingSteps == 0 || step == trainingPlan.totalSteps;
}

bool Trainer::isDue(int64_t step, Interval interval,
                    std::optional<int64_t> steps) const {
  if (interval == Interval::no && !steps)
    return false;
  int64_t every = interval == Interval::epoch && !steps
                      ? trainingPlan.stepsPerEpoch
                      : steps.value_or(500);
  return step % every == 0 || step == trainingPlan.totalSteps;
}

/// Whether `record` beats the best one so far (null: there is none). A model
/// that is not yet as sparse as it shall be is no candidate, however good it
/// is.
bool Trainer::isBest(const EvaluationRecord &record,
                     const EvaluationRecord *best) const {
  double value = record.value(trainingPlan.metric);
  if (!record.eligible || std::isnan(value))
    return false;
  if (!best)
    return true;
  double before = best->value(trainingPlan.metric);
  return trainingPlan.greaterIsBetter ? value > before : value < before;
}

const EvaluationRecord *Trainer::bestRecord() const {
  for (auto record = state.history.rbegin(); record != state.history.rend();
       ++record)
    if (record->best)
      return &*record;
  return nullptr;
}

/// Whether the last evaluations did not improve the metric, as transformers'
/// EarlyStoppingCallback counts: what is better by no more than the threshold
/// is no improvement, and yet what later ones are compared with. The history
/// says it all, so that a run that goes on knows it too.
bool Trainer::hasStalled() const {
  if (options.earlyStoppingPatience == 0)
    return false;
  std::optional<double> best;
  int64_t count = 0;
  for (const EvaluationRecord &record : state.history) {
    if (!record.eligible)
      continue;
    double value = record.value(trainingPlan.metric);
    double gain = trainingPlan.greaterIsBetter ? value - best.value_or(0)
                                               : best.value_or(0) - value;
    bool improves =
        !std::isnan(value) && (!best || gain > options.earlyStoppingThreshold);
    count = improves ? 0 : count + 1;
    if (improves || gain > 0)
      best = value;
  }
  return count >= options.earlyStoppingPatience;
}

/// All ranks, whichever of them wants what.
void Trainer::askWhetherToGoOn(TrainingResult &result) const {
  bool stop = callbacks.shouldStop && callbacks.shouldStop();
  bool end = callbacks.shouldEnd && callbacks.shouldEnd();
  std::vector<double> wishes = peers.gather(std::array<double, 2>{
      static_cast<double>(stop), static_cast<double>(end)});
  for (size_t rank = 0; rank < wishes.size(); rank += 2) {
    result.stopped |= wishes[rank] > 0;
    result.endedEarly |= wishes[rank + 1] > 0;
  }
}

void Trainer::evaluateNow() {
  Evaluation evaluation = evaluate(model, *evalData, state.sparsity, peers);
  if (callbacks.computeMetrics)
    for (const auto &[name, value] : callbacks.computeMetrics(evaluation))
      evaluation.metrics[name] = value;
  EvaluationRecord record;
  record.step = state.step;
  record.epoch = state.epoch;
  record.sparsity = state.sparsity;
  record.loss = evaluation.loss;
  record.metrics = evaluation.metrics;
  if (trainingPlan.metric != "loss" &&
      !record.metrics.contains(trainingPlan.metric)) {
    std::string list = "loss";
    for (const auto &[name, value] : record.metrics)
      list += ", " + name;
    throw Error("--metric_for_best_model must be one of " + list +
                ", which the evaluation at step " +
                std::to_string(record.step) + " gave, but is " +
                trainingPlan.metric);
  }
  record.numExamples = evaluation.numExamples;
  record.seconds = evaluation.seconds;
  record.eligible = state.sparsity == trainingPlan.sparsity.finalSparsity;
  record.best = isBest(record, bestRecord());
  state.history.push_back(record);
  if (log)
    log->write(record);
  if (callbacks.onEvaluate)
    callbacks.onEvaluate(record);
}

void Trainer::removeOldCheckpoints() const {
  if (options.saveTotalLimit <= 0)
    return;
  auto checkpoints = listCheckpoints(options.outputDir);
  const EvaluationRecord *best = bestRecord();
  int64_t excess =
      static_cast<int64_t>(checkpoints.size()) - options.saveTotalLimit;
  for (const auto &[step, path] : checkpoints) {
    if (excess <= 0)
      break;
    if (step == state.step || (best && step == best->step))
      continue;
    removeCheckpoint(path);
    --excess;
  }
}

/// Whether the output directory is what it was at the start.
bool Trainer::hasOutput() const {
  struct stat locked, found;
  return ::fstat(outputLock, &locked) == 0 &&
         ::stat(options.outputDir.c_str(), &found) == 0 &&
         locked.st_dev == found.st_dev && locked.st_ino == found.st_ino;
}

/// Throws Error, after saving what can be saved: a run whose log and
/// checkpoints are gone has not succeeded.
void Trainer::saveLost() {
  std::string text = options.outputDir.string() +
                     ": the output directory was removed, moved or replaced "
                     "during the run, with its log and checkpoints";
  if (isNamed(options.outputDir))
    throw Error(text + "; what lies there now is left alone");
  selectAt(model, state.sparsity, state.step, options.outputDir);
  fs::path path = saveCheckpoint(options.outputDir, model, state);
  throw Error(text + "; the state of step " + std::to_string(state.step) +
              " was saved anew: " + path.string());
}

void Trainer::saveNow() {
  if (!peers.leads())
    return;
  if (!hasOutput())
    saveLost();
  log->sync();
  // So that thresholds and parameters of a checkpoint belong together.
  selectAt(model, state.sparsity, state.step, options.outputDir);
  fs::path path = saveCheckpoint(options.outputDir, model, state);
  removeOldCheckpoints();
  if (callbacks.onSave)
    callbacks.onSave(path);
}

TrainingResult Trainer::train() {
  double start = now();
  setNumThreads(options.numThreads);
  model.setLoss(trainingPlan.classWeights, options.labelSmoothingFactor,
                trainingPlan.distillTemperature);
  if (peers.leads())
    openOutput();
  peers.wait();
  resume();
  if (state.step == 0)
    centreHead();
  requireSameStart();
  requireSameParameters("at the start");
  if (peers.leads()) {
    // A run that is killed often may never have come to this after saving.
    removeOldCheckpoints();
    log = std::make_unique<RunLog>(options.outputDir / "log.jsonl", state.step);
  }

  TrainingResult result;
  Clock clock;
  std::array<Flight, RemoteCall::kBegun> flights; // of step s: s modulo 2
  auto flight = [&](int64_t step) -> Flight & {
    return flights[step % flights.size()];
  };
  Abandon atTheEnd{model, lossOf};
  // A run that goes on may have stalled before.
  bool stalled = hasStalled(), ends = stalled;
  bool saves = options.saveStrategy != Interval::no || options.saveSteps;
  for (int64_t begun = state.step;
       state.step < (ends ? begun : trainingPlan.totalSteps);) {
    if (begun == state.step)
      beginStep(flight(begun), begun), ++begun;
    if (begun == state.step + 1 && !ends && mayLookAhead(begun))
      beginStep(flight(begun), begun), ++begun;
    finishStep(flight(state.step), clock);
    bool save = isDue(state.step, options.saveStrategy, options.saveSteps);
    if (evalData &&
        isDue(state.step, options.evalStrategy, options.evalSteps)) {
      evaluateNow();
      save |= options.loadBestModelAtEnd && state.history.back().best;
      stalled = hasStalled();
    }
    askWhetherToGoOn(result);
    ends = stalled || result.stopped || result.endedEarly;
    bool last = ends && begun == state.step;
    if (save || (last && (result.stopped || saves)))
      saveNow();
  }
  if (log && !hasOutput())
    saveLost();
  result.endedEarly =
      ends && !result.stopped && state.step < trainingPlan.totalSteps;
  if (result.endedEarly && stalled && peers.leads())
    message("no better " + trainingPlan.metric + " in " +
            std::to_string(options.earlyStoppingPatience) +
            " evaluations: the run ends at step " + std::to_string(state.step) +
            " of " + std::to_string(trainingPlan.totalSteps));
  if (log)
    log->sync();
  peers.wait(); // until the last checkpoint is there
  selectAt(model, state.sparsity, state.step, options.outputDir);
  result.sparsity = state.sparsity;
  if (const EvaluationRecord *best = bestRecord()) {
    result.best = *best;
    if (fs::exists(checkpointOf(*best)))
      result.bestCheckpoint = checkpointOf(*best);
  }
  bool finished = result.endedEarly || state.step == trainingPlan.totalSteps;
  if (options.loadBestModelAtEnd && finished && result.best &&
      result.best->step != state.step)
    result.sparsity =
        loadCheckpoint(checkpointOf(*result.best), model).sparsity;
  result.step = state.step;
  result.totalSteps = trainingPlan.totalSteps;
  result.history = state.history;
  result.seconds = now() - start;
  result.secondsPerStep =
      clock.steps ? clock.seconds / static_cast<double>(clock.steps) : 0;
  return result;
}
