//===- Kernel.cpp - A compiled function with its arguments ----------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Bench/Kernel.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/Parser/Parser.h"
#include "pst/Bundle/LinkInProcess.h"
#include "pst/Compiler.h"
#include "pst/Import/Import.h"
#include "pst/Runtime/Error.h"

#include <cstdlib>
#include <cstring>
#include <random>

using namespace mlir;
using namespace pst;
using namespace pst::bench;

Buffer::Buffer(const pst::TensorType &type)
    : description(type), memory(nullptr, std::free) {
  size_t bytes = (static_cast<size_t>(type.numBytes()) + 63) / 64 * 64;
  memory.reset(std::aligned_alloc(64, bytes));
  if (!memory)
    throw std::bad_alloc();
  std::memset(memory.get(), 0, bytes);
}

void Buffer::fill(uint64_t seed) {
  if (description.element != ElementType::f32)
    return;
  std::mt19937 generator(static_cast<uint32_t>(seed));
  std::uniform_real_distribution<float> uniform(-1, 1);
  for (int64_t i = 0; i < description.numElements(); ++i)
    f32()[i] = uniform(generator);
}

/// Compiles and links what `load` makes.
static std::shared_ptr<const runtime::Program>
build(const CompilerOptions &options,
      llvm::function_ref<OwningOpRef<ModuleOp>(MLIRContext &)> load) {
  DialectRegistry registry;
  registerDialects(registry);
  MLIRContext context(registry, MLIRContext::Threading::DISABLED);
  context.printOpOnDiagnostic(false);
  std::string error;
  ScopedDiagnosticHandler handler(&context, [&](Diagnostic &diagnostic) {
    if (diagnostic.getSeverity() != DiagnosticSeverity::Error || !error.empty())
      return;
    llvm::raw_string_ostream(error)
        << diagnostic.getLocation() << ": " << diagnostic.str();
  });
  OwningOpRef<ModuleOp> module = load(context);
  FailureOr<CompiledProgram> program = failure();
  if (module)
    program = pst::compile(*module, options);
  FailureOr<std::shared_ptr<JitCode>> code = failure();
  if (succeeded(program))
    code = linkInProcess(*program, UnknownLoc::get(&context));
  if (failed(code))
    throw runtime::Error(error.empty() ? "compilation failed" : error);
  std::map<std::string, runtime::EntryFunction> functions(
      (*code)->functions.begin(), (*code)->functions.end());
  return runtime::Program::create(std::move(program->manifest),
                                  std::move(functions), *code);
}

std::shared_ptr<const runtime::Program>
pst::bench::compileModel(const std::string &directory,
                         const CompilerOptions &options) {
  return build(options, [&](MLIRContext &context) -> OwningOpRef<ModuleOp> {
    auto module = importModel(context, directory, options.model);
    return succeeded(module) ? std::move(*module) : nullptr;
  });
}

Kernel::Kernel(const std::string &text, const std::string &name,
               const CompilerOptions &options) {
  auto program = build(options, [&](MLIRContext &context) {
    return parseSourceString<ModuleOp>(text, ParserConfig(&context), name);
  });
  store = std::make_unique<runtime::ParameterStore>(program, nullptr, 1);
  for (const auto &[entry, description] : program->manifest().entryPoints) {
    Function function;
    function.call = std::make_unique<runtime::Invocation>(*store, entry);
    uint64_t seed = 1;
    for (const Argument &argument : description.arguments) {
      if (argument.kind != Argument::Kind::input &&
          argument.kind != Argument::Kind::output)
        continue;
      auto &buffer =
          function.arguments.try_emplace(argument.name, argument.type)
              .first->second;
      if (argument.kind == Argument::Kind::input)
        buffer.fill(seed++);
      function.call->bind(argument.name, buffer.data());
    }
    all.emplace(entry, std::move(function));
  }
}

std::vector<std::string> Kernel::functions() const {
  std::vector<std::string> names;
  for (const auto &[name, ignored] : all)
    names.push_back(name);
  return names;
}

std::map<std::string, Buffer> &Kernel::arguments(const std::string &function) {
  auto found = all.find(function);
  if (found == all.end()) {
    std::string names;
    for (const std::string &name : functions())
      names += (names.empty() ? "" : ", ") + name;
    throw runtime::Error("there is no public function \"" + function +
                         "\" (there are: " + names + ")");
  }
  return found->second.arguments;
}

void Kernel::run(const std::string &function) const {
  (*all.at(function).call)();
}
