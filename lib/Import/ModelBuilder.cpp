//===- ModelBuilder.cpp - Builds the forward graph of a model -------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ModelBuilder.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "pst/Dialect/PST/StageAttributes.h"

using namespace mlir;
using namespace pst;

ModelBuilder::ModelBuilder(ModuleOp module, ConfigFile &config,
                           WeightFiles &weights, const ImportOptions &options,
                           Task task)
    : config(config), options(options), task(task), weights(weights),
      b(module.getLoc(), module.getContext()),
      initializerRange(config.positive("initializer_range", 0.02)) {
  b.setInsertionPointToEnd(module.getBody());
}

double ModelBuilder::dropoutProbability(StringRef key, double otherwise) {
  double probability = config.probability(key, otherwise);
  return form == Form::forward ? options.dropout.value_or(probability) : 0.0;
}

RankedTensorType ModelBuilder::f32(ArrayRef<int64_t> shape) {
  return RankedTensorType::get(shape, b.getF32Type());
}

//===----------------------------------------------------------------------===//
// The function
//===----------------------------------------------------------------------===//

RankedTensorType ModelBuilder::labelsType() {
  int64_t batch = options.batch;
  switch (task.kind) {
  case ModelTask::multiLabel:
    return f32({batch, task.numLabels});
  case ModelTask::regression:
    return f32({batch});
  case ModelTask::tokenClasses:
  case ModelTask::lm:
    return RankedTensorType::get({batch, options.length}, b.getI32Type());
  case ModelTask::classification:
  case ModelTask::none:
    break;
  }
  return RankedTensorType::get({batch}, b.getI32Type());
}

Value ModelBuilder::beginCached() {
  int64_t batch = options.batch;
  int64_t count = form == Form::decode ? batch : options.length;
  Type i32 = b.getI32Type();
  auto ofTokens = RankedTensorType::get({count, 1}, i32);
  auto ofPositions = RankedTensorType::get({batch, options.cacheLength}, i32);
  std::pair<StringRef, Type> arguments[] = {{"input_ids", ofTokens},
                                            {"sequences", ofTokens},
                                            {"positions", ofTokens},
                                            {"slots", ofPositions}};
  StringRef name = form == Form::decode ? "decode" : "prefill";
  b.setLoc(NameLoc::get(b.getStringAttr(name)));
  if (forward)
    b.setInsertionPointAfter(forward);
  forward = func::FuncOp::create(
      b, name,
      b.getFunctionType(llvm::to_vector(llvm::make_second_range(arguments)),
                        {}));
  Block *body = forward.addEntryBlock();
  for (auto [i, argument] : llvm::enumerate(arguments)) {
    forward.setArgAttr(i, kNameAttribute, b.getStringAttr(argument.first));
    body->getArgument(i).setLoc(NameLoc::get(b.getStringAttr(argument.first)));
  }
  b.setInsertionPointToEnd(body);
  sequences = body->getArgument(1);
  tokenPositions = body->getArgument(2);
  slots = body->getArgument(3);
  nextCache = 0;
  return body->getArgument(0);
}

