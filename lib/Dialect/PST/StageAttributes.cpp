//===- StageAttributes.cpp - Notes that stages leave each other -----------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Dialect/PST/StageAttributes.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Interfaces/FunctionInterfaces.h"
#include "pst/Dialect/PST/PSTOps.h"

#include <cmath>
#include <optional>

using namespace mlir;
using namespace pst;

//===----------------------------------------------------------------------===//
// Types of values
//===----------------------------------------------------------------------===//

namespace {
/// What a value must be, and the words for it in messages.
struct ValueType {
  bool (*holds)(Attribute);
  StringLiteral words;
};
} // namespace

static std::optional<int64_t> integerOf(Attribute value) {
  auto integer = dyn_cast<IntegerAttr>(value);
  if (!integer || !integer.getType().isInteger(64))
    return std::nullopt;
  return integer.getInt();
}

static std::optional<double> numberOf(Attribute value) {
  auto number = dyn_cast<FloatAttr>(value);
  if (!number || !number.getType().isF64())
    return std::nullopt;
  return number.getValueAsDouble();
}

static bool isOneOf(Attribute value, ArrayRef<StringRef> words) {
  auto word = dyn_cast<StringAttr>(value);
  return word && llvm::is_contained(words, word.getValue());
}

template <bool (*isElement)(Attribute)> static bool isArrayOf(Attribute value) {
  auto array = dyn_cast<ArrayAttr>(value);
  return array && llvm::all_of(array, isElement);
}

static bool isText(Attribute value) { return isa<StringAttr>(value); }

static bool isFactorKind(Attribute value) {
  auto word = dyn_cast<StringAttr>(value);
  return word && symbolizeFactorKind(word.getValue());
}

static constexpr ValueType kText{isText, "a string"},
    kTexts{isArrayOf<isText>, "an array of strings"},
    kUnit{[](Attribute value) { return isa<UnitAttr>(value); },
          "a unit attribute"},
    kDictionary{[](Attribute value) { return isa<DictionaryAttr>(value); },
                "a dictionary"},
    kPositions{[](Attribute value) { return isa<DenseI32ArrayAttr>(value); },
               "an array of i32"},
    kCount{[](Attribute value) { return integerOf(value).value_or(-1) >= 0; },
           "an i64 from 0"},
    kSize{[](Attribute value) { return integerOf(value).value_or(0) >= 1; },
          "an i64 from 1"},
    kNumber{[](Attribute value) { return numberOf(value).has_value(); },
            "an f64"},
    kAmount{[](Attribute value) {
              double number = numberOf(value).value_or(-1);
              return number >= 0 && std::isfinite(number);
            },
            "a finite f64 from 0"},
    kRate{[](Attribute value) {
            double number = numberOf(value).value_or(-1);
            return number >= 0 && number < 1e30;
          },
          "an f64 from 0, below 1e30,"},
    kSelection{[](Attribute value) {
                 auto selection = dyn_cast<SelectionAttr>(value);
                 return selection && selection.getKind() != SelectionKind::Held;
               },
               "a #pst.selection that selects"},
    kFactorKinds{isArrayOf<isFactorKind>,
                 "an array of \"dense\", \"lowrank\", \"row\" and \"col\""},
    kKind{[](Attribute value) {
            return isOneOf(value, {"input", "output", "parameter", "space"});
          },
          "\"input\", \"output\", \"parameter\" or \"space\""},
    kTask{[](Attribute value) {
            return isOneOf(value,
                           {"classification", "multi_label_classification",
                            "token_classification", "regression", "lm"});
          },
          "\"classification\", \"multi_label_classification\", "
          "\"token_classification\", \"regression\" or \"lm\""};

//===----------------------------------------------------------------------===//
// Keys of dictionaries
//===----------------------------------------------------------------------===//

namespace {
enum class Need { Always, Never, WithOther };

/// What a dictionary holds by a key. `WithOther`: if it holds `other`, too.
struct Key {
  StringLiteral name;
  ValueType type;
  Need need = Need::Always;
  StringLiteral other = "";
};
} // namespace

static constexpr Key kRatesKeys[] = {{"weights", kRate, Need::Never},
                                     {"mask", kRate, Need::Never},
                                     {"head", kRate, Need::Never},
                                     {"language", kRate, Need::Never}};

