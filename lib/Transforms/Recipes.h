//===- Recipes.h - The methods of the field, as criteria --------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_LIB_TRANSFORMS_RECIPES_H
#define PST_LIB_TRANSFORMS_RECIPES_H

#include "pst/Dialect/PST/PSTOps.h"
#include "pst/Options/CompilerOptions.h"

#include <string>
#include <vector>

namespace pst {

/// A tensor that a recipe adds to each layer of n x m.
struct RecipeTensor {
  std::string suffix; // of the parameter's name: ".pst_U"
  /// Its shape; 'n' and 'm' are the layer's.
  enum class Shape { Rows, Columns, RowsByRank, RankByColumns, Weight } shape;
  int64_t rank = 0;
  /// Standard deviation of the normal initial values; 0: zeros.
  double stddev = 0.0;
};

/// A method: which factors a layer has, and the formula over them.
struct Recipe {
  std::string name;
  /// Text of the `pst.criterion`, whose first argument is the layer's weight.
  std::string criterion;
  /// The factors after the weight, in the order of the criterion's tensors.
  std::vector<RecipeTensor> tensors;
  /// Whether the model's own parameters are trained too.
  bool trainsModel = false;
};

/// The recipe of `options.method`.
Recipe findRecipe(const RecipeOptions &options);

} // namespace pst

#endif // PST_LIB_TRANSFORMS_RECIPES_H
