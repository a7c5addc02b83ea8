//===- Pipelines.h - The stages, as named phases ----------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_PIPELINES_H
#define PST_PIPELINES_H

#include "pst/Options/CompilerOptions.h"
#include "llvm/ADT/StringRef.h"

#include <optional>

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

} // namespace pst

template <> struct pst::runtime::Words<pst::Stage> {
  static constexpr const char *list[] = {"import",    "sparsify", "autodiff",
                                         "optimizer", "kernels",  "memory",
                                         "llvm"};
};

namespace pst {

/// "import", "sparsify", ...; nothing if there is no such stage.
std::optional<Stage> parseStage(llvm::StringRef name);

/// All dialects and interfaces that a module may hold before lowering.
void registerDialects(mlir::DialectRegistry &registry);

/// Adds the passes that lead from the stage before to `stage`. The options must
/// have passed `check`.
void buildStage(mlir::OpPassManager &passes, Stage stage,
                const CompilerOptions &options);

/// Makes each stage known to tools by its name, as -pst-stage-sparsify, with
/// the options of the compiler as its own.
void registerStagePipelines();

} // namespace pst

#endif // PST_PIPELINES_H
