//===- training_bindings.cpp - Training as Python sees it -----------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Thin, as runtime_bindings.cpp. Records become dictionaries whose keys are the
// fields' names in snake case.
//
//===----------------------------------------------------------------------===//

#include "Bindings.h"
#include "GpuArray.h"
#include "Strings.h"
#include "Turns.h"

#include "pst/Runtime/Calibration.h"
#include "pst/Runtime/Export.h"
#include "pst/Runtime/Trainer.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <csignal>
#include <map>

namespace nb = nanobind;
using namespace nb::literals;
using namespace pst;
using namespace pst::runtime;
using namespace pst::python;

namespace {

nb::dict toDict(const Metrics &metrics) {
  nb::dict dict;
  for (const auto &[name, value] : metrics)
    dict[toPython(name)] = value;
  return dict;
}

nb::dict toDict(const StepRecord &record) {
  nb::dict dict;
  dict["step"] = record.step;
  dict["total_steps"] = record.totalSteps;
  dict["epoch"] = record.epoch;
  dict["loss"] = record.loss;
  dict["learning_rate"] = record.learningRate;
  dict["sparsity"] = record.sparsity;
  dict["grad_norm"] = record.gradNorm;
  dict["seconds_per_step"] = record.secondsPerStep;
  dict["tokens_per_second"] = record.tokensPerSecond;
  dict["memory_bytes"] = record.memoryBytes;
  dict["seconds_left"] = record.secondsLeft;
  return dict;
}

nb::dict toDict(const EvaluationRecord &record) {
  nb::dict dict;
  dict["step"] = record.step;
  dict["epoch"] = record.epoch;
  dict["sparsity"] = record.sparsity;
  dict["loss"] = record.loss;
  dict["metrics"] = toDict(record.metrics);
  dict["examples"] = record.numExamples;
  dict["seconds"] = record.seconds;
  dict["eligible"] = record.eligible;
  dict["best"] = record.best;
  return dict;
}

nb::dict toDict(const TrainingResult &result) {
  nb::dict dict;
  dict["step"] = result.step;
  dict["total_steps"] = result.totalSteps;
  dict["stopped"] = result.stopped;
  dict["ended_early"] = result.endedEarly;
  dict["seconds"] = result.seconds;
  dict["seconds_per_step"] = result.secondsPerStep;
  dict["sparsity"] = result.sparsity;
  nb::list history;
  for (const EvaluationRecord &record : result.history)
    history.append(toDict(record));
  dict["history"] = history;
  dict["best"] =
      result.best ? nb::object(toDict(*result.best)) : nb::object(nb::none());
  dict["best_checkpoint"] = pathToPython(result.bestCheckpoint);
  return dict;
}

nb::dict toDict(const TrainingPlan &plan) {
  nb::dict dict;
  dict["examples"] = plan.numExamples;
  dict["batch_size"] = plan.batchSize;
  dict["ranks"] = plan.numRanks;
  dict["steps_per_epoch"] = plan.stepsPerEpoch;
  dict["total_steps"] = plan.totalSteps;
  dict["warmup_steps"] = plan.rate.warmupSteps;
  dict["sparsity"] = plan.sparsity.finalSparsity;
  dict["metric"] = plan.metric;
  dict["greater_is_better"] = plan.greaterIsBetter;
  return dict;
}

} // namespace

nb::dict pst::python::stateToDict(const TrainerState &state) {
  nb::dict dict;
  dict["step"] = state.step;
  dict["total_steps"] = state.totalSteps;
  dict["epoch"] = state.epoch;
  dict["sparsity"] = state.sparsity;
  dict["options"] = nb::cast(state.options);
  nb::list history;
  for (const EvaluationRecord &record : state.history)
    history.append(toDict(record));
  dict["history"] = history;
  return dict;
}

