//===- BuildManifest.cpp - The manifest of a planned module ---------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Bundle/BuildManifest.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "pst/Dialect/PST/PSTOps.h"
#include "pst/Dialect/PST/StageAttributes.h"
#include "llvm/ADT/StringSwitch.h"

using namespace mlir;
using namespace pst;

static FailureOr<pst::TensorType> tensorType(Operation *op, Type type) {
  pst::TensorType result;
  Type element = type;
  if (auto shaped = dyn_cast<ShapedType>(type)) {
    result.shape = shaped.getShape().vec();
    element = shaped.getElementType();
  }
  if (element.isF32())
    result.element = ElementType::f32;
  else if (element.isF64())
    result.element = ElementType::f64;
  else if (element.isBF16())
    result.element = ElementType::bf16;
  else if (element.isInteger(8))
    result.element = ElementType::i8;
  else if (element.isInteger(32))
    result.element = ElementType::i32;
  else if (element.isInteger(64))
    result.element = ElementType::i64;
  else
    return op->emitOpError("cannot pass elements of type ")
           << element
           << " to a program: f32, f64, bf16, i8, i32 or i64 are "
              "known";
  return result;
}

static FailureOr<pst::Parameter> describe(ParameterOp op) {
  pst::Parameter parameter;
  parameter.name = op.getSymName();
  FailureOr<pst::TensorType> type = tensorType(op, op.getType());
  if (failed(type))
    return failure();
  parameter.type = *type;
  parameter.role = static_cast<Role>(op.getRole());
  parameter.offset = op.getOffset().value_or(0);
  parameter.decay = op.getDecay();
  if (parameter.role == Role::frozen &&
      op.getInitializer().getKind() != InitializerKind::File)
    return op.emitOpError("is frozen, so its values must come from a file: "
                          "write init<file \"TENSOR\">, or make it trainable");
  double value = op.getInitializer().getValue().convertToDouble();
  switch (op.getInitializer().getKind()) {
  case InitializerKind::File:
    parameter.initializer.kind = Initializer::Kind::file;
    parameter.source = op.getInitializer().getSource();
    parameter.sourceFile = op.getInitializer().getFile();
    parameter.sourceColumns = op.getInitializer().getSourceColumns();
    parameter.column = op.getInitializer().getColumn();
    break;
  case InitializerKind::Zeros:
    parameter.initializer.kind = Initializer::Kind::zeros;
    break;
  case InitializerKind::Normal:
    parameter.initializer.kind = Initializer::Kind::normal;
    parameter.initializer.stddev = value;
    break;
  case InitializerKind::Constant:
    parameter.initializer.kind = Initializer::Kind::constant;
    parameter.initializer.value = value;
    break;
  }
  return parameter;
}

static FailureOr<EntryPoint> describe(func::FuncOp function) {
  EntryPoint entry;
  entry.symbol = ("pst_" + function.getSymName()).str();
  for (unsigned i = 0; i < function.getNumArguments(); ++i) {
    Argument argument;
    auto kind = function.getArgAttrOfType<StringAttr>(i, kKindAttribute);
    auto name = function.getArgAttrOfType<StringAttr>(i, kNameAttribute);
    if (!kind || !name)
      return function.emitOpError("argument #")
             << i << " has no kind or name: plan memory before bundling";
    argument.name = name.str();
    argument.kind = llvm::StringSwitch<Argument::Kind>(kind)
                        .Case("parameter", Argument::Kind::parameter)
                        .Case("space", Argument::Kind::space)
                        .Case("output", Argument::Kind::output)
                        .Default(Argument::Kind::input);
    if (argument.kind != Argument::Kind::space) {
      FailureOr<pst::TensorType> type =
          tensorType(function, function.getArgument(i).getType());
      if (failed(type))
        return failure();
      argument.type = *type;
    }
    if (auto ids = function.getArgAttrOfType<IntegerAttr>(i, kIdsAttribute))
      argument.ids = ids.getInt();
    entry.arguments.push_back(argument);
  }
  return entry;
}