static constexpr Key kRecomputeKeys[] = {{"flops", kAmount}, {"step", kAmount}};

static constexpr Key kKeptWeightsKeys[] = {
    {"kept", kCount}, {"weights", kCount}, {"bytes", kCount}};

static constexpr Key kMemoryKeys[] = {
    {"frozen", kCount}, {"trainable", kCount}, {"state", kCount},
    {"cache", kCount},  {"arena", kCount},     {"workspace", kCount}};

static constexpr Key kLayerKeys[] = {
    {"kinds", kFactorKinds},
    {"factors", kTexts},
    {"state", kTexts},
    {"selection", kSelection, Need::Never},
    {"pruned", kText, Need::Never},
    {"final_sparsity", kNumber, Need::WithOther, "sparsity_input"},
    {"sparsity_input", kText, Need::WithOther, "final_sparsity"}};

static constexpr Key kCostKeys[] = {{"dense", kAmount},
                                    {"compressed", kAmount},
                                    {"bitmask", kAmount, Need::Never}};

static constexpr Key kBlocksKeys[] = {{"m", kSize},
                                      {"n", kSize},
                                      {"k", kSize},
                                      {"tile_rows", kSize},
                                      {"tile_columns", kSize}};

static constexpr Key kGemmPlanKeys[] = {
    {"rows", kSize},
    {"columns", kSize},
    {"splits", kSize},
    {"stages", kSize, Need::WithOther, "band"},
    {"release", kCount, Need::WithOther, "stages"},
    {"band", kCount, Need::WithOther, "release"}};

//===----------------------------------------------------------------------===//
// What values say together, and of what they stand on
//===----------------------------------------------------------------------===//

/// Shapes of a parameter's type, if it has one yet: attributes are verified
/// before ops are.
static RankedTensorType typeOf(Operation *parameter) {
  TypeAttr type = cast<ParameterOp>(parameter).getTypeAttr();
  return type ? dyn_cast<RankedTensorType>(type.getValue())
              : RankedTensorType();
}

/// A layer is a matrix, and each of its factors has its tensors.
static LogicalResult verifyLayer(Operation *op, Attribute value) {
  RankedTensorType type = typeOf(op);
  if (type && type.getRank() != 2)
    return op->emitOpError("has the attribute \"")
           << kLayerAttribute << "\", so it must be a matrix, but is " << type;
  auto layer = cast<DictionaryAttr>(value);
  auto kinds = layer.getAs<ArrayAttr>("kinds");
  size_t tensors = 0;
  for (auto kind : kinds.getAsRange<StringAttr>())
    tensors += symbolizeFactorKind(kind) == FactorKind::LowRank ? 2 : 1;
  auto factors = layer.getAs<ArrayAttr>("factors");
  if (factors.size() != tensors)
    return op->emitOpError("must have ")
           << tensors << " tensors as \"factors\" of \"" << kLayerAttribute
           << "\", as its \"kinds\" are " << kinds << ", but got " << factors;
  return success();
}

static LogicalResult verifyKeptWeights(Operation *op, Attribute value) {
  auto weights = cast<DictionaryAttr>(value);
  int64_t kept = *integerOf(weights.get("kept"));
  int64_t all = *integerOf(weights.get("weights"));
  if (kept > all)
    return op->emitOpError("must have an i64 up to its \"weights\", ")
           << all << ", as \"kept\" of \"" << kKeptWeightsAttribute
           << "\", but got " << kept;
  return success();
}

/// No more elements are kept than there are.
static LogicalResult verifyKept(Operation *op, Attribute value) {
  RankedTensorType type = typeOf(op);
  if (type && hasSizes(type) && *integerOf(value) > type.getNumElements())
    return op->emitOpError("must have an i64 up to the ")
           << type.getNumElements() << " elements of " << type << " as \""
           << kKeptAttribute << "\", but got " << value;
  return success();
}

/// Tensor maps are among the arguments.
static LogicalResult verifyTensorMaps(Operation *op, Attribute value) {
  size_t arguments = 0;
  if (op->getNumRegions() > 0 && !op->getRegion(0).empty())
    arguments = op->getRegion(0).getNumArguments();
  for (int32_t position : cast<DenseI32ArrayAttr>(value).asArrayRef())
    if (position < 0 || static_cast<size_t>(position) >= arguments)
      return op->emitOpError("must have positions among its ")
             << arguments << " arguments as \"" << kTensorMapsAttribute
             << "\", but got " << position;
  return success();
}

