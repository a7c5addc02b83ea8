//===- ReadCriterion.cpp - A criterion of the user's ----------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ReadText.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Parser/Parser.h"
#include "pst/Dialect/PST/PSTOps.h"
#include "pst/Transforms/Recipes.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

using namespace mlir;
using namespace pst;

bool pst::isCriterionText(StringRef source) {
  return source.contains("pst.criterion");
}

void pst::mapFiles(CriterionOp recipe,
                   llvm::function_ref<std::string(StringRef)> map) {
  if (!recipe.getFactors())
    return;
  MLIRContext *context = recipe.getContext();
  auto mapped = [&](FactorTensorAttr tensor) {
    InitializerAttr init = tensor.getInitializer();
    if (init.getFile().empty())
      return tensor;
    return FactorTensorAttr::get(
        context, tensor.getName(), tensor.getRole(),
        InitializerAttr::get(context, init.getKind(), init.getSource(),
                             init.getValue(), /*column=*/0,
                             /*sourceColumns=*/0, map(init.getFile())));
  };
  SmallVector<Attribute> factors;
  for (Attribute attribute : recipe.getFactorsAttr().getValue()) {
    auto factor = cast<FactorAttr>(attribute);
    factors.push_back(
        FactorAttr::get(context, factor.getRank(), factor.getRankName(),
                        llvm::map_to_vector(factor.getTensors(), mapped)));
  }
  recipe.setFactorsAttr(ArrayAttr::get(context, factors));
}

FailureOr<OwningOpRef<CriterionOp>> pst::readCriterion(MLIRContext *context,
                                                       StringRef source) {
  std::string text = source.str(), file = "<criterion>";
  if (!isCriterionText(source)) {
    file = source;
    FailureOr<std::string> read = readText(context, source);
    if (failed(read))
      return failure();
    text = std::move(*read);
  }
  OwningOpRef<ModuleOp> module =
      parseSourceString<ModuleOp>(text, ParserConfig(context), file);
  if (!module)
    return failure();
  CriterionOp criterion;
  for (Operation &op : *module->getBody()) {
    auto here = dyn_cast<CriterionOp>(op);
    if (!here || criterion)
      return op.emitOpError("is one too many: a file is one 'pst.criterion'");
    criterion = here;
  }
  if (!criterion)
    return emitError(FileLineColLoc::get(context, file, 1, 1))
           << "expected a 'pst.criterion'";
  if (!criterion.isRecipe())
    return criterion.emitOpError("is a method, so each factor after the "
                                 "layer's weight must say how it begins, as "
                                 "in '%s: dense(S init<zeros>)'");
  StringRef folder = isCriterionText(source)
                         ? StringRef()
                         : llvm::sys::path::parent_path(source);
  mapFiles(criterion, [&](StringRef path) {
    SmallString<256> whole(path);
    if (!llvm::sys::path::is_absolute(path)) {
      whole = folder;
      llvm::sys::path::append(whole, path);
      (void)llvm::sys::fs::make_absolute(whole);
    }
    return whole.str().str();
  });
  criterion->remove();
  return OwningOpRef<CriterionOp>(criterion);
}

FailureOr<RecipeDescription> pst::describeCriterion(MLIRContext *context,
                                                    StringRef source) {
  context->loadDialect<PSTDialect>();
  FailureOr<OwningOpRef<CriterionOp>> read = readCriterion(context, source);
  if (failed(read))
    return failure();
  CriterionOp recipe = read->get();
  RecipeDescription description;
  description.name = recipe.getSymName();
  llvm::raw_string_ostream(description.text) << *recipe << "\n";
  description.scores = recipe.hasScore();
  description.trainsModel = recipe.getTrainsModel();
  for (unsigned i = 1; i < recipe.getNumFactors(); ++i) {
    FactorAttr factor = recipe.getDeclaration(i);
    auto &words = description.factors.emplace_back();
    words.kind = stringifyFactorKind(recipe.getKind(i));
    words.rank = factor.getRank();
    for (FactorTensorAttr tensor : factor.getTensors())
      words.tensors.push_back(tensor.getName().str());
  }
  llvm::StringMap<double> values;
  if (failed(resolveRecipe(recipe, {}, values)))
    return failure();
  for (const auto &value : values)
    description.hyperparameters[value.first().str()] = value.second;
  return description;
}
