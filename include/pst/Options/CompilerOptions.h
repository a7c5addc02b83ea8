//===- CompilerOptions.h - What a compilation is told -----------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_OPTIONS_COMPILEROPTIONS_H
#define PST_OPTIONS_COMPILEROPTIONS_H

#include "pst/Runtime/Option.h"
#include <functional>

namespace llvm {
struct LogicalResult;
}
namespace mlir {
class PassManager;
}

namespace pst {

/// The methods of the field (docs/Rationale.md, "Recipes").
enum class Method {
  PST,
  PSTWanda,
  Dense,
  LoRA,
  SparseLoRA,
  MaP,
  MvP,
  Wanda,
  RIA
};

/// Whether its score has norms of what layers have read, from a file.
inline bool isMeasured(Method method) {
  return method == Method::PSTWanda || method == Method::Wanda ||
         method == Method::RIA;
}

/// What a model is made to do. `automatic`: as the class that config.json
/// names, or to classify if labels or regression are asked for. `classify`:
/// with as many labels an example as config.json says; `classifyMany`: with
/// several; `classifyTokens`: each token.
enum class TaskKind {
  automatic,
  classify,
  classifyMany,
  classifyTokens,
  predictTokens
};

/// What the score of a block of elements is.
enum class BlockScoring { Mean, Max };

/// -pst-recompute
enum class RecomputeLevel { None, Cheap, All };

/// -pst-choose-products
enum class ProductChoice { Auto, Packed, Buffer, Compressed };

/// -pst-store-weights
enum class WeightStorage { Auto, Dense, Compressed, Bitmask };

/// -pst-narrow-frozen, and of Int8 -pst-store-weights
enum class FrozenType { F32, BF16, Int8 };

/// Of products of f32, TF32 rounds the operands (-pst-emit-gpu-kernels); BF16
/// is the element type of activations (-pst-mixed-precision).
enum class Precision { F32, TF32, BF16 };

/// Of the low-rank products of a recipe, up to CriterionOp::kHighestRank.
inline constexpr runtime::Range possibleRank{0, 65536};

/// What --layer_sparsity says in the place of a file: each layer is as sparse
/// as the model has it.
inline constexpr const char *kOwnZeros = "zeros";

/// The `modulesToSave` of which none but the head is.
inline constexpr const char *kNoModules = "none";

/// Where a program runs: lib/Options/Targets.cpp says what becomes of each.
enum class TargetKind { CPU, CUDA, Emulated, Emulation };

enum class GPUArch { SM80, SM90a };

} // namespace pst

template <> struct pst::runtime::Words<pst::Method> {
  static constexpr const char *list[] = {"pst",  "pst_wanda",   "dense",
                                         "lora", "sparse_lora", "map",
                                         "mvp",  "wanda",       "ria"};
};
template <> struct pst::runtime::Words<pst::TaskKind> {
  static constexpr const char *list[] = {"", "classification",
                                         "multi_label_classification",
                                         "token_classification", "lm"};
};
template <> struct pst::runtime::Words<pst::BlockScoring> {
  static constexpr const char *list[] = {"mean", "max"};
};
template <> struct pst::runtime::Words<pst::RecomputeLevel> {
  static constexpr const char *list[] = {"none", "cheap", "all"};
};
template <> struct pst::runtime::Words<pst::ProductChoice> {
  static constexpr const char *list[] = {"auto", "packed", "buffer",
                                         "compressed"};
};
template <> struct pst::runtime::Words<pst::WeightStorage> {
  static constexpr const char *list[] = {"auto", "dense", "compressed",
                                         "bitmask"};
};
template <> struct pst::runtime::Words<pst::FrozenType> {
  static constexpr const char *list[] = {"f32", "bf16", "int8"};
};
template <> struct pst::runtime::Words<pst::Precision> {
  static constexpr const char *list[] = {"f32", "tf32", "bf16"};
};
template <> struct pst::runtime::Words<pst::TargetKind> {
  static constexpr const char *list[] = {"cpu", "cuda", "emulated",
                                         "emulation"};
};
template <> struct pst::runtime::Words<pst::GPUArch> {
  static constexpr const char *list[] = {"sm_80", "sm_90a"};
};

namespace pst {

/// What of a recipe can be chosen.
struct RecipeOptions {
#define PST_RECIPE_OPTION(type, member, name, initial, range, group, help)     \
  type member = initial;
#include "pst/Options/Options.def"
};

/// What of a model directory is fixed at compile time.
struct ImportOptions {
#define PST_MODEL_OPTION(type, member, name, initial, range, group, help)      \
  type member = initial;
#include "pst/Options/Options.def"
  /// Where the directory holds no weights, takes every tensor as present, for
  /// a plan of the memory from config.json alone.
  bool allowMissingWeights = false;
  /// Notes how many elements of weights are not zero, which takes reading them.
  bool countKept = false;
};

struct CompilerOptions {
  RecipeOptions recipe;
  ImportOptions model;
#define PST_OPTION(type, member, name, initial, range, group, help)            \
  type member = initial;
#include "pst/Options/Options.def"
  /// What of the CPU kernels may count on beside its vectors
  /// (-pst-emit-cpu-kernels); found with them.
  int64_t expandBits = 0;
  bool hasFastGather = false;
  /// What a tool adds to each pass manager (printing between passes); has no
  /// part in the program. May fail with a diagnostic.
  std::function<llvm::LogicalResult(mlir::PassManager &)> preparePasses;
};

const runtime::OptionTable<CompilerOptions> &compilerOptions();

/// What the import of a model that is compiled so is told: a program that
/// stores weights by their elements needs to know how many there are.
ImportOptions importOptions(const CompilerOptions &options);

/// Throws runtime::Error if an option is out of its range, or does not go with
/// the others.
void check(const CompilerOptions &options);

/// All options that may change the program, as text.
std::string digestText(const CompilerOptions &options);

} // namespace pst

#endif // PST_OPTIONS_COMPILEROPTIONS_H
