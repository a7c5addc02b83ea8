//===- Compiler.cpp - From a module to a program --------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Compiler.h"
#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Pass/PassManager.h"
#include "pst/Bundle/BuildManifest.h"
#include "pst/Bundle/EmitObject.h"
#include "llvm/Target/TargetMachine.h"

using namespace mlir;
using namespace pst;

/// Callers' arrays are read only: results go to memory of their own.
static void protectArguments(ModuleOp module) {
  Builder builder(module.getContext());
  for (auto function : module.getOps<func::FuncOp>())
    if (function.isPublic() && !function.isExternal())
      for (unsigned i = 0; i < function.getNumArguments(); ++i)
        function.setArgAttr(
            i, bufferization::BufferizationDialect::kWritableAttrName,
            builder.getBoolAttr(false));
}

/// Runs the stages after `from` up to `to`.
static LogicalResult runStages(ModuleOp module, Stage from, Stage to,
                               CompilerOptions options) {
  if (options.vectorWidth == 0) {
    auto machine = createTargetMachine(options.cpu, module.getLoc());
    if (failed(machine))
      return failure();
    options.vectorWidth = vectorWidth(**machine);
  }
  if (from < Stage::Memory && to >= Stage::Memory)
    protectArguments(module);
  // Verified after each stage: after each pass takes as long as the passes.
  for (int stage = static_cast<int>(from) + 1; stage <= static_cast<int>(to);
       ++stage) {
    PassManager passes(module.getContext());
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

FailureOr<CompiledProgram> pst::compile(ModuleOp module,
                                        const CompilerOptions &options) {
  auto machine = createTargetMachine(options.cpu, module.getLoc());
  if (failed(machine))
    return failure();
  FailureOr<Manifest> manifest = planMemory(module, options);
  if (failed(manifest))
    return failure();
  manifest->triple = (*machine)->getTargetTriple().str();
  manifest->cpu = (*machine)->getTargetCPU().str();
  manifest->features = (*machine)->getTargetFeatureString().str();
  if (failed(runStages(module, Stage::Memory, Stage::LLVM, options)))
    return failure();
  FailureOr<std::vector<std::string>> objects = emitObjects(module, **machine);
  if (failed(objects))
    return failure();
  return CompiledProgram{std::move(*manifest), std::move(*objects)};
}
