//===- CompileCommand.cpp - The command pst-compile -----------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Driver/CompileCommand.h"
#include "TableFlags.h"
#include "mlir/IR/AsmState.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/Passes.h"
#include "pst/Bundle/WriteBundle.h"
#include "pst/Codegen/GPUPasses.h"
#include "pst/Codegen/Passes.h"
#include "pst/Compiler.h"
#include "pst/Dialect/PST/PSTOps.h"
#include "pst/Dialect/PST/StageAttributes.h"
#include "pst/Import/Import.h"
#include "pst/Options/Targets.h"
#include "pst/Runtime/Files.h"
#include "pst/Runtime/Generation.h"
#include "pst/Runtime/Memory.h"
#include "pst/Runtime/TrainingOptions.h"
#include "pst/Transforms/Passes.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/ErrorHandling.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/SourceMgr.h"

#include <csignal>
#include <cstring>
#include <new>
#include <unistd.h>

using namespace mlir;
using namespace pst;
namespace cl = llvm::cl;

namespace {
struct Arguments {
  cl::opt<std::string> input{cl::Positional,
                             cl::desc("<model directory, .mlir file, or for a "
                                      "plan config.json>")};
  cl::opt<std::string> output{"o", cl::init("-"),
                              cl::desc("bundle, or file of --emit"),
                              cl::value_desc("path")};
  cl::opt<std::string> emit{
      "emit", cl::init("bundle"),
      cl::desc("import, sparsify, autodiff, optimizer, kernels, memory, "
               "llvm, asm, ptx, emulation, plan or bundle")};
  cl::opt<bool> planOnly{"plan-only",
                         cl::desc("print the memory plan; needs no weights, "
                                  "only config.json")};
  cl::opt<bool> listOptions{"list-options",
                            cl::desc("print the options of the compiler and "
                                     "of training, as Markdown")};
  TableFlags table;
};
} // namespace

static LogicalResult complain(const llvm::Twine &message) {
  llvm::errs() << "error: " << message << "\n";
  return failure();
}

/// "recomputed  38.7 GFLOP beside the 2087.4 GFLOP of a step (1.9 %)"
static std::string formatRecompute(DictionaryAttr price) {
  double again = price.getAs<FloatAttr>("flops").getValueAsDouble();
  double step = price.getAs<FloatAttr>("step").getValueAsDouble();
  return llvm::formatv("recomputed: {0:f1} GFLOP beside the {1:f1} GFLOP of a "
                       "dense step ({2:f1} %)\n",
                       again / 1e9, step / 1e9, 100 * again / step)
      .str();
}

/// "masked weights: 36 of 36 are evaluated once a step, and kept in 20.2 MiB"
static std::string formatKeptWeights(DictionaryAttr kept) {
  auto number = [&](StringRef name) {
    return kept.getAs<IntegerAttr>(name).getInt();
  };
  return llvm::formatv("masked weights: {0} of {1} are evaluated once a step, "
                       "and kept in {2}\n",
                       number("kept"), number("weights"),
                       runtime::formatBytes(number("bytes")))
      .str();
}

/// "precision: bf16 saves 38.7 MiB of the 92.1 MiB that the arena takes in f32"
static std::string formatSaving(const MemoryPlan &narrow,
                                const MemoryPlan &wide) {
  auto format = runtime::formatBytes;
  return "precision: bf16 saves " + format(wide.arena - narrow.arena) +
         " of the " + format(wide.arena) + " that the arena takes in f32\n";
}

static OwningOpRef<ModuleOp> load(MLIRContext &context, StringRef input,
                                  const ImportOptions &options) {
  if (llvm::sys::fs::is_directory(input) || input.ends_with(".json")) {
    FailureOr<OwningOpRef<ModuleOp>> module =
        importModel(context, input, options);
    return succeeded(module) ? std::move(*module) : nullptr;
  }
  return parseSourceFile<ModuleOp>(input, ParserConfig(&context));
}

/// A location of line 0 is a file as a whole, and is printed without ":0:0"; so
/// is a model, whose module is called as its directory.
static LogicalResult printWholeFile(Diagnostic &diagnostic) {
  auto location = diagnostic.getLocation()->findInstanceOf<FileLineColLoc>();
  auto name = dyn_cast<NameLoc>(diagnostic.getLocation());
  if (location ? location.getLine() != 0 : !name)
    return failure(); // for the handler below
  StringRef place =
      (location ? location.getFilename() : name.getName()).getValue();
  auto print = [&](Diagnostic &what) {
    StringRef kind =
        what.getSeverity() == DiagnosticSeverity::Error     ? "error"
        : what.getSeverity() == DiagnosticSeverity::Warning ? "warning"
        : what.getSeverity() == DiagnosticSeverity::Remark  ? "remark"
                                                            : "note";
    llvm::errs() << place << ": " << kind << ": " << what << "\n";
  };
  print(diagnostic);
  for (Diagnostic &note : diagnostic.getNotes())
    print(note);
  return success();
}

