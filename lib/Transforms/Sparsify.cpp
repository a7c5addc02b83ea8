//===- Sparsify.cpp - -pst-sparsify ---------------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Recipes.h"
#include "Selections.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Parser/Parser.h"
#include "pst/Dialect/NN/NNOps.h"
#include "pst/Dialect/PST/StageAttributes.h"
#include "pst/Transforms/Passes.h"

namespace pst {
#define GEN_PASS_DEF_SPARSIFY
#include "pst/Transforms/Passes.h.inc"
} // namespace pst

using namespace mlir;
using namespace pst;

namespace {

struct Sparsify : pst::impl::SparsifyBase<Sparsify> {
  Sparsify() = default;
  Sparsify(const Sparsify &other) : SparsifyBase(other) {}
  explicit Sparsify(const RecipeOptions &options) {
#define PST_RECIPE_OPTION(type, member, name, initial, range, group, help)     \
  member = options.member;
#include "pst/Options/Options.def"
  }
  void runOnOperation() override;

#define PST_RECIPE_OPTION(type, member, name, initial, range, group, help)     \
  Option<type> member{*this, name, llvm::cl::desc(help),                       \
                      llvm::cl::init(initial), WordsOf<type>()};
#include "pst/Options/Options.def"

private:
  FailureOr<CriterionOp> insertCriterion(const Recipe &recipe);
  Layer declareLayer(ParameterOp weight, const Recipe &recipe,
                     CriterionOp criterion);
  void rewriteUses(ParameterOp weight, Layer layer, CriterionOp criterion);
  void addMaterialize(ArrayRef<Layer> layers, CriterionOp criterion);

  SelectionAttr rule; ///< Of the selection; null without a score.
};

} // namespace

FailureOr<CriterionOp> Sparsify::insertCriterion(const Recipe &recipe) {
  OwningOpRef<ModuleOp> parsed =
      parseSourceString<ModuleOp>(recipe.criterion, &getContext());
  if (!parsed)
    return failure();
  auto criterion = *parsed->getOps<CriterionOp>().begin();
  criterion->remove();
  getOperation().getBody()->push_front(criterion);
  return criterion;
}

Layer Sparsify::declareLayer(ParameterOp weight, const Recipe &recipe,
                             CriterionOp criterion) {
  OpBuilder builder(weight->getContext());
  builder.setInsertionPointAfter(weight);
  auto type = cast<RankedTensorType>(weight.getType());
  int64_t n = type.getDimSize(0), m = type.getDimSize(1);
  auto declare = [&](StringRef suffix, ParameterRole role,
                     RankedTensorType type, InitializerKind kind, double value,
                     bool decay) {
    return ParameterOp::create(
        builder, weight.getLoc(), (weight.getSymName() + suffix).str(), role,
        InitializerAttr::get(&getContext(), kind, "", APFloat(value)), type,
        /*offset=*/nullptr, decay);
  };
  Layer layer;
  layer.tensors.push_back(weight);
  Type f32 = builder.getF32Type();
  for (const RecipeTensor &tensor : recipe.tensors) {
    SmallVector<int64_t> shape;
    switch (tensor.shape) {
    case RecipeTensor::Shape::Rows:
      shape = {n};
      break;
    case RecipeTensor::Shape::Columns:
      shape = {m};
      break;
    case RecipeTensor::Shape::RowsByRank:
      shape = {n, tensor.rank};
      break;
    case RecipeTensor::Shape::RankByColumns:
      shape = {tensor.rank, m};
      break;
    case RecipeTensor::Shape::Weight:
      shape = {n, m};
      break;
    }
    layer.tensors.push_back(declare(
        tensor.suffix, ParameterRole::Trainable,
        RankedTensorType::get(shape, f32),
        tensor.stddev != 0.0 ? InitializerKind::Normal : InitializerKind::Zeros,
        tensor.stddev, /*decay=*/true));
  }
  if (rule)
    declareState(layer, rule);
  SmallVector<Attribute> names;
  for (ParameterOp parameter : layer.state)
    names.push_back(parameter.getSymNameAttr());
  SmallVector<NamedAttribute> record{
      builder.getNamedAttr("state", builder.getArrayAttr(names))};
  if (rule)
    record.push_back(builder.getNamedAttr("selection", rule));
  if (layer.pruned)
    record.push_back(
        builder.getNamedAttr("pruned", layer.pruned.getSymNameAttr()));
  SmallVector<StringRef> kinds, tensors;
  for (unsigned i = 0; i < criterion.getNumFactors(); ++i)
    kinds.push_back(stringifyFactorKind(criterion.getKind(i)));
  for (ParameterOp tensor : layer.tensors)
    tensors.push_back(tensor.getSymName());
  record.push_back(
      builder.getNamedAttr("kinds", builder.getStrArrayAttr(kinds)));
  record.push_back(
      builder.getNamedAttr("factors", builder.getStrArrayAttr(tensors)));
  weight->setAttr(kLayerAttribute, builder.getDictionaryAttr(record));
  return layer;
}

