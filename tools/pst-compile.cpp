//===- pst-compile.cpp - Compiles a model or a module to a bundle ---------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "mlir/IR/AsmState.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Support/FileUtilities.h"
#include "pst/Compiler.h"
#include "pst/Dialect/PST/StageAttributes.h"
#include "pst/Import/Import.h"
#include "pst/Runtime/Memory.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/InitLLVM.h"
#include "llvm/Support/SourceMgr.h"
#include "llvm/Support/ToolOutputFile.h"

using namespace mlir;
namespace cl = llvm::cl;

static cl::opt<std::string>
    input(cl::Positional, cl::Required,
          cl::desc("<model directory, .mlir file, or for a plan "
                   "config.json>"));
static cl::opt<std::string> output("o", cl::init("-"),
                                   cl::desc("bundle, or file of --emit"),
                                   cl::value_desc("path"));
static cl::opt<std::string>
    emit("emit", cl::init("bundle"),
         cl::desc("import, sparsify, autodiff, optimizer, kernels, memory, "
                  "llvm, asm, ptx, emulation, plan or bundle"));
static cl::opt<std::string> method("method", cl::init("pst"),
                                   cl::desc("pst, dense, lora, map or mvp"));
static cl::opt<int64_t> weightRank("weight-rank", cl::init(8));
static cl::opt<int64_t> maskRank("mask-rank", cl::init(8));
static cl::opt<double> beta("weight-beta", cl::init(1.0));
static cl::opt<double> alpha1("mask-alpha1", cl::init(1.0));
static cl::opt<double> alpha2("mask-alpha2", cl::init(1.0));
static cl::opt<bool> detach("detach-magnitude", cl::init(false));
static cl::opt<int64_t> batch("batch-size", cl::init(32));
static cl::opt<int64_t> length("sequence-length", cl::init(128));
static cl::opt<int64_t> labels("num-labels", cl::init(0),
                               cl::desc("0: what the config says"));
static cl::opt<pst::TaskKind>
    task("task", cl::init(pst::TaskKind::automatic),
         cl::desc("what the model is made to do (default: as the config says)"),
         cl::values(clEnumValN(pst::TaskKind::classify, "classification",
                               "classes of texts, or a number"),
                    clEnumValN(pst::TaskKind::predictTokens, "lm",
                               "predict the next token")));
static cl::opt<bool> regression("regression", cl::init(false));
static cl::opt<double> dropout("dropout", cl::init(-1.0),
                               cl::desc("negative: what the config says"));
static cl::opt<bool> inference("inference", cl::init(false),
                               cl::desc("compile the evaluation only"));
static cl::opt<std::string>
    recompute("recompute", cl::init("cheap"),
              cl::desc("what the backward computes again instead of keeping "
                       "it: none, cheap or all (--plan-only tells the price)"));
static cl::opt<std::string>
    products("products", cl::init("auto"),
             cl::desc("how masked weights enter their products: auto, packed, "
                      "buffer or compressed"));
static cl::list<int64_t>
    blocks("blocks", cl::CommaSeparated, cl::value_desc("M,N,K"),
           cl::desc("block sizes of dense products; 0, or none: by the caches "
                    "(--emit=kernels prints them)"));
static cl::opt<std::string> frozenType(
    "frozen-type", cl::init("f32"),
    cl::desc("frozen matrices in memory: f32, or bf16 (half of it)"));
static cl::opt<std::string> precision(
    "precision", cl::init("f32"),
    cl::desc("activations and their gradients: f32, or bf16; or tf32: f32, "
             "but rounded where they are multiplied (both not on CPUs)"));
static cl::opt<bool> profile("profile", cl::init(false),
                             cl::desc("measure the time of each kernel; "
                                      "pst-bench step --profile prints it"));
static cl::opt<bool> planOnly("plan-only", cl::init(false),
                              cl::desc("print the memory plan; needs no "
                                       "weights, only config.json"));
static cl::opt<bool> noCache("no-cache", cl::init(false),
                             cl::desc("compile anew, and keep nothing for the "
                                      "next time"));
static cl::opt<std::string> triple("mtriple",
                                   cl::desc("target triple (default: this)"));
static cl::opt<std::string>
    target("target", cl::init("cpu"),
           cl::desc("cpu, cuda, or emulated (the GPU's kernels on this CPU)"));
static cl::opt<std::string> gpuArch("gpu-arch", cl::init("sm_90a"),
                                    cl::desc("sm_80 or sm_90a"));
static cl::opt<std::string> cpu("mcpu", cl::desc("target CPU (default: this)"));

/// "recomputed  38.7 GFLOP beside the 2087.4 GFLOP of a step (1.9 %)"
static std::string formatRecompute(DictionaryAttr price) {
  double again = price.getAs<FloatAttr>("flops").getValueAsDouble();
  double step = price.getAs<FloatAttr>("step").getValueAsDouble();
  return llvm::formatv("recomputed: {0:f1} GFLOP beside the {1:f1} GFLOP of a "
                       "dense step ({2:f1} %)\n",
                       again / 1e9, step / 1e9, 100 * again / step)
      .str();
}

/// "precision: bf16 saves 38.7 MiB of the 92.1 MiB that the arena takes in f32"
static std::string formatSaving(const pst::MemoryPlan &narrow,
                                const pst::MemoryPlan &wide) {
  auto format = pst::runtime::formatBytes;
  return "precision: bf16 saves " + format(wide.arena - narrow.arena) +
         " of the " + format(wide.arena) + " that the arena takes in f32\n";
}

