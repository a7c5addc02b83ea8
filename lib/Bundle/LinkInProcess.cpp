//===- LinkInProcess.cpp - The in-process JIT -----------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "mlir/IR/Diagnostics.h"
#include "pst/Compiler.h"
#include "llvm/ExecutionEngine/Orc/ExecutionUtils.h"
#include "llvm/ExecutionEngine/Orc/LLJIT.h"

#include <dlfcn.h>
#include <omp.h>

using namespace mlir;
using namespace pst;

namespace {
struct OrcCode : JitCode {
  std::unique_ptr<llvm::orc::LLJIT> jit;
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

FailureOr<std::shared_ptr<JitCode>>
pst::linkInProcess(const CompiledProgram &program, Location loc) {
  auto fail = [&](llvm::Error error) -> FailureOr<std::shared_ptr<JitCode>> {
    emitError(loc) << "cannot link the compiled program: "
                   << llvm::toString(std::move(error));
    return failure();
  };
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