/// A weight as its attribute pst.layer describes it.
static SparseLayer describeLayer(ParameterOp op, DictionaryAttr record) {
  SparseLayer layer;
  layer.weight = op.getSymName();
  ArrayRef<int64_t> shape = cast<RankedTensorType>(op.getType()).getShape();
  layer.rows = shape[0];
  layer.columns = shape[1];
  if (auto selection = record.getAs<SelectionAttr>("selection"))
    layer.selection = selection.getText();
  auto texts = [&](StringRef key) {
    return record.getAs<ArrayAttr>(key).getAsRange<StringAttr>();
  };
  for (auto name : texts("state"))
    layer.state.push_back(name.str());
  if (auto pruned = record.getAs<StringAttr>("pruned"))
    layer.pruned = pruned.str();
  auto tensor = texts("factors").begin();
  for (auto word : texts("kinds")) {
    FactorKind kind = *symbolizeFactorKind(word);
    Factor &factor = layer.factors.emplace_back();
    factor.kind = static_cast<Factor::Kind>(kind);
    for (int i = 0; i < (kind == FactorKind::LowRank ? 2 : 1); ++i, ++tensor)
      factor.tensors.push_back((*tensor).str());
  }
  if (auto own = record.getAs<FloatAttr>("final_sparsity")) {
    layer.finalSparsity = own.getValueAsDouble();
    layer.sparsityInput = record.getAs<StringAttr>("sparsity_input").str();
  }
  return layer;
}

FailureOr<Manifest> pst::buildManifest(ModuleOp module) {
  Manifest manifest;
  auto text = [&](StringRef name) {
    auto attribute = module->getAttrOfType<StringAttr>(name);
    return attribute ? attribute.str() : std::string();
  };
  manifest.architecture = text(kArchitectureAttribute);
  manifest.config = text(kConfigAttribute);
  for (ModelTask task : kModelTasks)
    if (name(task) == text(kTaskAttribute))
      manifest.task = task;
  if (auto tokens = module->getAttrOfType<IntegerAttr>(kTokenCapacityAttribute))
    manifest.tokenCapacity = tokens.getInt();
  manifest.method = text(kMethodAttribute);
  manifest.criterion = text(kCriterionAttribute);
  if (auto final = module->getAttrOfType<FloatAttr>(kFinalSparsityAttribute))
    manifest.finalSparsity = final.getValueAsDouble();
  if (auto values =
          module->getAttrOfType<DictionaryAttr>(kHyperparametersAttribute))
    for (NamedAttribute value : values)
      manifest.hyperparameters[value.getName().str()] =
          cast<FloatAttr>(value.getValue()).getValueAsDouble();
  manifest.oneShot = module->hasAttr(kOneShotAttribute);
  auto rates = module->getAttrOfType<DictionaryAttr>(kRatesAttribute);
  auto setRate = [&](const char *name, double &rate) {
    if (auto given = rates ? rates.getAs<FloatAttr>(name) : FloatAttr())
      rate = given.getValueAsDouble();
  };
  if (manifest.task == ModelTask::lm) {
    setRate("language", manifest.rates.weights);
  } else {
    setRate("weights", manifest.rates.weights);
    setRate("mask", manifest.rates.mask);
    setRate("head", manifest.rates.head);
  }

  for (auto op : module.getOps<ParameterOp>()) {
    FailureOr<pst::Parameter> parameter = describe(op);
    if (failed(parameter))
      return failure();
    manifest.parameters.push_back(*parameter);
    if (auto record = op->getAttrOfType<DictionaryAttr>(kLayerAttribute))
      manifest.sparseLayers.push_back(describeLayer(op, record));
  }
  for (auto function : module.getOps<func::FuncOp>()) {
    if (function.isPrivate() || function.isExternal())
      continue;
    FailureOr<EntryPoint> entry = describe(function);
    if (failed(entry))
      return failure();
    manifest.entryPoints[function.getSymName().str()] = *entry;
  }

  auto plan = module->getAttrOfType<DictionaryAttr>(kMemoryAttribute);
  if (!plan)
    return module.emitOpError("has no memory plan");
  auto bytes = [&](StringRef name) {
    return plan.getAs<IntegerAttr>(name).getInt();
  };
  int64_t trainable = bytes("trainable");
  for (const char *space : {"trainable", "gradient", "moment1", "moment2"})
    manifest.spaces[space] = trainable;
  manifest.spaces["state"] = bytes("state");
  // Of programs that generate text.
  if (int64_t cache = bytes("cache"))
    manifest.spaces["cache"] = cache;
  manifest.spaces["arena"] = bytes("arena");
  manifest.memory.frozen = bytes("frozen");
  manifest.memory.trainable = trainable;
  manifest.memory.gradients = trainable;
  manifest.memory.optimizer = 2 * trainable;
  manifest.memory.state = bytes("state") + bytes("cache");
  manifest.memory.arena = bytes("arena");
  manifest.memory.workspace = bytes("workspace");
  manifest.memory.activations = bytes("arena") - bytes("workspace");
  return manifest;
}