ModelBuilder::Inputs ModelBuilder::begin(bool hasTokenTypes) {
  if (form != Form::forward)
    return {beginCached(), {}, {}, {}};
  int64_t batch = options.batch;
  Type i32 = b.getI32Type();
  auto tokens = RankedTensorType::get({batch, options.length}, i32);
  SmallVector<std::pair<StringRef, Type>> arguments = {
      {"input_ids", tokens}, {"attention_mask", tokens}};
  if (hasTokenTypes)
    arguments.emplace_back("token_type_ids", tokens);
  arguments.emplace_back("labels", labelsType());
  if (options.weightedLoss) {
    if (!task.predictsTokens())
      arguments.emplace_back("class_weights", f32({task.numLabels}));
    if (task.kind != ModelTask::multiLabel)
      arguments.emplace_back("label_smoothing", b.getF32Type());
  }
  bool regression = task.kind == ModelTask::regression;
  if (options.distillation) {
    arguments.emplace_back(kTeacherLogits, regression
                                               ? labelsType()
                                               : f32({batch, task.numLabels}));
    arguments.emplace_back("distillation_scale", b.getF32Type());
    if (!regression)
      arguments.emplace_back("temperature", b.getF32Type());
  }
  arguments.emplace_back("loss_scale", b.getF32Type());
  arguments.emplace_back("seed", b.getI64Type());

  b.setLoc(NameLoc::get(b.getStringAttr("forward")));
  SmallVector<std::pair<StringRef, Type>> results = {{"loss", f32({})}};
  if (!task.predictsTokens())
    results.emplace_back("logits", f32({task.kind == ModelTask::tokenClasses
                                            ? batch * options.length
                                            : batch,
                                        task.numLabels}));
  auto type =
      b.getFunctionType(llvm::to_vector(llvm::make_second_range(arguments)),
                        llvm::to_vector(llvm::make_second_range(results)));
  forward = func::FuncOp::create(b, "forward", type);
  Block *body = forward.addEntryBlock();
  for (auto [i, argument] : llvm::enumerate(arguments)) {
    forward.setArgAttr(i, kNameAttribute, b.getStringAttr(argument.first));
    body->getArgument(i).setLoc(NameLoc::get(b.getStringAttr(argument.first)));
  }
  for (auto [i, result] : llvm::enumerate(results))
    forward.setResultAttr(i, kNameAttribute, b.getStringAttr(result.first));
  b.setInsertionPointToEnd(body);

  mask = body->getArgument(1);
  unsigned next = hasTokenTypes ? 3 : 2;
  labels = body->getArgument(next++);
  if (options.weightedLoss) {
    if (!task.predictsTokens())
      classWeights = body->getArgument(next++);
    if (task.kind != ModelTask::multiLabel)
      labelSmoothing = body->getArgument(next++);
  }
  if (options.distillation) {
    teacher = body->getArgument(next++);
    distillationScale = body->getArgument(next++);
    if (!regression)
      temperature = body->getArgument(next++);
  }
  lossScale = body->getArgument(next);
  seed = body->getArgument(arguments.size() - 1);
  return {body->getArgument(0), mask,
          hasTokenTypes ? body->getArgument(2) : Value(), labels};
}

void ModelBuilder::finish(Value logits) {
  enter("loss");
  Value loss;
  if (task.kind == ModelTask::regression)
    loss = nn::SquaredErrorOp::create(b, f32({}), logits, labels, lossScale);
  else if (task.kind == ModelTask::multiLabel)
    loss = nn::BinaryCrossEntropyOp::create(b, f32({}), logits, labels,
                                            lossScale, classWeights);
  else
    loss = nn::CrossEntropyOp::create(b, f32({}), logits, labels, lossScale,
                                      classWeights, labelSmoothing);
  func::ReturnOp::create(b, ValueRange{distilled(loss, logits), logits});
}

Value ModelBuilder::distilled(Value loss, Value logits) {
  if (!options.distillation)
    return loss;
  Value divergence;
  if (task.kind == ModelTask::regression)
    divergence = nn::SquaredErrorOp::create(b, f32({}), logits, teacher,
                                            distillationScale);
  else
    divergence = nn::DistillationLossOp::create(
        b, f32({}), logits, teacher, distillationScale, temperature,
        /*binary=*/task.kind == ModelTask::multiLabel);
  return nn::AddOp::create(b, loss, divergence);
}

