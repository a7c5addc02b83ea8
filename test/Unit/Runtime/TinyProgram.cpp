//===- TinyProgram.cpp - The tiny model as a program ----------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TinyProgram.h"
#include "pst/Runtime/Digest.h"
#include "pst/Runtime/Error.h"
#include "pst/Runtime/Philox.h"
#include "pst/Runtime/SafeTensorsWriter.h"

#include <nlohmann/json.hpp>

#include <fstream>
#include <random>
#include <sstream>
#include <unistd.h>
#include <utility>

using namespace pst;
using namespace pst::runtime;
using namespace tiny;
namespace fs = std::filesystem;

extern "C" {
void tiny_select(void *const *);
void tiny_materialize(void *const *);
void tiny_forward_backward_4(void *const *);
void tiny_forward_backward_8(void *const *);
void tiny_forward_backward_4r(void *const *);
void tiny_forward_backward_4p(void *const *);
void tiny_forward_backward_8p(void *const *);
void tiny_forward_4(void *const *);
void tiny_forward_8(void *const *);
void tiny_forward_4r(void *const *);
void tiny_apply(void *const *);
void tiny_apply_r(void *const *);
}

static TensorType f32(std::vector<int64_t> shape) {
  return {ElementType::f32, std::move(shape)};
}
static TensorType i32(std::vector<int64_t> shape) {
  return {ElementType::i32, std::move(shape)};
}

Manifest tiny::makeManifest(Variant variant) {
  int64_t classes = variant.classes(), batch = variant.batch;
  Manifest manifest;
  manifest.triple = "x86_64-unknown-linux-gnu";
  manifest.cpu = "x86-64";
  manifest.library = "kernels.so";
  manifest.architecture = "TinyForSequenceClassification";
  manifest.config = R"({"vocab_size": 11, "hidden_size": 6,
    "architectures": ["Tiny"], "torch_dtype": "float16"})";
  manifest.task =
      variant.regression ? ModelTask::regression : ModelTask::classification;
  manifest.method = "pst";
  manifest.oneShot = variant.oneShot;
  manifest.hyperparameters = {{"weight_rank", kRank}, {"mask_alpha2", 1.0}};

  auto frozen = [&](const char *name, std::vector<int64_t> shape) {
    Parameter parameter;
    parameter.name = std::string("tiny.") + name;
    parameter.type = f32(std::move(shape));
    parameter.initializer.kind = Initializer::Kind::file;
    parameter.source = name;
    manifest.parameters.push_back(parameter);
  };
  frozen("embeddings.weight", {kVocabulary, kWidth});
  frozen("dense.weight", {kHidden, kWidth});
  frozen("dense.bias", {kHidden});
  auto trainable = [&](const char *name, std::vector<int64_t> shape, int place,
                       double stddev) {
    Parameter parameter;
    parameter.name = name;
    parameter.role = Role::trainable;
    parameter.type = f32(std::move(shape));
    if (stddev > 0)
      parameter.initializer = {Initializer::Kind::normal, stddev, 0};
    parameter.offset = place * 4;
    manifest.parameters.push_back(parameter);
  };
  trainable("tiny.dense.weight.pst_U", {kHidden, kRank}, kU, 1);
  trainable("tiny.dense.weight.pst_V", {kRank, kWidth}, kV, 0);
  trainable("tiny.dense.weight.pst_R", {kHidden}, kR, 0);
  trainable("classifier.weight", {classes, kHidden}, kHeadWeight, 0.5);
  trainable("classifier.bias", {classes}, headBias(classes), 0);
  Parameter threshold;
  threshold.name = "tiny.dense.weight.pst_threshold";
  threshold.role = Role::state;
  manifest.parameters.push_back(threshold);
  Parameter cut = threshold;
  cut.name = "tiny.dense.weight.pst_cut";
  cut.type = {ElementType::i64, {}};
  cut.offset = 8;
  manifest.parameters.push_back(cut);
  Parameter pruned = cut;
  pruned.name = "tiny.dense.weight.pst_pruned";
  pruned.offset = 16;
  manifest.parameters.push_back(pruned);
  using FactorKind = Factor::Kind;
  manifest.sparseLayers.push_back(
      {"tiny.dense.weight",
       kHidden,
       kWidth,
       "topk layer",
       {threshold.name, cut.name},
       pruned.name,
       {{FactorKind::dense, {"tiny.dense.weight"}},
        {FactorKind::lowrank,
         {"tiny.dense.weight.pst_U", "tiny.dense.weight.pst_V"}},
        {FactorKind::row, {"tiny.dense.weight.pst_R"}}}});

  int64_t bytes = numTrainable(static_cast<int>(classes)) * 4;
  manifest.spaces = {{"trainable", bytes}, {"gradient", bytes},
                     {"moment1", bytes},   {"moment2", bytes},
                     {"state", 24},        {"arena", 256}};
  manifest.memory.frozen = (kVocabulary * kWidth + kElements + kHidden) * 4;
  manifest.memory.trainable = manifest.memory.gradients = bytes;
  manifest.memory.optimizer = 2 * bytes;
  manifest.memory.state = 24;
  manifest.memory.arena = manifest.memory.activations = 256;

  using Kind = Argument::Kind;
  std::vector<Argument> common;
  for (int i = 0; i < 3; ++i)
    common.push_back({Kind::parameter, manifest.parameters[i].name,
                      manifest.parameters[i].type});
  common.push_back({Kind::space, "trainable", {}});
  common.push_back({Kind::space, "state", {}});
  auto entry = [&](const char *name, std::string symbol,
                   std::vector<Argument> arguments,
                   const std::vector<Argument> &more) {
    arguments.insert(arguments.end(), more.begin(), more.end());
    manifest.entryPoints[name] = {std::move(symbol), std::move(arguments), {}};
  };
  std::string evaluates =
      std::to_string(batch) + (variant.regression ? "r" : "");
  std::string trains = evaluates + (variant.dropout ? "" : "p");
  TensorType labels = variant.regression ? f32({batch}) : i32({batch});
  std::vector<Argument> rows = {
      {Kind::input, "input_ids", i32({batch, kLength})},
      {Kind::input, "attention_mask", i32({batch, kLength})},
      {Kind::input, "labels", labels},
      {Kind::input, "loss_scale", f32({})}};
  entry("select", "tiny_select", common,
        {{Kind::input, "sparsity", {ElementType::f64, {}}}});
  entry("materialize", "tiny_materialize", common,
        {{Kind::output, "tiny.dense.weight", f32({kHidden, kWidth})}});
  std::vector<Argument> training = rows, evaluation = rows;
  training.push_back({Kind::input, "seed", {ElementType::i64, {}}});
  training.push_back({Kind::space, "gradient", {}});
  training.push_back({Kind::output, "loss", f32({})});
  entry("forward_backward", "tiny_forward_backward_" + trains, common,
        training);
  evaluation.push_back({Kind::output, "loss", f32({})});
  evaluation.push_back({Kind::output, "logits", f32({batch, classes})});
  entry("forward", "tiny_forward_" + evaluates, common, evaluation);
  std::vector<Argument> apply;
  for (const char *space : {"trainable", "gradient", "moment1", "moment2"})
    apply.push_back({Kind::space, space, {}});
  for (const char *scalar :
       {"learning_rate", "beta1", "beta2", "epsilon", "weight_decay",
        "bias_correction1", "bias_correction2", "max_grad_norm"})
    apply.push_back({Kind::input, scalar, f32({})});
  apply.push_back({Kind::output, "grad_norm", f32({})});
  entry("apply", variant.regression ? "tiny_apply_r" : "tiny_apply", apply, {});
  return manifest;
}

