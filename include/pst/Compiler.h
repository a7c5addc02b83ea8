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
#include "pst/Import/Import.h"

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

struct CompilerOptions {
  // The method (docs/Rationale.md, "Recipes").
  std::string method = "pst"; // pst, dense, lora, map, mvp
  int64_t weightRank = 8, maskRank = 8;
  double beta = 1.0, alpha1 = 1.0, alpha2 = 1.0;
  bool detachMagnitude = false;

  // Whether the program trains, or only evaluates (`forward`).
  bool training = true;

  // What the backward computes again instead of keeping it (-pst-recompute):
  // none, cheap or all.
  std::string recompute = "cheap";

  // How masked weights enter their products (-pst-choose-products): auto,
  // packed, buffer or compressed.
  std::string products = "auto";

  // Element type of frozen matrices in memory (-pst-narrow-frozen): f32 or
  // bf16.
  std::string frozenType = "f32";

  // f32; for targets other than cpu also tf32: the operands of products of f32
  // are rounded to it (-pst-emit-gpu-kernels); or bf16: the element type of
  // activations and of their gradients (-pst-mixed-precision).
  std::string precision = "f32";

  // Whether the program measures its kernels (-pst-profile-launches).
  bool profile = false;

  // Batch, length and head of a model directory, fixed at compile time.
  ImportOptions model;

  // Where the program runs: cpu, cuda (an NVIDIA GPU of the architecture
  // `gpuArch`, sm_80 or sm_90a), or for tests emulated (cuda's kernels on this
  // CPU) and emulation (those kernels alone: compileToEmulation).
  std::string target = "cpu";
  std::string gpuArch = "sm_90a";

  // The machine: triple and CPU that LLVM knows, empty for this one, and the
  // f32 lanes of its vectors, 0 for what the CPU has.
  std::string triple, cpu;
  int64_t vectorWidth = 0;

  // Blocks of dense products, 0: by the caches (-pst-emit-cpu-kernels).
  int64_t mBlock = 0, nBlock = 0, kBlock = 0;

  // Whether `compile` looks for the program on disk first, and keeps it there
  // (pst/Bundle/ProgramCache.h says where).
  bool cache = true;
};

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

/// Takes a module from the import stage to its GPU kernels as code for this CPU,
/// which a stand-in for the driver runs: object code (ELF) with a function
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
