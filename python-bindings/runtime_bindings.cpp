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
#include "Strings.h"
#include "Turns.h"

#include "pst/Runtime/Checkpoint.h"
#include "pst/Runtime/Error.h"
#include "pst/Runtime/MappedFile.h"
#include "pst/Runtime/Memory.h"
#include "pst/Runtime/Model.h"

#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

namespace nb = nanobind;
using namespace nb::literals;
using namespace pst;
using namespace pst::runtime;
using namespace pst::python;

namespace {

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

/// The numbers of rows: any sequence of whole numbers, NumPy's included. Raises
/// TypeError.
std::vector<int64_t> readRows(nb::handle rows) {
  std::vector<int64_t> numbers;
  nb::object iterator = nb::steal(PyObject_GetIter(rows.ptr()));
  while (iterator.is_valid()) {
    nb::object row = nb::steal(PyIter_Next(iterator.ptr()));
    if (!row.is_valid() && !PyErr_Occurred())
      return numbers;
    // -1 is a number like any other; an error tells it from one.
    int64_t number = -1;
    if (row.is_valid())
      if (nb::object whole = nb::steal(PyNumber_Index(row.ptr()));
          whole.is_valid())
        number = PyLong_AsLongLong(whole.ptr());
    if (PyErr_Occurred())
      break;
    numbers.push_back(number);
  }
  PyErr_Clear();
  throw nb::type_error("rows must be whole numbers, from 0 and below the "
                       "number of rows");
}

/// The memory of a parameter as a NumPy array that keeps the model alive;
/// read-only for frozen ones, and for other spaces than "trainable".
nb::object parameterView(nb::handle self, const std::string &name,
                         const std::string &space) {
  auto &model = nb::cast<SharedModel &>(self);
  const Parameter *parameter = model.parameters().find(name);
  if (!parameter)
    throw Error("the program has no parameter '" + name + "'");
  const void *data = inTurn(model.turns, [&]() -> const void * {
    return space.empty() ? model.parameters().data(*parameter)
                         : model.parameters().data(*parameter, space);
  });
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
  auto &model = nb::cast<SharedModel &>(self);
  const ParameterStore &store = model.parameters();
  if (store.accelerator())
    return nb::cast(GpuArray(nb::borrow(self), model, "gradient"));
  void *data = inTurn(model.turns, [&] { return store.space("gradient"); });
  return nb::cast(nb::ndarray<nb::numpy, float, nb::ndim<1>>(
      static_cast<float *>(data),
      {store.spaceBytes("gradient") / sizeof(float)}, self));
}

/// What is thrown becomes that exception. Its message may name a file, and so
/// hold bytes that are no UTF-8.
template <typename Thrown> void translate(nb::handle type) {
  nb::register_exception_translator(
      [](const std::exception_ptr &thrown, void *type) {
        try {
          std::rethrow_exception(thrown);
        } catch (const Thrown &error) {
          PyErr_SetObject(static_cast<PyObject *>(type),
                          toPython(error.what()).ptr());
        }
      },
      type.ptr());
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
}

void bindModel(nb::module_ &module) {
  nb::class_<Dataset>(module, "Dataset")
      .def_static("of", &makeDataset, "arrays"_a, "description"_a = "the data")
      .def_static("load", &Dataset::load, "file"_a)
      .def("__len__", &Dataset::size)
      .def("digest", &Dataset::digest);

  nb::class_<SharedModel>(module, "Model",
                          "Threads that call it at once take turns; while one "
                          "trains it, calls of others are an error.")
      .def(
          "__init__",
          [](SharedModel *self, const PyProgram &program,
             const std::filesystem::path &modelDir, uint64_t seed) {
            nb::gil_scoped_release release;
            new (self) SharedModel(
                program.program,
                modelDir.empty() ? nullptr
                                 : std::make_shared<const ModelFiles>(modelDir),
                seed);
          },
          "program"_a, "model_dir"_a = std::filesystem::path(), "seed"_a = 42)
      .def(
          "__init__",
          [](SharedModel *self, const PyProgram &program,
             const SharedModel &other) {
            nb::gil_scoped_release release;
            new (self) SharedModel(program.program, other);
          },
          "program"_a, "shared"_a,
          "Over the parameters of a model that is there, weights as they are "
          "stored too: of another batch, length or room, and with caches and "
          "an arena of its own. Both only evaluate.")
      .def_prop_ro(
          "manifest",
          [](const SharedModel &self) { return self.manifest().toJson(); })
      .def_prop_ro(
          "num_rounded",
          [](const SharedModel &self) {
            return self.parameters().numRounded();
          },
          "Frozen tensors that are bf16 in memory and wider in the file.")
      .def_prop_ro(
          "digest",
          [](const SharedModel &self) {
            return self.parameters().modelDigest();
          },
          "Of all tensors that were read from the model's files.")
      .def_prop_ro("has_mask", &SharedModel::hasMask)
      .def_prop_ro("batch_size", &SharedModel::batchSize)
      .def_prop_ro("num_labels", &SharedModel::numLabels)
      .def_prop_ro("has_distillation", &SharedModel::hasDistillation,
                   "Whether the program trains towards a teacher's logits too.")
      .def_prop_ro("task",
                   [](const SharedModel &self) {
                     return std::string(name(self.task()));
                   })
      .def_prop_ro("predicts_tokens", &SharedModel::predictsTokens)
      .def_prop_ro("sparsity",
                   [](const SharedModel &self) {
                     return inTurn(self.turns, [&] { return self.sparsity(); });
                   })
      .def(
          "select",
          [](SharedModel &self, double sparsity) {
            inTurn(self.turns, [&] { self.select(sparsity); });
          },
          "sparsity"_a)
      .def(
          "restore_selection",
          [](SharedModel &self, double sparsity) {
            inTurn(self.turns, [&] { self.restoreSelection(sparsity); });
          },
          "sparsity"_a)
      .def_prop_ro("holds_mask", &SharedModel::holdsMask)
      .def("invalidate_selection",
           [](SharedModel &self) {
             inTurn(self.turns, [&] { self.invalidateSelection(); });
           })
      .def("parameter", &parameterView, "name"_a, "space"_a = "",
           "The memory of a parameter, or of its gradient or moments, as an "
           "array: the model's own, which its calls change. After writing call "
           "invalidate_selection().")
      .def_prop_ro("gradient", &gradientView,
                   "The gradients of all parameters, in one array over the "
                   "model's own memory: what data-parallel ranks sum between "
                   "forward_backward and apply. NumPy's, or of a program for a "
                   "GPU a GpuArray.")
      .def(
          "use_stream",
          [](SharedModel &self, std::optional<uintptr_t> stream) {
            inTurn(self.turns, [&] { useStream(self.parameters(), stream); });
          },
          "stream"_a.none(), kUseStream)
      .def(
          "forward_backward",
          [](SharedModel &self, const Dataset &data, nb::handle given,
             float lossScale, int64_t seed) {
            std::vector<int64_t> rows = readRows(given);
            return inTurn(self.turns, [&] {
              Batch batch(self.program().entryPoint("forward_backward"),
                          self.manifest().tokenCapacity);
              data.check(self.manifest(), "forward_backward", true);
              batch.gather(data, rows);
              return self.forwardBackward(batch, lossScale, seed);
            });
          },
          "data"_a, "rows"_a.none(), "loss_scale"_a, "seed"_a,
          "Adds the gradients of `loss_scale` times the sum of the rows' "
          "losses, and returns that loss. `rows`: whole numbers from 0, as "
          "many as a batch holds at most.")
      .def(
          "apply",
          [](SharedModel &self, double learningRate, int64_t step, double beta1,
             double beta2, double epsilon, double weightDecay,
             double maxGradNorm, std::optional<double> maskLearningRate,
             std::optional<double> headLearningRate) {
            return inTurn(self.turns, [&] {
              return self.apply({learningRate, maskLearningRate,
                                 headLearningRate, beta1, beta2, epsilon,
                                 weightDecay, maxGradNorm, step});
            });
          },
          "learning_rate"_a, "step"_a, "beta1"_a = 0.9, "beta2"_a = 0.999,
          "epsilon"_a = 1e-8, "weight_decay"_a = 0.0, "max_grad_norm"_a = 0.0,
          "mask_learning_rate"_a = nb::none(),
          "head_learning_rate"_a = nb::none())
      .def(
          "take_profile",
          [](SharedModel &self) {
            std::vector<std::tuple<std::string, double, int64_t>> times;
            for (const KernelTime &time :
                 inTurn(self.turns, [&] { return self.takeProfile(); }))
              times.emplace_back(time.name, time.seconds, time.calls);
            return times;
          },
          "(name, seconds, calls) of each kernel since the last call.")
      .def("load_checkpoint",
           [](SharedModel &self, const std::filesystem::path &checkpoint) {
             return stateToDict(inTurn(
                 self.turns, [&] { return loadCheckpoint(checkpoint, self); }));
           });
}

} // namespace

void pst::python::bindRuntime(nb::module_ &module) {
  module.doc() = "The compiler and the runtime of PST";
  nb::exception<Error>(module, "Error", PyExc_RuntimeError);
  nb::exception<ManifestError>(module, "ManifestError",
                               module.attr("Error").ptr());
  translate<Error>(module.attr("Error"));
  translate<ManifestError>(module.attr("ManifestError"));
  // Such as a link to itself, where a file is looked for.
  translate<std::filesystem::filesystem_error>(module.attr("Error"));
  bindGpuArray(module);
  bindProgram(module);
  bindFunction(module);
  bindModel(module);
  module.def(
      "tell_of_lost_files", [] { tellOfLostFiles("pst"); },
      "Lets a mapped file that becomes shorter end the process with a "
      "sentence and the status 1. For programs: it handles SIGBUS.");
  module.def("set_num_threads", &setNumThreads, "count"_a);
  module.def("num_threads", &numThreads);
  module.def("peak_resident_bytes", &peakResidentBytes);
  module.def("resident_bytes", &residentBytes);
}