std::shared_ptr<const Program> tiny::makeProgram(Variant variant) {
  static const std::map<std::string, EntryFunction> symbols = {
      {"tiny_select", tiny_select},
      {"tiny_materialize", tiny_materialize},
      {"tiny_forward_backward_4", tiny_forward_backward_4},
      {"tiny_forward_backward_8", tiny_forward_backward_8},
      {"tiny_forward_backward_4r", tiny_forward_backward_4r},
      {"tiny_forward_backward_4p", tiny_forward_backward_4p},
      {"tiny_forward_backward_8p", tiny_forward_backward_8p},
      {"tiny_forward_4", tiny_forward_4},
      {"tiny_forward_8", tiny_forward_8},
      {"tiny_forward_4r", tiny_forward_4r},
      {"tiny_apply", tiny_apply},
      {"tiny_apply_r", tiny_apply_r}};
  Manifest manifest = makeManifest(variant);
  std::map<std::string, EntryFunction> functions;
  for (const auto &[name, entry] : manifest.entryPoints)
    functions[name] = symbols.at(entry.symbol);
  return Program::create(std::move(manifest), std::move(functions));
}

std::shared_ptr<const Program> tiny::makeGpuProgram() {
  Manifest manifest = makeManifest();
  manifest.triple = kGPUTriple;
  manifest.cpu = "sm_80";
  manifest.library = "kernels.sm_80.ptx";
  std::string kernels = ".version 8.0\n.target sm_80\n.address_size 64\n";
  for (auto &[name, entry] : manifest.entryPoints) {
    std::string kernel = std::exchange(entry.symbol, "");
    std::string launch = kernel + " grid 1x1x1 block 32x1x1 :";
    kernels += ".visible .entry " + kernel + "(\n";
    for (size_t i = 0; i < entry.arguments.size(); ++i) {
      launch += " #" + std::to_string(i) + "+0";
      kernels += (i ? ",\n" : "") +
                 std::string("  .param .u64 .ptr .align 1 ") + kernel +
                 "_param_" + std::to_string(i);
    }
    kernels += "\n)\n.maxntid 32, 1, 1\n{\n  ret;\n}\n";
    entry.launches = {Launch::fromText(launch, "test")};
  }
  return Program::createForGPU(std::move(manifest), kernels);
}

