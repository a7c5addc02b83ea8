//===- Selections.cpp - What a selection adds to a model ------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// A new selection is a case of declareState (what it leaves), and a function
// that finds it for @select.

#include "Selections.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "pst/Dialect/PST/StageAttributes.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Support/Format.h"

using namespace mlir;
using namespace pst;

SmallVector<Value> pst::loadAll(OpBuilder &builder, Location loc,
                                ArrayRef<ParameterOp> parameters) {
  SmallVector<Value> values;
  for (ParameterOp parameter : parameters)
    values.push_back(LoadOp::create(builder, loc, parameter));
  return values;
}

func::FuncOp pst::addFunction(ModuleOp module, StringRef name,
                              FunctionType type) {
  auto function = func::FuncOp::create(module.getLoc(), name, type);
  module.push_back(function);
  function.addEntryBlock();
  return function;
}

//===----------------------------------------------------------------------===//
// State
//===----------------------------------------------------------------------===//

static ParameterOp declare(OpBuilder &builder, Location loc, const Twine &name,
                           Type type, double value) {
  MLIRContext *context = builder.getContext();
  auto kind = value == 0.0 ? InitializerKind::Zeros : InitializerKind::Constant;
  return ParameterOp::create(
      builder, loc, name.str(), ParameterRole::State,
      InitializerAttr::get(context, kind, "", APFloat(value)),
      cast<RankedTensorType>(type), /*offset=*/nullptr, /*decay=*/false,
      /*group=*/nullptr);
}

/// How many of each group stay, of all layers alike.
static ParameterOp keptOfGroups(ModuleOp module, SelectionAttr selection,
                                Type type) {
  constexpr StringLiteral kName = "pst_kept_of_group";
  if (auto found = module.lookupSymbol<ParameterOp>(kName))
    return found;
  auto builder = OpBuilder::atBlockBegin(module.getBody());
  return declare(builder, module.getLoc(), kName, type,
                 static_cast<double>(selection.getGroup()));
}

/// What gradients of scores are multiplied by, of all layers alike.
constexpr StringLiteral kScoreGradients = "pst_score_gradients";

static void declareHeldMask(Layer &layer) {
  ParameterOp weight = layer.tensors.front();
  auto module = weight->getParentOfType<ModuleOp>();
  auto held = SelectionAttr::get(weight->getContext(), SelectionKind::Held);
  SmallVector<Type> types =
      held.getStateTypes(cast<RankedTensorType>(weight.getType()));
  auto factor = module.lookupSymbol<ParameterOp>(kScoreGradients);
  if (!factor) {
    auto builder = OpBuilder::atBlockBegin(module.getBody());
    factor = declare(builder, module.getLoc(), kScoreGradients, types[1], 1.0);
  }
  OpBuilder builder(weight->getContext());
  builder.setInsertionPointAfter(layer.tensors.back());
  // Of i32, -1 is all bits.
  layer.mask = {declare(builder, weight.getLoc(),
                        weight.getSymName() + ".pst_mask", types[0], -1.0),
                factor};
}

static void declareSelection(Layer &layer, SelectionAttr selection) {
  ParameterOp weight = layer.tensors.front();
  auto shape = cast<RankedTensorType>(weight.getType());
  SmallVector<Type> types = selection.getStateTypes(shape);
  OpBuilder builder(weight->getContext());
  builder.setInsertionPointAfter(layer.tensors.back());
  auto add = [&](StringRef suffix, double value) {
    layer.state.push_back(declare(builder, weight.getLoc(),
                                  weight.getSymName() + suffix,
                                  types[layer.state.size()], value));
  };
  auto addThreshold = [&](int64_t competitors) {
    add(".pst_threshold", -std::numeric_limits<float>::max());
    add(".pst_cut", static_cast<double>(competitors));
  };
  switch (selection.getKind()) {
  case SelectionKind::Layer:
  case SelectionKind::Global:
    addThreshold(shape.getNumElements());
    break;
  case SelectionKind::Row:
    addThreshold(shape.getDimSize(1));
    break;
  case SelectionKind::NM:
    layer.state.push_back(keptOfGroups(weight->getParentOfType<ModuleOp>(),
                                       selection, types.front()));
    return;
  case SelectionKind::Block:
    add(".pst_block_scores", 0.0);
    addThreshold(selection.getBlockScoreType(shape).getNumElements());
    return;
  case SelectionKind::Held:
    llvm_unreachable("what is held, another selection has left");
  }
  layer.pruned =
      declare(builder, weight.getLoc(), weight.getSymName() + ".pst_pruned",
              RankedTensorType::get({}, builder.getI64Type()), 0.0);
}

void pst::declareState(Layer &layer, SelectionAttr selection, bool held) {
  declareSelection(layer, selection);
  if (held)
    declareHeldMask(layer);
  else
    layer.mask = layer.state;
}