/// "weights: 70 of 72 with zeros are compressed, 12 of them with a bit for each
/// element; their products take 21.3 ms of a thread, 160.2 ms if all are
/// dense", as -pst-store-weights reckons; nothing if it had no choice.
static std::string formatWeights(ModuleOp module) {
  SymbolTable symbols(module);
  int64_t all = 0, stored = 0, bits = 0;
  double chosen = 0, dense = 0;
  for (auto weight : module.getOps<ParameterOp>()) {
    auto cost = weight->getAttrOfType<DictionaryAttr>(kCostAttribute);
    if (!cost)
      continue;
    auto has = [&](StringRef tensor) {
      return symbols.lookup((weight.getSymName() + tensor).str()) != nullptr;
    };
    bool hasBits = cost.contains("bitmask") && has(".pst_bits");
    StringRef storage = has(".pst_cells") ? "compressed"
                        : hasBits         ? "bitmask"
                                          : "dense";
    auto milliseconds = [&](StringRef storage) {
      return cost.getAs<FloatAttr>(storage).getValueAsDouble() / 1e3;
    };
    ++all;
    stored += storage != "dense";
    bits += storage == "bitmask";
    dense += milliseconds("dense");
    chosen += milliseconds(storage);
  }
  if (all == 0)
    return "";
  return llvm::formatv("weights: {0} of {1} with zeros are compressed, {2} of "
                       "them with a bit for each element; their products take "
                       "{3:f1} ms of a thread, {4:f1} ms if all are dense\n",
                       stored, all, bits, chosen, dense)
      .str();
}

/// What memory the module needs, and what was paid or saved for it.
static LogicalResult printPlan(ModuleOp module, CompilerOptions options,
                               llvm::raw_ostream &stream) {
  OwningOpRef<ModuleOp> copy;
  if (options.precision == Precision::BF16)
    copy = module.clone();
  FailureOr<Manifest> manifest = planMemory(module, options);
  if (failed(manifest))
    return failure();
  stream << runtime::formatMemoryPlan(manifest->memory)
         << formatWeights(module);
  if (copy) {
    options.precision = Precision::F32;
    FailureOr<Manifest> wide = planMemory(*copy, options);
    if (failed(wide))
      return failure();
    stream << formatSaving(manifest->memory, wide->memory);
  }
  if (auto price = module->getAttrOfType<DictionaryAttr>(kRecomputeAttribute))
    stream << formatRecompute(price);
  if (auto kept = module->getAttrOfType<DictionaryAttr>(kKeptWeightsAttribute))
    stream << formatKeptWeights(kept);
  return success();
}

/// What is printed for `emit`, which is no bundle.
static LogicalResult print(ModuleOp module, StringRef emit,
                           const CompilerOptions &options,
                           llvm::raw_ostream &stream) {
  if (emit == "plan")
    return printPlan(module, options, stream);
  if (emit == "asm" || emit == "ptx") {
    FailureOr<std::string> text = emit == "asm"
                                      ? compileToAssembly(module, options)
                                      : compileToPTX(module, options);
    if (succeeded(text))
      stream << *text;
    return text;
  }
  std::optional<Stage> stage = parseStage(emit);
  if (!stage)
    return complain("unknown stage '" + emit + "'; --help lists them");
  if (failed(lowerTo(module, *stage, options)))
    return failure();
  module->print(stream);
  stream << "\n";
  return success();
}

static LogicalResult writeText(StringRef file, StringRef text) {
  if (file == "-") {
    llvm::outs() << text;
    llvm::outs().flush();
    std::error_code error = llvm::outs().error();
    llvm::outs().clear_error();
    return error ? complain("standard output: cannot be written: " +
                            error.message())
                 : success();
  }
  try {
    runtime::writeFile(file.str(), text);
  } catch (const runtime::Error &error) {
    return complain(error.what());
  }
  return success();
}

