//===- compiler_bindings.cpp - The compiler, for Python -------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Bindings.h"
#include "Strings.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/Parser/Parser.h"
#include "pst/Bundle/LinkInProcess.h"
#include "pst/Bundle/WriteBundle.h"
#include "pst/Compiler.h"
#include "pst/Import/Import.h"
#include "pst/Runtime/Memory.h"
#include "pst/Transforms/Recipes.h"
#include "llvm/ADT/StringExtras.h"

#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/vector.h>

#include <fstream>
#include <link.h>
#include <malloc.h>

namespace nb = nanobind;
using namespace mlir;

namespace {

/// The first error of a compilation, and where it points; and its warnings and
/// remarks.
struct FirstError {
  std::string message, file;
  unsigned line = 0, column = 0;
  std::vector<std::string> warnings, remarks;

  void take(Diagnostic &diagnostic) {
    if (diagnostic.getSeverity() == DiagnosticSeverity::Warning)
      warnings.push_back(diagnostic.str());
    if (diagnostic.getSeverity() == DiagnosticSeverity::Remark)
      remarks.push_back(diagnostic.str());
    if (diagnostic.getSeverity() != DiagnosticSeverity::Error ||
        !message.empty())
      return;
    message = diagnostic.str();
    for (Diagnostic &note : diagnostic.getNotes())
      message += "\nnote: " + note.str();
    if (auto location =
            diagnostic.getLocation()->findInstanceOf<FileLineColLoc>()) {
      file = location.getFilename().str();
      line = location.getLine();
      column = location.getColumn();
    }
  }
};

/// Line `number` (from 1) of `text`, or of the file of that name if there is
/// no text.
std::string sourceLine(const std::string &text, const std::string &file,
                       unsigned number) {
  std::istringstream fromText(text);
  std::ifstream fromFile;
  if (text.empty())
    fromFile.open(file);
  std::istream &stream =
      text.empty() ? static_cast<std::istream &>(fromFile) : fromText;
  std::string line;
  for (unsigned i = 0; i < number; ++i)
    if (!std::getline(stream, line))
      return "";
  return line;
}

[[noreturn]] void raise(const FirstError &error, const std::string &text) {
  nb::object type = nb::module_::import_("pst.errors").attr("CompileError");
  nb::object exception =
      type(error.message.empty() ? "compilation failed" : error.message,
           error.file, error.line, error.column,
           error.line ? sourceLine(text, error.file, error.line) : "");
  PyErr_SetObject(type.ptr(), exception.ptr());
  throw nb::python_error();
}

/// Reads the options that are there; refuses an unknown one.
pst::CompilerOptions readOptions(const nb::dict &given, std::string &file,
                                 std::string &bundle, std::string &emulation,
                                 bool &newHead) {
  pst::CompilerOptions options;
  for (auto [key, value] : given) {
    std::string name = nb::cast<std::string>(key);
    if (name == "file")
      file = nb::cast<std::filesystem::path>(value).string();
    else if (name == "bundle")
      bundle = nb::cast<std::filesystem::path>(value).string();
    else if (name == "emulation")
      emulation = nb::cast<std::filesystem::path>(value).string();
    else if (name == "new_head")
      newHead = nb::cast<bool>(value);
    else if (!pst::python::setOption(options, name, value))
      ::pst::python::raise(PyExc_TypeError,
                           "there is no compiler option '" + name + "'");
  }
  if (options.sanitizeAddress)
    ::pst::python::raise(
        PyExc_ValueError,
        "sanitize_address is of a bundle, which a pst-run with the address "
        "sanitizer runs (docs/Robustness.md); Python has none: compile it with "
        "'pst-compile --sanitize_address -o BUNDLE'");
  return options;
}

/// Gives back the memory that the compiler has used: its heap, and the pages of
/// its libraries' code, which the system reads again for the next compilation.
/// A training run then needs little more than its plan.
void forgetCompiler() {
  malloc_trim(0);
  dl_iterate_phdr(
      [](dl_phdr_info *library, size_t, void *) {
        StringRef name = library->dlpi_name;
        if (!name.contains("libLLVM") && !name.contains("libMLIR"))
          return 0;
        for (int i = 0; i < library->dlpi_phnum; ++i) {
          const auto &segment = library->dlpi_phdr[i];
          if (segment.p_type == PT_LOAD && (segment.p_flags & PF_X) &&
              !(segment.p_flags & PF_W))
            pst::runtime::forgetPages(reinterpret_cast<const void *>(
                                          library->dlpi_addr + segment.p_vaddr),
                                      segment.p_memsz);
        }
        return 0;
      },
      nullptr);
}

/// A context of all dialects, of whose diagnostics `error` takes note.
struct Session {
  explicit Session(FirstError &error)
      : context(makeRegistry()), handler(&context, [&](Diagnostic &diagnostic) {
          error.take(diagnostic);
        }) {
    context.printOpOnDiagnostic(false);
  }
  static DialectRegistry makeRegistry() {
    DialectRegistry registry;
    pst::registerDialects(registry);
    return registry;
  }

