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
#include "mlir/IR/OwningOpRef.h"
#include "pst/Bundle/Manifest.h"
#include "pst/Options/CompilerOptions.h"

#include <memory>
#include <optional>
#include <string>

namespace mlir {
class DialectRegistry;
class OpPassManager;
} // namespace mlir

namespace pst {

/// What a module looks like after each part of the pipeline, in order.
enum class Stage {
  Import,    // nn ops on tensors
  Sparsify,  // linear layers are virtual weights
  Autodiff,  // @forward_backward
  Optimizer, // offsets of parameters, @apply
  Kernels,   // launches of kernels on tensors
  Memory,    // buffers, each with its place in the arena
  LLVM,      // the llvm dialect, in parts that are compiled side by side
};

/// "import", "sparsify", ...; nothing if there is no such stage.
std::optional<Stage> parseStage(llvm::StringRef name);

/// All dialects and interfaces that a module may hold before lowering.
void registerDialects(mlir::DialectRegistry &registry);

/// Adds the passes that lead from the stage before to `stage`.
void buildStage(mlir::OpPassManager &passes, Stage stage,
                const CompilerOptions &options);

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

/// Links object code to a shared library. Emits an error at `loc` if it cannot.
mlir::LogicalResult writeLibrary(llvm::ArrayRef<std::string> objects,
                                 llvm::StringRef file, mlir::Location loc);

/// Code of a program, and what it says about itself.
struct CompiledProgram {
  Manifest manifest;
  // ELF, to be linked together; for a GPU the PTX of all kernels.
  std::vector<std::string> objects;
};

/// Takes a module from the import stage to object code, or finds what an
/// earlier call made of such a module; then the module stays as it is. A cache
/// that cannot be written is a warning.
mlir::FailureOr<CompiledProgram> compile(mlir::ModuleOp module,
                                         const CompilerOptions &options);

/// Takes a module from the import stage to assembly text, one part after
/// another.
mlir::FailureOr<std::string> compileToAssembly(mlir::ModuleOp module,
                                               const CompilerOptions &options);

/// Writes `program` as a bundle (docs/BundleFormat.md) to `directory`: aside
/// first, then renamed. Emits an error at `loc` if it cannot.
mlir::LogicalResult writeBundle(const CompiledProgram &program,
                                llvm::StringRef directory, mlir::Location loc);

/// The program's entry points, linked into this process.
class JitCode {
public:
  virtual ~JitCode() = default;
  using Function = void (*)(void *const *arguments);
  /// By entry point, as in the manifest.
  std::map<std::string, Function> functions;
};
mlir::FailureOr<std::shared_ptr<JitCode>>
linkInProcess(const CompiledProgram &program, mlir::Location loc);

} // namespace pst

#endif // PST_COMPILER_H
