//===- Recipes.cpp - The methods of the field, as criteria ----------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// A new method is a new function here: factors, and a few lines of arithmetic.
// Sources: PST, Li et al. 2022 (equations 2 to 4); LoRA, Hu et al. 2021;
// movement pruning, Sanh et al. 2020.

#include "Recipes.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/raw_ostream.h"

using namespace pst;

static std::string constant(double value) {
  std::string text;
  llvm::raw_string_ostream(text) << llvm::format("%.17e", value);
  return "arith.constant " + text + " : f32";
}

/// W' = W + beta U V;  S = |W'| + alpha1 A B + alpha2 (R + C).
/// A rank or factor of 0 leaves its term out: the paper's ablations.
static Recipe pstRecipe(const RecipeOptions &options) {
  using Shape = RecipeTensor::Shape;
  bool hasUV = options.weightRank > 0 && options.weightBeta != 0.0;
  bool hasAB = options.maskRank > 0 && options.maskAlpha1 != 0.0;
  bool hasRC = options.maskAlpha2 != 0.0;
  Recipe recipe;
  recipe.name = "pst";
  std::string arguments = "%w: dense", body, score = "%magnitude";
  std::string weight = "%w";
  if (hasUV) {
    recipe.tensors.push_back(
        {".pst_U", Shape::RowsByRank, options.weightRank, 1.0});
    recipe.tensors.push_back(
        {".pst_V", Shape::RankByColumns, options.weightRank, 0.0});
    arguments += ", %uv: lowrank";
    body += "  %beta = " + constant(options.weightBeta) +
            "\n"
            "  %change = arith.mulf %uv, %beta : f32\n"
            "  %weight = arith.addf %w, %change : f32\n";
    weight = "%weight";
  }
  if (options.detachMagnitude)
    body += "  %detached = pst.detach " + weight +
            " : f32\n"
            "  %magnitude = math.absf %detached : f32\n";
  else
    body += "  %magnitude = math.absf " + weight + " : f32\n";
  if (hasAB) {
    recipe.tensors.push_back(
        {".pst_A", Shape::RowsByRank, options.maskRank, 1.0});
    recipe.tensors.push_back(
        {".pst_B", Shape::RankByColumns, options.maskRank, 0.0});
    arguments += ", %ab: lowrank";
    body += "  %alpha1 = " + constant(options.maskAlpha1) +
            "\n"
            "  %importance = arith.mulf %ab, %alpha1 : f32\n"
            "  %score1 = arith.addf %magnitude, %importance : f32\n";
    score = "%score1";
  }
  if (hasRC) {
    recipe.tensors.push_back({".pst_R", Shape::Rows, 0, 0.0});
    recipe.tensors.push_back({".pst_C", Shape::Columns, 0, 0.0});
    arguments += ", %r: row, %c: col";
    body += "  %alpha2 = " + constant(options.maskAlpha2) +
            "\n"
            "  %structure = arith.addf %r, %c : f32\n"
            "  %scaled = arith.mulf %structure, %alpha2 : f32\n"
            "  %score2 = arith.addf " +
            score + ", %scaled : f32\n";
    score = "%score2";
  }
  recipe.criterion = "pst.criterion @pst(" + arguments + ") {\n" + body +
                     "  pst.yield weight " + weight + " score " + score + "\n}";
  return recipe;
}

static Recipe loraRecipe(const RecipeOptions &options) {
  using Shape = RecipeTensor::Shape;
  Recipe recipe;
  recipe.name = "lora";
  recipe.tensors = {{".pst_U", Shape::RowsByRank, options.weightRank, 1.0},
                    {".pst_V", Shape::RankByColumns, options.weightRank, 0.0}};
  recipe.criterion = "pst.criterion @lora(%w: dense, %uv: lowrank) {\n"
                     "  %beta = " +
                     constant(options.weightBeta) +
                     "\n"
                     "  %change = arith.mulf %uv, %beta : f32\n"
                     "  %weight = arith.addf %w, %change : f32\n"
                     "  pst.yield weight %weight\n"
                     "}";
  return recipe;
}

static Recipe denseRecipe() {
  return {"dense",
          "pst.criterion @dense(%w: dense) {\n"
          "  pst.yield weight %w\n"
          "}",
          {},
          /*trainsModel=*/true};
}

/// Magnitude selects, and gets no gradient of its own.
static Recipe magnitudeRecipe() {
  return {"map",
          "pst.criterion @map(%w: dense) {\n"
          "  %detached = pst.detach %w : f32\n"
          "  %magnitude = math.absf %detached : f32\n"
          "  pst.yield weight %w score %magnitude\n"
          "}",
          {},
          /*trainsModel=*/true};
}

/// A trained score as large as the weight; its gradient is G * W.
static Recipe movementRecipe() {
  return {"mvp",
          "pst.criterion @mvp(%w: dense, %s: dense) {\n"
          "  pst.yield weight %w score %s\n"
          "}",
          {{".pst_S", RecipeTensor::Shape::Weight, 0, 0.0}},
          /*trainsModel=*/true};
}

Recipe pst::findRecipe(const RecipeOptions &options) {
  switch (options.method) {
  case Method::PST:
    return pstRecipe(options);
  case Method::Dense:
    return denseRecipe();
  case Method::LoRA:
    return loraRecipe(options);
  case Method::MaP:
    return magnitudeRecipe();
  case Method::MvP:
    return movementRecipe();
  }
  llvm_unreachable("all methods are above");
}