static LogicalResult compileInput(const Arguments &arguments,
                                  const CompilerOptions &options) {
  StringRef input = arguments.input, output = arguments.output;
  StringRef emit = arguments.planOnly ? "plan" : StringRef(arguments.emit);
  DialectRegistry registry;
  registerDialects(registry);
  MLIRContext context(registry);
  context.printOpOnDiagnostic(false);
  llvm::SourceMgr sources;
  SourceMgrDiagnosticHandler handler(sources, &context, llvm::errs());
  ScopedDiagnosticHandler wholeFiles(&context, printWholeFile);
  Location file = FileLineColLoc::get(&context, input, 0, 0);
  if (emit == "bundle") {
    if (output == "-")
      return complain("name the bundle with -o DIRECTORY, or print a stage "
                      "with --emit=STAGE");
    if (failed(verifyBundlePlace(output, file)))
      return failure();
  }
  OwningOpRef<ModuleOp> module = load(context, input, importOptions(options));
  if (!module)
    return failure();
  if (emit == "bundle") {
    FailureOr<CompiledProgram> program = compile(*module, options);
    return failed(program) ? failure() : writeBundle(*program, output, file);
  }
  if (emit == "emulation") {
    auto objects = compileToEmulation(*module, options);
    return failed(objects) ? failure() : writeLibrary(*objects, output, file);
  }
  std::string text;
  llvm::raw_string_ostream stream(text);
  if (failed(print(*module, emit, options, stream)))
    return failure();
  return writeText(output, text);
}

/// docs/generated/Options.md
static std::string listOptions() {
  return "<!-- Autogenerated by pst-compile --list-options; don't manually "
         "edit -->\n\n# Options\n\n"
         "The headings say who has them: `method` and `machine` are options of "
         "`pst train`,\n`pst compile` and `pst.Trainer` (those of `machine` of "
         "`pst eval`, too), those of `inference`\nof what runs a saved model, "
         "and all are options of `pst-compile` and `pst.compile`. Flags of "
         "`pst-compile` may be spelled with\n`-` for "
         "`_`; `cpu` and `triple` are `--mcpu` and `--mtriple` there.\n\n"
         "## Of the compiler\n" +
         runtime::formatOptions(compilerOptions().infos()) +
         "\n### Targets\n\nWhat a target refuses, it has no use for.\n" +
         formatTargets() +
         "\n## Of training\n\n"
         "Of `pst train`, `pst.Trainer` and `pst-run train`.\n" +
         runtime::formatOptions(runtime::trainingOptions().infos()) +
         "\n## Of generation\n\n"
         "Of `pst generate`, `generate()` of what `pst.load` gives, and "
         "`pst-run generate`.\n" +
         runtime::formatOptions(runtime::generationOptions().infos());
}

/// Ends the process with a sentence: where memory ends, LLVM cannot go on.
[[noreturn]] static void endWith(const char *reason) {
  for (const char *text : {"pst-compile: error: ", reason, "\n"})
    (void)!::write(STDERR_FILENO, text, std::strlen(text));
  ::_exit(1);
}

static void handleWhatEndsLLVM() {
  // A limit on file sizes is an error that can be told.
  std::signal(SIGXFSZ, SIG_IGN);
  constexpr const char *memory =
      "there is not enough memory to compile this: a smaller --batch_size or "
      "--sequence_length needs less";
  std::set_new_handler([] { endWith(memory); });
  llvm::install_bad_alloc_error_handler(
      [](void *, const char *, bool) { endWith(memory); });
  llvm::install_fatal_error_handler(
      [](void *, const char *reason, bool) { endWith(reason); });
}

int pst::runCompileCommand(int argc, char **argv) {
  handleWhatEndsLLVM();
  Arguments arguments;
  // Passes are named by --mlir-print-ir-after and its like.
  registerPSTTransformsPasses();
  registerPSTCodegenPasses();
  registerPSTGPUPasses();
  registerTransformsPasses();
  registerAsmPrinterCLOptions();
  registerMLIRContextCLOptions();
  registerPassManagerCLOptions();
  cl::ParseCommandLineOptions(
      argc, argv, "Compiles a model directory or a module to a bundle\n");
  if (arguments.listOptions)
    return failed(writeText(arguments.output, listOptions()));
  if (arguments.input.empty())
    return failed(complain("name a model directory or an .mlir file"));
  CompilerOptions options;
  options.model.allowMissingWeights = arguments.planOnly;
  options.preparePasses = applyPassManagerCLOptions;
  try {
    arguments.table.readTo(options);
    // Each of these has one target only.
    if (arguments.emit == "ptx")
      options.target = TargetKind::CUDA;
    else if (arguments.emit == "emulation")
      options.target = TargetKind::Emulation;
    check(options);
  } catch (const runtime::Error &error) {
    return failed(complain(error.what()));
  }
  return failed(compileInput(arguments, options));
}
