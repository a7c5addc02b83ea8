//===- runtime_bindings.cpp - The runtime as Python sees it ---------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Thin: every function here converts its arguments, releases the interpreter's
// lock where it may run for long, and calls one function of the runtime.
// Records become dictionaries whose keys are the fields' names in snake case.
//
//===----------------------------------------------------------------------===//

#include "Bindings.h"

#include "pst/Runtime/Error.h"
#include "pst/Runtime/Export.h"
#include "pst/Runtime/Memory.h"
#include "pst/Runtime/Trainer.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>

namespace nb = nanobind;
using namespace nb::literals;
using namespace pst;
using namespace pst::runtime;
using pst::python::PyProgram;

namespace {

using InputArray = nb::ndarray<nb::ro>;
using OutputArray = nb::ndarray<>;

nb::dlpack::dtype dlpackType(ElementType type) {
  using Code = nb::dlpack::dtype_code;
  switch (type) {
  case ElementType::f32:
    return {uint8_t(Code::Float), 32, 1};
  case ElementType::f64:
    return {uint8_t(Code::Float), 64, 1};
  case ElementType::bf16:
    return {uint8_t(Code::Bfloat), 16, 1};
  case ElementType::i32:
    return {uint8_t(Code::Int), 32, 1};
  case ElementType::i64:
    return {uint8_t(Code::Int), 64, 1};
  }
  throw Error("unknown element type");
}

std::string spell(nb::dlpack::dtype type) {
  using Code = nb::dlpack::dtype_code;
  std::string kind = "type code " + std::to_string(type.code) + ", ";
  if (type.code == uint8_t(Code::Int))
    kind = "i";
  else if (type.code == uint8_t(Code::UInt))
    kind = "u";
  else if (type.code == uint8_t(Code::Float))
    kind = "f";
  else if (type.code == uint8_t(Code::Bfloat))
    kind = "bf";
  else if (type.code == uint8_t(Code::Bool))
    return "bool";
  return kind + std::to_string(type.bits);
}

std::string spell(const std::vector<int64_t> &shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i)
    text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

/// Checks that an array may be used in place as `type`. Throws Error naming
/// `what`.
template <typename Array>
void checkArray(const Array &array, const TensorType &type,
                const std::string &what) {
  if (array.device_type() != nb::device::cpu::value)
    throw Error(what + " is not in the memory of the CPU; move it there first");
  if (array.dtype() != dlpackType(type.element))
    throw Error(what + " must have elements of type " +
                std::string(name(type.element)) + ", but has " +
                spell(array.dtype()));
  std::vector<int64_t> shape(array.ndim());
  for (size_t i = 0; i < shape.size(); ++i)
    shape[i] = static_cast<int64_t>(array.shape(i));
  if (shape != type.shape)
    throw Error(what + " must have the shape " + spell(type.shape) +
                ", but has " + spell(shape));
  int64_t stride = 1;
  for (size_t i = shape.size(); i-- > 0;) {
    if (shape[i] > 1 && array.stride(i) != stride)
      throw Error(what + " must be contiguous in row-major order; pass a "
                         "contiguous copy");
    stride *= shape[i];
  }
}

/// An entry point of a program with its own memory: callable with arrays.
class Function {
public:
  /// `modelDir` may be empty if no parameter comes from a file.
  Function(const PyProgram &program, const std::string &entry,
           const std::filesystem::path &modelDir, uint64_t seed)
      : store(program.program,
              modelDir.empty() ? nullptr
                               : std::make_shared<const ModelFiles>(modelDir),
              seed),
        call(store, entry), name(entry) {}

