//===- Sparsify.cpp - -pst-sparsify ---------------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ChooseLayers.h"
#include "Selections.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/SymbolTable.h"
#include "pst/Dialect/NN/NNOps.h"
#include "pst/Dialect/PST/PSTOps.h"
#include "pst/Dialect/PST/StageAttributes.h"
#include "pst/Transforms/Passes.h"
#include "pst/Transforms/Recipes.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

namespace pst {
#define GEN_PASS_DEF_SPARSIFY
#include "pst/Transforms/Passes.h.inc"
} // namespace pst

using namespace mlir;
using namespace pst;

static_assert(possibleRank.high == CriterionOp::kHighestRank,
              "ranks that the options take, a criterion has");

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
  FailureOr<CriterionOp> findRecipe();
  FailureOr<llvm::StringMap<double>> givenHyperparameters();
  FailureOr<SelectionAttr> chooseSelection(CriterionOp recipe);
  Layer declareLayer(ParameterOp weight, CriterionOp recipe);
  void rewriteUses(ArrayRef<LoadOp> loads, Layer layer, CriterionOp criterion);
  void addMaterialize(ArrayRef<Layer> layers, CriterionOp criterion);

  SelectionAttr rule; ///< Of the selection; null without a score.
  SelectionAttr used; ///< Of ops under the mask: the same, or a held one.
  /// The final sparsities of layers that have their own, by their weights.
  llvm::StringMap<double> sparsities;
};

} // namespace

/// Whether the layers' weights are inputs x outputs, as GPT-2's are.
static bool areStoredByInputs(ModuleOp module) {
  auto found = module.walk([&](nn::LinearOp linear) {
    auto load = linear.getWeight().getDefiningOp<LoadOp>();
    auto weight = load ? module.lookupSymbol<ParameterOp>(
                             load.getParameterAttr().getAttr())
                       : ParameterOp();
    bool isLayer = weight && weight->hasAttr(kSparsifyAttribute);
    return isLayer && linear.getTransposed() ? WalkResult::interrupt()
                                             : WalkResult::advance();
  });
  return found.wasInterrupted();
}

/// Lays what was measured of each input of a layer along its weight's rows.
static void turnNorms(CriterionOp recipe) {
  SmallVector<int32_t> kinds(recipe.getKinds());
  for (unsigned i = 1; i < recipe.getNumFactors(); ++i)
    if (recipe.getKind(i) == FactorKind::Col &&
        recipe.getDeclaration(i).getTensors().front().getName() == "norm")
      kinds[i] = static_cast<int32_t>(FactorKind::Row);
  recipe.setKinds(kinds);
}

/// The user's criterion, or the built-in one of the method, in front of the
/// module.
FailureOr<CriterionOp> Sparsify::findRecipe() {
  ModuleOp module = getOperation();
  OwningOpRef<CriterionOp> recipe;
  if (!criterion.empty()) {
    auto read = readCriterion(&getContext(), criterion);
    if (failed(read))
      return failure();
    recipe = std::move(*read);
    if (Operation *other = module.lookupSymbol(recipe->getSymName())) {
      InFlightDiagnostic error = recipe->emitOpError("has the name of ")
                                 << "something else in the module";
      error.attachNote(other->getLoc()) << "declared here";
      return error;
    }
  } else {
    recipe = *readCriterion(&getContext(),
                            *recipeText(runtime::spell(method.getValue())));
    if (isMeasured(method) && calibrationFile.empty())
      return module.emitError("the method ")
             << runtime::spell(method.getValue())
             << " needs what layers have read on some data: --calibration_file "
                "FILE, which 'pst prepare --calibration_samples' writes ('pst "
                "train' measures it itself)";
    mapFiles(recipe.get(), [&](StringRef) {
      SmallString<256> whole(calibrationFile);
      (void)llvm::sys::fs::make_absolute(whole);
      return whole.str().str();
    });
    if (isMeasured(method) && areStoredByInputs(module)) {
      if (method == Method::Wanda && (selection.empty() || selection == "row"))
        return module.emitError(
            "the method wanda compares the weights of an output, but this "
            "model stores them as inputs x outputs, where they are no row: "
            "choose another --selection (topk or global), or the method ria");
      turnNorms(*recipe);
    }
  }
  module.getBody()->push_front(recipe.get());
  return recipe.release();
}

