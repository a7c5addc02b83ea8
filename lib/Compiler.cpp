//===- Compiler.cpp - From a module to a program --------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Compiler.h"
#include "mlir/Pass/PassManager.h"
#include "pst/Bundle/BuildManifest.h"
#include "pst/Bundle/EmitObject.h"
#include "llvm/Target/TargetMachine.h"

using namespace mlir;
using namespace pst;

/// Runs the stages after `from` up to `to`.
static LogicalResult runStages(ModuleOp module, Stage from, Stage to,
                               CompilerOptions options) {
  if (options.vectorWidth == 0) {
    auto machine = createTargetMachine(options.cpu, module.getLoc());
    if (failed(machine))
      return failure();
    options.vectorWidth = vectorWidth(**machine);
  }
  PassManager passes(module.getContext());
  passes.enableVerifier(true);
  for (int stage = static_cast<int>(from) + 1; stage <= static_cast<int>(to);
       ++stage)
    buildStage(passes, static_cast<Stage>(stage), options);
  return passes.run(module);
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
  FailureOr<std::string> object = emitObject(module, **machine);
  if (failed(object))
    return failure();
  return CompiledProgram{std::move(*manifest), std::move(*object)};
}