//===----------------------------------------------------------------------===//
// The attributes
//===----------------------------------------------------------------------===//

namespace {
enum class StagePlace {
  Module,
  Parameter,
  Criterion,
  Function,
  Argument,
  Result,
  Launch
};

struct StageAttribute {
  StringLiteral name;
  SmallVector<StagePlace, 2> places;
  ValueType type;
  /// Of a dictionary: what it holds.
  ArrayRef<Key> keys = {};
  /// Of a dictionary whose keys are names: what each is.
  std::optional<ValueType> values = std::nullopt;
  /// Asked last, of a value whose type and keys are right.
  LogicalResult (*verifyWhole)(Operation *, Attribute) = nullptr;
};
} // namespace

static ArrayRef<StageAttribute> stageAttributes() {
  using Place = StagePlace;
  static const StageAttribute all[] = {
      {kArchitectureAttribute, {Place::Module}, kText},
      {kConfigAttribute, {Place::Module}, kText},
      {kTaskAttribute, {Place::Module}, kTask},
      {kMethodAttribute, {Place::Module}, kText},
      {kHyperparametersAttribute, {Place::Module}, kDictionary, {}, kNumber},
      {kCriterionAttribute, {Place::Module}, kText},
      {kRatesAttribute,
       {Place::Module, Place::Criterion},
       kDictionary,
       kRatesKeys},
      {kOneShotAttribute, {Place::Module, Place::Criterion}, kUnit},
      {kSelectionAttribute, {Place::Criterion}, kSelection},
      {kFinalSparsityAttribute, {Place::Module}, kNumber},
      {kTokenCapacityAttribute, {Place::Module}, kSize},
      {kRecomputeAttribute, {Place::Module}, kDictionary, kRecomputeKeys},
      {kKeptWeightsAttribute,
       {Place::Module},
       kDictionary,
       kKeptWeightsKeys,
       {},
       verifyKeptWeights},
      {kMemoryAttribute, {Place::Module}, kDictionary, kMemoryKeys},
      {kRedZonesAttribute, {Place::Module}, kUnit},
      {kSparsifyAttribute, {Place::Parameter}, kUnit},
      {kWithHeadAttribute, {Place::Parameter}, kUnit},
      {kLayerAttribute,
       {Place::Parameter},
       kDictionary,
       kLayerKeys,
       {},
       verifyLayer},
      {kKeptAttribute, {Place::Parameter}, kCount, {}, {}, verifyKept},
      {kCostAttribute, {Place::Parameter}, kDictionary, kCostKeys},
      {kNameAttribute, {Place::Argument, Place::Result}, kText},
      {kIdsAttribute, {Place::Argument}, kSize},
      {kKindAttribute, {Place::Argument}, kKind},
      {kBlocksAttribute, {Place::Function}, kDictionary, kBlocksKeys},
      {kTensorMapsAttribute,
       {Place::Function},
       kPositions,
       {},
       {},
       verifyTensorMaps},
      {kOpAttribute, {Place::Launch}, kText},
      {kFlopsAttribute, {Place::Launch}, kCount},
      {kBytesAttribute, {Place::Launch}, kCount},
      {kGemmPlanAttribute, {Place::Launch}, kDictionary, kGemmPlanKeys},
  };
  return all;
}

static StringRef describe(StagePlace place) {
  switch (place) {
  case StagePlace::Module:
    return "a module";
  case StagePlace::Parameter:
    return "a 'pst.parameter'";
  case StagePlace::Criterion:
    return "a 'pst.criterion'";
  case StagePlace::Function:
    return "a function";
  case StagePlace::Argument:
    return "an argument of a function";
  case StagePlace::Result:
    return "a result of a function";
  case StagePlace::Launch:
    return "a launch";
  }
  llvm_unreachable("a place of a stage attribute");
}

