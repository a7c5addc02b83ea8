//===- ExportTest.cpp - A Hugging Face directory of the sparse model ------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Runtime/Export.h"
#include "TinyProgram.h"
#include "pst/Runtime/Error.h"
#include "pst/Runtime/SafeTensorsWriter.h"

#include <nlohmann/json.hpp>

#include <cmath>
#include <cstring>

using namespace pst;
using namespace pst::runtime;
using namespace tiny;
namespace fs = std::filesystem;

namespace {

class ExportTest : public ::testing::Test {
protected:
  ExportTest() {
    writeModel(directory / "model");
    model = makeModel(directory / "model");
    // As after training: V, R and the head's bias are not zero.
    float *p = trainable();
    for (int i = kV; i < kHeadWeight; ++i)
      p[i] = std::sin(static_cast<float>(i)) / 3;
    for (int i = headBias(3); i < numTrainable(3); ++i)
      p[i] = static_cast<float>(i) / 100;
    options.outputDir = directory / "out";
  }
  float *trainable() {
    return static_cast<float *>(model->parameters().space("trainable"));
  }
  Frozen frozen() {
    auto floats = [&](const char *name) {
      return static_cast<const float *>(model->parameters().data(name));
    };
    return {floats("tiny.embeddings.weight"), floats("tiny.dense.weight"),
            floats("tiny.dense.bias")};
  }
  static std::vector<float> floats(const SafeTensorsFile &file,
                                   const std::string &name) {
    const TensorView *view = file.find(name);
    if (!view || view->dtype != DType::F32)
      return {};
    std::vector<float> values(view->numElements());
    std::memcpy(values.data(), view->data, view->numBytes);
    return values;
  }

  TemporaryDirectory directory;
  std::unique_ptr<Model> model;
  ExportOptions options;
};

} // namespace

TEST_F(ExportTest, WritesEveryTensorUnderItsCanonicalName) {
  for (double sparsity : {0.0, 0.5, 0.9}) {
    options.overwrite = true;
    ExportResult result = exportModel(*model, sparsity, options);
    SafeTensorsFile file(options.outputDir / "model.safetensors");
    EXPECT_EQ(file.metadata().at("format"), "pt");
    std::vector<std::string> names;
    for (const auto &[name, view] : file.tensors()) {
      names.push_back(name);
      EXPECT_EQ(reinterpret_cast<uintptr_t>(view.data) % byteSize(view.dtype),
                0u);
    }
    EXPECT_EQ(names, (std::vector<std::string>{
                         "classifier.bias", "classifier.weight",
                         "pooler.weight", "position_ids", "tiny.dense.bias",
                         "tiny.dense.weight", "tiny.embeddings.weight"}));
    // The mask worked out here, in double.
    float threshold;
    int64_t cut;
    std::vector<bool> mask =
        makeMask(frozen(), trainable(), sparsity, threshold, cut);
    std::vector<float> weight = floats(file, "tiny.dense.weight");
    ASSERT_EQ(weight.size(), size_t(kElements));
    int zeros = 0;
    for (int e = 0; e < kElements; ++e) {
      float expected = mask[e]
                           ? static_cast<float>(merged(frozen(), trainable(),
                                                       e / kWidth, e % kWidth))
                           : 0.0f;
      EXPECT_EQ(weight[e], expected) << e;
      zeros += weight[e] == 0;
    }
    EXPECT_EQ(zeros, static_cast<int>(kElements * sparsity));
    ASSERT_EQ(result.layers.size(), 1u);
    EXPECT_EQ(result.layers[0].weight, "tiny.dense.weight");
    EXPECT_EQ(result.layers[0].numElements, kElements);
    EXPECT_EQ(result.layers[0].numPruned, zeros);
    EXPECT_EQ(result.layers[0].numZeros, zeros);
    EXPECT_DOUBLE_EQ(result.zeroShare(), double(zeros) / kElements);
    EXPECT_EQ(result.numTensors, 7);
    EXPECT_EQ(floats(file, "classifier.bias"),
              std::vector<float>(trainable() + headBias(3),
                                 trainable() + numTrainable(3)));
    SafeTensorsFile source(directory / "model" / "model.safetensors");
    EXPECT_EQ(floats(file, "pooler.weight"), floats(source, "pooler.weight"));
    EXPECT_EQ(floats(file, "tiny.embeddings.weight"),
              floats(source, "embeddings.weight"));
    EXPECT_EQ(file.find("position_ids")->dtype, DType::I64);
    EXPECT_EQ(std::memcmp(file.find("position_ids")->data,
                          source.find("position_ids")->data, kLength * 8),
              0);
  }
}

