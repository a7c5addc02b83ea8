//===- EmitPTX.cpp - PTX from a module of GPU kernels ---------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Bundle/EmitPTX.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/Module.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Support/raw_ostream.h"
#include "llvm/Target/TargetMachine.h"

using namespace mlir;

/// The PTX version that a kernel for `arch` is written in; empty if we do not
/// know the architecture. LLVM's default (6.0) would abort the process.
static StringRef ptxVersion(StringRef arch) {
  return llvm::StringSwitch<StringRef>(arch)
      .Case("sm_80", "+ptx80")
      .Case("sm_90a", "+ptx87")
      .Default("");
}

static std::unique_ptr<llvm::TargetMachine> createMachine(StringRef arch) {
  static const bool initialized = [] {
    LLVMInitializeNVPTXTargetInfo();
    LLVMInitializeNVPTXTarget();
    LLVMInitializeNVPTXTargetMC();
    LLVMInitializeNVPTXAsmPrinter();
    return true;
  }();
  (void)initialized;
  llvm::Triple triple("nvptx64-nvidia-cuda");
  std::string error;
  const llvm::Target *target =
      llvm::TargetRegistry::lookupTarget(triple, error);
  if (!target)
    return nullptr;
  llvm::TargetOptions options;
  // Scores must not depend on what the backend would like to fuse: additions
  // and products are written with .rn, which ptxas leaves alone.
  options.AllowFPOpFusion = llvm::FPOpFusion::Strict;
  return std::unique_ptr<llvm::TargetMachine>(target->createTargetMachine(
      triple, arch, ptxVersion(arch), options, std::nullopt, std::nullopt,
      llvm::CodeGenOptLevel::Aggressive));
}

static void optimize(llvm::Module &code, llvm::TargetMachine &machine) {
  llvm::PipelineTuningOptions tuning;
  tuning.LoopVectorization = false;
  tuning.SLPVectorization = false;
  llvm::LoopAnalysisManager loops;
  llvm::FunctionAnalysisManager functions;
  llvm::CGSCCAnalysisManager components;
  llvm::ModuleAnalysisManager modules;
  llvm::PassBuilder builder(&machine, tuning);
  builder.registerModuleAnalyses(modules);
  builder.registerCGSCCAnalyses(components);
  builder.registerFunctionAnalyses(functions);
  builder.registerLoopAnalyses(loops);
  builder.crossRegisterProxies(loops, functions, components, modules);
  builder.buildPerModuleDefaultPipeline(llvm::OptimizationLevel::O3)
      .run(code, modules);
}

FailureOr<std::string> pst::emitPTX(gpu::GPUModuleOp kernels, StringRef arch) {
  if (ptxVersion(arch).empty())
    return kernels.emitError("unknown GPU architecture '")
           << arch << "': sm_80 and sm_90a are known";
  std::unique_ptr<llvm::TargetMachine> machine = createMachine(arch);
  if (!machine)
    return kernels.emitError("this LLVM was built without NVPTX");
  llvm::LLVMContext context;
  std::unique_ptr<llvm::Module> code =
      translateModuleToLLVMIR(kernels, context, "kernels");
  if (!code)
    return kernels.emitError("cannot be translated to LLVM IR");
  code->setTargetTriple(machine->getTargetTriple());
  code->setDataLayout(machine->createDataLayout());
  optimize(*code, *machine);

  llvm::SmallVector<char, 0> buffer;
  llvm::raw_svector_ostream stream(buffer);
  llvm::legacy::PassManager emit;
  if (machine->addPassesToEmitFile(emit, stream, nullptr,
                                   llvm::CodeGenFileType::AssemblyFile))
    return kernels.emitError("this target writes no assembly");
  emit.run(*code);
  std::string text(buffer.begin(), buffer.end());
  // The driver would refuse it, on the user's machine.
  size_t external = text.find(".extern .func");
  if (external != std::string::npos)
    return kernels.emitError("a kernel calls a function that no kernel is: ")
           << StringRef(text).substr(external).split('\n').first;
  return text;
}
