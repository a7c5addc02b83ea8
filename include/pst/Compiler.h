//===- Compiler.h - From a model to a compiled program ----------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// The compiler's one door: tools, bindings and tests come in here.

#ifndef PST_COMPILER_H
#define PST_COMPILER_H

#include "mlir/IR/BuiltinOps.h"
#include "pst/Bundle/CompiledProgram.h"
#include "pst/Pipelines.h"

namespace pst {

/// Takes a module from the import stage to `stage`. Errors are diagnostics.
mlir::LogicalResult lowerTo(mlir::ModuleOp module, Stage stage,
                            const CompilerOptions &options);

/// Takes a module from the import stage to the memory stage and says what it
/// needs; the manifest's target is not filled in.
mlir::FailureOr<Manifest> planMemory(mlir::ModuleOp module,
                                     const CompilerOptions &options);

/// Takes a module from the import stage to its kernels' PTX, for
/// `options.gpuArch`.
mlir::FailureOr<std::string> compileToPTX(mlir::ModuleOp module,
                                          CompilerOptions options);

/// Takes a module from the import stage to its GPU kernels as code for this
/// CPU, which a stand-in for the driver runs: object code (ELF) with a function
/// NAME_thread for each kernel (docs/GPU.md, "The stand-in").
mlir::FailureOr<std::vector<std::string>>
compileToEmulation(mlir::ModuleOp module, CompilerOptions options);

/// Takes a module from the import stage to object code, or finds what an
/// earlier call made of such a module; then the module stays as it is. A cache
/// that cannot be written is a warning.
mlir::FailureOr<CompiledProgram> compile(mlir::ModuleOp module,
                                         const CompilerOptions &options);

/// Takes a module from the import stage to assembly text, one part after
/// another.
mlir::FailureOr<std::string> compileToAssembly(mlir::ModuleOp module,
                                               const CompilerOptions &options);

} // namespace pst

#endif // PST_COMPILER_H
