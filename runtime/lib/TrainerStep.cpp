//===- TrainerStep.cpp - One step of the training loop --------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TrainerStep.h"
#include "RunLog.h"
#include "pst/Runtime/Error.h"
#include "pst/Runtime/Memory.h"
#include "pst/Runtime/Philox.h"

#include <chrono>
#include <cmath>
#include <utility>

using namespace pst;
using namespace pst::runtime;
namespace fs = std::filesystem;

double pst::runtime::now() {
  return std::chrono::duration<double>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

std::string pst::runtime::lastCheckpoint(const fs::path &outputDir) {
  auto checkpoints = listCheckpoints(outputDir);
  return checkpoints.empty()
             ? "No checkpoint was written yet"
             : "The last checkpoint is " + checkpoints.back().second.string();
}

[[noreturn]] static void diverged(const char *what, double value, int64_t step,
                                  const fs::path &outputDir) {
  throw Error("the " + std::string(what) + " is " + std::to_string(value) +
              " at step " + std::to_string(step) +
              ": training has diverged; lower the learning rate "
              "(--learning_rate), or clip the gradients (--max_grad_norm 1). " +
              lastCheckpoint(outputDir));
}

/// Runs part of a selection, whose errors tell the step.
template <typename Function>
static auto selecting(int64_t step, const fs::path &outputDir,
                      Function function) {
  try {
    return function();
  } catch (const Error &error) {
    throw Error("step " + std::to_string(step) + ": " + error.what() + ". " +
                lastCheckpoint(outputDir));
  }
}

void pst::runtime::selectAt(Model &model, double sparsity, int64_t step,
                            const fs::path &outputDir) {
  selecting(step, outputDir, [&] { model.select(sparsity); });
}

/// Begins step `step`, from 0. Here it is computed at once, and an error found
/// before the parameters change.
void Trainer::beginStep(Flight &flight, int64_t step) {
  flight = Flight();
  flight.begun = now();
  const TrainingPlan &plan = trainingPlan;
  int64_t epoch = step / plan.stepsPerEpoch;
  int64_t position = step % plan.stepsPerEpoch;
  if (orderEpoch != epoch) {
    order = shuffledOrder(plan.numExamples, options.seed, epoch);
    orderEpoch = epoch;
  }
  bool here = !model.parameters().accelerator();
  StepRecord &record = flight.record;
  record.step = step + 1;
  record.sparsity = plan.sparsityOf(step);
  double curve = plan.rate.at(step);
  record.learningRate = plan.learningRate * curve;
  bool frozen = plan.mask.held && step >= plan.mask.frozenFrom;
  if (plan.mask.held && plan.mask.selectsAt(step))
    model.invalidateSelection();
  if (frozen && step == plan.mask.frozenFrom)
    model.freezeMask();
  flight.selects = selecting(record.step, options.outputDir, [&] {
    return model.beginSelect(record.sparsity);
  });
  if (here)
    finishSelection(flight);

  // The examples of this step are order[begin, end), whatever the number of
  // micro-batches and of ranks they take: the last step of an epoch may have
  // fewer, and then some ranks fewer than others, or none.
  int64_t accumulation = options.gradientAccumulationSteps;
  int64_t perBatch = plan.batchSize * plan.numRanks;
  int64_t perStep = accumulation * perBatch;
  int64_t begin = position * perStep;
  int64_t end = std::min(begin + perStep, plan.numExamples);
  // The mean is over what is predicted: examples, or tokens.
  double targets = model.sumOfWeights(
      trainData, {order.data() + begin, static_cast<size_t>(end - begin)});
  float lossScale = targets > 0
                        ? static_cast<float>((1 - plan.distillShare) / targets)
                        : 0.0f;
  // Of the divergences from a teacher the mean is over the examples.
  auto distillationScale =
      static_cast<float>(plan.distillShare / static_cast<double>(end - begin));
  int64_t microBatch = step * accumulation * plan.numRanks + peers.rank();
  for (int64_t from = begin + peers.rank() * plan.batchSize; from < end;
       from += perBatch, microBatch += plan.numRanks) {
    int64_t count = std::min(plan.batchSize, end - from);
    std::span<const int64_t> rows(order.data() + from,
                                  static_cast<size_t>(count));
    // A batch without padding whose tokens are too many goes in parts.
    for (int64_t done = 0, part; done < count; done += part) {
      part = batch.countFitting(trainData, rows.subspan(done));
      batch.gather(trainData, rows.subspan(done, part), done);
      model.beginForwardBackward(batch, lossScale,
                                 microBatchSeed(options.seed, microBatch),
                                 distillationScale);
      collectLoss();
      lossOf = &flight;
      flight.tokens += static_cast<double>(batch.numTokens());
    }
  }
  if (here)
    settleLoss(flight);
  ParameterStore &store = model.parameters();
  if (!peers.alone() && !(store.accelerator() && peers.sumGradientThere()))
    peers.sumGradient({static_cast<float *>(store.space("gradient")),
                       store.spaceBytes("gradient") / sizeof(float)});
  model.beginApply({record.learningRate,
                    frozen ? 0 : plan.maskLearningRate * curve,
                    plan.headLearningRate * curve, options.adamBeta1,
                    options.adamBeta2, options.adamEpsilon, options.weightDecay,
                    options.maxGradNorm, step + 1});
}

void Trainer::finishSelection(Flight &flight) {
  if (flight.selects)
    selecting(flight.record.step, options.outputDir,
              [&] { model.finishSelect(); });
  flight.selects = false;
}

/// Adds the loss of the last micro-batch but those begun since to its step's.
void Trainer::collectLoss() {
  if (Flight *flight = std::exchange(lossOf, nullptr))
    flight->record.loss += model.finishForwardBackward();
}

/// Makes the loss of a step that of all ranks. Throws Error if it is no number.
void Trainer::settleLoss(Flight &flight) {
  if (std::exchange(flight.settled, true))
    return;
  if (lossOf == &flight)
    collectLoss();
  StepRecord &record = flight.record;
  record.loss = peers.sum(record.loss);
  if (!std::isfinite(record.loss))
    diverged("loss", record.loss, record.step, options.outputDir);
  flight.tokens = peers.sum(flight.tokens);
}

/// Whether the step after `step`, which counts from 1, may be begun before this
/// one's results are known: nothing needs the parameters as they are between.
bool Trainer::mayLookAhead(int64_t step) const {
  bool evaluates =
      evalData && isDue(step, options.evalStrategy, options.evalSteps);
  bool saves = isDue(step, options.saveStrategy, options.saveSteps);
  bool compares = !peers.alone() && isLogged(step);
  return model.parameters().accelerator() && step < trainingPlan.totalSteps &&
         !evaluates && !saves && !compares &&
         step != trainingPlan.mask.frozenFrom;
}

void Trainer::finishStep(Flight &flight, Clock &clock) {
  const TrainingPlan &plan = trainingPlan;
  StepRecord &record = flight.record;
  finishSelection(flight);
  settleLoss(flight);
  record.gradNorm = model.finishApply();
  if (!std::isfinite(record.gradNorm))
    diverged("norm of the gradient", record.gradNorm, record.step,
             options.outputDir);
  double end = now();
  clock.add(end - std::max(flight.begun, clock.finished),
            static_cast<int64_t>(flight.tokens));
  clock.finished = end;

  ++state.step;
  state.epoch =
      static_cast<double>(state.step) / static_cast<double>(plan.stepsPerEpoch);
  state.sparsity = plan.sparsityAfter(state.step);
  state.lossSum += record.loss;
  ++state.lossCount;

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
  if (!isLogged(state.step))
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