  void operator()(const std::vector<InputArray> &inputs,
                  const std::vector<OutputArray> &outputs) {
    size_t nextInput = 0, nextOutput = 0;
    for (const Argument &argument : call.entryPoint().arguments) {
      bool isInput = argument.kind == Argument::Kind::input;
      if (!isInput && argument.kind != Argument::Kind::output)
        continue;
      size_t index = isInput ? nextInput++ : nextOutput++;
      if (index >= (isInput ? inputs.size() : outputs.size()))
        throw Error("'" + name + "' needs more " +
                    (isInput ? "inputs" : "outputs") + " than the " +
                    std::to_string(index) + " given");
      std::string what = "'" + name + "': " + (isInput ? "input" : "output") +
                         " '" + argument.name + "'";
      if (isInput) {
        checkArray(inputs[index], argument.type, what);
        call.bind(argument.name, inputs[index].data());
      } else {
        checkArray(outputs[index], argument.type, what);
        call.bind(argument.name, outputs[index].data());
      }
    }
    if (nextInput != inputs.size() || nextOutput != outputs.size())
      throw Error("'" + name + "' has " + std::to_string(nextInput) +
                  " inputs and " + std::to_string(nextOutput) +
                  " outputs, but was given " + std::to_string(inputs.size()) +
                  " and " + std::to_string(outputs.size()));
    nb::gil_scoped_release release;
    call();
  }

private:
  ParameterStore store;
  Invocation call;
  std::string name;
};

Dataset makeDataset(const nb::dict &arrays, const std::string &description) {
  std::vector<DataArray> all;
  for (auto [key, value] : arrays) {
    auto name = nb::cast<std::string>(key);
    auto array = nb::cast<InputArray>(value);
    DataArray data;
    data.name = name;
    if (array.dtype() == dlpackType(ElementType::i32))
      data.type.element = ElementType::i32;
    else if (array.dtype() == dlpackType(ElementType::f32))
      data.type.element = ElementType::f32;
    else
      throw Error(description + ": array '" + name +
                  "' must be int32 or float32, but is " + spell(array.dtype()));
    for (size_t i = 0; i < array.ndim(); ++i)
      data.type.shape.push_back(static_cast<int64_t>(array.shape(i)));
    checkArray(array, data.type, description + ": array '" + name + "'");
    data.data = array.data();
    // The array object holds its memory, whichever library made it.
    data.owner = std::make_shared<InputArray>(array);
    all.push_back(std::move(data));
  }
  return Dataset(std::move(all), description);
}

nb::dict toDict(const Metrics &metrics) {
  nb::dict dict;
  for (const auto &[name, value] : metrics)
    dict[name.c_str()] = value;
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
  dict["seconds"] = result.seconds;
  dict["seconds_per_step"] = result.secondsPerStep;
  dict["sparsity"] = result.sparsity;
  nb::list history;
  for (const EvaluationRecord &record : result.history)
    history.append(toDict(record));
  dict["history"] = history;
  dict["best"] =
      result.best ? nb::object(toDict(*result.best)) : nb::object(nb::none());
  dict["best_checkpoint"] = result.bestCheckpoint.string();
  return dict;
}

nb::dict toDict(const TrainingPlan &plan) {
  nb::dict dict;
  dict["examples"] = plan.numExamples;
  dict["batch_size"] = plan.batchSize;
  dict["ranks"] = plan.numRanks;
  dict["steps_per_epoch"] = plan.stepsPerEpoch;
  dict["total_steps"] = plan.totalSteps;
  dict["warmup_steps"] = plan.warmupSteps;
  dict["sparsity"] = plan.sparsity.finalSparsity;
  dict["metric"] = plan.metric;
  dict["greater_is_better"] = plan.greaterIsBetter;
  return dict;
}

nb::dict toDict(const TrainerState &state) {
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

/// A function of C++ that calls `callable` (none: no function) with the
/// interpreter's lock held. What Python raises passes through the caller.
template <typename Result, typename Argument>
std::function<Result(Argument)> wrap(const nb::object &callable) {
  if (callable.is_none())
    return nullptr;
  return [function = nb::handle(callable)](Argument argument) -> Result {
    nb::gil_scoped_acquire acquire;
    if constexpr (std::is_same_v<std::decay_t<Argument>, std::filesystem::path>)
      function(argument.string());
    else if constexpr (std::is_same_v<std::decay_t<Argument>, std::string>)
      function(argument);
    else
      function(toDict(argument));
  };
}

/// The processes of a run as a Python object has them: `rank`, `count`,
/// `sum(array)` in place, and `gather(list) -> list` (see Peers.h). The caller
/// keeps the object alive.
Peers makePeers(const nb::object &object) {
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
  return Peers(nb::cast<int>(peers.attr("rank")),
               nb::cast<int>(peers.attr("count")), sum, gather);
}

nb::dict train(Model &model, const TrainingOptions &options,
               const Dataset &trainData, const Dataset *evalData,
               nb::object onStep, nb::object onLog, nb::object onEvaluate,
               nb::object onSave, nb::object onMessage, nb::object shouldStop,
               nb::object peers) {
  // The caller's references keep the callables alive over the call.
  TrainingCallbacks callbacks;
  callbacks.onStep = wrap<void, const StepRecord &>(onStep);
  callbacks.onLog = wrap<void, const StepRecord &>(onLog);
  callbacks.onEvaluate = wrap<void, const EvaluationRecord &>(onEvaluate);
  callbacks.onSave = wrap<void, const std::filesystem::path &>(onSave);
  callbacks.onMessage = wrap<void, const std::string &>(onMessage);
  if (!shouldStop.is_none())
    callbacks.shouldStop = [function = nb::handle(shouldStop)] {
      nb::gil_scoped_acquire acquire;
      return nb::cast<bool>(function());
    };
  Peers ranks = makePeers(peers);
  TrainingResult result;
  {
    nb::gil_scoped_release release;
    std::optional<Dataset> evaluation;
    if (evalData)
      evaluation = *evalData;
    Trainer trainer(model, options, trainData, std::move(evaluation),
                    std::move(callbacks), std::move(ranks));
    result = trainer.train();
  }
  return toDict(result);
}

nb::dict evaluateModel(Model &model, const Dataset &data, double sparsity) {
  Evaluation evaluation;
  {
    nb::gil_scoped_release release;
    evaluation = evaluate(model, data, sparsity);
  }
  auto *logits = new std::vector<float>(std::move(evaluation.logits));
  nb::capsule owner(logits, [](void *pointer) noexcept {
    delete static_cast<std::vector<float> *>(pointer);
  });
  nb::dict dict;
  dict["examples"] = evaluation.numExamples;
  dict["loss"] = evaluation.loss;
  dict["metrics"] = toDict(evaluation.metrics);
  dict["sparsity"] = evaluation.sparsity;
  dict["seconds"] = evaluation.seconds;
  dict["logits"] = nb::ndarray<nb::numpy, float, nb::ndim<2>>(
      logits->data(),
      {size_t(evaluation.numExamples), size_t(evaluation.numLabels)}, owner);
  return dict;
}

nb::dict exportTo(Model &model, double sparsity, const ExportOptions &options) {
  ExportResult result;
  {
    nb::gil_scoped_release release;
    result = exportModel(model, sparsity, options);
  }
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

/// The memory of a parameter as a NumPy array that keeps the model alive;
/// read-only for frozen ones, and for other spaces than "trainable".
nb::object parameterView(nb::handle self, const std::string &name,
                         const std::string &space) {
  auto &model = nb::cast<Model &>(self);
  const Parameter *parameter = model.manifest().findParameter(name);
  if (!parameter)
    throw Error("the program has no parameter '" + name + "'");
  const void *data = space.empty() ? model.parameters().data(*parameter)
                                   : model.parameters().data(*parameter, space);
  std::vector<size_t> shape(parameter->type.shape.begin(),
                            parameter->type.shape.end());
  auto type = dlpackType(parameter->type.element);
  if (parameter->role == Role::frozen)
    return nb::cast(nb::ndarray<nb::numpy, nb::ro>(
        data, shape.size(), shape.data(), self, nullptr, type));
  return nb::cast(nb::ndarray<nb::numpy>(const_cast<void *>(data), shape.size(),
                                         shape.data(), self, nullptr, type));
}

/// The whole space "gradient" as a NumPy array that keeps the model alive.
nb::object gradientView(nb::handle self) {
  ParameterStore &store = nb::cast<Model &>(self).parameters();
  return nb::cast(nb::ndarray<nb::numpy, float, nb::ndim<1>>(
      static_cast<float *>(store.space("gradient")),
      {store.spaceBytes("gradient") / sizeof(float)}, self));
}

void bindOptions(nb::module_ &module) {
  nb::enum_<Interval>(module, "Interval")
      .value("no", Interval::no)
      .value("epoch", Interval::epoch)
      .value("steps", Interval::steps);

  using Options = TrainingOptions;
  nb::class_<Options>(module, "TrainingOptions")
      .def(nb::init<>())
      .def_rw("output_dir", &Options::outputDir)
      .def_rw("overwrite_output_dir", &Options::overwriteOutputDir)
      .def_rw("resume_from_checkpoint", &Options::resumeFromCheckpoint)
      .def_rw("learning_rate", &Options::learningRate)
      .def_rw("num_train_epochs", &Options::numTrainEpochs)
      .def_rw("max_steps", &Options::maxSteps)
      .def_rw("warmup_steps", &Options::warmupSteps)
      .def_rw("warmup_ratio", &Options::warmupRatio)
      .def_rw("adam_beta1", &Options::adamBeta1)
      .def_rw("adam_beta2", &Options::adamBeta2)
      .def_rw("adam_epsilon", &Options::adamEpsilon)
      .def_rw("weight_decay", &Options::weightDecay)
      .def_rw("max_grad_norm", &Options::maxGradNorm)
      .def_rw("gradient_accumulation_steps",
              &Options::gradientAccumulationSteps)
      .def_rw("seed", &Options::seed)
      .def_rw("sparsity", &Options::sparsity, nb::arg().none())
      .def_rw("initial_sparsity", &Options::initialSparsity)
      .def_rw("initial_warmup", &Options::initialWarmup)
      .def_rw("final_warmup", &Options::finalWarmup)
      .def_rw("logging_steps", &Options::loggingSteps)
      .def_rw("eval_strategy", &Options::evalStrategy)
      .def_rw("eval_steps", &Options::evalSteps)
      .def_rw("save_strategy", &Options::saveStrategy)
      .def_rw("save_steps", &Options::saveSteps)
      .def_rw("save_total_limit", &Options::saveTotalLimit)
      .def_rw("metric_for_best_model", &Options::metricForBestModel)
      .def_rw("load_best_model_at_end", &Options::loadBestModelAtEnd)
      .def_rw("num_threads", &Options::numThreads);
}

void bindProgram(nb::module_ &module) {
  nb::class_<PyProgram>(module, "Program")
      .def_static(
          "load",
          [](const std::filesystem::path &directory) {
            return PyProgram{Program::load(directory)};
          },
          "directory"_a, "Loads a bundle.")
      .def_prop_ro("manifest",
                   [](const PyProgram &self) {
                     return self.program->manifest().toJson();
                   })
      .def_prop_ro("fingerprint",
                   [](const PyProgram &self) {
                     return self.program->manifest().fingerprint();
                   })
      .def_prop_ro("entry_points",
                   [](const PyProgram &self) {
                     std::vector<std::string> names;
                     for (const auto &[name, entry] :
                          self.program->manifest().entryPoints)
                       names.push_back(name);
                     return names;
                   })
      .def("memory_plan", [](const PyProgram &self) {
        return formatMemoryPlan(self.program->manifest().memory);
      });

  nb::class_<Function>(module, "Function")
      .def(nb::init<const PyProgram &, const std::string &,
                    const std::filesystem::path &, uint64_t>(),
           "program"_a, "entry"_a, "model_dir"_a = std::filesystem::path(),
           "seed"_a = 42)
      .def("__call__", &Function::operator(), "inputs"_a, "outputs"_a,
           "Arrays in the order of the entry point's inputs and outputs, used "
           "in place.");
}

void bindModel(nb::module_ &module) {
  nb::class_<Dataset>(module, "Dataset")
      .def_static("of", &makeDataset, "arrays"_a, "description"_a = "the data")
      .def_static("load", &Dataset::load, "file"_a)
      .def("__len__", &Dataset::size)
      .def("digest", &Dataset::digest);

  nb::class_<Model>(module, "Model")
      .def(
          "__init__",
          [](Model *self, const PyProgram &program,
             const std::filesystem::path &modelDir, uint64_t seed) {
            nb::gil_scoped_release release;
            new (self) Model(program.program,
                             modelDir.empty()
                                 ? nullptr
                                 : std::make_shared<const ModelFiles>(modelDir),
                             seed);
          },
          "program"_a, "model_dir"_a = std::filesystem::path(), "seed"_a = 42)
      .def_prop_ro("manifest",
                   [](const Model &self) { return self.manifest().toJson(); })
      .def_prop_ro(
          "num_rounded",
          [](const Model &self) { return self.parameters().numRounded(); },
          "Frozen tensors that are bf16 in memory and wider in the file.")
      .def_prop_ro("has_mask", &Model::hasMask)
      .def_prop_ro("batch_size", &Model::batchSize)
      .def_prop_ro("num_labels", &Model::numLabels)
      .def_prop_ro("is_regression", &Model::isRegression)
      .def_prop_ro("predicts_tokens", &Model::predictsTokens)
      .def_prop_ro("sparsity", &Model::sparsity)
      .def("select", &Model::select, "sparsity"_a,
           nb::call_guard<nb::gil_scoped_release>())
      .def("invalidate_selection", &Model::invalidateSelection)
      .def("parameter", &parameterView, "name"_a, "space"_a = "",
           "The memory of a parameter, or of its gradient or moments, as an "
           "array. After writing call invalidate_selection().")
      .def_prop_ro("gradient", &gradientView,
                   "The gradients of all parameters, in one array over the "
                   "model's own memory: what data-parallel ranks sum between "
                   "forward_backward and apply.")
      .def(
          "forward_backward",
          [](Model &self, const Dataset &data, const std::vector<int64_t> &rows,
             float lossScale, int64_t seed) {
            nb::gil_scoped_release release;
            Batch batch(self.program().entryPoint("forward_backward"));
            data.check(self.manifest(), "forward_backward", true);
            batch.gather(data, rows);
            return self.forwardBackward(batch, lossScale, seed);
          },
          "data"_a, "rows"_a, "loss_scale"_a, "seed"_a)
      .def(
          "apply",
          [](Model &self, double learningRate, int64_t step, double beta1,
             double beta2, double epsilon, double weightDecay,
             double maxGradNorm) {
            nb::gil_scoped_release release;
            return self.apply({learningRate, beta1, beta2, epsilon, weightDecay,
                               maxGradNorm, step});
          },
          "learning_rate"_a, "step"_a, "beta1"_a = 0.9, "beta2"_a = 0.999,
          "epsilon"_a = 1e-8, "weight_decay"_a = 0.0, "max_grad_norm"_a = 0.0)
      .def(
          "take_profile",
          [](Model &self) {
            std::vector<std::tuple<std::string, double, int64_t>> times;
            for (const KernelTime &time : self.takeProfile())
              times.emplace_back(time.name, time.seconds, time.calls);
            return times;
          },
          "(name, seconds, calls) of each kernel since the last call.")
      .def("load_checkpoint",
           [](Model &self, const std::filesystem::path &checkpoint) {
             return toDict(loadCheckpoint(checkpoint, self));
           });
}

} // namespace

void pst::python::bindRuntime(nb::module_ &module) {
  module.doc() = "The compiler and the runtime of PST";
  nb::exception<Error>(module, "Error", PyExc_RuntimeError);
  nb::exception<ManifestError>(module, "ManifestError",
                               module.attr("Error").ptr());
  bindOptions(module);
  bindProgram(module);
  bindModel(module);

  module.def(
      "plan",
      [](const TrainingOptions &options, const Model &model,
         int64_t numExamples, int numRanks) {
        return toDict(makePlan(options, model, numExamples, numRanks));
      },
      "options"_a, "model"_a, "num_examples"_a, "num_ranks"_a = 1);
  module.def(
      "train", &train, "model"_a, "options"_a, "train"_a,
      "eval"_a.none() = nb::none(), "on_step"_a.none() = nb::none(),
      "on_log"_a.none() = nb::none(), "on_evaluate"_a.none() = nb::none(),
      "on_save"_a.none() = nb::none(), "on_message"_a.none() = nb::none(),
      "should_stop"_a.none() = nb::none(), "peers"_a.none() = nb::none());
  module.def("evaluate", &evaluateModel, "model"_a, "data"_a, "sparsity"_a);
  module.def(
      "export_model",
      [](Model &model, double sparsity, const std::filesystem::path &outputDir,
         bool overwrite, const std::string &configUpdates) {
        return exportTo(model, sparsity, {outputDir, overwrite, configUpdates});
      },
      "model"_a, "sparsity"_a, "output_dir"_a, "overwrite"_a = false,
      "config_updates"_a = "");
  module.def("list_checkpoints", &listCheckpoints, "output_dir"_a);
  module.def(
      "read_trainer_state",
      [](const std::filesystem::path &checkpoint, const Model &model) {
        return toDict(readTrainerState(checkpoint, model));
      },
      "checkpoint"_a, "model"_a);
  module.def("set_num_threads", &setNumThreads, "count"_a);
  module.def("num_threads", &numThreads);
  module.def("peak_resident_bytes", &peakResidentBytes);
  module.def("resident_bytes", &residentBytes);
}
