//===- LinkInProcess.cpp - The in-process JIT -----------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Bundle/LinkInProcess.h"
#include "Beside.h"
#include "mlir/IR/Diagnostics.h"
#include "llvm/ExecutionEngine/Orc/ExecutionUtils.h"
#include "llvm/ExecutionEngine/Orc/LLJIT.h"
#include "llvm/MC/MCSubtargetInfo.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/TargetParser/Host.h"

#include <dlfcn.h>
#include <omp.h>

using namespace mlir;
using namespace pst;

namespace {
struct OrcCode : JitCode {
  std::unique_ptr<llvm::orc::LLJIT> jit;
};
} // namespace

namespace {
/// Kernels for a GPU that run on this CPU (the target 'emulated') call the
/// emulator, which is for tests: a library that is opened when it is asked for.
class EmulatorSymbols : public llvm::orc::DefinitionGenerator {
public:
  explicit EmulatorSymbols(char prefix) : prefix(prefix) {}

  llvm::Error
  tryToGenerate(llvm::orc::LookupState &state, llvm::orc::LookupKind kind,
                llvm::orc::JITDylib &dylib,
                llvm::orc::JITDylibLookupFlags flags,
                const llvm::orc::SymbolLookupSet &symbols) override {
    if (llvm::none_of(symbols, [](const auto &symbol) {
          return (*symbol.first).contains("pst_emulate_");
        }))
      return llvm::Error::success();
    if (!library) {
      StringRef name = "libpst-emulator.so";
      std::string found = findBeside(name);
      auto opened = llvm::orc::DynamicLibrarySearchGenerator::Load(
          found.empty() ? name.data() : found.c_str(), prefix);
      if (!opened)
        return opened.takeError();
      library = std::move(*opened);
    }
    return library->tryToGenerate(state, kind, dylib, flags, symbols);
  }

private:
  char prefix;
  std::unique_ptr<llvm::orc::DefinitionGenerator> library;
};
} // namespace

/// The library that this process has OpenMP from: a Python module's
/// dependencies are not in the global scope, so it is named.
static std::string ompLibrary() {
  Dl_info info;
  if (dladdr(reinterpret_cast<void *>(&omp_get_max_threads), &info) &&
      info.dli_fname)
    return info.dli_fname;
  return "libomp.so.5";
}

/// What the program's vector code needs and this machine lacks; empty if
/// nothing.
static std::string missingHere(const Manifest &manifest) {
  llvm::Triple triple(manifest.triple);
  if (triple != llvm::Triple(llvm::sys::getProcessTriple()))
    return "its architecture, " + manifest.triple;
  std::string error;
  const llvm::Target *target =
      llvm::TargetRegistry::lookupTarget(triple, error);
  std::unique_ptr<llvm::MCSubtargetInfo> needed(
      target ? target->createMCSubtargetInfo(triple, manifest.cpu,
                                             manifest.features)
             : nullptr);
  if (!needed)
    return "LLVM's code generator for it";
  llvm::StringMap<bool> here = llvm::sys::getHostCPUFeatures();
  for (const llvm::SubtargetFeatureKV &feature :
       needed->getEnabledProcessorFeatures())
    if (StringRef name = feature.Key; name.starts_with("avx") || name == "fma")
      if (auto found = here.find(name); found != here.end() && !found->second)
        return feature.Key;
  return "";
}

FailureOr<std::shared_ptr<JitCode>>
pst::linkInProcess(const CompiledProgram &program, Location loc) {
  auto fail = [&](llvm::Error error) -> FailureOr<std::shared_ptr<JitCode>> {
    emitError(loc) << "cannot link the compiled program: "
                   << llvm::toString(std::move(error));
    return failure();
  };
  std::string missing = missingHere(program.manifest);
  if (!missing.empty()) {
    emitError(loc) << "the program is compiled for " << program.manifest.cpu
                   << " and cannot run on this machine, which lacks "
                   << missing;
    return failure();
  }
  auto jit = llvm::orc::LLJITBuilder().create();
  if (!jit)
    return fail(jit.takeError());
  char prefix = (*jit)->getDataLayout().getGlobalPrefix();
  auto process =
      llvm::orc::DynamicLibrarySearchGenerator::GetForCurrentProcess(prefix);
  if (!process)
    return fail(process.takeError());
  (*jit)->getMainJITDylib().addGenerator(std::move(*process));
  auto omp = llvm::orc::DynamicLibrarySearchGenerator::Load(
      ompLibrary().c_str(), prefix);
  if (!omp)
    return fail(omp.takeError());
  (*jit)->getMainJITDylib().addGenerator(std::move(*omp));
  (*jit)->getMainJITDylib().addGenerator(
      std::make_unique<EmulatorSymbols>(prefix));
  for (const std::string &object : program.objects)
    if (llvm::Error error = (*jit)->addObjectFile(
            llvm::MemoryBuffer::getMemBufferCopy(object, "pst")))
      return fail(std::move(error));

  auto code = std::make_shared<OrcCode>();
  for (const auto &[name, entry] : program.manifest.entryPoints) {
    auto address = (*jit)->lookup(entry.symbol);
    if (!address)
      return fail(address.takeError());
    code->functions[name] = address->toPtr<JitCode::Function>();
  }
  code->jit = std::move(*jit);
  return std::shared_ptr<JitCode>(code);
}
