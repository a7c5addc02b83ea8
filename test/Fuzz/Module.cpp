//===- Module.cpp - The text of a module, through the compiler ------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The first line of an input is a comment of words: `from=STAGE`, at which its
// module stands (import), and options of pst-compile, as `target=cuda`. From
// there it goes through all stages, as pst-opt and pst-compile would take it.
//
//===----------------------------------------------------------------------===//

#include "MutateText.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"
#include "pst/Bundle/BuildManifest.h"
#include "pst/Pipelines.h"
#include "pst/Runtime/Error.h"
#include "llvm/ADT/StringExtras.h"

using namespace mlir;
using namespace pst;

/// Reads the words of the first line. What is none is not there.
static CompilerOptions readOptions(StringRef line, Stage &from) {
  CompilerOptions options;
  SmallVector<StringRef> words;
  line.ltrim("/ ").split(words, ' ', /*MaxSplit=*/-1, /*KeepEmpty=*/false);
  for (StringRef word : words) {
    auto [name, value] = word.split('=');
    if (name == "from") {
      from = parseStage(value).value_or(Stage::Import);
      continue;
    }
    if (name == "expand_bits") { // no option: the machine's
      options.expandBits = value == "8" ? 8 : 32;
      continue;
    }
    try {
      compilerOptions().set(options, name.str(), value.str());
    } catch (const runtime::Error &) {
    }
  }
  return options;
}

/// Takes a module to the llvm dialect, and describes it on the way.
static void lower(ModuleOp module, Stage from, const CompilerOptions &options) {
  for (int i = static_cast<int>(from) + 1; i <= static_cast<int>(Stage::LLVM);
       ++i) {
    auto stage = static_cast<Stage>(i);
    PassManager passes(module.getContext());
    passes.enableVerifier(false);
    buildStage(passes, stage, options);
    if (failed(passes.run(module)) || failed(verify(module)))
      return;
    if (stage != Stage::Memory)
      continue;
    FailureOr<Manifest> manifest = buildManifest(module);
    if (failed(manifest))
      return;
    try {
      manifest->verify();
    } catch (const ManifestError &) {
      return;
    }
  }
}

/// Whether the text names a result of an op with a number of many digits, as
/// %s#2147483647: MLIR's parser makes room for as many.
static bool namesFarResult(StringRef text) {
  for (size_t at = text.find('#'); at != StringRef::npos;
       at = text.find('#', at + 1)) {
    StringRef rest = text.drop_front(at + 1);
    if (rest.take_while(llvm::isDigit).size() > 6)
      return true;
  }
  return false;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  // The parser wants a null behind a text.
  const std::string owned(reinterpret_cast<const char *>(data), size);
  StringRef text(owned);
  if (namesFarResult(text))
    return 0;
  static const DialectRegistry registry = [] {
    DialectRegistry registry;
    registerDialects(registry);
    return registry;
  }();
  // What a context has seen it keeps, so one serves for some time only.
  static std::unique_ptr<MLIRContext> context;
  static unsigned runs = 0;
  if (runs++ % 256 == 0)
    context = std::make_unique<MLIRContext>(registry,
                                            MLIRContext::Threading::DISABLED);
  ScopedDiagnosticHandler silent(context.get(),
                                 [](Diagnostic &) { return success(); });
  Stage from = Stage::Import;
  CompilerOptions options = readOptions(text.split('\n').first, from);
  try {
    check(options);
  } catch (const runtime::Error &) {
    return 0;
  }
  if (auto module = parseSourceString<ModuleOp>(text, context.get()))
    lower(*module, from, options);
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size,
                                          size_t limit, unsigned seed) {
  return fuzz::mutateText(data, size, limit, seed);
}
