//===- CompilerOptions.cpp - What a compilation is told -------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Options/CompilerOptions.h"
#include "pst/Options/Targets.h"

using namespace pst;
using namespace pst::runtime;

const OptionTable<CompilerOptions> &pst::compilerOptions() {
  static const auto *table = [] {
    auto *options = new OptionTable<CompilerOptions>();
#define PST_RECIPE_OPTION(type, member, name, initial, range, group, help)     \
  options->add<type>(                                                          \
      name, [](auto &o) -> auto & { return o.recipe.member; }, range, group,   \
      help);
#define PST_MODEL_OPTION(type, member, name, initial, range, group, help)      \
  options->add<type>(                                                          \
      name, [](auto &o) -> auto & { return o.model.member; }, range, group,    \
      help);
#define PST_OPTION(type, member, name, initial, range, group, help)            \
  options->add<type>(                                                          \
      name, [](auto &o) -> auto & { return o.member; }, range, group, help);
#include "pst/Options/Options.def"
    return options;
  }();
  return *table;
}

/// Whether weights may be stored by their elements.
static bool maySkipZeros(const CompilerOptions &options) {
  return !options.training && options.weightStorage != WeightStorage::Dense &&
         targetOf(options).kernels == KernelFamily::CPU;
}

ImportOptions pst::importOptions(const CompilerOptions &options) {
  ImportOptions import = options.model;
  import.countKept =
      maySkipZeros(options) || options.recipe.layerSparsity == kOwnZeros;
  return import;
}

void pst::check(const CompilerOptions &options) {
  compilerOptions().check(options);
  for (Method method :
       {Method::LoRA, Method::SparseLoRA, Method::Wanda, Method::RIA})
    if (options.recipe.method == method && options.recipe.weightRank == 0)
      throw Error("--weight_rank must be positive with --method " +
                  std::string(spell(method)) + ", which trains nothing else");
  if (!options.recipe.criterion.empty() && options.recipe.method != Method::PST)
    throw Error("--criterion takes the place of --method, but --method is " +
                std::string(spell(options.recipe.method)));
  if (options.training && options.calibration)
    throw Error("--calibration is of a program that does not train: leave it "
                "out, or compile with --inference");
  if (!options.recipe.calibrationFile.empty() &&
      !isMeasured(options.recipe.method))
    throw Error("--calibration_file is of the methods pst_wanda, wanda and "
                "ria, but --method is " +
                std::string(spell(options.recipe.method)) + ": leave it out");
  if (!options.training && options.model.distillation)
    throw Error("--distillation is of a program that trains, but this one only "
                "evaluates: leave it out");
  if (options.training && (options.weightStorage == WeightStorage::Compressed ||
                           options.weightStorage == WeightStorage::Bitmask))
    throw Error("--weight_storage " +
                std::string(spell(options.weightStorage)) +
                " is of a program that only evaluates, whose zeros stay where "
                "they are: leave it out, or compile with --inference");
  if (options.storageTokens &&
      (options.training || options.weightStorage != WeightStorage::Auto))
    throw Error(
        "--storage_tokens is of a program that only evaluates, and whose "
        "--weight_storage is auto: leave it out");
  if (options.training && options.frozenType == FrozenType::Int8)
    throw Error("--frozen_type int8 is of a program that only evaluates, whose "
                "weights are rounded when a model is loaded: take bf16, or "
                "compile with --inference");
  if (options.model.cacheLength) {
    const char *what = "--cache_length is of a program that generates text, ";
    if (options.training)
      throw Error(std::string(what) +
                  "which trains nothing: leave it out, or compile with "
                  "--inference");
    if (options.tokenCapacity)
      throw Error(std::string(what) + "where no batch has padding: leave out "
                                      "--token_capacity");
  }
  int64_t width = options.vectorWidth;
  if (width > 64 || (width & (width - 1)) != 0)
    throw Error("--vector_width must be 0 or a power of two up to 64, but is " +
                std::to_string(width));
  if (!options.blocks.empty() && options.blocks.size() != 3)
    throw Error("--blocks takes three sizes, as in --blocks=96,768,384");
  checkTarget(options);
}

std::string pst::digestText(const CompilerOptions &options) {
  std::string text;
  for (const auto &option : compilerOptions())
    if (option.name != "cache")
      text += option.name + "=" + option.text(options) + "\n";
  return text;
}