/// What the options say of the hyperparameters of the method.
FailureOr<llvm::StringMap<double>> Sparsify::givenHyperparameters() {
  llvm::StringMap<double> values;
  bool isPST = criterion.empty() &&
               (method == Method::PST || method == Method::PSTWanda);
  bool isLowRank = isPST || method == Method::LoRA ||
                   method == Method::SparseLoRA || method == Method::Wanda ||
                   method == Method::RIA;
  if (criterion.empty() && isLowRank) {
    values["weight_rank"] = static_cast<double>(weightRank);
    values["weight_beta"] = weightBeta;
  }
  if (isPST) {
    values["mask_rank"] = static_cast<double>(maskRank);
    values["mask_alpha1"] = maskAlpha1;
    values["mask_alpha2"] = maskAlpha2;
    values["detach_magnitude"] = detachMagnitude;
  }
  SmallVector<StringRef> pairs;
  StringRef(hyperparameters)
      .split(pairs, ',', /*MaxSplit=*/-1, /*KeepEmpty=*/false);
  for (StringRef pair : pairs) {
    auto [name, text] = pair.split('=');
    double value;
    if (text.trim().getAsDouble(value)) // true: it is none
      return getOperation().emitError("hyperparameters must be NAME=NUMBER, "
                                      "with commas between them, but got '")
             << pair << "'";
    values[name.trim()] = value;
  }
  return values;
}

/// The shape of tensor `i` of a factor of an n x m weight.
static SmallVector<int64_t> tensorShape(FactorKind kind, int64_t rank, size_t i,
                                        int64_t n, int64_t m) {
  switch (kind) {
  case FactorKind::Dense:
    return {n, m};
  case FactorKind::LowRank:
    return i == 0 ? SmallVector<int64_t>{n, rank}
                  : SmallVector<int64_t>{rank, m};
  case FactorKind::Row:
    return {n};
  case FactorKind::Col:
    return {m};
  }
  llvm_unreachable("a kind of factor");
}

/// The first value of a layer's tensor, where `*` is the weight's name; random
/// ones times `scale`.
static InitializerAttr firstValue(InitializerAttr declared, ParameterOp weight,
                                  double scale) {
  std::string source = declared.getSource().str();
  if (size_t star = source.find('*'); star != std::string::npos)
    source.replace(star, 1, weight.getSymName());
  APFloat value = declared.getValue();
  if (declared.getKind() == InitializerKind::Normal)
    value = value * APFloat(scale);
  return InitializerAttr::get(weight.getContext(), declared.getKind(), source,
                              value, /*column=*/0,
                              /*sourceColumns=*/0, declared.getFile());
}

Layer Sparsify::declareLayer(ParameterOp weight, CriterionOp recipe) {
  OpBuilder builder(weight->getContext());
  builder.setInsertionPointAfter(weight);
  auto type = cast<RankedTensorType>(weight.getType());
  int64_t n = type.getDimSize(0), m = type.getDimSize(1);
  auto declare = [&](StringRef suffix, ParameterRole role,
                     RankedTensorType type, InitializerAttr first, bool decay,
                     RateGroupAttr group) {
    return ParameterOp::create(builder, weight.getLoc(),
                               (weight.getSymName() + ".pst_" + suffix).str(),
                               role, first, type,
                               /*offset=*/nullptr, decay, group);
  };
  Layer layer;
  layer.tensors.push_back(weight);
  for (unsigned f = 1; f < recipe.getNumFactors(); ++f) {
    FactorAttr factor = recipe.getDeclaration(f);
    RateGroupAttr group;
    if (!recipe.isInWeight(f))
      group = RateGroupAttr::get(builder.getContext(), RateGroup::Mask);
    for (auto [i, tensor] : llvm::enumerate(factor.getTensors())) {
      bool trained = tensor.getRole() == ParameterRole::Trainable;
      layer.tensors.push_back(
          declare(tensor.getName(), tensor.getRole(),
                  RankedTensorType::get(
                      tensorShape(recipe.getKind(f), factor.getRank(), i, n, m),
                      builder.getF32Type()),
                  firstValue(tensor.getInitializer(), weight, initScale),
                  /*decay=*/trained, trained ? group : RateGroupAttr()));
    }
  }
  if (rule)
    declareState(layer, rule, holdMask);
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
  for (unsigned i = 0; i < recipe.getNumFactors(); ++i)
    kinds.push_back(stringifyFactorKind(recipe.getKind(i)));
  for (ParameterOp tensor : layer.tensors)
    tensors.push_back(tensor.getSymName());
  record.push_back(
      builder.getNamedAttr("kinds", builder.getStrArrayAttr(kinds)));
  record.push_back(
      builder.getNamedAttr("factors", builder.getStrArrayAttr(tensors)));
  if (auto own = sparsities.find(weight.getSymName());
      own != sparsities.end()) {
    layer.sparsity = own->second;
    record.push_back(builder.getNamedAttr(
        "final_sparsity", builder.getF64FloatAttr(own->second)));
    record.push_back(builder.getNamedAttr(
        "sparsity_input", builder.getStringAttr(sparsityInput(layer))));
  }
  weight->setAttr(kLayerAttribute, builder.getDictionaryAttr(record));
  return layer;
}

