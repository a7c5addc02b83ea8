//===- Export.cpp - A Hugging Face directory of the sparse model ----------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Runtime/Export.h"
#include "pst/Runtime/Error.h"
#include "pst/Runtime/Files.h"
#include "pst/Runtime/Memory.h"
#include "pst/Runtime/SafeTensorsWriter.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstring>
#include <set>

using namespace pst;
using namespace pst::runtime;
using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

double ExportResult::zeroShare() const {
  double zeros = 0, all = 0;
  for (const ExportedLayer &layer : layers) {
    zeros += static_cast<double>(layer.numZeros);
    all += static_cast<double>(layer.numElements);
  }
  return all > 0 ? zeros / all : 0;
}

//===----------------------------------------------------------------------===//
// What is written
//===----------------------------------------------------------------------===//

namespace {

/// A tensor of the exported file, and where its values come from: the kernels
/// (layer), a parameter, or the source file as it is.
struct OutputTensor {
  TensorSpec spec;
  const SparseLayer *layer = nullptr;
  const void *data = nullptr;
  bool narrow = false; ///< `data` is bf16, what is written f32.
  const TensorView *source = nullptr;
};

/// Whether a parameter is one that the method added: "....pst_U".
bool isFactor(const Parameter &parameter) {
  size_t dot = parameter.name.rfind('.');
  return parameter.name.compare(dot == std::string::npos ? 0 : dot + 1, 4,
                                "pst_") == 0;
}

bool isFloatingPoint(DType dtype) {
  return dtype == DType::F32 || dtype == DType::F16 || dtype == DType::BF16 ||
         dtype == DType::F64;
}

DType exportedType(const Parameter &parameter) {
  switch (parameter.type.element) {
  case ElementType::f32:
  case ElementType::bf16: // widened: the file is of f32 throughout
    return DType::F32;
  case ElementType::i32:
    return DType::I32;
  case ElementType::i64:
    return DType::I64;
  default:
    throw Error("parameter \"" + parameter.name + "\" is " +
                std::string(name(parameter.type.element)) +
                ", which cannot be exported");
  }
}

std::vector<OutputTensor> collect(const Model &model) {
  const Manifest &manifest = model.manifest();
  std::map<std::string_view, const SparseLayer *> layers;
  for (const SparseLayer &layer : manifest.sparseLayers)
    layers[layer.weight] = &layer;

  std::vector<OutputTensor> tensors;
  std::set<std::string_view> taken; // sources, and names written
  for (const Parameter &parameter : manifest.parameters) {
    if (parameter.role == Role::state || isFactor(parameter))
      continue;
    OutputTensor tensor;
    tensor.spec = {parameter.name, exportedType(parameter),
                   parameter.type.shape};
    auto layer = layers.find(parameter.name);
    tensor.narrow = parameter.type.element == ElementType::bf16;
    if (layer != layers.end())
      tensor.layer = layer->second;
    else
      tensor.data = model.parameters().data(parameter);
    taken.insert(parameter.name);
    if (!parameter.source.empty())
      taken.insert(parameter.source);
    tensors.push_back(std::move(tensor));
  }
  // What the program does not use goes over as it is, under its own name.
  if (const auto &files = model.parameters().files())
    for (const auto &[name, view] : files->tensors()) {
      if (taken.contains(name))
        continue;
      OutputTensor tensor;
      tensor.spec = {name,
                     isFloatingPoint(view->dtype) ? DType::F32 : view->dtype,
                     view->shape};
      tensor.source = view;
      tensors.push_back(std::move(tensor));
    }
  // Large elements first, so that each tensor is aligned for its elements.
  std::sort(tensors.begin(), tensors.end(), [](auto &a, auto &b) {
    int64_t sizeA = byteSize(a.spec.dtype), sizeB = byteSize(b.spec.dtype);
    return sizeA != sizeB ? sizeA > sizeB : a.spec.name < b.spec.name;
  });
  return tensors;
}

void writeWeights(Model &model, double sparsity, const fs::path &file) {
  std::vector<OutputTensor> tensors = collect(model);
  std::vector<TensorSpec> specs;
  for (const OutputTensor &tensor : tensors)
    specs.push_back(tensor.spec);
  MappedSafeTensorsWriter writer(file, specs, {{"format", "pt"}});

  // What the steps have left in the arena is of no meaning, and the new file
  // can have its pages; so can it those of tensors once they are copied.
  const ParameterStore &store = model.parameters();
  if (int64_t bytes = store.spaceBytes("arena"); bytes && !store.accelerator())
    forgetPages(store.space("arena"), bytes);
  std::map<std::string, void *> targets;
  for (const OutputTensor &tensor : tensors) {
    void *target = writer.data(tensor.spec.name);
    if (tensor.layer) {
      targets[tensor.spec.name] = target;
      continue;
    }
    int64_t bytes = byteSize(tensor.spec.dtype);
    for (int64_t size : tensor.spec.shape)
      bytes *= size;
    const void *source = tensor.source ? tensor.source->data : tensor.data;
    if (tensor.source && isFloatingPoint(tensor.source->dtype))
      convertToF32(*tensor.source, static_cast<float *>(target));
    else if (tensor.narrow)
      convertToF32({tensor.spec.name, DType::BF16, tensor.spec.shape,
                    static_cast<const std::byte *>(tensor.data), bytes / 2},
                   static_cast<float *>(target));
    else
      std::memcpy(target, source, bytes);
    forgetPages(target, bytes);
    if (tensor.source)
      forgetPages(source, tensor.source->numBytes);
  }
  if (!targets.empty()) {
    model.select(sparsity);
    model.materialize(targets);
  }
  writer.commit();
}

/// transformers takes the head's width from the names of the labels, and makes
/// it 2 if there are none.
void describeLabels(Json &config, const Model &model) {
  size_t width = static_cast<size_t>(model.numLabels());
  if (!config.contains("id2label") || config["id2label"].size() != width) {
    config["id2label"] = config["label2id"] = Json::object();
    for (size_t i = 0; i < width; ++i) {
      std::string label = "LABEL_" + std::to_string(i);
      config["id2label"][std::to_string(i)] = label;
      config["label2id"][label] = i;
    }
  }
  if (model.isRegression())
    config["problem_type"] = "regression";
}

/// config.json: as the source had it, with what has changed, and what the
/// caller adds.
std::string makeConfig(const Model &model, const std::string &updates) {
  const Manifest &manifest = model.manifest();
  Json config = Json::object();
  if (!manifest.config.empty())
    config = Json::parse(manifest.config, nullptr, false);
  if (!config.is_object())
    throw Error("the program's manifest: \"config\" is no JSON object");
  if (!manifest.architecture.empty())
    config["architectures"] = {manifest.architecture};
  config["torch_dtype"] = "float32";
  config.erase("dtype");
  if (model.program().has("forward"))
    describeLabels(config, model);
  if (!updates.empty()) {
    Json changes = Json::parse(updates, nullptr, false);
    if (!changes.is_object())
      throw Error("the keys to add to config.json must be a JSON object, but "
                  "are: " +
                  updates);
    for (const auto &[key, value] : changes.items())
      if (value.is_null())
        config.erase(key);
      else
        config[key] = value;
  }
  return config.dump(2) + "\n";
}

bool isTokenizerFile(const std::string &name) {
  static const std::set<std::string> exact{"vocab.txt", "vocab.json",
                                           "merges.txt", "added_tokens.json",
                                           "special_tokens_map.json"};
  return exact.contains(name) ||
         (name.starts_with("tokenizer") &&
          (name.ends_with(".json") || name.ends_with(".model")));
}

void copyTokenizer(const fs::path &from, const fs::path &to) {
  for (const fs::directory_entry &entry : fs::directory_iterator(from)) {
    std::string name = entry.path().filename().string();
    if (entry.is_regular_file() && isTokenizerFile(name))
      writeFile(to / name, readFile(entry.path()));
  }
}

/// A directory that exists is only replaced if it looks like a model, and is
/// not the one that is mapped.
void checkTarget(const ExportOptions &options, const Model &model) {
  const fs::path &target = options.outputDir;
  if (target.empty())
    throw Error("the directory of the exported model is not given");
  if (!fs::exists(target))
    return;
  if (!fs::is_directory(target))
    throw Error(target.string() + ": exists, and is no directory");
  if (fs::is_empty(target))
    return;
  if (const auto &files = model.parameters().files())
    if (fs::equivalent(target, files->directory()))
      throw Error(target.string() + ": is the directory of the pretrained "
                                    "model; export to another one");
  if (!options.overwrite)
    throw Error(target.string() +
                ": exists and is not empty; choose another directory, or allow "
                "it to be replaced (--overwrite_output_dir)");
  if (!fs::exists(target / "model.safetensors") ||
      !fs::exists(target / "config.json"))
    throw Error(target.string() + ": is not an exported model (it lacks "
                                  "config.json or model.safetensors), so it "
                                  "will not be replaced");
}

/// Counts the zeros of the sparse layers in the file that was written.
ExportResult inspect(const fs::path &path, const Manifest &manifest,
                     double sparsity) {
  SafeTensorsFile file(path);
  ExportResult result;
  result.sparsity = sparsity;
  result.numTensors = static_cast<int64_t>(file.tensors().size());
  result.numBytes = static_cast<int64_t>(fs::file_size(path));
  for (const SparseLayer &entry : manifest.sparseLayers) {
    const TensorView *tensor = file.find(entry.weight);
    if (!tensor || tensor->dtype != DType::F32)
      throw Error(path.string() + ": tensor \"" + entry.weight +
                  "\" was not written");
    const float *values = reinterpret_cast<const float *>(tensor->data);
    ExportedLayer layer{entry.weight, entry.rows * entry.columns, 0, 0};
    layer.numPruned =
        static_cast<int64_t>(static_cast<double>(layer.numElements) * sparsity);
    layer.numZeros = std::count(values, values + layer.numElements, 0.0f);
    int64_t bad = findNonFinite(values, layer.numElements);
    if (bad >= 0)
      throw Error(path.string() + ": layer \"" + entry.weight + "\" holds " +
                  std::to_string(values[bad]) + ": training has diverged");
    // An element that is kept may be 0 by itself, so that there may be more.
    if (layer.numZeros < layer.numPruned)
      throw Error(path.string() + ": layer \"" + entry.weight + "\" has " +
                  std::to_string(layer.numZeros) + " zeros, where " +
                  std::to_string(layer.numPruned) + " of " +
                  std::to_string(layer.numElements) +
                  " elements should be pruned");
    result.layers.push_back(std::move(layer));
  }
  return result;
}

} // namespace

ExportResult pst::runtime::exportModel(Model &model, double sparsity,
                                       const ExportOptions &options) {
  checkTarget(options, model);
  // An entry point is told apart from none before anything is written.
  if (!model.manifest().sparseLayers.empty())
    model.program().entryPoint("materialize");
  std::string config = makeConfig(model, options.configUpdates);
  StagedDirectory staged(options.outputDir);
  writeFile(staged.path() / "config.json", config);
  if (const auto &files = model.parameters().files())
    copyTokenizer(files->directory(), staged.path());
  writeWeights(model, sparsity, staged.path() / "model.safetensors");
  ExportResult result =
      inspect(staged.path() / "model.safetensors", model.manifest(), sparsity);
  staged.commit();
  return result;
}
