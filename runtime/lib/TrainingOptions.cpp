//===- TrainingOptions.cpp - What determines a run ------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Runtime/TrainingOptions.h"
#include "pst/Runtime/Error.h"
#include "pst/Runtime/Model.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>

using namespace pst;
using namespace pst::runtime;

const OptionTable<TrainingOptions> &pst::runtime::trainingOptions() {
  static const auto *table = [] {
    auto *options = new OptionTable<TrainingOptions>();
#define PST_TRAINING_OPTION(type, member, name, initial, range, group, help)   \
  options->add<type>(                                                          \
      name, [](auto &o) -> auto & { return o.member; }, range, group, help);
#include "pst/Runtime/TrainingOptions.def"
    return options;
  }();
  return *table;
}

static void require(bool ok, const char *flag, const std::string &expected,
                    double value) {
  if (!ok)
    throw Error("--" + std::string(flag) + " must be " + expected +
                ", but is " + spell(value));
}

static void checkRanges(const TrainingOptions &o) {
  if (o.outputDir.empty())
    throw Error("--output_dir is not given: checkpoints and the log need a "
                "directory");
  trainingOptions().check(o);
  require(o.maxSteps > 0 || o.numTrainEpochs > 0, "num_train_epochs",
          "positive", o.numTrainEpochs);
  require(o.initialWarmup + o.finalWarmup <= 1, "final_warmup",
          "at most 1 less --initial_warmup (" + spell(o.initialWarmup) + ")",
          o.finalWarmup);
}

/// The metrics that `evaluate` gives for a model; the first is the usual one.
static std::vector<std::string> metricsOf(const Model &model) {
  switch (model.task()) {
  case ModelTask::lm:
    return {"perplexity"};
  case ModelTask::regression:
    return {"pearson", "spearman", "mse"};
  case ModelTask::multiLabel:
    return {"micro_f1", "macro_f1", "subset_accuracy"};
  case ModelTask::tokenClasses:
    return {"accuracy"};
  case ModelTask::classification:
  case ModelTask::none:
    break;
  }
  std::vector<std::string> names{"accuracy", "matthews", "macro_f1", "auc"};
  if (model.numLabels() == 2)
    names.push_back("f1");
  return names;
}

/// A metric that `evaluate` gives for this kind of model, or any.
static std::string checkMetric(const std::string &metric, const Model &model,
                               bool any) {
  std::vector<std::string> choices = metricsOf(model);
  if (metric.empty())
    return choices.front();
  choices.insert(choices.begin(), "loss");
  std::string list;
  for (const std::string &choice : choices) {
    if (any || choice == metric)
      return metric;
    list += (list.empty() ? "" : ", ") + choice;
  }
  throw Error("--metric_for_best_model must be one of " + list +
              " for this model, but is " + metric);
}

/// The numbers of --class_weights, one for each class of the model.
static std::vector<float> readClassWeights(const TrainingOptions &options,
                                           const Model &model) {
  const std::string &text = options.classWeights;
  if (text.empty() && options.labelSmoothingFactor == 0)
    return {};
  if (!text.empty() && model.predictsTokens())
    throw Error("--class_weights is of models that tell classes apart, but "
                "this one predicts tokens");
  const char *flag = text.empty() ? "label_smoothing_factor" : "class_weights";
  if (!model.hasWeightedLoss())
    throw Error("--" + std::string(flag) +
                " is given, but the program was compiled without a weighted "
                "loss: compile it with --weighted_loss");
  if (options.labelSmoothingFactor != 0 &&
      model.task() == ModelTask::multiLabel)
    throw Error("--label_smoothing_factor is of models that give one label, "
                "but this one gives several");
  std::vector<float> weights;
  double sum = 0;
  for (const std::string &part : detail::splitList(text)) {
    char *end = nullptr;
    double weight = std::strtod(part.c_str(), &end);
    if (part.empty() || *end || !(weight >= 0 && weight < 1e30))
      throw Error("--class_weights must be numbers that are not negative, with "
                  "commas between them, but is '" +
                  text + "'");
    weights.push_back(static_cast<float>(weight));
    sum += weight;
  }
  if (!text.empty() && weights.size() != static_cast<size_t>(model.numLabels()))
    throw Error("--class_weights must be one number for each of the " +
                std::to_string(model.numLabels()) + " classes, but is '" +
                text + "'");
  if (!text.empty() && sum == 0)
    throw Error("--class_weights must not all be 0");
  return weights;
}