//===----------------------------------------------------------------------===//
// @select
//===----------------------------------------------------------------------===//

std::string pst::sparsityInput(const Layer &layer) {
  if (!layer.sparsity)
    return "sparsity";
  std::string name;
  llvm::raw_string_ostream(name)
      << "sparsity:" << llvm::format("%.17g", *layer.sparsity);
  return name;
}

namespace {
class SelectBuilder {
public:
  /// `sparsities`: by the name of the input.
  SelectBuilder(OpBuilder builder, const llvm::StringMap<Value> &sparsities,
                CriterionOp criterion, SelectionAttr selection)
      : builder(builder), sparsities(sparsities),
        sparsity(sparsities.lookup("sparsity")), criterion(criterion),
        selection(selection) {}

  void build(ArrayRef<Layer> layers) {
    switch (selection.getKind()) {
    case SelectionKind::Layer:
      for (const Layer &layer : layers)
        selectOfLayer(layer);
      return;
    case SelectionKind::Row:
      for (const Layer &layer : layers)
        selectOfRows(layer);
      return;
    case SelectionKind::Global:
      return selectOfAll(layers);
    case SelectionKind::NM:
      return countOfGroups(layers.front());
    case SelectionKind::Held:
      llvm_unreachable("what is held, another selection has left");
    case SelectionKind::Block:
      auto ofBlocks = criterionOfBlocks();
      for (const Layer &layer : layers)
        selectOfBlocks(layer, ofBlocks);
      return;
    }
  }

private:
  static Location locOf(const Layer &layer) {
    ParameterOp weight = layer.tensors.front();
    return weight.getLoc();
  }

  Value sparsityOf(const Layer &layer) const {
    return sparsities.lookup(sparsityInput(layer));
  }

  void store(Location loc, Value value, ParameterOp parameter) {
    StoreOp::create(builder, loc, value, parameter.getSymName());
  }

  void selectOfLayer(const Layer &layer) {
    Location loc = locOf(layer);
    ParameterOp threshold = layer.state[0], cut = layer.state[1],
                pruned = layer.pruned;
    SmallVector<Value> factors = loadAll(builder, loc, layer.tensors);
    Value previous = LoadOp::create(builder, loc, threshold);
    auto select = TopKThresholdOp::create(builder, loc, criterion.getSymName(),
                                          factors, sparsityOf(layer), previous);
    store(loc, select.getThresholds().front(), threshold);
    store(loc, select.getCuts().front(), cut);
    store(loc, select.getPruned().front(), pruned);
  }

  void selectOfRows(const Layer &layer) {
    Location loc = locOf(layer);
    ParameterOp thresholds = layer.state[0], cuts = layer.state[1],
                pruned = layer.pruned;
    auto select = RowThresholdsOp::create(
        builder, loc, thresholds.getType(), cuts.getType(), pruned.getType(),
        criterion.getSymName(), loadAll(builder, loc, layer.tensors),
        sparsityOf(layer));
    store(loc, select.getThresholds(), thresholds);
    store(loc, select.getCuts(), cuts);
    store(loc, select.getPruned(), pruned);
  }

  void selectOfAll(ArrayRef<Layer> layers) {
    Location loc = locOf(layers.front());
    SmallVector<Value> factors;
    for (const Layer &layer : layers)
      llvm::append_range(factors, loadAll(builder, loc, layer.tensors));
    // All layers hold the same one.
    ParameterOp threshold = layers.front().state[0];
    Value previous = LoadOp::create(builder, loc, threshold);
    SmallVector<Type> counts(layers.size(),
                             RankedTensorType::get({}, builder.getI64Type()));
    auto select = CommonThresholdOp::create(
        builder, loc, previous.getType(), counts, counts,
        criterion.getSymName(), factors, sparsity, previous);
    for (auto [layer, cut, pruned] :
         llvm::zip(layers, select.getCuts(), select.getPruned())) {
      store(locOf(layer), select.getThreshold(), layer.state[0]);
      store(locOf(layer), cut, layer.state[1]);
      store(locOf(layer), pruned, layer.pruned);
    }
  }

  /// max(kept, group - int(group * sparsity)), one number for all layers.
  void countOfGroups(const Layer &layer) {
    Location loc = locOf(layer);
    Type i64 = builder.getI64Type();
    auto constant = [&](TypedAttr value) -> Value {
      return arith::ConstantOp::create(builder, loc, value);
    };
    auto size = static_cast<double>(selection.getGroup());
    Value pruned = arith::FPToSIOp::create(
        builder, loc, i64,
        arith::MulFOp::create(builder, loc, sparsity,
                              constant(builder.getF64FloatAttr(size))));
    Value left = arith::SubIOp::create(
        builder, loc, constant(builder.getI64IntegerAttr(selection.getGroup())),
        pruned);
    Value kept = arith::MaxSIOp::create(
        builder, loc, left,
        constant(builder.getI64IntegerAttr(selection.getKept())));
    ParameterOp parameter = layer.state[0];
    store(loc,
          tensor::FromElementsOp::create(
              builder, loc, cast<RankedTensorType>(parameter.getType()), kept),
          parameter);
  }

