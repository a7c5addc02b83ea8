//===- Import.cpp - From a model directory to a module --------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Import/Import.h"
#include "ModelBuilder.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/IR/Verifier.h"
#include "pst/Dialect/PST/StageAttributes.h"

#include "llvm/Support/JSON.h"

#include <filesystem>

using namespace mlir;
using namespace pst;

/// A new family of models is one file and one line here.
static constexpr ModelFamilies (*kFiles[])() = {
    bertFamilies,
    gpt2Families,
    plugFamilies,
    llamaFamilies,
};

static SmallVector<const ModelFamily *> allFamilies() {
  SmallVector<const ModelFamily *> all;
  for (auto file : kFiles)
    for (const ModelFamily &family : file())
      all.push_back(&family);
  return all;
}

static LogicalResult checkOptions(MLIRContext &context,
                                  const ImportOptions &options) {
  auto complain = [&](StringRef what, StringRef expected, auto found) {
    return emitError(UnknownLoc::get(&context))
           << "the " << what << " must be " << expected << ", but is " << found;
  };
  if (options.batch < 1 || options.batch > kMaxSize)
    return complain("batch", "from 1 to 16777216", options.batch);
  if (options.length < 1 || options.length > kMaxSize)
    return complain("length", "from 1 to 16777216", options.length);
  if (options.cacheLength < 0 || options.cacheLength > kMaxSize)
    return complain("length of the cache", "from 0 to 16777216",
                    options.cacheLength);
  for (auto [what, length] :
       {std::pair("length", options.length),
        std::pair("length of the cache", options.cacheLength)})
    if (options.batch * length > kMaxSize)
      return complain(("batch times the " + Twine(what)).str(),
                      "at most 16777216", options.batch * length);
  if (options.numLabels &&
      (*options.numLabels < 1 || *options.numLabels > kMaxSize))
    return complain("number of labels", "from 1 to 16777216",
                    *options.numLabels);
  if (options.regression && options.numLabels.value_or(1) != 1)
    return complain("number of labels", "1 for regression", *options.numLabels);
  for (auto [task, word] :
       {std::pair(TaskKind::classifyMany, "multi_label_classification"),
        std::pair(TaskKind::classifyTokens, "token_classification")})
    if (options.regression && options.task == task)
      return complain("task", "another one for regression", word);
  if (options.dropout && !(*options.dropout >= 0.0 && *options.dropout < 1.0))
    return complain("dropout", "in [0, 1)", *options.dropout);
  return success();
}

/// Error at a key whose value `found` is none of the known ones; `more` says
/// what else is known of it.
static void complainUnknown(ConfigFile &config, StringRef key, StringRef found,
                            const Twine &more, ArrayRef<StringRef> known) {
  InFlightDiagnostic error = config.error(key) << "\"" << key << "\" is ";
  if (config.has(key))
    error << "\"" << found << "\"" << more << ", which is not known";
  else
    error << "missing";
  error << "; known are: ";
  llvm::interleaveComma(known, error);
}

/// Whether a family makes what the options ask for of a checkpoint.
static bool isMeant(const ModelFamily &family, const ImportOptions &options,
                    StringRef checkpoint) {
  switch (options.task) {
  case TaskKind::classify:
  case TaskKind::classifyMany:
    return family.makes == TaskKind::classify;
  case TaskKind::classifyTokens:
  case TaskKind::predictTokens:
    return family.makes == options.task;
  case TaskKind::automatic:
    break;
  }
  if (options.regression)
    return family.makes == TaskKind::classify;
  if (options.numLabels && family.makes == TaskKind::predictTokens)
    return false;
  // A checkpoint of a class that can be made is to become that one again.
  for (const ModelFamily *other : allFamilies())
    if (other->architecture == checkpoint &&
        !(options.numLabels && other->makes == TaskKind::predictTokens))
      return other == &family;
  return true;
}