TEST_F(ExportTest, WritesConfigAndTokenizer) {
  options.configUpdates =
      R"({"id2label": {"0": "bad", "1": "good"}, "hidden_size": null})";
  exportModel(*model, 0.5, options);
  auto config =
      nlohmann::json::parse(readBytes(options.outputDir / "config.json"));
  EXPECT_EQ(config["architectures"],
            nlohmann::json({"TinyForSequenceClassification"}));
  EXPECT_EQ(config["torch_dtype"], "float32");
  EXPECT_EQ(config["vocab_size"], 11);
  EXPECT_EQ(config["id2label"]["1"], "good");
  EXPECT_FALSE(config.contains("hidden_size"));
  std::vector<std::string> files;
  for (const auto &[name, bytes] : readAll(options.outputDir))
    files.push_back(name);
  EXPECT_EQ(files, (std::vector<std::string>{"config.json", "model.safetensors",
                                             "tokenizer.json", "vocab.txt"}));
  EXPECT_EQ(readBytes(options.outputDir / "vocab.txt"), "a\nb\n");
}

// As GPT-2's query, key and value: what was read apart is one tensor again.
TEST_F(ExportTest, PutsColumnsSideBySide) {
  constexpr int kRows = 5, kAll = 9;
  std::vector<float> wide(kRows * kAll);
  for (int i = 0; i < kRows * kAll; ++i)
    wide[i] = static_cast<float>(i);
  SafeTensorsFile source(directory / "model" / "model.safetensors");
  std::vector<TensorData> tensors{
      {{"wide", DType::F32, {kRows, kAll}}, wide.data()}};
  for (const auto &[name, view] : source.tensors())
    tensors.push_back({{name, view.dtype, view.shape}, view.data});
  fs::create_directories(directory / "wide");
  writeSafeTensors(directory / "wide" / "model.safetensors", tensors);
  auto program = makeProgram();
  auto write = [&](std::vector<std::pair<int, int>> parts) {
    Manifest manifest = makeManifest();
    std::map<std::string, EntryFunction> functions;
    for (const auto &[name, entry] : manifest.entryPoints)
      functions[name] = program->function(name);
    for (auto [first, count] : parts) {
      Parameter part;
      part.name = "tiny.wide:from" + std::to_string(first) +
                  std::string(manifest.parameters.size(), '\'');
      part.type = {ElementType::f32, {kRows, count}};
      part.initializer.kind = Initializer::Kind::file;
      part.source = "wide";
      part.sourceColumns = kAll;
      part.column = first;
      manifest.parameters.push_back(part);
    }
    Model parted(Program::create(manifest, functions),
                 std::make_shared<const ModelFiles>(directory / "wide"), 7);
    options.overwrite = true;
    exportModel(parted, 0.5, options);
    SafeTensorsFile file(options.outputDir / "model.safetensors");
    EXPECT_EQ(file.find("wide"), nullptr);
    EXPECT_EQ(file.find("tiny.wide")->shape,
              (std::vector<int64_t>{kRows, kAll}));
    return floats(file, "tiny.wide");
  };
  EXPECT_EQ(write({{0, 2}, {2, 4}, {6, 3}}), wide);
  EXPECT_EQ(write({{6, 3}, {0, 2}, {2, 4}}), wide); // in any order
  EXPECT_ERROR(write({{0, 2}, {6, 3}}),
               "tensor \"tiny.wide\" has 9 columns, of which the program knows "
               "those before 2, each once: it cannot be exported");
  EXPECT_ERROR(write({{0, 3}, {0, 3}, {6, 3}}), "knows those before 3");
}

// transformers would otherwise make a head of two classes.
TEST_F(ExportTest, DescribesTheLabels) {
  auto labels = [&](Model &of) {
    ExportOptions again = options;
    again.overwrite = true;
    exportModel(of, 0.5, again);
    return nlohmann::json::parse(readBytes(again.outputDir / "config.json"));
  };
  auto config = labels(*model);
  EXPECT_EQ(config["id2label"].size(), 3u);
  EXPECT_EQ(config["id2label"]["2"], "LABEL_2");
  EXPECT_EQ(config["label2id"]["LABEL_2"], 2);
  EXPECT_FALSE(config.contains("problem_type"));
  auto regression = makeModel(directory / "model", {4, true});
  config = labels(*regression);
  EXPECT_EQ(config["id2label"].size(), 1u);
  EXPECT_EQ(config["problem_type"], "regression");
}

// Half precision becomes single, used or not.
TEST_F(ExportTest, WritesSinglePrecision) {
  std::vector<uint16_t> half(kElements, 0x3e00);
  SafeTensorsFile source(directory / "model" / "model.safetensors");
  std::vector<TensorData> tensors;
  for (const auto &[name, view] : source.tensors())
    if (name == "pooler.weight" || name == "dense.bias")
      tensors.push_back({{name, DType::F16, view.shape}, half.data()});
    else
      tensors.push_back({{name, view.dtype, view.shape}, view.data});
  fs::create_directories(directory / "half");
  writeSafeTensors(directory / "half" / "model.safetensors", tensors);
  model = makeModel(directory / "half");
  exportModel(*model, 0.5, options);
  SafeTensorsFile file(options.outputDir / "model.safetensors");
  EXPECT_EQ(floats(file, "pooler.weight"), std::vector<float>(9, 1.5f));
  EXPECT_EQ(floats(file, "tiny.dense.bias"), std::vector<float>(kHidden, 1.5f));
}