void ModelBuilder::finishTokens(Value hidden, Value table) {
  if (form != Form::forward) {
    SmallVector<Value> results;
    if (form == Form::decode) {
      auto rows = cast<RankedTensorType>(hidden.getType()).getDimSize(0);
      auto words = cast<RankedTensorType>(table.getType()).getDimSize(0);
      results.push_back(nn::LinearOp::create(b, f32({rows, words}), hidden,
                                             table, /*bias=*/Value()));
      forward.setFunctionType(
          b.getFunctionType(forward.getArgumentTypes(), {f32({rows, words})}));
      forward.setResultAttr(0, kNameAttribute, b.getStringAttr("logits"));
    }
    func::ReturnOp::create(b, results);
    return;
  }
  enter("loss");
  Value loss = nn::LinearCrossEntropyOp::create(
      b, f32({}), hidden, table, labels, lossScale,
      /*scales=*/Value(), labelSmoothing);
  func::ReturnOp::create(b, loss);
}

void ModelBuilder::finishDecoder(Value hidden, Value words, bool tied,
                                 bool isClassifier) {
  if (!task.predictsTokens()) {
    enter("score");
    return finish(classifier(selectLastToken(hidden), "score", isClassifier,
                             /*bias=*/false));
  }
  enter("lm_head");
  auto shape = cast<RankedTensorType>(words.getType()).getShape();
  finishTokens(hidden, tied ? words : parameter("lm_head.weight", shape));
}

void ModelBuilder::enter(StringRef part) {
  b.setLoc(NameLoc::get(b.getStringAttr(part)));
}

//===----------------------------------------------------------------------===//
// Parameters
//===----------------------------------------------------------------------===//

Value ModelBuilder::parameter(StringRef name, ArrayRef<int64_t> shape,
                              Layer layer, bool fresh, Columns columns) {
  bool isMatrix = shape.size() == 2;
  SmallVector<int64_t> stored(shape);
  std::string ownName = name.str();
  if (!columns.name.empty()) {
    stored.back() = columns.all;
    ownName += ":" + columns.name.str();
  }
  auto initializer = [&](InitializerKind kind, StringRef source, double value) {
    return InitializerAttr::get(b.getContext(), kind, source, APFloat(value),
                                columns.first, columns.all);
  };
  if (ParameterOp known = declared.lookup(ownName))
    return LoadOp::create(b, known);
  InitializerAttr first =
      !fresh ? initializer(InitializerKind::File, weights.resolve(name, stored),
                           0.0)
      : isMatrix ? initializer(InitializerKind::Normal, "", initializerRange)
                 : initializer(InitializerKind::Zeros, "", 0.0);
  ParameterOp parameter =
      declare(ownName,
              layer == Layer::trained ? ParameterRole::Trainable
                                      : ParameterRole::Frozen,
              first, f32(shape));
  if (layer == Layer::withHead)
    parameter->setDiscardableAttr(kWithHeadAttribute, b.getUnitAttr());
  if (layer == Layer::sparse && isMatrix) {
    parameter->setDiscardableAttr(kSparsifyAttribute, b.getUnitAttr());
    noteKept(parameter);
  }
  return LoadOp::create(b, parameter);
}

ParameterOp ModelBuilder::declare(StringRef name, ParameterRole role,
                                  InitializerAttr first,
                                  RankedTensorType type) {
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPoint(forward);
  // Of the model itself nothing is trained as it stands.
  auto group = role == ParameterRole::Trainable
                   ? RateGroupAttr::get(b.getContext(), RateGroup::Head)
                   : RateGroupAttr();
  bool decays = role != ParameterRole::Cache && type.getRank() == 2;
  auto parameter = ParameterOp::create(b, name, role, first, type,
                                       /*offset=*/IntegerAttr(), decays, group);
  declared[name] = parameter;
  return parameter;
}

void ModelBuilder::noteKept(ParameterOp parameter) {
  InitializerAttr source = parameter.getInitializer();
  if (!options.countKept || source.getKind() != InitializerKind::File ||
      weights.failed() || !weights.exist())
    return;
  auto type = cast<RankedTensorType>(parameter.getType());
  int64_t kept = weights.countKept(source.getSource(), source.getColumn(),
                                   type.getDimSize(1));
  // Of a dense model nothing is said, and all of its fine-tunings share one
  // program.
  if (kept < type.getNumElements())
    parameter->setDiscardableAttr(kKeptAttribute, b.getI64IntegerAttr(kept));
}