/// nn.linear of the weight, which is what is loaded -> pst.masked_matmul,
/// factors loaded beside it.
void Sparsify::rewriteUses(ArrayRef<LoadOp> loads, Layer layer,
                           CriterionOp criterion) {
  for (LoadOp load : loads) {
    // A weight may be what its own product reads, too: one user, two uses.
    auto users = load.getResult().getUsers();
    for (Operation *user :
         llvm::SmallSetVector<Operation *, 4>(users.begin(), users.end())) {
      auto linear = dyn_cast<nn::LinearOp>(user);
      if (!linear || linear.getWeight() != load.getResult())
        continue;
      OpBuilder builder(linear);
      Location loc = linear.getLoc();
      SmallVector<Value> factors = loadAll(builder, loc, layer.tensors);
      SmallVector<Value> state = loadAll(builder, loc, layer.mask);
      Value pruned;
      if (layer.pruned)
        pruned = LoadOp::create(builder, loc, layer.pruned);
      auto masked = MaskedMatmulOp::create(
          builder, loc, linear.getType(), linear.getInput(),
          criterion.getSymName(), factors, used, state, pruned,
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
  SmallVector<DictionaryAttr> names;
  for (Layer layer : layers) {
    ParameterOp weight = layer.tensors.front();
    results.push_back(weight.getType());
    names.push_back(types.getDictionaryAttr(
        types.getNamedAttr(kNameAttribute, weight.getSymNameAttr())));
  }
  func::FuncOp function = addFunction(getOperation(), "materialize",
                                      types.getFunctionType({}, results));
  function.setAllResultAttrs(names);
  OpBuilder builder = OpBuilder::atBlockEnd(&function.getBody().front());
  SmallVector<Value> weights;
  for (Layer layer : layers) {
    ParameterOp weight = layer.tensors.front();
    Location loc = weight.getLoc();
    SmallVector<Value> factors = loadAll(builder, loc, layer.tensors);
    SmallVector<Value> state = loadAll(builder, loc, layer.mask);
    weights.push_back(MaskedWeightOp::create(builder, loc, weight.getType(),
                                             criterion.getSymName(), factors,
                                             used, state));
  }
  func::ReturnOp::create(builder, function.getLoc(), weights);
}

/// A recipe as text, its files without their folders: the same wherever they
/// lie.
static std::string textOf(CriterionOp recipe) {
  OwningOpRef<CriterionOp> copy = recipe.clone();
  mapFiles(*copy, [](StringRef path) {
    return llvm::sys::path::filename(path).str();
  });
  std::string text;
  llvm::raw_string_ostream stream(text);
  copy->print(stream);
  return text;
}

/// The option's selection, or else the recipe's, or else the best of each
/// layer.
FailureOr<SelectionAttr> Sparsify::chooseSelection(CriterionOp recipe) {
  Attribute own = recipe->removeAttr(kSelectionAttribute);
  if (!selection.empty())
    return parseSelection(&getContext(), selection,
                          runtime::spell(blockScore.getValue()),
                          [&] { return getOperation().emitError(); });
  auto chosen = dyn_cast_if_present<SelectionAttr>(own);
  // Sparsities of layers were asked for, a recipe's selection was not.
  if (!chosen || (chosen.knowsOneSparsity() && !sparsities.empty()))
    return SelectionAttr::get(&getContext(), SelectionKind::Layer);
  return chosen;
}

void Sparsify::runOnOperation() {
  ModuleOp module = getOperation();
  if (failed(chooseLayers(module, targetModules, excludeModules)) ||
      failed(trainModules(module, modulesToSave)))
    return signalPassFailure();
  if (markedWeights(module).empty())
    return;

  if (!layerSparsity.empty()) {
    auto read = layerSparsity == kOwnZeros
                    ? ownSparsities(module)
                    : readLayerSparsities(module, layerSparsity);
    if (failed(read))
      return signalPassFailure();
    sparsities = std::move(*read);
  }
  SmallVector<ParameterOp> weights = markedWeights(module);

  FailureOr<CriterionOp> found = findRecipe();
  FailureOr<llvm::StringMap<double>> given = givenHyperparameters();
  llvm::StringMap<double> values;
  if (failed(found) || failed(given) ||
      failed(resolveRecipe(*found, *given, values)))
    return signalPassFailure();
  CriterionOp recipe = *found;
  bool isIdentity = !recipe.hasScore() && recipe.getYield().getWeight() ==
                                              recipe.getBody().getArgument(0);
  bool trainsModel = recipe.getTrainsModel();
  if (isIdentity && !trainsModel) {
    recipe.emitOpError("leaves nothing to train: its weight is the model's "
                       "own, which is frozen, and it has no score");
    return signalPassFailure();
  }

  Builder builder(&getContext());
  // Before factors are declared: what of those is frozen stays so.
  if (trainsModel)
    for (auto parameter : module.getOps<ParameterOp>())
      if (parameter.getRole() == ParameterRole::Frozen)
        parameter.setRole(ParameterRole::Trainable);
  if (modulesToSave.empty())
    trainWithHead(module);
  for (auto parameter : module.getOps<ParameterOp>())
    parameter->removeAttr(kWithHeadAttribute);
  FailureOr<SelectionAttr> chosen = chooseSelection(recipe);
  if (failed(chosen))
    return signalPassFailure();
  if (recipe.hasScore()) {
    rule = *chosen;
    used = holdMask ? SelectionAttr::get(&getContext(), SelectionKind::Held)
                    : rule;
  } else if (holdMask) {
    recipe.emitOpError("has no score, and so no mask that could be kept for "
                       "--mask_interval or --mask_freeze (--hold_mask)");
    return signalPassFailure();
  }
  if (!sparsities.empty()) {
    if (rule && rule.knowsOneSparsity()) {
      module.emitError("layer_sparsity gives layers sparsities of their own, "
                       "but the selection '")
          << rule.getText() << "' knows one for all";
      return signalPassFailure();
    }
    if (!rule) {
      recipe.emitOpError(
          "has no score by which layers could become sparse, but "
          "layer_sparsity says how sparse");
      return signalPassFailure();
    }
    module->setAttr(kFinalSparsityAttribute,
                    builder.getF64FloatAttr(runSparsity));
  }
  DenseMap<StringAttr, SmallVector<LoadOp>> loads;
  module.walk([&](LoadOp load) {
    loads[load.getParameterAttr().getAttr()].push_back(load);
  });
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
          << " columns, which the groups of the selection '" << rule.getText()
          << "' must divide: choose another selection";
      return signalPassFailure();
    }
    layers.push_back(declareLayer(weight, recipe));
    rewriteUses(loads[weight.getSymNameAttr()], layers.back(), recipe);
  }
  if (Attribute rates = recipe->removeAttr(kRatesAttribute))
    module->setAttr(kRatesAttribute, rates);
  // Zeros that the model has are there from the beginning.
  if (recipe->removeAttr(kOneShotAttribute) ||
      (method == Method::SparseLoRA && layerSparsity == kOwnZeros))
    module->setAttr(kOneShotAttribute, builder.getUnitAttr());
  // What a checkpoint depends on, where no name of a method tells it.
  if (!criterion.empty())
    module->setAttr(kCriterionAttribute, builder.getStringAttr(textOf(recipe)));
  // Declared now; from here on it is a formula over tensors that are there.
  recipe.removeFactorsAttr();
  recipe.setTrainsModel(false);
  if (rule)
    addSelect(module, layers, recipe, rule, holdMask);
  if (!isIdentity) {
    addMaterialize(layers, recipe);
  } else {
    // The trained parameter is the weight: nothing to merge.
    for (ParameterOp weight : weights)
      weight->removeAttr(kLayerAttribute);
  }

  module->setAttr(kMethodAttribute, recipe.getSymNameAttr());
  SmallVector<NamedAttribute> record;
  for (const auto &value : values)
    record.push_back(builder.getNamedAttr(
        value.first(), builder.getF64FloatAttr(value.second)));
  module->setAttr(kHyperparametersAttribute, builder.getDictionaryAttr(record));
}

std::unique_ptr<Pass> pst::createSparsify(const RecipeOptions &options) {
  return std::make_unique<Sparsify>(options);
}
