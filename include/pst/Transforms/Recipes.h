//===- Recipes.h - The methods of the field, as criteria --------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_TRANSFORMS_RECIPES_H
#define PST_TRANSFORMS_RECIPES_H

#include "mlir/IR/MLIRContext.h"
#include "mlir/IR/OwningOpRef.h"
#include "mlir/Support/LLVM.h"
#include "llvm/ADT/StringMap.h"

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace pst {
class CriterionOp;

/// The methods that are built in: the files of lib/Transforms/Recipes.
llvm::ArrayRef<llvm::StringRef> recipeNames();

/// Text of the recipe `name`: comments, and one `pst.criterion` of that name.
/// Nothing if there is no such method.
std::optional<llvm::StringRef> recipeText(llvm::StringRef name);

/// Whether `source`, a criterion that a user gives, is its text, and no file.
bool isCriterionText(llvm::StringRef source);

/// A criterion of the user's: `source` is its text or its file, which holds one
/// `pst.criterion` that is a recipe. Paths in it become absolute (relative ones
/// begin where the file lies). Errors are diagnostics at the file's lines.
mlir::FailureOr<mlir::OwningOpRef<CriterionOp>>
readCriterion(mlir::MLIRContext *context, llvm::StringRef source);

/// What a recipe is, in words.
struct RecipeDescription {
  struct Factor {
    std::string kind;
    int64_t rank; ///< 0 unless the kind is lowrank
    std::vector<std::string> tensors;
  };
  std::string name, text;
  bool scores, trainsModel;
  std::vector<Factor> factors; ///< those after the weight
  /// Ranks included, with the values that they have if a run sets none.
  std::map<std::string, double> hyperparameters;
};

/// The same of a criterion of the user's, as readCriterion reads it.
mlir::FailureOr<RecipeDescription> describeCriterion(mlir::MLIRContext *context,
                                                     llvm::StringRef source);

/// Replaces the paths of the files that a recipe's factors are read from.
void mapFiles(CriterionOp recipe,
              llvm::function_ref<std::string(llvm::StringRef path)> map);

/// Gives the hyperparameters of a recipe, ranks included, the values that are
/// `given` (by name; i1: 0 or 1), or else their own; `values` is set to those
/// of all. What a value of 0 multiplies, or a factor of rank 0, is left out,
/// with the factors that are read nowhere else. Emits an error for a name that
/// the recipe does not have, and for a value that it cannot take.
mlir::LogicalResult resolveRecipe(CriterionOp recipe,
                                  const llvm::StringMap<double> &given,
                                  llvm::StringMap<double> &values);

} // namespace pst

#endif // PST_TRANSFORMS_RECIPES_H