bool ModelBuilder::startsAnew(StringRef name, int64_t rows, bool isOurs) {
  std::string weight = (name + ".weight").str();
  if (!weights.has(weight) && !weights.has((name + ".bias").str())) {
    weights.remark() << "the files have no \"" << name
                     << "\": it starts from random values and is trained";
    return true;
  }
  if (!isOurs) {
    weights.remark() << "\"" << name
                     << "\" is the head of another task: it starts from random "
                        "values and is trained";
    return true;
  }
  std::optional<int64_t> found = weights.rows(weight);
  if (!options.numLabels || !found || *found == rows)
    return false;
  weights.remark() << "\"" << name << "\" is for " << *found << " labels, not "
                   << rows << ": it starts from random values and is trained";
  return true;
}

Value ModelBuilder::classifier(Value x, StringRef name, bool isClassifier,
                               bool bias) {
  bool fresh = startsAnew(name, task.numLabels, isClassifier);
  return linear(x, name, task.numLabels, Layer::trained, fresh, bias);
}

//===----------------------------------------------------------------------===//
// Layers
//===----------------------------------------------------------------------===//

Value ModelBuilder::linear(Value x, StringRef name, int64_t outputs,
                           Layer layer, bool fresh, bool bias) {
  Value weight =
      parameter((name + ".weight").str(), {outputs, columns(x)}, layer, fresh);
  Value shift = bias
                    ? parameter((name + ".bias").str(), {outputs}, layer, fresh)
                    : Value();
  int64_t tokens = cast<RankedTensorType>(x.getType()).getDimSize(0);
  return nn::LinearOp::create(b, f32({tokens, outputs}), x, weight, shift);
}

Value ModelBuilder::conv1d(Value x, StringRef name, int64_t outputs,
                           Columns part) {
  Value weight = parameter((name + ".weight").str(), {columns(x), outputs},
                           Layer::sparse, /*fresh=*/false, part);
  Value bias = parameter((name + ".bias").str(), {outputs}, Layer::frozen,
                         /*fresh=*/false, part);
  int64_t tokens = cast<RankedTensorType>(x.getType()).getDimSize(0);
  return nn::LinearOp::create(b, f32({tokens, outputs}), x, weight, bias,
                              /*transposed=*/true);
}

Value ModelBuilder::layerNorm(Value x, StringRef name, double epsilon) {
  Value scale = parameter((name + ".weight").str(), {columns(x)});
  Value shift = parameter((name + ".bias").str(), {columns(x)});
  return nn::LayerNormOp::create(b, x, scale, shift, APFloat(epsilon));
}

Value ModelBuilder::rmsNorm(Value x, StringRef name, double epsilon) {
  Value scale = parameter((name + ".weight").str(), {columns(x)});
  return nn::RMSNormOp::create(b, x, scale, APFloat(epsilon));
}

Value ModelBuilder::embedding(Value ids, StringRef name, int64_t rows,
                              int64_t columns, Value *shared) {
  Value table = parameter((name + ".weight").str(), {rows, columns});
  if (shared)
    *shared = table;
  return lookUp(ids, table);
}

Value ModelBuilder::lookUp(Value ids, Value table) {
  int64_t tokens = cast<RankedTensorType>(ids.getType()).getNumElements();
  return nn::EmbeddingOp::create(b, f32({tokens, columns(table)}), ids, table,
                                 /*scales=*/Value());
}

Value ModelBuilder::addPositions(Value x, Value table) {
  if (form != Form::forward)
    return add(x, lookUp(tokenPositions, table));
  return nn::AddPositionsOp::create(b, x, table, /*ids=*/Value(),
                                    /*scales=*/Value(), options.length,
                                    /*first=*/0);
}

