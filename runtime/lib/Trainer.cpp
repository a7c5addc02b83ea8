//===- Trainer.cpp - The training loop ------------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Runtime/Trainer.h"
#include "RunLog.h"
#include "pst/Runtime/Digest.h"
#include "pst/Runtime/Error.h"
#include "pst/Runtime/Files.h"
#include "pst/Runtime/Memory.h"
#include "pst/Runtime/Philox.h"

#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstring>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

using namespace pst;
using namespace pst::runtime;
namespace fs = std::filesystem;

/// Time and tokens of the training steps alone, in all and since the last line
/// of the log.
struct Trainer::Clock {
  double seconds = 0, windowSeconds = 0;
  int64_t steps = 0, windowSteps = 0, windowTokens = 0;

  void add(double step, int64_t tokens) {
    seconds += step;
    windowSeconds += step;
    windowTokens += tokens;
    ++steps;
    ++windowSteps;
  }
  void startWindow() { windowSeconds = 0, windowSteps = 0, windowTokens = 0; }
};

static double now() {
  return std::chrono::duration<double>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

Trainer::Trainer(Model &model, TrainingOptions opts, Dataset train,
                 std::optional<Dataset> eval, TrainingCallbacks callbacks,
                 Peers peers)
    : model(model), options(std::move(opts)), trainData(std::move(train)),
      evalData(std::move(eval)), callbacks(std::move(callbacks)),
      peers(std::move(peers)),
      batch(model.program().entryPoint("forward_backward")) {
  model.program().entryPoint("apply");
  trainData.check(model.manifest(), "forward_backward", /*needLabels=*/true);
  if (evalData)
    evalData->check(model.manifest(), "forward", /*needLabels=*/true);
  trainingPlan =
      makePlan(options, model, trainData.size(), this->peers.count());
  if (options.loadBestModelAtEnd &&
      (!evalData || options.evalStrategy == Interval::no))
    throw Error("--load_best_model_at_end needs evaluation data and an "
                "--eval_strategy");
}

Trainer::~Trainer() {
  if (outputLock >= 0)
    ::close(outputLock);
}

void Trainer::message(const std::string &text) const {
  if (callbacks.onMessage)
    callbacks.onMessage(text);
}

static std::string lastCheckpoint(const fs::path &outputDir) {
  auto checkpoints = listCheckpoints(outputDir);
  return checkpoints.empty()
             ? "No checkpoint was written yet"
             : "The last checkpoint is " + checkpoints.back().second.string();
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
  if (checkpoints.empty() && !fs::exists(logFile))
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
  if (options.resumeFromCheckpoint == "last") {
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
    std::string before = old == found.options.end() ? "absent" : old->second;
    if (before != value)
      differences += "\n  " + flag + ": " + before + " in the checkpoint, " +
                     value + " now";
  }
  if (!differences.empty())
    throw Error(checkpoint.string() +
                ": the run was made with other options, with which it cannot "
                "be continued:" +
                differences);
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
  settings["pretrained weights"] = model.parameters().modelDigest();
  settings["logging_steps"] = std::to_string(options.loggingSteps);
  settings["eval_strategy"] =
      std::to_string(static_cast<int>(options.evalStrategy));
  settings["eval_steps"] = std::to_string(options.evalSteps);
  settings["save_strategy"] =
      std::to_string(static_cast<int>(options.saveStrategy));
  settings["save_steps"] = std::to_string(options.saveSteps);
  settings["metric_for_best_model"] = trainingPlan.metric;
  settings["load_best_model_at_end"] =
      std::to_string(options.loadBestModelAtEnd);
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
// One step
//===----------------------------------------------------------------------===//

[[noreturn]] static void diverged(const char *what, double value, int64_t step,
                                  const fs::path &outputDir) {
  throw Error("the " + std::string(what) + " is " + std::to_string(value) +
              " at step " + std::to_string(step + 1) +
              ": training has diverged; lower the learning rate "
              "(--learning_rate), or clip the gradients (--max_grad_norm 1). " +
              lastCheckpoint(outputDir));
}

/// Selects the weights of a step; an error says which.
static void selectAt(Model &model, double sparsity, int64_t step,
                     const fs::path &outputDir) {
  try {
    model.select(sparsity);
  } catch (const Error &error) {
    throw Error("step " + std::to_string(step) + ": " + error.what() + ". " +
                lastCheckpoint(outputDir));
  }
}

void Trainer::trainStep(Clock &clock) {
  double start = now();
  const TrainingPlan &plan = trainingPlan;
  int64_t epoch = state.step / plan.stepsPerEpoch;
  int64_t position = state.step % plan.stepsPerEpoch;
  if (orderEpoch != epoch) {
    order = shuffledOrder(plan.numExamples, options.seed, epoch);
    orderEpoch = epoch;
  }
  StepRecord record;
  record.sparsity = plan.sparsity.at(state.step);
  record.learningRate =
      options.learningRate *
      linearSchedule(state.step, plan.warmupSteps, plan.totalSteps);
  selectAt(model, record.sparsity, state.step + 1, options.outputDir);

  // The examples of this step are order[begin, end), whatever the number of
  // micro-batches and of ranks they take: the last step of an epoch may have
  // fewer, and then some ranks fewer than others, or none.
  int64_t accumulation = options.gradientAccumulationSteps;
  int64_t perBatch = plan.batchSize * plan.numRanks;
  int64_t perStep = accumulation * perBatch;
  int64_t begin = position * perStep;
  int64_t end = std::min(begin + perStep, plan.numExamples);
  // The mean is over what is predicted: examples, or tokens.
  int64_t targets = trainData.countTargets(
      {order.data() + begin, static_cast<size_t>(end - begin)});
  float lossScale =
      targets ? static_cast<float>(1.0 / static_cast<double>(targets)) : 0.0f;
  int64_t microBatch = state.step * accumulation * plan.numRanks + peers.rank();
  double loss = 0, tokens = 0;
  for (int64_t from = begin + peers.rank() * plan.batchSize; from < end;
       from += perBatch, microBatch += plan.numRanks) {
    int64_t count = std::min(plan.batchSize, end - from);
    batch.gather(trainData, {order.data() + from, static_cast<size_t>(count)});
    loss += model.forwardBackward(batch, lossScale,
                                  microBatchSeed(options.seed, microBatch));
    tokens += static_cast<double>(batch.numTokens());
  }
  record.loss = peers.sum(loss);
  if (!std::isfinite(record.loss))
    diverged("loss", record.loss, state.step, options.outputDir);
  tokens = peers.sum(tokens);
  ParameterStore &store = model.parameters();
  if (!peers.alone())
    peers.sumGradient({static_cast<float *>(store.space("gradient")),
                       store.spaceBytes("gradient") / sizeof(float)});
  record.gradNorm =
      model.apply({record.learningRate, options.adamBeta1, options.adamBeta2,
                   options.adamEpsilon, options.weightDecay,
                   options.maxGradNorm, state.step + 1});
  if (!std::isfinite(record.gradNorm))
    diverged("norm of the gradient", record.gradNorm, state.step,
             options.outputDir);
  clock.add(now() - start, static_cast<int64_t>(tokens));

  ++state.step;
  state.epoch =
      static_cast<double>(state.step) / static_cast<double>(plan.stepsPerEpoch);
  state.sparsity = plan.sparsity.at(state.step);
  state.lossSum += record.loss;
  ++state.lossCount;

  record.step = state.step;
  record.totalSteps = plan.totalSteps;
  record.epoch = state.epoch;
  record.secondsPerStep =
      clock.windowSeconds / static_cast<double>(clock.windowSteps);
  record.tokensPerSecond =
      static_cast<double>(clock.windowTokens) / clock.windowSeconds;
  record.memoryBytes = peakResidentBytes();
  record.secondsLeft = clock.seconds / static_cast<double>(clock.steps) *
                       static_cast<double>(plan.totalSteps - state.step);
  if (callbacks.onStep)
    callbacks.onStep(record);
  if (state.step % options.loggingSteps != 0 && state.step != plan.totalSteps)
    return;
  record.loss = state.lossSum / static_cast<double>(state.lossCount);
  state.lossSum = 0;
  state.lossCount = 0;
  clock.startWindow();
  requireSameParameters("after step " + std::to_string(state.step));
  if (log)
    log->write(record);
  if (callbacks.onLog)
    callbacks.onLog(record);
}

//===----------------------------------------------------------------------===//
// Evaluating and saving
//===----------------------------------------------------------------------===//

fs::path Trainer::checkpointOf(const EvaluationRecord &record) const {
  return options.outputDir / ("checkpoint-" + std::to_string(record.step));
}

bool Trainer::isDue(Interval interval, int64_t every) const {
  switch (interval) {
  case Interval::no:
    return false;
  case Interval::epoch:
    every = trainingPlan.stepsPerEpoch;
    break;
  case Interval::steps:
    break;
  }
  return state.step % every == 0 || state.step == trainingPlan.totalSteps;
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

void Trainer::evaluateNow() {
  Evaluation evaluation = evaluate(model, *evalData, state.sparsity, peers);
  EvaluationRecord record;
  record.step = state.step;
  record.epoch = state.epoch;
  record.sparsity = state.sparsity;
  record.loss = evaluation.loss;
  record.metrics = evaluation.metrics;
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

void Trainer::saveNow() {
  if (!peers.leads())
    return;
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
  if (peers.leads())
    openOutput();
  peers.wait();
  resume();
  requireSameStart();
  requireSameParameters("at the start");
  if (peers.leads()) {
    // A run that is killed often may never have come to this after saving.
    removeOldCheckpoints();
    log = std::make_unique<RunLog>(options.outputDir / "log.jsonl", state.step);
  }

  TrainingResult result;
  Clock clock;
  while (state.step < trainingPlan.totalSteps && !result.stopped) {
    trainStep(clock);
    bool save = isDue(options.saveStrategy, options.saveSteps);
    if (evalData && isDue(options.evalStrategy, options.evalSteps)) {
      evaluateNow();
      save |= options.loadBestModelAtEnd && state.history.back().best;
    }
    result.stopped = peers.any(callbacks.shouldStop && callbacks.shouldStop());
    if (save || result.stopped)
      saveNow();
  }
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
  bool finished = state.step == trainingPlan.totalSteps;
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
