//===- runtime_bindings.cpp - The runtime as Python sees it ---------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Programs, data sets and models. Thin: every function here converts its
// arguments, releases the interpreter's lock where it may run for long, and
// calls one function of the runtime.
//
//===----------------------------------------------------------------------===//

#include "Arrays.h"
#include "Bindings.h"
#include "GpuArray.h"

#include "pst/Runtime/Checkpoint.h"
#include "pst/Runtime/Error.h"
#include "pst/Runtime/InputValues.h"
#include "pst/Runtime/Memory.h"
#include "pst/Runtime/Model.h"

#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

namespace nb = nanobind;
using namespace nb::literals;
using namespace pst;
using namespace pst::runtime;
using namespace pst::python;

namespace {

const char *kUseStream =
    "Gives the GPU's work to this stream from now on, a CUstream as a whole "
    "number such as torch.cuda.current_stream().cuda_stream, in the order in "
    "which it and other libraries are given work; None: to a stream of its "
    "own. The stream must live until another one is chosen.";

void useStream(const ParameterStore &store, std::optional<uintptr_t> stream) {
  if (!store.accelerator())
    throw Error("the program runs on the CPU, which has no streams");
  store.accelerator()->useStream(stream);
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
    bool isModel = !store.manifest().config.empty();
    int gpu = store.accelerator() ? store.accelerator()->deviceNumber() : -1;
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
      auto bind = [&](const auto &array) {
        bool there = checkArray(array, argument.type, what, gpu);
        if (there)
          call.bindThere(argument.name, array.data());
        else
          call.bind(argument.name, array.data());
      };
      if (isInput) {
        bind(inputs[index]);
        // A model's ids are checked where they can be read.
        const auto &given = inputs[index];
        if (isModel && !argument.type.shape.empty() &&
            argument.type.element == ElementType::i32 &&
            given.device_type() == nb::device::cpu::value)
          checkValues(store.manifest(),
                      {argument.name, argument.type, given.data(), nullptr},
                      "'" + name + "'", /*mayBeNoExample=*/true);
      } else {
        bind(outputs[index]);
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

  void useStream(std::optional<uintptr_t> stream) {
    ::useStream(store, stream);
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

/// The whole space "gradient", where the program has it, as an array that keeps
/// the model alive.
nb::object gradientView(nb::handle self) {
  ParameterStore &store = nb::cast<Model &>(self).parameters();
  if (store.accelerator())
    return nb::cast(GpuArray(nb::borrow(self), store, "gradient"));
  return nb::cast(nb::ndarray<nb::numpy, float, nb::ndim<1>>(
      static_cast<float *>(store.space("gradient")),
      {store.spaceBytes("gradient") / sizeof(float)}, self));
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
      .def_prop_ro(
          "remarks", [](const PyProgram &self) { return self.remarks; },
          "What the compiler has to say of the model.")
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
           "in place.")
      .def("use_stream", &Function::useStream, "stream"_a.none(), kUseStream);
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
                   "forward_backward and apply. NumPy's, or of a program for a "
                   "GPU a GpuArray.")
      .def(
          "use_stream",
          [](Model &self, std::optional<uintptr_t> stream) {
            useStream(self.parameters(), stream);
          },
          "stream"_a.none(), kUseStream)
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
             return stateToDict(loadCheckpoint(checkpoint, self));
           });
}

} // namespace

void pst::python::bindRuntime(nb::module_ &module) {
  module.doc() = "The compiler and the runtime of PST";
  nb::exception<Error>(module, "Error", PyExc_RuntimeError);
  nb::exception<ManifestError>(module, "ManifestError",
                               module.attr("Error").ptr());
  bindGpuArray(module);
  bindProgram(module);
  bindModel(module);
  module.def("set_num_threads", &setNumThreads, "count"_a);
  module.def("num_threads", &numThreads);
  module.def("peak_resident_bytes", &peakResidentBytes);
  module.def("resident_bytes", &residentBytes);
}