Value ModelBuilder::addPositions(Value x, StringRef name, int64_t rows,
                                 Value ids, int64_t padding) {
  Value table = parameter((name + ".weight").str(), {rows, columns(x)});
  if (!ids)
    return addPositions(x, table);
  return nn::AddPositionsOp::create(b, x, table, ids, /*scales=*/Value(),
                                    options.length, padding + 1);
}

Value ModelBuilder::rotaryTable(ArrayRef<double> frequencies, double scale) {
  SmallVector<float> rounded(frequencies.begin(), frequencies.end());
  int64_t count = frequencies.size();
  Value values = arith::ConstantOp::create(
      b, DenseElementsAttr::get(f32({count}), ArrayRef<float>(rounded)));
  int64_t rows = options.length;
  if (form != Form::forward)
    rows = cast<RankedTensorType>(tokenPositions.getType()).getDimSize(0);
  return nn::RotaryTableOp::create(b, f32({rows, 2 * count}), values,
                                   tokenPositions, APFloat(scale));
}

Value ModelBuilder::rotary(Value x, Value table) {
  return nn::RotaryOp::create(b, x, table, /*transposed=*/false);
}

Value ModelBuilder::attention(Value query, Value key, Value value,
                              int64_t heads, double dropout, bool causal,
                              std::optional<int64_t> window) {
  if (form != Form::forward)
    return cachedAttention(query, key, value, heads, window);
  bool drops = dropout != 0.0;
  // A window as long as the sequences hides nothing.
  bool hides = window && *window < options.length;
  return nn::AttentionOp::create(
      b, query.getType(), query, key, value, mask, drops ? seed : Value(),
      b.getI64IntegerAttr(heads), causal ? b.getUnitAttr() : UnitAttr(),
      hides ? b.getI64IntegerAttr(*window) : IntegerAttr(),
      drops ? b.getF64FloatAttr(dropout) : FloatAttr(),
      drops ? b.getI64IntegerAttr(nextSite++) : IntegerAttr());
}

Value ModelBuilder::cacheRows(Value rows, StringRef name) {
  auto type = f32({options.batch * options.cacheLength, columns(rows)});
  ParameterOp cache = declared.lookup(name);
  if (!cache)
    cache = declare(name, ParameterRole::Cache,
                    InitializerAttr::get(b.getContext(), InitializerKind::Zeros,
                                         "", APFloat(0.0)),
                    type);
  Value before = LoadOp::create(b, type, cache.getSymName(), Part::Value,
                                /*update=*/true);
  Value after = nn::CacheRowsOp::create(b, type, rows, before, sequences,
                                        tokenPositions, slots);
  StoreOp::create(b, after, cache.getSymName());
  return after;
}

Value ModelBuilder::cachedAttention(Value query, Value key, Value value,
                                    int64_t heads,
                                    std::optional<int64_t> window) {
  std::string name = "pst_cache." + std::to_string(nextCache++);
  Value keys = cacheRows(key, name + ".keys");
  Value values = cacheRows(value, name + ".values");
  bool hides = window && *window < options.cacheLength;
  return nn::CachedAttentionOp::create(
      b, query.getType(), query, keys, values, sequences, tokenPositions, slots,
      b.getI64IntegerAttr(heads),
      hides ? b.getI64IntegerAttr(*window) : IntegerAttr());
}

Value ModelBuilder::activation(Value x, nn::ActivationKind kind) {
  return nn::ActivationOp::create(b, kind, x);
}

Value ModelBuilder::gatedActivation(Value gate, Value value,
                                    nn::ActivationKind kind) {
  return nn::GatedActivationOp::create(b, kind, gate, value);
}