/// The family by "model_type", else by "architectures"; null after an error.
/// `checkpoint` is the class that wrote the files, or empty.
static const ModelFamily *findFamily(ConfigFile &config,
                                     const ImportOptions &options,
                                     std::string &checkpoint) {
  std::string type = config.string("model_type", "");
  std::vector<std::string> classes = config.strings("architectures");
  checkpoint = classes.empty() ? "" : classes.front();
  if (config.failed())
    return nullptr;
  bool byType = config.has("model_type") || !config.has("architectures");
  SmallVector<StringRef> types, checkpoints;
  bool known = false;
  for (const ModelFamily *family : allFamilies()) {
    if (!llvm::is_contained(types, family->modelType))
      types.push_back(family->modelType);
    if (byType && type != family->modelType)
      continue;
    for (StringRef name : family->checkpoints)
      if (!llvm::is_contained(checkpoints, name))
        checkpoints.push_back(name);
    // With a type, whatever class it is: the rest of the model is the same.
    if (!byType && !llvm::is_contained(family->checkpoints, checkpoint))
      continue;
    known = true;
    if (isMeant(*family, options, checkpoint))
      return family;
  }
  if (known) {
    InFlightDiagnostic error =
        config.error(byType ? "model_type" : "architectures")
        << "a model of type \"" << (byType ? type : checkpoint)
        << "\" cannot be imported to "
        << (options.task == TaskKind::classifyTokens ? "classify tokens"
                                                     : "predict tokens")
        << "; those that can are: ";
    SmallVector<StringRef> able;
    for (const ModelFamily *family : allFamilies())
      if (family->makes == options.task)
        able.push_back(family->modelType);
    llvm::interleaveComma(able, error);
    return nullptr;
  }
  if (!checkpoints.empty())
    complainUnknown(config, "architectures", checkpoint, "", checkpoints);
  else if (checkpoint.empty())
    complainUnknown(config, "model_type", type, "", types);
  else
    complainUnknown(config, "model_type", type,
                    " (architecture " + checkpoint + ")", types);
  return nullptr;
}

/// What the classifier predicts; the options go before config.json, and that
/// before the files' head, which has `rows` rows.
static Task readTask(ConfigFile &config, const ImportOptions &options,
                     TaskKind makes, std::optional<int64_t> rows) {
  bool ofTokens = makes == TaskKind::classifyTokens;
  if (ofTokens && options.numLabels)
    return {ModelTask::tokenClasses, *options.numLabels};
  bool several = options.task == TaskKind::classifyMany;
  if (options.regression || (options.numLabels == 1 && !several))
    return {ModelTask::regression, 1};
  if (options.numLabels)
    return {several ? ModelTask::multiLabel : ModelTask::classification,
            *options.numLabels};
  int64_t numLabels =
      config.integer("num_labels", 1, kMaxSize, rows.value_or(2));
  if (config.has("id2label"))
    numLabels = config.size("id2label");
  if (numLabels == 0 && !config.failed())
    config.error("id2label") << "\"id2label\" is empty";
  if (ofTokens)
    return {ModelTask::tokenClasses, numLabels};
  if (several)
    return {ModelTask::multiLabel, numLabels};
  std::string problem = config.string(
      "problem_type",
      numLabels == 1 ? "regression" : "single_label_classification");
  if (problem == "multi_label_classification")
    return {ModelTask::multiLabel, numLabels};
  if (problem != "regression" && problem != "single_label_classification")
    config.error("problem_type")
        << "\"problem_type\" is \"" << problem
        << "\", which is not known; known are: regression, "
           "single_label_classification, multi_label_classification";
  bool regression = problem == "regression";
  if (regression && numLabels > 1)
    config.error("problem_type")
        << "\"problem_type\" is \"regression\", which has one label, but "
           "config.json has "
        << numLabels;
  return {regression ? ModelTask::regression : ModelTask::classification,
          numLabels};
}

/// Whether activations are to be rounded as well, which is another model.
static bool quantizesActivations(const ConfigFile &config) {
  llvm::Expected<llvm::json::Value> text = llvm::json::parse(config.text());
  if (!text) {
    llvm::consumeError(text.takeError());
    return false; // ConfigFile has told
  }
  auto set = [](const llvm::json::Object *object, StringRef key) {
    const llvm::json::Value *value = object ? object->get(key) : nullptr;
    return value && value->kind() != llvm::json::Value::Null;
  };
  const llvm::json::Object *outer = text->getAsObject();
  outer = outer ? outer->getObject("quantization_config") : nullptr;
  const auto *groups = outer ? outer->getObject("config_groups") : nullptr;
  bool found = set(outer, "kv_cache_scheme");
  if (groups)
    for (const auto &[name, group] : *groups)
      for (StringRef key : {"input_activations", "output_activations"})
        found |= set(group.getAsObject(), key);
  return found;
}