  MLIRContext context;
  ScopedDiagnosticHandler handler;
};

/// Compiles what `load` makes, links it into this process unless it is for a
/// GPU, and writes a bundle if one is named, and the emulated kernels if a
/// library for them is.
pst::python::PyProgram compileWith(
    const nb::dict &given, const std::string &text,
    llvm::function_ref<OwningOpRef<ModuleOp>(
        MLIRContext &, const pst::CompilerOptions &, const std::string &file)>
        load) {
  std::string file = "<text>", bundle, emulation;
  bool newHead = true;
  pst::CompilerOptions options =
      readOptions(given, file, bundle, emulation, newHead);
  FirstError error;
  bool written = false;
  FailureOr<pst::CompiledProgram> program = failure();
  FailureOr<std::shared_ptr<pst::JitCode>> code = failure();
  {
    nb::gil_scoped_release release;
    Session session(error);
    MLIRContext &context = session.context;
    OwningOpRef<ModuleOp> module = load(context, options, file);
    if (module && !newHead && failed(pst::refuseNewHead(*module)))
      module = nullptr;
    OwningOpRef<ModuleOp> copy;
    if (module && !emulation.empty())
      copy = module->clone();
    if (module)
      program = pst::compile(*module, options);
    if (succeeded(program)) {
      Location loc = UnknownLoc::get(&context);
      written =
          bundle.empty() || succeeded(pst::writeBundle(*program, bundle, loc));
      if (written && copy) {
        auto objects = pst::compileToEmulation(*copy, options);
        written = succeeded(objects) &&
                  succeeded(pst::writeLibrary(*objects, emulation, loc));
      }
      if (written && !program->manifest.isForGPU())
        code = pst::linkInProcess(*program, loc);
    }
  }
  forgetCompiler();
  for (const std::string &warning : error.warnings)
    nb::module_::import_("warnings")
        .attr("warn")(warning, nb::handle(PyExc_RuntimeWarning));
  if (written && program->manifest.isForGPU())
    return {
        pst::runtime::Program::createForGPU(
            std::move(program->manifest), std::move(program->objects.front())),
        std::move(error.remarks)};
  if (failed(code))
    raise(error, error.file == "<criterion>" ? options.recipe.criterion : text);
  std::map<std::string, pst::runtime::EntryFunction> functions(
      (*code)->functions.begin(), (*code)->functions.end());
  return {pst::runtime::Program::create(std::move(program->manifest),
                                        std::move(functions), *code),
          std::move(error.remarks)};
}

pst::python::PyProgram compileText(const std::string &text,
                                   const nb::dict &options) {
  return compileWith(options, text,
                     [&](MLIRContext &context, const pst::CompilerOptions &,
                         const std::string &file) {
                       auto module = parseSourceString<ModuleOp>(
                           text, ParserConfig(&context), file);
                       if (module)
                         pst::nameArguments(*module, text);
                       return module;
                     });
}

pst::python::PyProgram compileModel(const std::filesystem::path &directory,
                                    const nb::dict &options) {
  return compileWith(
      options, "",
      [&](MLIRContext &context, const pst::CompilerOptions &compiler,
          const std::string &) -> OwningOpRef<ModuleOp> {
        auto module = pst::importModel(context, directory.string(),
                                       pst::importOptions(compiler));
        return succeeded(module) ? std::move(*module) : nullptr;
      });
}

/// What a criterion is: its name, its text with whole paths, whether it scores
/// and trains the model, its hyperparameters with their values, and its
/// factors after the weight as (kind, rank, names of the tensors).
nb::dict criterionAsDict(const std::string &source) {
  FirstError error;
  Session session(error);
  auto found = pst::describeCriterion(&session.context, source);
  if (failed(found))
    raise(error, pst::isCriterionText(source) ? source : "");
  nb::list factors;
  for (const auto &[kind, rank, tensors] : found->factors)
    factors.append(nb::make_tuple(kind, rank, nb::cast(tensors)));
  nb::dict description;
  description["name"] = found->name;
  description["text"] = found->text;
  description["scores"] = found->scores;
  description["trains_model"] = found->trainsModel;
  description["factors"] = factors;
  description["hyperparameters"] = nb::cast(found->hyperparameters);
  return description;
}

std::string recipeOf(const std::string &name) {
  if (std::optional<StringRef> text = pst::recipeText(name))
    return text->str();
  ::pst::python::raise(PyExc_ValueError,
                       "there is no method '" + name + "'; there are " +
                           llvm::join(pst::recipeNames(), ", "));
}

} // namespace

void pst::python::bindCompiler(nb::module_ &module) {
  module.def("compile_model", &compileModel, nb::arg("model_dir"),
             nb::arg("options") = nb::dict(),
             "Compiles the model in a Hugging Face directory. new_head=False "
             "refuses one whose files lack its head.");
  module.def("compile_text", &compileText, nb::arg("text"),
             nb::arg("options") = nb::dict(),
             "Compiles MLIR text in nn, pst and upstream dialects.");
  module.def(
      "describe_criterion", &criterionAsDict, nb::arg("source"),
      "What a criterion, as a file or as text, is. Raises CompileError.");
  module.def("recipe_text", &recipeOf, nb::arg("name"),
             "The criterion of a built-in method, as MLIR text.");
}