/// What a teacher's logits are to the loss.
static void planDistillation(const TrainingOptions &options, const Model &model,
                             TrainingPlan &plan) {
  const char *flag = options.distillShare         ? "distill_share"
                     : options.distillTemperature ? "distill_temperature"
                                                  : nullptr;
  if (!model.hasDistillation()) {
    if (flag)
      throw Error("--" + std::string(flag) +
                  " is given, but the program was compiled without "
                  "distillation: compile it with --distillation ('pst train "
                  "--distill_from TEACHER' does)");
    return;
  }
  bool regression = model.task() == ModelTask::regression;
  if (options.distillTemperature && regression)
    throw Error("--distill_temperature is of models that tell classes apart, "
                "but this one predicts a number: leave it out");
  plan.distillShare = options.distillShare.value_or(0.5);
  plan.distillTemperature =
      regression ? 1 : options.distillTemperature.value_or(2);
}

/// When the mask is selected. It must not stay at a sparsity that is not the
/// final one.
static void planMask(const TrainingOptions &options, const Model &model,
                     TrainingPlan &plan) {
  const char *flag = options.maskInterval != 1 ? "mask_interval"
                     : options.maskFreeze != 1 ? "mask_freeze"
                                               : nullptr;
  if (!model.holdsMask()) {
    if (!flag)
      return;
    std::string text = "--" + std::string(flag) + " is given, but the ";
    if (!model.hasMask())
      throw Error(text + "method \"" + model.manifest().method +
                  "\" of this program has no score, and so no mask");
    throw Error(text + "program keeps no masks: compile it with --hold_mask "
                       "('pst train' does)");
  }
  double steps = static_cast<double>(plan.totalSteps);
  plan.mask = {true, options.maskInterval,
               static_cast<int64_t>(std::ceil(options.maskFreeze * steps))};
  if (plan.totalSteps == 0)
    return;
  int64_t last = plan.mask.lastSelection(plan.totalSteps - 1);
  if (plan.sparsity.at(last) != plan.sparsity.finalSparsity)
    throw Error(
        "with --mask_interval " + std::to_string(options.maskInterval) +
        " and --mask_freeze " + spell(options.maskFreeze) +
        " the mask is selected for the last time after " +
        std::to_string(last) + " of " + std::to_string(plan.totalSteps) +
        " steps, where --final_warmup " + spell(options.finalWarmup) +
        " has the sparsity " + spell(plan.sparsity.at(last)) + " and not yet " +
        spell(plan.sparsity.finalSparsity) + ": let --final_warmup be longer");
}

