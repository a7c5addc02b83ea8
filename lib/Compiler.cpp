//===- Compiler.cpp - From a module to a program --------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Compiler.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Pass/PassManager.h"
#include "pst/Bundle/BuildLaunches.h"
#include "pst/Bundle/BuildManifest.h"
#include "pst/Bundle/EmitObject.h"
#include "pst/Bundle/EmitPTX.h"
#include "pst/Bundle/ProgramCache.h"
#include "pst/Options/Targets.h"
#include "pst/Runtime/Files.h"
#include "pst/Transforms/Recipes.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/BLAKE3.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Target/TargetMachine.h"

using namespace mlir;
using namespace pst;

/// Refuses options that cannot be, and those that the target has no use for.
static LogicalResult verifyOptions(ModuleOp module,
                                   const CompilerOptions &options) {
  try {
    check(options);
  } catch (const runtime::Error &error) {
    return module.emitError(error.what());
  }
  return success();
}

/// Gives kernels vectors as wide as the CPU's, unless the user chose others,
/// and what it can do with these.
static LogicalResult chooseVectors(ModuleOp module, CompilerOptions &options) {
  if (targetOf(options).kernels != KernelFamily::CPU)
    return success();
  auto machine =
      createTargetMachine(options.triple, options.cpu, module.getLoc());
  if (failed(machine))
    return failure();
  int64_t widest = vectorWidth(**machine);
  if (options.vectorWidth > widest)
    module.emitWarning("--vector_width ")
        << options.vectorWidth << " is more than the " << widest
        << " lanes that " << (*machine)->getTargetCPU()
        << " has: each vector takes several of its own, and time";
  if (options.vectorWidth == 0)
    options.vectorWidth = widest;
  // Those that are expanded are of 512 bits.
  options.expandBits = options.vectorWidth < 16 ? 0 : expandBits(**machine);
  options.hasFastGather = hasFastGather(**machine);
  return success();
}

/// Runs the stages after `from` up to `to`.
static LogicalResult runStages(ModuleOp module, Stage from, Stage to,
                               CompilerOptions options) {
  if (failed(verifyOptions(module, options)))
    return failure();
  if (from < Stage::Kernels && to >= Stage::Sparsify)
    if (failed(chooseVectors(module, options)))
      return failure();
  // Verified after each stage: after each pass takes as long as the passes.
  for (int stage = static_cast<int>(from) + 1; stage <= static_cast<int>(to);
       ++stage) {
    PassManager passes(module.getContext());
    if (options.preparePasses && failed(options.preparePasses(passes)))
      return failure();
    passes.enableVerifier(false);
    buildStage(passes, static_cast<Stage>(stage), options);
    if (failed(passes.run(module)) || failed(verify(module)))
      return failure();
  }
  return success();
}

LogicalResult pst::lowerTo(ModuleOp module, Stage stage,
                           const CompilerOptions &options) {
  return runStages(module, Stage::Import, stage, options);
}

FailureOr<Manifest> pst::planMemory(ModuleOp module,
                                    const CompilerOptions &options) {
  if (failed(lowerTo(module, Stage::Memory, options)))
    return failure();
  return buildManifest(module);
}

/// The kernels of a module at the stage LLVM, as PTX.
static FailureOr<std::string> emitKernels(ModuleOp module,
                                          const CompilerOptions &options) {
  auto kernels = module.getOps<gpu::GPUModuleOp>();
  if (kernels.empty())
    return module.emitError("has nothing to run on a GPU");
  return emitPTX(*kernels.begin(), runtime::spell(options.gpuArch));
}

FailureOr<std::string> pst::compileToPTX(ModuleOp module,
                                         CompilerOptions options) {
  options.target = TargetKind::CUDA;
  if (failed(lowerTo(module, Stage::LLVM, options)))
    return failure();
  return emitKernels(module, options);
}

FailureOr<std::vector<std::string>>
pst::compileToEmulation(ModuleOp module, CompilerOptions options) {
  options.target = TargetKind::Emulation;
  auto machine =
      createTargetMachine(options.triple, options.cpu, module.getLoc());
  if (failed(machine) || failed(lowerTo(module, Stage::LLVM, options)))
    return failure();
  return emitObjects(module, **machine, Effort::Least);
}

/// What a file of the user's says now, and where it lies, as files that it
/// names lie there too. Nothing for a text, which says itself.
static std::string fileState(StringRef path) {
  if (path.empty() || isCriterionText(path))
    return "";
  SmallString<256> absolute(path);
  (void)llvm::sys::fs::make_absolute(absolute);
  try {
    return absolute.str().str() + runtime::readFile(path.str());
  } catch (const runtime::Error &) {
    return absolute.str().str(); // told where it is read for its meaning
  }
}