namespace {

/// What the system does on some signals now. Python puts back the handlers that
/// it knows; another library's, in C, it does not know.
class SavedHandlers {
public:
  explicit SavedHandlers(const std::vector<int> &numbers) {
    for (int number : numbers)
      ::sigaction(number, nullptr, &actions[number]);
  }
  void restore() const {
    for (const auto &[number, action] : actions)
      ::sigaction(number, &action, nullptr);
  }

private:
  std::map<int, struct sigaction> actions;
};

/// A function of C++ that calls `callable` (none: no function) with the
/// interpreter's lock held. What Python raises passes through the caller.
template <typename Result, typename Argument>
std::function<Result(Argument)> wrap(const nb::object &callable) {
  if (callable.is_none())
    return nullptr;
  return [function = nb::handle(callable)](Argument argument) -> Result {
    nb::gil_scoped_acquire acquire;
    if constexpr (std::is_same_v<std::decay_t<Argument>, std::filesystem::path>)
      function(pathToPython(argument));
    else if constexpr (std::is_same_v<std::decay_t<Argument>, std::string>)
      function(argument);
    else
      function(toDict(argument));
  };
}

/// The same for a question.
std::function<bool()> ask(const nb::object &callable) {
  if (callable.is_none())
    return nullptr;
  return [function = nb::handle(callable)] {
    nb::gil_scoped_acquire acquire;
    return nb::cast<bool>(function());
  };
}

/// float32[examples, labels], where tokens have classes [examples, tokens,
/// labels]; it outlives the evaluation.
nb::object logitsOf(const Evaluation &evaluation) {
  auto *logits = new std::vector<float>(evaluation.logits);
  nb::capsule owner(logits, [](void *pointer) noexcept {
    delete static_cast<std::vector<float> *>(pointer);
  });
  std::vector<size_t> shape{size_t(evaluation.numExamples)};
  if (evaluation.numTokens > 1)
    shape.push_back(size_t(evaluation.numTokens));
  shape.push_back(size_t(evaluation.numLabels));
  return nb::cast(nb::ndarray<nb::numpy, float>(logits->data(), shape.size(),
                                                shape.data(), owner));
}

/// The processes of a run as a Python object has them: `rank`, `count`,
/// `sum(array)` in place, and `gather(list) -> list` (see Peers.h); if it
/// `sums_on_gpu`, the gradient of a GPU's model is given as a GpuArray. The
/// caller keeps both objects alive.
Peers makePeers(const nb::object &object, nb::handle model) {
  if (object.is_none())
    return {};
  nb::handle peers = object;
  auto sum = [peers](std::span<float> values) {
    nb::gil_scoped_acquire acquire;
    // The array is of this call alone; an owner keeps nanobind from copying.
    nb::capsule owner(values.data(), [](void *) noexcept {});
    peers.attr("sum")(nb::ndarray<nb::numpy, float, nb::ndim<1>>(
        values.data(), {values.size()}, owner));
  };
  auto gather = [peers](std::span<const double> values) {
    nb::gil_scoped_acquire acquire;
    std::vector<double> own(values.begin(), values.end());
    return nb::cast<std::vector<double>>(peers.attr("gather")(own));
  };
  Peers::SumThere sumThere;
  if (nb::cast<bool>(nb::getattr(peers, "sums_on_gpu", nb::bool_(false))))
    sumThere = [peers, model] {
      nb::gil_scoped_acquire acquire;
      peers.attr("sum")(model.attr("gradient"));
    };
  return Peers(nb::cast<int>(peers.attr("rank")),
               nb::cast<int>(peers.attr("count")), sum, gather, sumThere);
}

nb::dict train(nb::handle self, const TrainingOptions &options,
               const Dataset &trainData, const Dataset *evalData,
               nb::object onStep, nb::object onLog, nb::object onEvaluate,
               nb::object onSave, nb::object onMessage, nb::object shouldStop,
               nb::object shouldEnd, nb::object computeMetrics,
               nb::object peers) {
  // The caller's references keep the callables alive over the call.
  TrainingCallbacks callbacks;
  callbacks.onStep = wrap<void, const StepRecord &>(onStep);
  callbacks.onLog = wrap<void, const StepRecord &>(onLog);
  callbacks.onEvaluate = wrap<void, const EvaluationRecord &>(onEvaluate);
  callbacks.onSave = wrap<void, const std::filesystem::path &>(onSave);
  callbacks.onMessage = wrap<void, const std::string &>(onMessage);
  callbacks.shouldStop = ask(shouldStop);
  callbacks.shouldEnd = ask(shouldEnd);
  if (!computeMetrics.is_none())
    callbacks.computeMetrics =
        [function = nb::handle(computeMetrics)](const Evaluation &evaluation) {
          nb::gil_scoped_acquire acquire;
          return nb::cast<Metrics>(function(logitsOf(evaluation)));
        };
  auto &model = nb::cast<SharedModel &>(self);
  Peers ranks = makePeers(peers, self);
  return toDict(inTurn(
      model.turns,
      [&] {
        std::optional<Dataset> evaluation;
        if (evalData)
          evaluation = *evalData;
        return Trainer(model, options, trainData, std::move(evaluation),
                       std::move(callbacks), std::move(ranks))
            .train();
      },
      /*trains=*/true));
}

nb::dict evaluateModel(SharedModel &model, const Dataset &data,
                       double sparsity) {
  Evaluation evaluation =
      inTurn(model.turns, [&] { return evaluate(model, data, sparsity); });
  nb::dict dict;
  dict["examples"] = evaluation.numExamples;
  dict["loss"] = evaluation.loss;
  dict["metrics"] = toDict(evaluation.metrics);
  dict["sparsity"] = evaluation.sparsity;
  dict["seconds"] = evaluation.seconds;
  dict["logits"] = logitsOf(evaluation);
  return dict;
}

nb::dict exportTo(SharedModel &model, double sparsity,
                  const ExportOptions &options) {
  ExportResult result = inTurn(
      model.turns, [&] { return exportModel(model, sparsity, options); });
  nb::list layers;
  for (const ExportedLayer &layer : result.layers) {
    nb::dict dict;
    dict["weight"] = layer.weight;
    dict["elements"] = layer.numElements;
    dict["pruned"] = layer.numPruned;
    dict["zeros"] = layer.numZeros;
    layers.append(dict);
  }
  nb::dict dict;
  dict["layers"] = layers;
  dict["sparsity"] = result.sparsity;
  dict["zero_share"] = result.zeroShare();
  dict["tensors"] = result.numTensors;
  dict["bytes"] = result.numBytes;
  return dict;
}

} // namespace