TrainingPlan pst::runtime::makePlan(const TrainingOptions &options,
                                    const Model &model, int64_t numExamples,
                                    int numRanks, bool ownMetrics) {
  checkRanges(options);
  auto roundUp = [](int64_t count, int64_t size) {
    return (count + size - 1) / size;
  };
  TrainingPlan plan;
  plan.numExamples = numExamples;
  plan.batchSize =
      Batch(model.program().entryPoint("forward_backward")).capacity();
  plan.numRanks = numRanks;
  plan.microBatchesPerEpoch = roundUp(numExamples, plan.batchSize * numRanks);
  plan.stepsPerEpoch =
      roundUp(plan.microBatchesPerEpoch, options.gradientAccumulationSteps);
  double steps = options.maxSteps > 0
                     ? static_cast<double>(options.maxSteps)
                     : std::ceil(options.numTrainEpochs *
                                 static_cast<double>(plan.stepsPerEpoch));
  require(steps < 1e15, "num_train_epochs", "a sensible number",
          options.numTrainEpochs);
  plan.totalSteps = static_cast<int64_t>(steps);
  int64_t warmupSteps =
      options.warmupSteps > 0
          ? options.warmupSteps
          : static_cast<int64_t>(std::ceil(options.warmupRatio * steps));
  if (warmupSteps > 0 && options.lrSchedulerType == RateCurve::constant)
    throw Error("--lr_scheduler_type constant has no warm-up, but " +
                std::to_string(warmupSteps) +
                " steps of it are asked for: leave them out, or choose "
                "constant_with_warmup");
  plan.rate = {options.lrSchedulerType, warmupSteps, plan.totalSteps,
               std::max(warmupSteps, static_cast<int64_t>(
                                         (1 - options.finalWarmup) * steps))};
  const LearningRates &rates = model.manifest().rates;
  plan.learningRate = options.learningRate.value_or(rates.weights);
  plan.maskLearningRate =
      options.maskLearningRate.value_or(rates.mask * plan.learningRate);
  plan.headLearningRate =
      options.headLearningRate.value_or(rates.head * plan.learningRate);

  bool mask = model.hasMask();
  std::optional<double> fixed = model.manifest().fixedSparsity();
  double sparsity = options.sparsity.value_or(mask ? fixed.value_or(0.9) : 0.0);
  if (fixed && sparsity != *fixed)
    throw Error("--sparsity is " + spell(sparsity) + ", but the selection \"" +
                model.manifest().sparseLayers.front().selection +
                "\" of this program ends at " + spell(*fixed) +
                ": leave --sparsity out, or compile with another --selection");
  if (!mask && (sparsity > 0 || options.initialSparsity.value_or(0) > 0))
    throw Error("--sparsity is " + spell(sparsity) + ", but the method \"" +
                model.manifest().method +
                "\" of this program has no score by which it could prune");
  double initialSparsity = options.initialSparsity.value_or(
      model.manifest().oneShot ? sparsity : 0.0);
  require(initialSparsity <= sparsity || !mask, "initial_sparsity",
          "at most the final sparsity (" + spell(sparsity) + ")",
          initialSparsity);
  if (double own = model.manifest().finalSparsity; own >= 0 && own != sparsity)
    throw Error("--sparsity is " + spell(sparsity) + ", but the program's " +
                "layers have sparsities of their own for one of " + spell(own) +
                ": compile it for this one");
  plan.sparsity = {initialSparsity, sparsity, options.initialWarmup,
                   options.finalWarmup, plan.totalSteps};
  planMask(options, model, plan);
  plan.classWeights = readClassWeights(options, model);
  planDistillation(options, model, plan);
  plan.metric = checkMetric(options.metricForBestModel, model, ownMetrics);
  plan.greaterIsBetter = options.greaterIsBetter.value_or(
      !plan.metric.ends_with("loss") && plan.metric != "mse" &&
      plan.metric != "perplexity");
  return plan;
}

std::map<std::string, std::string>
pst::runtime::trajectory(const TrainingOptions &options,
                         const TrainingPlan &plan, const Model &model,
                         const Dataset &data) {
  std::string batch = std::to_string(plan.batchSize);
  if (plan.numRanks > 1)
    batch += " on each of " + std::to_string(plan.numRanks) + " ranks";
  std::map<std::string, std::string> values;
  for (const auto &option : trainingOptions())
    if (option.group == "training")
      values[option.name] = option.text(options);
  // What these come to.
  for (const char *name : {"num_train_epochs", "max_steps", "warmup_ratio"})
    values.erase(name);
  values["max_steps (or num_train_epochs)"] = std::to_string(plan.totalSteps);
  values["warmup_steps"] = std::to_string(plan.rate.warmupSteps);
  values["learning_rate"] = spell(plan.learningRate);
  values["mask_learning_rate"] = spell(plan.maskLearningRate);
  values["head_learning_rate"] = spell(plan.headLearningRate);
  values["distill_share"] = spell(plan.distillShare);
  values["distill_temperature"] = spell(plan.distillTemperature);
  values["per_device_train_batch_size"] = batch;
  values["training data (digest)"] = data.digest();
  if (model.hasMask()) {
    values["sparsity"] = spell(plan.sparsity.finalSparsity);
    values["initial_sparsity"] = spell(plan.sparsity.initialSparsity);
    values["initial_warmup"] = spell(plan.sparsity.initialWarmup);
  }
  if (model.hasMask() || plan.rate.curve == RateCurve::warmupStableDecay)
    values["final_warmup"] = spell(plan.sparsity.finalWarmup);
  if (model.holdsMask()) {
    values["mask_interval"] = std::to_string(options.maskInterval);
    values["mask_freeze"] = spell(options.maskFreeze);
  }
  return values;
}