  /// pst.criterion @pst_blocks(%score: dense) { the weight is the score }
  CriterionOp criterionOfBlocks() {
    OpBuilder::InsertionGuard guard(builder);
    builder.setInsertionPointAfter(criterion);
    Location loc = criterion.getLoc();
    auto made = CriterionOp::create(
        builder, loc, "pst_blocks",
        ArrayRef<int32_t>{static_cast<int32_t>(FactorKind::Dense)},
        /*factors=*/ArrayAttr());
    Block *block = builder.createBlock(&made.getBody());
    Value score = block->addArgument(builder.getF32Type(), loc);
    YieldOp::create(builder, loc, score, score);
    return made;
  }

  void selectOfBlocks(const Layer &layer, CriterionOp ofBlocks) {
    Location loc = locOf(layer);
    ParameterOp scores = layer.state[0], threshold = layer.state[1],
                cut = layer.state[2];
    Value found = BlockScoresOp::create(
        builder, loc, scores.getType(), criterion.getSymName(),
        loadAll(builder, loc, layer.tensors), selection);
    Value previous = LoadOp::create(builder, loc, threshold);
    auto select = TopKThresholdOp::create(builder, loc, ofBlocks.getSymName(),
                                          found, sparsityOf(layer), previous);
    store(loc, found, scores);
    store(loc, select.getThresholds().front(), threshold);
    store(loc, select.getCuts().front(), cut);
  }

  OpBuilder builder;
  const llvm::StringMap<Value> &sparsities;
  Value sparsity; ///< The run's.
  CriterionOp criterion;
  SelectionAttr selection;
};
} // namespace

static void storeScoreGradients(OpBuilder &builder, ParameterOp factor,
                                float value) {
  Location loc = factor.getLoc();
  Value number =
      arith::ConstantOp::create(builder, loc, builder.getF32FloatAttr(value));
  Value stored = tensor::FromElementsOp::create(
      builder, loc, cast<RankedTensorType>(factor.getType()), number);
  StoreOp::create(builder, loc, stored, factor.getSymName());
}

/// By what the selection has just left.
static void storeMasks(OpBuilder &builder, ArrayRef<Layer> layers,
                       CriterionOp criterion, SelectionAttr selection) {
  for (const Layer &layer : layers) {
    ParameterOp mask = layer.mask[0];
    Location loc = mask.getLoc();
    Value bits =
        MaskBitsOp::create(builder, loc, mask.getType(), criterion.getSymName(),
                           loadAll(builder, loc, layer.tensors), selection,
                           loadAll(builder, loc, layer.state));
    StoreOp::create(builder, loc, bits, mask.getSymName());
  }
  storeScoreGradients(builder, layers.front().mask[1], 1.0f);
}

static void addFreezeMask(ModuleOp module, ParameterOp factor) {
  func::FuncOp function = addFunction(
      module, "freeze_mask", FunctionType::get(module.getContext(), {}, {}));
  OpBuilder builder = OpBuilder::atBlockEnd(&function.getBody().front());
  storeScoreGradients(builder, factor, 0.0f);
  func::ReturnOp::create(builder, function.getLoc());
}

void pst::addSelect(ModuleOp module, ArrayRef<Layer> layers,
                    CriterionOp criterion, SelectionAttr selection, bool held) {
  Builder types(module.getContext());
  SmallVector<std::string> inputs{"sparsity"};
  for (const Layer &layer : layers)
    if (std::string input = sparsityInput(layer);
        !llvm::is_contained(inputs, input))
      inputs.push_back(input);
  SmallVector<Type> inputTypes(inputs.size(), types.getF64Type());
  func::FuncOp function =
      addFunction(module, "select", types.getFunctionType(inputTypes, {}));
  llvm::StringMap<Value> sparsities;
  for (auto [i, name] : llvm::enumerate(inputs)) {
    function.setArgAttr(i, kNameAttribute, types.getStringAttr(name));
    sparsities[name] = function.getArgument(i);
  }
  OpBuilder builder = OpBuilder::atBlockEnd(&function.getBody().front());
  Operation *end = func::ReturnOp::create(builder, function.getLoc());
  builder.setInsertionPoint(end);
  SelectBuilder(builder, sparsities, criterion, selection).build(layers);
  if (held) {
    storeMasks(builder, layers, criterion, selection);
    addFreezeMask(module, layers.front().mask[1]);
  }
}