/// Digest of all that a compiled program depends on: the compiler, the machine,
/// the options, and the module, which names weights and has none of their
/// values; locations are not printed.
static std::string cacheKey(ModuleOp module, const llvm::TargetMachine &machine,
                            const CompilerOptions &options) {
  std::string text;
  llvm::raw_string_ostream stream(text);
  auto add = [&](const auto &part) { stream << part << '\0'; };
  add(compilerBuildId());
  add(machine.getTargetTriple().str());
  add(machine.getTargetCPU());
  add(machine.getTargetFeatureString());
  add(digestText(options));
  add(fileState(options.recipe.criterion));
  add(fileState(options.recipe.layerSparsity));
  module->print(stream, OpPrintingFlags().printGenericOpForm());
  return llvm::toHex(llvm::BLAKE3::hash(llvm::arrayRefFromStringRef(text)),
                     /*LowerCase=*/true);
}

/// What no runtime would take is told where it is made.
static LogicalResult verifyManifest(ModuleOp module, const Manifest &manifest) {
  try {
    manifest.verify();
  } catch (const ManifestError &error) {
    return module.emitError(error.what());
  }
  return success();
}

static FailureOr<CompiledProgram>
compileForGPU(ModuleOp module, const CompilerOptions &options) {
  FailureOr<Manifest> manifest = planMemory(module, options);
  if (failed(manifest) ||
      failed(runStages(module, Stage::Memory, Stage::LLVM, options)))
    return failure();
  manifest->triple = kGPUTriple;
  manifest->cpu = runtime::spell(options.gpuArch);
  for (auto &[name, entry] : manifest->entryPoints) {
    auto launches = buildLaunches(module.lookupSymbol<func::FuncOp>(name));
    if (failed(launches))
      return failure();
    entry.symbol.clear();
    entry.launches = std::move(*launches);
  }
  FailureOr<std::string> kernels = emitKernels(module, options);
  if (failed(kernels))
    return failure();
  if (failed(verifyManifest(module, *manifest)))
    return failure();
  return CompiledProgram{std::move(*manifest), {std::move(*kernels)}};
}

static FailureOr<CompiledProgram> compileAnew(ModuleOp module,
                                              llvm::TargetMachine &machine,
                                              const CompilerOptions &options) {
  if (targetOf(options).code == CodeForm::PTX)
    return compileForGPU(module, options);
  FailureOr<Manifest> manifest = planMemory(module, options);
  if (failed(manifest))
    return failure();
  manifest->triple = machine.getTargetTriple().str();
  manifest->cpu = machine.getTargetCPU().str();
  manifest->features = featuresOf(machine);
  if (failed(verifyManifest(module, *manifest)))
    return failure();
  if (failed(runStages(module, Stage::Memory, Stage::LLVM, options)))
    return failure();
  // Of a run that is emulated, compiling is the longer part.
  Effort effort =
      targetOf(options).code == CodeForm::Object ? Effort::Full : Effort::Least;
  FailureOr<std::vector<std::string>> objects =
      emitObjects(module, machine, effort);
  if (failed(objects))
    return failure();
  return CompiledProgram{std::move(*manifest), std::move(*objects)};
}

FailureOr<CompiledProgram> pst::compile(ModuleOp module,
                                        const CompilerOptions &options) {
  if (failed(verifyOptions(module, options)))
    return failure();
  if (targetOf(options).code == CodeForm::EmulatedKernels)
    return module.emitError("the target '")
           << runtime::spell(options.target)
           << "' has kernels alone, and no program: --emit=emulation writes "
              "them to a library";
  auto machine =
      createTargetMachine(options.triple, options.cpu, module.getLoc());
  if (failed(machine))
    return failure();
  if (!options.cache)
    return compileAnew(module, **machine, options);
  ProgramCache cache(ProgramCache::defaultDirectory());
  std::string key = cacheKey(module, **machine, options);
  if (std::optional<CompiledProgram> program = cache.find(key))
    return std::move(*program);
  FailureOr<CompiledProgram> program = compileAnew(module, **machine, options);
  if (succeeded(program))
    if (llvm::Error error = cache.store(key, *program))
      emitWarning(module.getLoc()) << llvm::toString(std::move(error));
  return program;
}

FailureOr<std::string> pst::compileToAssembly(ModuleOp module,
                                              const CompilerOptions &options) {
  if (targetOf(options).code == CodeForm::PTX)
    return module.emitError("the target '")
           << runtime::spell(options.target)
           << "' has no machine code to print: --emit=ptx prints its kernels";
  auto machine =
      createTargetMachine(options.triple, options.cpu, module.getLoc());
  if (failed(machine) || failed(lowerTo(module, Stage::LLVM, options)))
    return failure();
  return emitAssembly(module, **machine);
}
