//===- function_bindings.cpp - Calling a compiled function ----------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Thin, as runtime_bindings.cpp.
//
//===----------------------------------------------------------------------===//

#include "Arrays.h"
#include "Bindings.h"
#include "Strings.h"
#include "Turns.h"

#include "pst/Runtime/Error.h"
#include "pst/Runtime/InputValues.h"
#include "pst/Runtime/Invocation.h"

#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/vector.h>

namespace nb = nanobind;
using namespace nb::literals;
using namespace pst;
using namespace pst::runtime;
using namespace pst::python;

void pst::python::useStream(const ParameterStore &store,
                            std::optional<uintptr_t> stream) {
  if (!store.accelerator())
    throw Error("the program runs on the CPU, which has no streams");
  store.accelerator()->useStream(stream);
}

namespace {

/// An array that is bound to an argument for one call.
struct Bound {
  const Argument *argument;
  const void *data;
  bool there;       ///< in the GPU's memory
  std::string what; ///< for errors

  bool isOutput() const { return argument->kind == Argument::Kind::output; }
  bool overlaps(const Bound &other) const {
    auto begin = reinterpret_cast<uintptr_t>(data);
    auto otherBegin = reinterpret_cast<uintptr_t>(other.data);
    return begin < otherBegin + other.argument->type.numBytes() &&
           otherBegin < begin + argument->type.numBytes();
  }
};

/// A program reads its inputs, in an order of its own, while it writes its
/// outputs. Throws Error if an output lies where something else does.
void requireApart(const std::vector<Bound> &arrays) {
  for (const Bound &output : arrays)
    for (const Bound &other : arrays)
      if (output.isOutput() && &output != &other && output.overlaps(other))
        throw Error(output.what + " shares memory with " +
                    (other.isOutput() ? "output" : "input") + " '" +
                    other.argument->name + "': give it memory of its own");
}

/// An entry point of a program with its own memory: callable with arrays, from
/// one thread at a time.
class Function {
public:
  /// `modelDir` may be empty if no parameter comes from a file.
  Function(const PyProgram &program, const std::string &entry,
           const std::filesystem::path &modelDir, uint64_t seed)
      : store(program.program,
              modelDir.empty() ? nullptr
                               : std::make_shared<const ModelFiles>(modelDir),
              seed),
        call(store, entry), name(entry) {
    packWeights(store);
  }

  void operator()(const std::vector<nb::object> &inputs,
                  const std::vector<nb::object> &outputs) {
    // These own what is read and written until the call is over.
    std::vector<InputArray> read;
    std::vector<OutputArray> written;
    std::vector<Bound> arrays;
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
      if (isInput)
        arrays.push_back(bindInput(
            argument, read.emplace_back(readArray(inputs[index], what)), what));
      else
        arrays.push_back(bindArray(
            argument, written.emplace_back(writtenArray(outputs[index], what)),
            what));
    }
    if (nextInput != inputs.size() || nextOutput != outputs.size())
      throw Error("'" + name + "' has " + std::to_string(nextInput) +
                  " inputs and " + std::to_string(nextOutput) +
                  " outputs, but was given " + std::to_string(inputs.size()) +
                  " and " + std::to_string(outputs.size()));
    requireApart(arrays);
    inTurn(turns, [&] {
      for (const Bound &array : arrays)
        if (array.there)
          call.bindThere(array.argument->name, array.data);
        else
          call.bind(array.argument->name, array.data);
      call();
    });
  }

  /// A copy of a space as calls left it: what a function keeps between them.
  nb::bytes readSpace(const std::string &space) {
    std::string bytes = inTurn(turns, [&] {
      return std::string(static_cast<const char *>(store.readSpace(space)),
                         static_cast<size_t>(store.spaceBytes(space)));
    });
    return nb::bytes(bytes.data(), bytes.size());
  }

  void useStream(std::optional<uintptr_t> stream) {
    inTurn(turns, [&] { python::useStream(store, stream); });
  }

private:
  template <typename Array>
  Bound bindArray(const Argument &argument, const Array &array,
                  const std::string &what) const {
    int gpu = store.accelerator() ? store.accelerator()->deviceNumber() : -1;
    bool there = checkArray(array, argument.type, what, gpu);
    return {&argument, array.data(), there, what};
  }

  /// Ids, and a model's masks and labels, are checked, and waited for if they
  /// lie in a GPU's memory.
  Bound bindInput(const Argument &argument, const InputArray &array,
                  const std::string &what) {
    Bound bound = bindArray(argument, array, what);
    if (argument.type.shape.empty())
      return bound;
    DataArray values{argument.name, argument.type, array.data(), nullptr};
    std::vector<std::byte> copy;
    if (bound.there) {
      if (argument.type.element != ElementType::i32 &&
          store.manifest().config.empty())
        return bound; // which may hold anything
      copy.resize(argument.type.numBytes());
      inTurn(turns, [&] {
        store.accelerator()->read(bound.data, copy.size(), copy.data());
      });
      values.data = copy.data();
    }
    checkValues(store.manifest(), argument, values, "'" + name + "'",
                /*mayBeNoExample=*/true);
    if (argument.name == "attention_mask")
      checkTokenCount(store.manifest(), values, "'" + name + "'");
    return bound;
  }

  ParameterStore store;
  Invocation call;
  std::string name;
  Turns turns;
};

} // namespace

void pst::python::bindFunction(nb::module_ &module) {
  nb::class_<Function>(module, "Function")
      .def(nb::init<const PyProgram &, const std::string &,
                    const std::filesystem::path &, uint64_t>(),
           "program"_a, "entry"_a, "model_dir"_a = std::filesystem::path(),
           "seed"_a = 42)
      .def("__call__", &Function::operator(), "inputs"_a, "outputs"_a,
           "Arrays in the order of the entry point's inputs and outputs, used "
           "in place; an output shares memory with none of the others. Threads "
           "that call at once take turns.")
      .def("read_space", &Function::readSpace, "space"_a,
           "The bytes of a space of the manifest, such as \"gradient\", as the "
           "last call left it.")
      .def("use_stream", &Function::useStream, "stream"_a.none(), kUseStream);
}
