//===- EmitObject.cpp - Object code from the llvm dialect -----------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Bundle/EmitObject.h"
#include "mlir/IR/Threading.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "pst/Dialect/PST/StageAttributes.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/Module.h"
#include "llvm/IR/OptBisect.h"
#include "llvm/MC/MCSubtargetInfo.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Support/raw_ostream.h"
#include "llvm/Target/TargetMachine.h"
#include "llvm/TargetParser/Host.h"
#include "llvm/TargetParser/SubtargetFeature.h"

using namespace mlir;
using namespace pst;

FailureOr<std::unique_ptr<llvm::TargetMachine>>
pst::createTargetMachine(StringRef tripleName, StringRef cpu, Location loc) {
  static const bool initialized = [] {
    LLVMInitializeX86TargetInfo();
    LLVMInitializeX86Target();
    LLVMInitializeX86TargetMC();
    LLVMInitializeX86AsmPrinter();
    LLVMInitializeAArch64TargetInfo();
    LLVMInitializeAArch64Target();
    LLVMInitializeAArch64TargetMC();
    LLVMInitializeAArch64AsmPrinter();
    return true;
  }();
  (void)initialized;
  llvm::Triple host(llvm::sys::getProcessTriple());
  llvm::Triple triple = tripleName.empty()
                            ? host
                            : llvm::Triple(llvm::Triple::normalize(tripleName));
  std::string error;
  const llvm::Target *target =
      llvm::TargetRegistry::lookupTarget(triple, error);
  if (!target) {
    emitError(loc) << "cannot compile for " << triple.str() << ": " << error;
    return failure();
  }
  if (!triple.isOSBinFormatELF() || !triple.isArch64Bit() ||
      !triple.isLittleEndian()) {
    emitError(loc) << "cannot compile for " << triple.str()
                   << ": a bundle holds ELF code for a 64-bit little-endian "
                      "machine, for instance aarch64-linux-gnu";
    return failure();
  }
  bool isHost = triple.getArch() == host.getArch();
  if (cpu == "native" && !isHost) {
    emitError(loc) << "'native' is " << llvm::sys::getHostCPUName()
                   << ", no CPU of " << triple.str()
                   << ": name one that clang -mcpu=help lists";
    return failure();
  }
  std::string name = cpu.str(), features;
  if (isHost && (cpu.empty() || cpu == "native")) {
    name = llvm::sys::getHostCPUName().str();
    llvm::SubtargetFeatures found;
    for (const auto &feature : llvm::sys::getHostCPUFeatures())
      found.AddFeature(feature.first(), feature.second);
    features = found.getString();
  }
  std::unique_ptr<llvm::MCSubtargetInfo> subtarget(
      target->createMCSubtargetInfo(triple, "", ""));
  if (!name.empty() && !subtarget->isCPUStringValid(name)) {
    emitError(loc) << "unknown CPU '" << name << "' for " << triple.str()
                   << ": name one that clang -mcpu=help lists, or 'native'";
    return failure();
  }
  llvm::TargetOptions options;
  // Scores must not depend on what the backend would like to fuse.
  options.AllowFPOpFusion = llvm::FPOpFusion::Strict;
  return std::unique_ptr<llvm::TargetMachine>(target->createTargetMachine(
      triple, name, features, options, llvm::Reloc::PIC_, std::nullopt,
      llvm::CodeGenOptLevel::Aggressive));
}

std::string pst::featuresOf(const llvm::TargetMachine &machine) {
  // Of the CPU at hand they were found one by one; a name stands for its own.
  if (!machine.getTargetFeatureString().empty())
    return machine.getTargetFeatureString().str();
  llvm::SubtargetFeatures features;
  for (const llvm::SubtargetFeatureKV &feature :
       machine.getMCSubtargetInfo()->getEnabledProcessorFeatures())
    features.AddFeature(feature.Key);
  return features.getString();
}

int64_t pst::vectorWidth(const llvm::TargetMachine &machine) {
  const llvm::MCSubtargetInfo &subtarget = *machine.getMCSubtargetInfo();
  if (machine.getTargetTriple().isX86()) {
    if (subtarget.checkFeatures("+avx512f"))
      return 16;
    return subtarget.checkFeatures("+avx") ? 8 : 4;
  }
  return 4;
}

int64_t pst::expandBits(const llvm::TargetMachine &machine) {
  const llvm::MCSubtargetInfo &subtarget = *machine.getMCSubtargetInfo();
  if (!machine.getTargetTriple().isX86() ||
      !subtarget.checkFeatures("+avx512f,+avx512bw"))
    return 0;
  return subtarget.checkFeatures("+avx512vbmi2,+avx512vnni") ? 8 : 32;
}

bool pst::hasFastGather(const llvm::TargetMachine &machine) {
  return machine.getTargetTriple().isX86() &&
         machine.getMCSubtargetInfo()->checkFeatures("+fast-gather");
}

/// What an O3 pipeline does that matters here: kernels come blocked, unrolled
/// and vectorised as they should be, and never inlined, so what remains is to
/// bring the loops into the shape that code generation likes. A full O3 takes
/// five times as long for the same inner loops (docs/Rationale.md).
static constexpr llvm::StringLiteral kOptimizations =
    "function(sroa,early-cse<memssa>,simplifycfg,"
    "instcombine<no-verify-fixpoint>,"
    "loop-mssa(loop-instsimplify,loop-simplifycfg,licm,loop-rotate,licm),"
    "simplifycfg,loop(loop-idiom),gvn,dse,instcombine<no-verify-fixpoint>,"
    "loop-mssa(licm),simplifycfg)";