void pst::python::bindTraining(nb::module_ &module) {
  nb::class_<SavedHandlers>(module, "SavedHandlers",
                            "The handlers of signals, as they are now.")
      .def(nb::init<const std::vector<int> &>(), "numbers"_a)
      .def("restore", &SavedHandlers::restore);
  module.def(
      "plan",
      [](const TrainingOptions &options, const SharedModel &model,
         int64_t numExamples, int numRanks, bool ownMetrics) {
        return toDict(
            makePlan(options, model, numExamples, numRanks, ownMetrics));
      },
      "options"_a, "model"_a, "num_examples"_a, "num_ranks"_a = 1,
      "own_metrics"_a = false);
  module.def(
      "train", &train, "model"_a, "options"_a, "train"_a,
      "eval"_a.none() = nb::none(), "on_step"_a.none() = nb::none(),
      "on_log"_a.none() = nb::none(), "on_evaluate"_a.none() = nb::none(),
      "on_save"_a.none() = nb::none(), "on_message"_a.none() = nb::none(),
      "should_stop"_a.none() = nb::none(), "should_end"_a.none() = nb::none(),
      "compute_metrics"_a.none() = nb::none(), "peers"_a.none() = nb::none());
  module.def("evaluate", &evaluateModel, "model"_a, "data"_a, "sparsity"_a);
  module.def(
      "calibrate",
      [](SharedModel &model, const Dataset &data) {
        return inTurn(model.turns, [&] { return calibrate(model, data); });
      },
      "model"_a, "data"_a,
      "Of each linear layer, by its weight's name, the sums of the squares of "
      "the columns of its input.");
  module.def(
      "export_model",
      [](SharedModel &model, double sparsity,
         const std::filesystem::path &outputDir, bool overwrite,
         const std::string &configUpdates) {
        return exportTo(model, sparsity, {outputDir, overwrite, configUpdates});
      },
      "model"_a, "sparsity"_a, "output_dir"_a, "overwrite"_a = false,
      "config_updates"_a = "");
  module.def(
      "check_export_target",
      [](const SharedModel &model, const std::filesystem::path &outputDir) {
        checkExportTarget(model, {outputDir, /*overwrite=*/true, ""});
      },
      "model"_a, "output_dir"_a,
      "Raises Error if export_model could not write there.");
  module.def("copy_companions", &copyCompanions, "source"_a, "target"_a,
             "Copies what a model directory has beside its weights, "
             "config.json and card.");
  module.def("check_model_target", &checkModelTarget, "target"_a, "source"_a,
             "overwrite"_a,
             "Raises Error if a model or an adapter that is made of `source` "
             "could not be written there.");
  module.def("list_checkpoints", &listCheckpoints, "output_dir"_a);
  module.def(
      "read_trainer_state",
      [](const std::filesystem::path &checkpoint, const SharedModel &model) {
        return python::stateToDict(readTrainerState(checkpoint, model));
      },
      "checkpoint"_a, "model"_a);
}
