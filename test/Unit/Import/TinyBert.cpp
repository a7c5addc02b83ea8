//===- TinyBert.cpp - Small model directories for the tests ---------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TinyBert.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/Location.h"
#include "pst/Runtime/SafeTensorsWriter.h"

#include <fstream>
#include <random>

using namespace mlir;
using namespace pst;
namespace fs = std::filesystem;

TinyBert::TinyBert() {
  std::string pattern =
      (fs::temp_directory_path() / "pst-import-XXXXXX").string();
  if (!::mkdtemp(pattern.data()))
    throw std::runtime_error("cannot make a temporary directory");
  directory = pattern;
  options.batch = 2;
  options.length = 5;

  config = {{"architectures", {"BertForSequenceClassification"}},
            {"attention_probs_dropout_prob", 0.125},
            {"classifier_dropout", nullptr},
            {"hidden_act", "gelu"},
            {"hidden_dropout_prob", 0.25},
            {"hidden_size", 6},
            {"id2label", {{"0", "no"}, {"1", "maybe"}, {"2", "yes"}}},
            {"initializer_range", 0.5},
            {"intermediate_size", 10},
            {"layer_norm_eps", 1e-6},
            {"max_position_embeddings", 7},
            {"model_type", "bert"},
            {"num_attention_heads", 3},
            {"num_hidden_layers", 2},
            {"position_embedding_type", "absolute"},
            {"type_vocab_size", 2},
            {"vocab_size", 11}};

  auto add = [&](const std::string &name, std::vector<int64_t> shape) {
    tensors[name] = {runtime::DType::F32, std::move(shape)};
  };
  auto linear = [&](const std::string &name, int64_t out, int64_t in) {
    add(name + ".weight", {out, in});
    add(name + ".bias", {out});
  };
  auto norm = [&](const std::string &name) {
    add(name + ".weight", {6});
    add(name + ".bias", {6});
  };
  add("bert.embeddings.word_embeddings.weight", {11, 6});
  add("bert.embeddings.position_embeddings.weight", {7, 6});
  add("bert.embeddings.token_type_embeddings.weight", {2, 6});
  norm("bert.embeddings.LayerNorm");
  for (std::string layer : {"bert.encoder.layer.0.", "bert.encoder.layer.1."}) {
    for (std::string part : {"query", "key", "value"})
      linear(layer + "attention.self." + part, 6, 6);
    linear(layer + "attention.output.dense", 6, 6);
    norm(layer + "attention.output.LayerNorm");
    linear(layer + "intermediate.dense", 10, 6);
    linear(layer + "output.dense", 6, 10);
    norm(layer + "output.LayerNorm");
  }
  linear("bert.pooler.dense", 6, 6);
  linear("classifier", 3, 6);
}

TinyBert::~TinyBert() {
  std::error_code ignored;
  fs::remove_all(directory, ignored);
}

void TinyBert::rename(const std::function<std::string(std::string)> &rename) {
  std::map<std::string, TensorSpec> renamed;
  for (const auto &[name, spec] : tensors)
    renamed[rename(name)] = spec;
  tensors = std::move(renamed);
}

void TinyBert::writeText(const std::string &file,
                         const std::string &text) const {
  std::ofstream(directory / file, std::ios::binary) << text;
}

void TinyBert::writeTensors(
    const std::string &file,
    const std::function<bool(const std::string &)> &choose) const {
  std::mt19937_64 random(1);
  std::vector<runtime::TensorData> data;
  std::vector<std::vector<uint64_t>> values;
  for (const auto &[name, spec] : tensors) {
    if (!choose(name))
      continue;
    int64_t elements = 1;
    for (int64_t size : spec.shape)
      elements *= size;
    values.emplace_back(elements); // 8 bytes each: enough for every type
    std::generate(values.back().begin(), values.back().end(), random);
    runtime::TensorData &tensor = data.emplace_back();
    tensor.name = name;
    tensor.dtype = spec.dtype;
    tensor.shape = spec.shape;
    tensor.data = values.back().data();
  }
  runtime::writeSafeTensors(directory / file, data);
}

void TinyBert::write() const {
  writeText("config.json", config.dump(2) + "\n");
  writeTensors("model.safetensors", [](auto &) { return true; });
}

OwningOpRef<ModuleOp> TinyBert::importModel() {
  messages.clear();
  ScopedDiagnosticHandler handler(&context, [&](Diagnostic &diagnostic) {
    std::string text;
    llvm::raw_string_ostream stream(text);
    if (auto file = dyn_cast<FileLineColLoc>(diagnostic.getLocation())) {
      StringRef name = file.getFilename().getValue();
      name.consume_front(directory.string() + "/");
      stream << name << ":" << file.getLine() << ":" << file.getColumn()
             << ": ";
    }
    switch (diagnostic.getSeverity()) {
    case DiagnosticSeverity::Error:
      stream << "error: ";
      break;
    case DiagnosticSeverity::Remark:
      stream << "remark: ";
      break;
    default:
      stream << "note or warning: ";
      break;
    }
    stream << diagnostic;
    // A message may repeat the file that it is about.
    size_t at;
    while ((at = text.find(directory.string() + "/")) != std::string::npos)
      text.erase(at, directory.string().size() + 1);
    messages.push_back(text);
  });
  FailureOr<OwningOpRef<ModuleOp>> module =
      pst::importModel(context, directory.string(), options);
  return succeeded(module) ? std::move(*module) : OwningOpRef<ModuleOp>();
}

void pst::expectError(TinyBert &model, const std::string &message) {
  EXPECT_FALSE(model.importModel());
  EXPECT_EQ(model.messages, std::vector<std::string>{message});
}