/// What makes the code so much smaller that it is compiled sooner.
static constexpr llvm::StringLiteral kFewOptimizations =
    "function(sroa,early-cse<memssa>,simplifycfg,"
    "instcombine<no-verify-fixpoint>)";

/// What checks every access, and the stack's arrays, by calls that the runtime
/// of the address sanitizer answers.
static constexpr llvm::StringLiteral kSanitizer = "asan";

static llvm::Error optimize(llvm::Module &code, llvm::TargetMachine &machine,
                            Effort effort, bool sanitized) {
  llvm::LoopAnalysisManager loops;
  llvm::FunctionAnalysisManager functions;
  llvm::CGSCCAnalysisManager components;
  llvm::ModuleAnalysisManager modules;
  llvm::PassBuilder builder(&machine);
  builder.registerModuleAnalyses(modules);
  builder.registerCGSCCAnalyses(components);
  builder.registerFunctionAnalyses(functions);
  builder.registerLoopAnalyses(loops);
  builder.crossRegisterProxies(loops, functions, components, modules);
  llvm::ModulePassManager passes;
  if (llvm::Error error = builder.parsePassPipeline(
          passes, effort == Effort::Full ? kOptimizations : kFewOptimizations))
    return error;
  if (sanitized) {
    for (llvm::Function &function : code)
      if (!function.isDeclaration())
        function.addFnAttr(llvm::Attribute::SanitizeAddress);
    if (llvm::Error error = builder.parsePassPipeline(passes, kSanitizer))
      return error;
  }
  passes.run(code, modules);
  return llvm::Error::success();
}

/// A machine may serve one thread at a time only.
static std::unique_ptr<llvm::TargetMachine>
copyOf(const llvm::TargetMachine &machine, Effort effort) {
  return std::unique_ptr<llvm::TargetMachine>(
      machine.getTarget().createTargetMachine(
          machine.getTargetTriple(), machine.getTargetCPU(),
          machine.getTargetFeatureString(), machine.Options,
          machine.getRelocationModel(), std::nullopt,
          effort == Effort::Full ? machine.getOptLevel()
                                 : llvm::CodeGenOptLevel::None));
}

namespace {
/// Leaves out what takes a fifth of the time of a compilation: the addresses in
/// kernels are simple enough without it, and what they take is the same
/// (docs/Rationale.md).
struct NoStrengthReduction : llvm::OptPassGate {
  bool shouldRunPass(StringRef pass, StringRef) const override {
    return pass != "Loop Strength Reduction";
  }
  bool isEnabled() const override { return true; }
};
} // namespace

static FailureOr<std::string> emitPart(ModuleOp part,
                                       llvm::TargetMachine &machine,
                                       Effort effort, bool sanitized,
                                       llvm::CodeGenFileType kind) {
  // Outlives the context, which keeps a reference.
  NoStrengthReduction gate;
  llvm::LLVMContext context;
  context.setOptPassGate(gate);
  std::unique_ptr<llvm::Module> code =
      translateModuleToLLVMIR(part, context, "pst");
  if (!code)
    return part.emitError("cannot be translated to LLVM IR");
  code->setTargetTriple(machine.getTargetTriple());
  code->setDataLayout(machine.createDataLayout());
  if (llvm::Error error = optimize(*code, machine, effort, sanitized))
    return part.emitError() << llvm::toString(std::move(error));

  llvm::SmallVector<char, 0> buffer;
  llvm::raw_svector_ostream stream(buffer);
  llvm::legacy::PassManager emit;
  if (machine.addPassesToEmitFile(emit, stream, nullptr, kind))
    return part.emitError("LLVM writes no code for this target");
  emit.run(*code);
  return std::string(buffer.begin(), buffer.end());
}

static FailureOr<std::vector<std::string>>
emitParts(ModuleOp module, const llvm::TargetMachine &machine, Effort effort,
          llvm::CodeGenFileType kind) {
  SmallVector<ModuleOp> parts(module.getOps<ModuleOp>());
  std::vector<std::string> results(parts.size());
  bool sanitized = module->hasAttr(kRedZonesAttribute);
  if (failed(failableParallelForEachN(
          module.getContext(), 0, parts.size(), [&](size_t i) -> LogicalResult {
            FailureOr<std::string> result = emitPart(
                parts[i], *copyOf(machine, effort), effort, sanitized, kind);
            if (failed(result))
              return failure();
            results[i] = std::move(*result);
            return success();
          })))
    return failure();
  return results;
}

FailureOr<std::vector<std::string>>
pst::emitObjects(ModuleOp module, const llvm::TargetMachine &machine,
                 Effort effort) {
  return emitParts(module, machine, effort, llvm::CodeGenFileType::ObjectFile);
}

FailureOr<std::string> pst::emitAssembly(ModuleOp module,
                                         const llvm::TargetMachine &machine) {
  FailureOr<std::vector<std::string>> parts = emitParts(
      module, machine, Effort::Full, llvm::CodeGenFileType::AssemblyFile);
  if (failed(parts))
    return failure();
  return llvm::join(*parts, "\n");
}