static OwningOpRef<ModuleOp> load(MLIRContext &context,
                                  const pst::CompilerOptions &options) {
  if (llvm::sys::fs::is_directory(input) ||
      StringRef(input).ends_with(".json")) {
    FailureOr<OwningOpRef<ModuleOp>> module =
        pst::importModel(context, input, options.model);
    return succeeded(module) ? std::move(*module) : nullptr;
  }
  return parseSourceFile<ModuleOp>(input, ParserConfig(&context));
}

/// A location of line 0 is a file as a whole, and is printed without ":0:0".
static LogicalResult printWholeFile(Diagnostic &diagnostic) {
  auto location = diagnostic.getLocation()->findInstanceOf<FileLineColLoc>();
  if (!location || location.getLine() != 0)
    return failure(); // for the handler below
  auto print = [&](Diagnostic &what) {
    StringRef kind =
        what.getSeverity() == DiagnosticSeverity::Error     ? "error"
        : what.getSeverity() == DiagnosticSeverity::Warning ? "warning"
        : what.getSeverity() == DiagnosticSeverity::Remark  ? "remark"
                                                            : "note";
    llvm::errs() << location.getFilename().getValue() << ": " << kind << ": "
                 << what << "\n";
  };
  print(diagnostic);
  for (Diagnostic &note : diagnostic.getNotes())
    print(note);
  return success();
}

int main(int argc, char **argv) {
  llvm::InitLLVM init(argc, argv);
  cl::ParseCommandLineOptions(
      argc, argv, "Compiles a model directory or a module to a bundle\n");
  pst::CompilerOptions options;
  options.method = method;
  options.weightRank = weightRank;
  options.maskRank = maskRank;
  options.beta = beta;
  options.alpha1 = alpha1;
  options.alpha2 = alpha2;
  options.detachMagnitude = detach;
  options.model.batch = batch;
  options.model.length = length;
  options.model.allowMissingWeights = planOnly;
  if (labels > 0)
    options.model.numLabels = labels;
  options.model.regression = regression;
  options.model.task = task;
  if (dropout >= 0)
    options.model.dropout = dropout;
  options.training = !inference;
  options.recompute = recompute;
  options.products = products;
  if (!blocks.empty() && blocks.size() != 3) {
    llvm::errs()
        << "error: --blocks takes three sizes, as in --blocks=96,768,384\n";
    return 1;
  }
  if (!blocks.empty()) {
    options.mBlock = blocks[0];
    options.nBlock = blocks[1];
    options.kBlock = blocks[2];
  }
  options.frozenType = frozenType;
  options.precision = precision;
  options.profile = profile;
  options.triple = triple;
  options.cpu = cpu;
  options.cache = !noCache;
  options.target = target;
  options.gpuArch = gpuArch;

  DialectRegistry registry;
  pst::registerDialects(registry);
  MLIRContext context(registry);
  context.printOpOnDiagnostic(false);
  llvm::SourceMgr sources;
  SourceMgrDiagnosticHandler handler(sources, &context, llvm::errs());
  ScopedDiagnosticHandler wholeFiles(&context, printWholeFile);
  OwningOpRef<ModuleOp> module = load(context, options);
  if (!module)
    return 1;

  std::string text;
  llvm::raw_string_ostream stream(text);
  if (planOnly || emit == "plan") {
    OwningOpRef<ModuleOp> copy;
    if (options.precision == "bf16")
      copy = (*module).clone();
    FailureOr<pst::Manifest> manifest = pst::planMemory(*module, options);
    if (failed(manifest))
      return 1;
    stream << pst::runtime::formatMemoryPlan(manifest->memory);
    if (copy) {
      options.precision = "f32";
      FailureOr<pst::Manifest> wide = pst::planMemory(*copy, options);
      if (failed(wide))
        return 1;
      stream << formatSaving(manifest->memory, wide->memory);
    }
    if (auto price =
            (*module)->getAttrOfType<DictionaryAttr>(pst::kRecomputeAttribute))
      stream << formatRecompute(price);
  } else if (emit == "bundle") {
    if (output == "-") {
      llvm::errs() << "error: name the bundle with -o DIRECTORY, or print a "
                      "stage with --emit=STAGE\n";
      return 1;
    }
    FailureOr<pst::CompiledProgram> program = pst::compile(*module, options);
    return failed(program) ||
           failed(pst::writeBundle(*program, output,
                                   FileLineColLoc::get(&context, input, 0, 0)));
  } else if (emit == "emulation") {
    FailureOr<std::vector<std::string>> objects =
        pst::compileToEmulation(*module, options);
    return failed(objects) ||
           failed(pst::writeLibrary(
               *objects, output, FileLineColLoc::get(&context, input, 0, 0)));
  } else if (emit == "asm") {
    FailureOr<std::string> assembly = pst::compileToAssembly(*module, options);
    if (failed(assembly))
      return 1;
    stream << *assembly;
  } else if (emit == "ptx") {
    FailureOr<std::string> ptx = pst::compileToPTX(*module, options);
    if (failed(ptx))
      return 1;
    stream << *ptx;
  } else if (std::optional<pst::Stage> stage = pst::parseStage(emit)) {
    if (failed(pst::lowerTo(*module, *stage, options)))
      return 1;
    module->print(stream);
    stream << "\n";
  } else {
    llvm::errs() << "error: unknown stage '" << emit
                 << "'; --help lists them\n";
    return 1;
  }
  std::string message;
  std::unique_ptr<llvm::ToolOutputFile> file = openOutputFile(output, &message);
  if (!file) {
    llvm::errs() << "error: " << message << "\n";
    return 1;
  }
  file->os() << text;
  file->keep();
  return 0;
}
