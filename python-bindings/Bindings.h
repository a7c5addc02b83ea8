//===- Bindings.h - What the parts of the Python module share ---*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_PYTHON_BINDINGS_H
#define PST_PYTHON_BINDINGS_H

#include "pst/Runtime/Program.h"

#include <nanobind/nanobind.h>

#include <memory>
#include <optional>

namespace pst {
struct CompilerOptions;
namespace runtime {
class ParameterStore;
struct TrainerState;
} // namespace runtime
} // namespace pst

namespace pst::python {

/// `pst._pst.Program`: a program as Python holds it, compiled in this process
/// or loaded from a bundle.
struct PyProgram {
  std::shared_ptr<const runtime::Program> program;
  /// What the compiler has to say of the model, such as that its head is new.
  std::vector<std::string> remarks = {};
};

/// Sets an option to a Python value; ValueError if it cannot have it. Returns
/// false if there is no such option.
bool setOption(CompilerOptions &options, const std::string &name,
               nanobind::handle value);

/// The tables of options, and TrainingOptions.
void bindOptions(nanobind::module_ &module);

/// Programs, models, data sets.
void bindRuntime(nanobind::module_ &module);

/// Entry points to be called with arrays. Needs PyProgram bound.
void bindFunction(nanobind::module_ &module);

/// Files of tensors.
void bindTensors(nanobind::module_ &module);

/// Of `use_stream`, which functions and models have.
inline constexpr const char *kUseStream =
    "Gives the GPU's work to this stream from now on, a CUstream as a whole "
    "number such as torch.cuda.current_stream().cuda_stream, in the order in "
    "which it and other libraries are given work; None: to a stream of its "
    "own. The stream must live until another one is chosen.";
void useStream(const runtime::ParameterStore &store,
               std::optional<uintptr_t> stream);

/// Goes on with prompts.
void bindGeneration(nanobind::module_ &module);

/// Training, evaluation, export. Needs Model, Dataset and TrainingOptions
/// bound.
void bindTraining(nanobind::module_ &module);

/// The state of a checkpoint, its fields in snake case.
nanobind::dict stateToDict(const runtime::TrainerState &state);

/// `compile_model`, `compile_text` and `CompileError`. Needs PyProgram bound.
void bindCompiler(nanobind::module_ &module);

} // namespace pst::python

#endif // PST_PYTHON_BINDINGS_H