// The exported file, loaded as dense weights without any mask, predicts what
// the sparse model predicts.
TEST_F(ExportTest, TheExportedModelPredictsTheSame) {
  Evaluation before = evaluate(*model, makeData(30), 0.7);
  exportModel(*model, 0.7, options);
  Manifest manifest = makeManifest();
  for (Parameter &parameter : manifest.parameters)
    if (parameter.role == Role::frozen ||
        parameter.name.starts_with("classifier")) {
      parameter.initializer.kind = Initializer::Kind::file;
      parameter.source = parameter.name;
    }
  auto program = makeProgram();
  std::map<std::string, EntryFunction> functions;
  for (const auto &[name, entry] : manifest.entryPoints)
    functions[name] = program->function(name);
  Model reloaded(Program::create(manifest, functions),
                 std::make_shared<const ModelFiles>(options.outputDir), 99);
  Evaluation after = evaluate(reloaded, makeData(30), 0.0);
  ASSERT_EQ(after.logits.size(), before.logits.size());
  for (size_t i = 0; i < after.logits.size(); ++i)
    EXPECT_NEAR(after.logits[i], before.logits[i], 1e-6);
  EXPECT_EQ(after.metrics, before.metrics);
  // The mask matters, or the test shows nothing.
  Evaluation dense = evaluate(*model, makeData(30), 0.0);
  EXPECT_GT(std::abs(dense.loss - before.loss), 1e-3);
}

TEST_F(ExportTest, ReplacesOnlyWhatIsAModel) {
  exportModel(*model, 0.5, options);
  auto before = readAll(options.outputDir);
  EXPECT_ERROR(exportModel(*model, 0.6, options),
               "exists and is not empty; choose another directory");
  EXPECT_EQ(readAll(options.outputDir), before);
  options.overwrite = true;
  exportModel(*model, 0.6, options);
  EXPECT_NE(readAll(options.outputDir), before);
  options.outputDir = directory / "model";
  EXPECT_ERROR(exportModel(*model, 0.5, options),
               "is the directory of the pretrained model");
  fs::create_directories(directory / "home");
  writeBytes(directory / "home" / "letter.txt", "dear");
  options.outputDir = directory / "home";
  EXPECT_ERROR(exportModel(*model, 0.5, options), "is not an exported model");
  EXPECT_EQ(readBytes(directory / "home" / "letter.txt"), "dear");
  options.outputDir = directory / "home" / "letter.txt";
  EXPECT_ERROR(exportModel(*model, 0.5, options), "is no directory");
  options.outputDir.clear();
  EXPECT_ERROR(exportModel(*model, 0.5, options), "is not given");
  fs::create_directories(directory / "empty");
  options.outputDir = directory / "empty";
  options.overwrite = false;
  exportModel(*model, 0.5, options);
}

TEST_F(ExportTest, LeavesNothingBehindWhenItFails) {
  options.configUpdates = "[]";
  EXPECT_ERROR(exportModel(*model, 0.5, options), "must be a JSON object");
  options.configUpdates.clear();
  trainable()[kR] = NAN;
  EXPECT_ERROR(exportModel(*model, 0.5, options),
               "a score of layer \"tiny.dense.weight\" is NaN");
  EXPECT_ERROR(exportModel(*model, 1.5, options),
               "sparsity must lie in [0, 1)");
  EXPECT_EQ(std::distance(fs::directory_iterator(directory.path()), {}), 1);
}

// What the kernels write is not believed: the file is counted.
TEST_F(ExportTest, CountsTheZerosInTheFile) {
  Manifest manifest = makeManifest();
  auto program = makeProgram();
  std::map<std::string, EntryFunction> functions;
  for (const auto &[name, entry] : manifest.entryPoints)
    functions[name] = program->function(name);
  functions["materialize"] = [](void *const *arguments) {
    std::fill_n(static_cast<float *>(arguments[5]), kElements, 1.0f);
    std::fill_n(static_cast<float *>(arguments[5]), 20, 0.0f);
  };
  Model careless(Program::create(manifest, functions),
                 std::make_shared<const ModelFiles>(directory / "model"), 1);
  EXPECT_ERROR(exportModel(careless, 0.5, options),
               "layer \"tiny.dense.weight\" has 20 zeros, where 21 of 42 "
               "elements should be pruned");
  EXPECT_FALSE(fs::exists(options.outputDir));
  // More zeros than pruned elements are possible: a kept weight may be 0.
  ExportResult result = exportModel(careless, 0.25, options);
  EXPECT_EQ(result.layers[0].numPruned, 10);
  EXPECT_EQ(result.layers[0].numZeros, 20);
}