/// Of the ways to store weights the runtime reads one (CompressedWeight.h); its
/// tensors say the rest.
static void checkQuantization(ConfigFile &config) {
  const char *key = "quantization_config";
  if (!config.has(key) || !config.object(key))
    return;
  std::string method =
      config.string("quantization_config.quant_method", "not named");
  std::string format = config.string("quantization_config.format", "dense");
  bool known = llvm::is_contained(
      {"dense", "sparse-bitmask", "sparse-24-bitmask", "int-quantized"},
      StringRef(format));
  if (method != "compressed-tensors" || !known)
    config.error(key)
        << "\"quantization_config\" says that the weights are quantized; only "
           "F32, F16, BF16 and F64 weights can be imported, and those that "
           "compressed-tensors stores as sparse-bitmask, sparse-24-bitmask "
           "or int-quantized";
  else if (quantizesActivations(config))
    config.error(key)
        << "\"quantization_config\" says that activations are quantized, but "
           "only weights can be";
}

FailureOr<OwningOpRef<ModuleOp>>
pst::importModel(MLIRContext &context, StringRef directory,
                 const ImportOptions &options) {
  context.loadDialect<PSTDialect, nn::NNDialect, func::FuncDialect,
                      arith::ArithDialect>();
  if (failed(checkOptions(context, options)))
    return failure();
  std::filesystem::path folder = directory.str();
  std::error_code code;
  bool isFile = std::filesystem::is_regular_file(folder, code);
  if (isFile && !options.allowMissingWeights)
    return emitFileError(context, directory,
                         "is no model directory; from a config.json alone a "
                         "model can only be planned (--plan-only)");
  std::unique_ptr<ConfigFile> config = ConfigFile::read(
      context, isFile ? directory.str() : (folder / "config.json").string());
  if (!config)
    return failure();
  std::string checkpoint;
  const ModelFamily *family = findFamily(*config, options, checkpoint);
  if (!family)
    return failure();
  checkQuantization(*config);
  std::unique_ptr<WeightFiles> weights =
      WeightFiles::open(context, directory, options.allowMissingWeights);
  bool isClassifier = checkpoint.empty() || checkpoint == family->architecture;
  Task task;
  if (family->makes == TaskKind::predictTokens)
    task.kind = ModelTask::lm;
  else
    task = readTask(*config, options, family->makes,
                    weights && isClassifier
                        ? weights->rows((family->head + ".weight").str())
                        : std::nullopt);
  if (options.weightedLoss && (task.kind == ModelTask::regression ||
                               task.kind == ModelTask::tokenClasses))
    config->error("architectures")
        << "a weighted loss is of models that tell classes apart or predict "
           "tokens, but this one "
        << (task.kind == ModelTask::regression ? "predicts a number"
                                               : "classifies tokens");
  if (options.distillation &&
      (task.kind == ModelTask::tokenClasses || task.kind == ModelTask::lm))
    config->error("architectures")
        << "distillation is of models that classify texts, or predict a number "
           "of them, but this one "
        << (task.kind == ModelTask::lm ? "predicts tokens"
                                       : "classifies tokens");
  if (options.cacheLength && task.kind != ModelTask::lm)
    config->error("architectures")
        << "a cache (--cache_length) is of language models, which generate "
           "text, but this one does not predict tokens";
  if (!weights)
    return failure();

  OwningOpRef<ModuleOp> module =
      ModuleOp::create(NameLoc::get(StringAttr::get(&context, directory)));
  (*module)->setAttr(kArchitectureAttribute,
                     StringAttr::get(&context, family->architecture));
  (*module)->setAttr(kConfigAttribute,
                     StringAttr::get(&context, config->text()));
  (*module)->setAttr(kTaskAttribute,
                     StringAttr::get(&context, name(task.kind)));
  ModelBuilder builder(*module, *config, *weights, options, task);
  if (options.cacheLength) {
    // Both read the same parameters, and the same cache.
    for (Form form : {Form::decode, Form::prefill}) {
      builder.setForm(form);
      if (!builder.failed())
        family->build(builder, isClassifier);
    }
  } else {
    family->build(builder, isClassifier);
  }
  weights->finish();
  if (builder.failed() || failed(verify(*module)))
    return failure();
  return module;
}

LogicalResult pst::refuseNewHead(ModuleOp module) {
  for (ParameterOp parameter : module.getOps<ParameterOp>())
    if (parameter.getRole() != ParameterRole::Cache &&
        parameter.getInitializer().getKind() != InitializerKind::File)
      return emitError(FileLineColLoc::get(
                 cast<NameLoc>(module.getLoc()).getName(), 0, 0))
             << "\"" << parameter.getSymName()
             << "\" is not in the files: it would start from random values, "
                "and "
                "what the model then predicts means nothing; train it first "
                "(pst train)";
  return success();
}