TemporaryDirectory::TemporaryDirectory() {
  std::string pattern =
      (fs::temp_directory_path() / "pst-test-XXXXXX").string();
  root = ::mkdtemp(pattern.data());
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  fs::remove_all(root, ignored);
}

void tiny::writeModel(const fs::path &directory) {
  fs::create_directories(directory);
  std::mt19937 engine(3);
  std::normal_distribution<float> normal;
  auto values = [&](size_t count) {
    std::vector<float> list(count);
    for (float &value : list)
      value = normal(engine);
    return list;
  };
  std::vector<float> embeddings = values(kVocabulary * kWidth);
  std::vector<float> weight = values(kElements), bias = values(kHidden);
  std::vector<float> unused = values(9);
  std::vector<int64_t> ids(kLength);
  std::iota(ids.begin(), ids.end(), 0);
  writeSafeTensors(
      directory / "model.safetensors",
      {{{"position_ids", DType::I64, {1, kLength}}, ids.data()},
       {{"embeddings.weight", DType::F32, {kVocabulary, kWidth}},
        embeddings.data()},
       {{"dense.weight", DType::F32, {kHidden, kWidth}}, weight.data()},
       {{"dense.bias", DType::F32, {kHidden}}, bias.data()},
       {{"pooler.weight", DType::F32, {3, 3}}, unused.data()}},
      {{"format", "pt"}});
  writeBytes(directory / "config.json", makeManifest().config);
  writeBytes(directory / "tokenizer.json", "{\"version\": \"1.0\"}");
  writeBytes(directory / "vocab.txt", "a\nb\n");
  writeBytes(directory / "README.md", "not copied");
}

std::unique_ptr<Model> tiny::makeModel(const fs::path &directory,
                                       Variant variant, uint64_t seed) {
  return std::make_unique<Model>(makeProgram(variant),
                                 std::make_shared<const ModelFiles>(directory),
                                 seed);
}

Dataset tiny::makeData(int count, Variant variant, uint64_t seed) {
  std::mt19937 engine(static_cast<unsigned>(seed));
  std::shared_ptr<int32_t[]> ids(new int32_t[count * kLength]);
  std::shared_ptr<int32_t[]> mask(new int32_t[count * kLength]);
  std::shared_ptr<int32_t[]> classes(new int32_t[count]);
  std::shared_ptr<float[]> values(new float[count]);
  for (int row = 0; row < count; ++row) {
    int length = 1 + static_cast<int>(engine() % kLength), sum = 0;
    for (int t = 0; t < kLength; ++t) {
      int e = row * kLength + t;
      ids[e] = static_cast<int32_t>(engine() % kVocabulary);
      mask[e] = t < length;
      sum += mask[e] * ids[e];
    }
    classes[row] = sum / length % 3;
    values[row] = static_cast<float>(sum) / static_cast<float>(length);
  }
  DataArray labels{"labels", i32({count}), classes.get(), classes};
  if (variant.regression)
    labels = {"labels", f32({count}), values.get(), values};
  return Dataset({{"input_ids", i32({count, kLength}), ids.get(), ids},
                  {"attention_mask", i32({count, kLength}), mask.get(), mask},
                  labels},
                 "tiny data");
}

std::string tiny::readBytes(const fs::path &file) {
  std::ifstream stream(file, std::ios::binary);
  std::ostringstream text;
  text << stream.rdbuf();
  return text.str();
}

void tiny::writeBytes(const fs::path &file, const std::string &bytes) {
  std::ofstream(file, std::ios::binary) << bytes;
}

std::map<std::string, std::string> tiny::readAll(const fs::path &directory) {
  std::map<std::string, std::string> files;
  for (const fs::directory_entry &entry : fs::directory_iterator(directory))
    files[entry.path().filename()] = readBytes(entry.path());
  return files;
}

void tiny::changeState(
    const fs::path &checkpoint,
    const std::function<void(nlohmann::ordered_json &)> &change) {
  constexpr const char *name = "trainer_state.json";
  auto json = nlohmann::ordered_json::parse(readBytes(checkpoint / name));
  change(json);
  json["digests"].erase(name);
  std::string text = json.dump();
  json["digests"][name] = hexDigest(digestBytes(
      text.data(), static_cast<int64_t>(text.size()), hashName(name)));
  writeBytes(checkpoint / name, json.dump());
}

std::string tiny::errorOf(const std::function<void()> &action) {
  try {
    action();
  } catch (const Error &error) {
    return error.what();
  } catch (const ManifestError &error) {
    return error.what();
  }
  return "(no error)";
}