/// nn.linear of the weight -> pst.masked_matmul, factors loaded beside it.
void Sparsify::rewriteUses(ParameterOp weight, Layer layer,
                           CriterionOp criterion) {
  // Gathered first: the op after a load may be one that is erased.
  SmallVector<LoadOp> loads;
  getOperation().walk([&](LoadOp load) {
    if (load.getParameter() == weight.getSymName())
      loads.push_back(load);
  });
  for (LoadOp load : loads) {
    for (Operation *user :
         llvm::make_early_inc_range(load.getResult().getUsers())) {
      auto linear = dyn_cast<nn::LinearOp>(user);
      if (!linear || linear.getWeight() != load.getResult())
        continue;
      OpBuilder builder(linear);
      Location loc = linear.getLoc();
      SmallVector<Value> factors = loadAll(builder, loc, layer.tensors);
      SmallVector<Value> state = loadAll(builder, loc, layer.state);
      Value pruned;
      if (layer.pruned)
        pruned = LoadOp::create(builder, loc, layer.pruned);
      auto masked = MaskedMatmulOp::create(
          builder, loc, linear.getType(), linear.getInput(),
          criterion.getSymName(), factors, rule, state, pruned,
          linear.getBias(), linear.getTransposed());
      linear.replaceAllUsesWith(masked.getResult());
      linear.erase();
    }
    if (load->use_empty())
      load.erase();
  }
}

/// @materialize: the merged weights under their masks, one result each.
void Sparsify::addMaterialize(ArrayRef<Layer> layers, CriterionOp criterion) {
  Builder types(&getContext());
  SmallVector<Type> results;
  for (Layer layer : layers) {
    ParameterOp weight = layer.tensors.front();
    results.push_back(weight.getType());
  }
  func::FuncOp function = addFunction(getOperation(), "materialize",
                                      types.getFunctionType({}, results));
  OpBuilder builder = OpBuilder::atBlockEnd(&function.getBody().front());
  SmallVector<Value> weights;
  for (auto [i, entry] : llvm::enumerate(layers)) {
    Layer layer = entry;
    ParameterOp weight = layer.tensors.front();
    Location loc = weight.getLoc();
    SmallVector<Value> factors = loadAll(builder, loc, layer.tensors);
    SmallVector<Value> state = loadAll(builder, loc, layer.state);
    weights.push_back(MaskedWeightOp::create(builder, loc, weight.getType(),
                                             criterion.getSymName(), factors,
                                             rule, state));
    function.setResultAttr(i, kNameAttribute,
                           types.getStringAttr(weight.getSymName()));
  }
  func::ReturnOp::create(builder, function.getLoc(), weights);
}

void Sparsify::runOnOperation() {
  ModuleOp module = getOperation();
  RecipeOptions options;
#define PST_RECIPE_OPTION(type, member, name, initial, range, group, help)     \
  options.member = member;
#include "pst/Options/Options.def"
  SmallVector<ParameterOp> weights;
  for (auto parameter : module.getOps<ParameterOp>())
    if (parameter->hasAttr(kSparsifyAttribute))
      weights.push_back(parameter);
  if (weights.empty())
    return;

  if (options.weightRank < 0 || options.maskRank < 0 ||
      (options.method == Method::LoRA && options.weightRank == 0)) {
    module.emitError("rank must be positive (0 leaves a term of pst out), but "
                     "got weight rank ")
        << options.weightRank << " and mask rank " << options.maskRank;
    return signalPassFailure();
  }
  Recipe recipe = findRecipe(options);
  FailureOr<CriterionOp> criterion = insertCriterion(recipe);
  if (failed(criterion))
    return signalPassFailure();

  FailureOr<SelectionAttr> chosen = parseSelection(
      &getContext(), selection, runtime::spell(blockScore.getValue()),
      [&] { return module.emitError(); });
  if (failed(chosen))
    return signalPassFailure();
  if (criterion->hasScore())
    rule = *chosen;
  SmallVector<Layer> layers;
  for (ParameterOp weight : weights) {
    weight->removeAttr(kSparsifyAttribute);
    auto type = cast<RankedTensorType>(weight.getType());
    if (type.getRank() != 2) {
      weight.emitOpError("is marked to be sparsified, but is no matrix");
      return signalPassFailure();
    }
    if (rule && rule.getKind() == SelectionKind::NM &&
        type.getDimSize(1) % rule.getGroup() != 0) {
      weight.emitOpError("has ")
          << type.getDimSize(1)
          << " columns, which the groups of the selection " << selection
          << " must divide: choose another selection";
      return signalPassFailure();
    }
    layers.push_back(declareLayer(weight, recipe, *criterion));
    rewriteUses(weight, layers.back(), *criterion);
  }
  if (recipe.trainsModel)
    for (auto parameter : module.getOps<ParameterOp>())
      if (parameter.getRole() == ParameterRole::Frozen)
        parameter.setRole(ParameterRole::Trainable);
  if (rule)
    addSelect(module, layers, *criterion, rule);
  if (recipe.name != "dense") {
    addMaterialize(layers, *criterion);
  } else {
    // The trained parameter is the weight: nothing to merge.
    for (ParameterOp weight : weights)
      weight->removeAttr(kLayerAttribute);
  }

  Builder builder(&getContext());
  module->setAttr(kMethodAttribute,
                  builder.getStringAttr(runtime::spell(options.method)));
  auto number = [&](StringRef name, double value) {
    return builder.getNamedAttr(name, builder.getF64FloatAttr(value));
  };
  SmallVector<NamedAttribute> hyperparameters;
  if (options.method == Method::PST || options.method == Method::LoRA) {
    hyperparameters.push_back(number("weight_rank", options.weightRank));
    hyperparameters.push_back(number("weight_beta", options.weightBeta));
  }
  if (options.method == Method::PST) {
    hyperparameters.push_back(number("mask_rank", options.maskRank));
    hyperparameters.push_back(number("mask_alpha1", options.maskAlpha1));
    hyperparameters.push_back(number("mask_alpha2", options.maskAlpha2));
    hyperparameters.push_back(
        number("detach_magnitude", options.detachMagnitude));
  }
  module->setAttr(kHyperparametersAttribute,
                  builder.getDictionaryAttr(hyperparameters));
}

std::unique_ptr<Pass> pst::createSparsify(const RecipeOptions &options) {
  return std::make_unique<Sparsify>(options);
}