Value ModelBuilder::dropout(Value x, double probability) {
  if (probability == 0.0)
    return x;
  // One row of each sequence, as behind a pooler, has no positions.
  int64_t rows = cast<ShapedType>(x.getType()).getDimSize(0);
  auto length = rows == options.batch ? IntegerAttr()
                                      : b.getI64IntegerAttr(options.length);
  return nn::DropoutOp::create(b, x, seed, b.getF64FloatAttr(probability),
                               b.getI64IntegerAttr(nextSite++), length);
}

Value ModelBuilder::add(Value x, Value y) { return nn::AddOp::create(b, x, y); }

Value ModelBuilder::selectToken(Value x, int64_t index) {
  return nn::SelectTokenOp::create(b, f32({options.batch, columns(x)}), x,
                                   /*mask=*/Value(),
                                   b.getI64IntegerAttr(index));
}

Value ModelBuilder::selectLastToken(Value x) {
  return nn::SelectTokenOp::create(b, f32({options.batch, columns(x)}), x, mask,
                                   /*index=*/IntegerAttr());
}

//===----------------------------------------------------------------------===//
// config.json
//===----------------------------------------------------------------------===//

TransformerConfig::TransformerConfig(ModelBuilder &m,
                                     const TransformerKeys &keys)
    : m(m), keys(keys) {
  auto read = [&](SizeKey size, int64_t most = kMaxSize) {
    return m.config.integer(size.key, 1, most, size.otherwise);
  };
  vocabulary = read(keys.vocabulary);
  hidden = read(keys.hidden);
  layers = read(keys.layers, 10000);
  heads = read(keys.heads);
  SizeKey inner = keys.intermediate;
  if (keys.intermediateTimes)
    inner.otherwise = std::min(keys.intermediateTimes * hidden, kMaxSize);
  intermediate = read(inner);
  positions = read(keys.positions);
  epsilon = m.config.positive(keys.epsilon, keys.defaultEpsilon);
  activation =
      readActivation(m.config, keys.activation, keys.defaultActivation);
}

void TransformerConfig::requireWholeHeads(StringRef layer) {
  if (hidden % heads != 0)
    m.config.error(keys.heads.key)
        << "\"" << keys.heads.key << "\" is " << heads
        << ", which does not divide \"" << keys.hidden.key << "\" " << hidden
        << " (layer " << layer << ")";
}

void TransformerConfig::requirePositions(int64_t reserved) {
  if (m.positions() <= positions - reserved)
    return;
  InFlightDiagnostic error = m.config.error(keys.positions.key)
                             << "\"" << keys.positions.key << "\" is "
                             << positions;
  if (reserved)
    error << " (the first " << reserved << " of no token)";
  error << ", too few for the length " << m.positions() << " that is asked for";
}

void TransformerConfig::require(StringRef key, bool expected, StringRef why) {
  if (m.config.boolean(key, expected) != expected)
    m.config.error(key) << "\"" << key << "\" is "
                        << (expected ? "false" : "true") << ", but " << why;
}

nn::ActivationKind pst::readActivation(ConfigFile &config, StringRef key,
                                       StringRef otherwise) {
  using Kind = nn::ActivationKind;
  // As the table ACT2FN of transformers has them.
  static constexpr std::pair<StringRef, Kind> known[] = {
      {"gelu", Kind::Gelu},
      {"gelu_python", Kind::Gelu},
      {"gelu_new", Kind::GeluTanh},
      {"gelu_fast", Kind::GeluTanh},
      {"gelu_pytorch_tanh", Kind::GeluTanh},
      {"relu", Kind::Relu},
      {"tanh", Kind::Tanh},
      {"silu", Kind::Silu},
      {"swish", Kind::Silu}};
  std::string name = config.string(key, otherwise);
  for (auto [spelling, kind] : known)
    if (name == spelling)
      return kind;
  InFlightDiagnostic error = config.error(key)
                             << "\"" << key << "\" is \"" << name
                             << "\", which is not known; known are: ";
  llvm::interleaveComma(llvm::make_first_range(known), error);
  return Kind::Gelu;
}
