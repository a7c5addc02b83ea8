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

using namespace mlir;
using namespace pst;

//===----------------------------------------------------------------------===//
// Types
//===----------------------------------------------------------------------===//

static bool isInteger(Attribute value) {
  auto integer = dyn_cast<IntegerAttr>(value);
  return integer && integer.getType().isInteger(64);
}

static bool isNumber(Attribute value) {
  auto number = dyn_cast<FloatAttr>(value);
  return number && number.getType().isF64();
}

template <bool (*isValue)(Attribute)>
static bool isDictionaryOf(Attribute value) {
  auto dictionary = dyn_cast<DictionaryAttr>(value);
  return dictionary && llvm::all_of(dictionary, [](NamedAttribute entry) {
           return isValue(entry.getValue());
         });
}

static bool isKind(Attribute value) {
  auto word = dyn_cast<StringAttr>(value);
  return word && llvm::is_contained({"input", "output", "parameter", "space"},
                                    word.getValue());
}

static bool isTask(Attribute value) {
  auto word = dyn_cast<StringAttr>(value);
  return word &&
         llvm::is_contained({"classification", "multi_label_classification",
                             "token_classification", "regression", "lm"},
                            word.getValue());
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
  bool (*isValue)(Attribute);
  StringLiteral type; // for messages
};
} // namespace

static ArrayRef<StageAttribute> stageAttributes() {
  using Place = StagePlace;
  auto isText = [](Attribute value) { return isa<StringAttr>(value); };
  auto isUnit = [](Attribute value) { return isa<UnitAttr>(value); };
  auto isRecord = [](Attribute value) { return isa<DictionaryAttr>(value); };
  auto isPositions = [](Attribute value) {
    return isa<DenseI32ArrayAttr>(value);
  };
  auto areRates = [](Attribute value) {
    auto rates = dyn_cast<DictionaryAttr>(value);
    return rates && llvm::all_of(rates, [](NamedAttribute rate) {
             auto number = dyn_cast<FloatAttr>(rate.getValue());
             return llvm::is_contained({"weights", "mask", "head", "language"},
                                       rate.getName().getValue()) &&
                    number && number.getType().isF64() &&
                    number.getValueAsDouble() >= 0 &&
                    number.getValueAsDouble() < 1e30;
           });
  };
  auto isSelection = [](Attribute value) {
    auto selection = dyn_cast<SelectionAttr>(value);
    return selection && selection.getKind() != SelectionKind::Held;
  };
  static constexpr StringLiteral numbers = "a dictionary of f64",
                                 integers = "a dictionary of i64";
  static const StageAttribute all[] = {
      {kArchitectureAttribute, {Place::Module}, isText, "a string"},
      {kConfigAttribute, {Place::Module}, isText, "a string"},
      {kTaskAttribute,
       {Place::Module},
       isTask,
       "\"classification\", \"multi_label_classification\", "
       "\"token_classification\", \"regression\" or \"lm\""},
      {kMethodAttribute, {Place::Module}, isText, "a string"},
      {kHyperparametersAttribute,
       {Place::Module},
       isDictionaryOf<isNumber>,
       numbers},
      {kCriterionAttribute, {Place::Module}, isText, "a string"},
      {kRatesAttribute,
       {Place::Module, Place::Criterion},
       areRates,
       "a dictionary of \"weights\", \"mask\", \"head\" and \"language\", f64 "
       "from 0,"},
      {kOneShotAttribute,
       {Place::Module, Place::Criterion},
       isUnit,
       "a unit attribute"},
      {kSelectionAttribute,
       {Place::Criterion},
       isSelection,
       "a #pst.selection that selects"},
      {kFinalSparsityAttribute, {Place::Module}, isNumber, "an f64"},
      {kTokenCapacityAttribute, {Place::Module}, isInteger, "an i64"},
      {kRecomputeAttribute, {Place::Module}, isDictionaryOf<isNumber>, numbers},
      {kKeptWeightsAttribute,
       {Place::Module},
       isDictionaryOf<isInteger>,
       integers},
      {kMemoryAttribute, {Place::Module}, isDictionaryOf<isInteger>, integers},
      {kRedZonesAttribute, {Place::Module}, isUnit, "a unit attribute"},
      {kSparsifyAttribute, {Place::Parameter}, isUnit, "a unit attribute"},
      {kWithHeadAttribute, {Place::Parameter}, isUnit, "a unit attribute"},
      {kLayerAttribute, {Place::Parameter}, isRecord, "a dictionary"},
      {kKeptAttribute, {Place::Parameter}, isInteger, "an i64"},
      {kCostAttribute, {Place::Parameter}, isDictionaryOf<isNumber>, numbers},
      {kNameAttribute, {Place::Argument, Place::Result}, isText, "a string"},
      {kIdsAttribute, {Place::Argument}, isInteger, "an i64"},
      {kKindAttribute,
       {Place::Argument},
       isKind,
       "\"input\", \"output\", \"parameter\" or \"space\""},
      {kBlocksAttribute,
       {Place::Function},
       isDictionaryOf<isInteger>,
       integers},
      {kTensorMapsAttribute, {Place::Function}, isPositions, "an array of i32"},
      {kOpAttribute, {Place::Launch}, isText, "a string"},
      {kFlopsAttribute, {Place::Launch}, isInteger, "an i64"},
      {kBytesAttribute, {Place::Launch}, isInteger, "an i64"},
      {kGemmPlanAttribute,
       {Place::Launch},
       isDictionaryOf<isInteger>,
       integers},
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
  if (!found->isValue(attribute.getValue()))
    return op->emitOpError("must have ")
           << found->type << " as " << attribute.getName() << ", but got "
           << attribute.getValue();
  return success();
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