/// Verifies what a dictionary that is the value of `declared` holds.
static LogicalResult verifyKeys(Operation *op, const StageAttribute &declared,
                                DictionaryAttr dictionary) {
  for (NamedAttribute entry : dictionary) {
    StringRef name = entry.getName();
    const Key *key = llvm::find_if(
        declared.keys, [&](const Key &key) { return key.name == name; });
    if (key == declared.keys.end() && !declared.values) {
      InFlightDiagnostic error = op->emitOpError("has the key ")
                                 << entry.getName() << " in \"" << declared.name
                                 << "\", which knows ";
      llvm::interleaveComma(declared.keys, error, [&](const Key &key) {
        error << "\"" << key.name << "\"";
      });
      return error;
    }
    const ValueType &type = declared.values ? *declared.values : key->type;
    if (!type.holds(entry.getValue()))
      return op->emitOpError("must have ")
             << type.words << " as " << entry.getName() << " of \""
             << declared.name << "\", but got " << entry.getValue();
  }
  for (const Key &key : declared.keys) {
    if (dictionary.contains(key.name) || key.need == Need::Never ||
        (key.need == Need::WithOther && !dictionary.contains(key.other)))
      continue;
    InFlightDiagnostic error = op->emitOpError("must have ")
                               << key.type.words << " as \"" << key.name
                               << "\" of \"" << declared.name << "\"";
    if (key.need == Need::WithOther)
      error << " beside \"" << key.other << "\"";
    error << ", but got " << dictionary;
    return error;
  }
  return success();
}

/// Verifies an attribute that stands at `place` of `op`.
static LogicalResult verify(Operation *op, NamedAttribute attribute,
                            StagePlace place) {
  const auto *found =
      llvm::find_if(stageAttributes(), [&](const StageAttribute &declared) {
        return declared.name == attribute.getName().getValue();
      });
  if (found == stageAttributes().end())
    return op->emitOpError("has the attribute ")
           << attribute.getName() << ", which the pst dialect does not know";
  if (!llvm::is_contained(found->places, place)) {
    InFlightDiagnostic error = op->emitOpError("has the attribute ")
                               << attribute.getName() << ", which belongs to ";
    llvm::interleave(
        found->places, [&](StagePlace place) { error << describe(place); },
        [&] { error << " or "; });
    return error;
  }
  if (!found->type.holds(attribute.getValue()))
    return op->emitOpError("must have ")
           << found->type.words << " as " << attribute.getName() << ", but got "
           << attribute.getValue();
  if (auto dictionary = dyn_cast<DictionaryAttr>(attribute.getValue()))
    if (failed(verifyKeys(op, *found, dictionary)))
      return failure();
  return found->verifyWhole ? found->verifyWhole(op, attribute.getValue())
                            : success();
}

//===----------------------------------------------------------------------===//
// Hooks of the dialect
//===----------------------------------------------------------------------===//

LogicalResult PSTDialect::verifyOperationAttribute(Operation *op,
                                                   NamedAttribute attribute) {
  return verify(op, attribute,
                isa<ModuleOp>(op)              ? StagePlace::Module
                : isa<ParameterOp>(op)         ? StagePlace::Parameter
                : isa<CriterionOp>(op)         ? StagePlace::Criterion
                : isa<FunctionOpInterface>(op) ? StagePlace::Function
                                               : StagePlace::Launch);
}

LogicalResult PSTDialect::verifyRegionArgAttribute(Operation *op, unsigned,
                                                   unsigned,
                                                   NamedAttribute attribute) {
  return verify(op, attribute, StagePlace::Argument);
}

LogicalResult
PSTDialect::verifyRegionResultAttribute(Operation *op, unsigned, unsigned,
                                        NamedAttribute attribute) {
  return verify(op, attribute, StagePlace::Result);
}

/// The tensors that a layer names are there. (C5)
LogicalResult ParameterOp::verifySymbolUses(SymbolTableCollection &table) {
  auto layer = (*this)->getAttrOfType<DictionaryAttr>(kLayerAttribute);
  if (!layer)
    return success();
  auto verifyName = [&](StringRef key, StringAttr name) -> LogicalResult {
    if (table.lookupNearestSymbolFrom<ParameterOp>(*this, name))
      return success();
    return emitOpError("must have names of parameters as \"")
           << key << "\" of \"" << kLayerAttribute << "\", but got " << name;
  };
  for (StringRef key : {"factors", "state"})
    for (auto name : layer.getAs<ArrayAttr>(key).getAsRange<StringAttr>())
      if (failed(verifyName(key, name)))
        return failure();
  auto pruned = layer.getAs<StringAttr>("pruned");
  return pruned ? verifyName("pruned", pruned) : success();
}
