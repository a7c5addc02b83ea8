//===- Export.cpp - A Hugging Face directory of the sparse model ----------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Runtime/Export.h"
#include "ModelConfig.h"
#include "pst/Bundle/JsonText.h"
#include "pst/Runtime/Error.h"
#include "pst/Runtime/Files.h"
#include "pst/Runtime/Memory.h"
#include "pst/Runtime/SafeTensorsWriter.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <optional>
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

/// What a tensor of the exported file is made of, or its columns from `column`
/// on: the kernels write it (layer), or it is a parameter's values.
struct OutputPart {
  const Parameter *parameter = nullptr;
  const SparseLayer *layer = nullptr;
  const void *data = nullptr;
};

/// A tensor of the exported file: of one part, of several side by side, or
/// (without any) as the source file has it.
struct OutputTensor {
  TensorSpec spec;
  std::vector<OutputPart> parts;
  const TensorView *source = nullptr;
};

bool isFloatingPoint(DType dtype) {
  return dtype == DType::F32 || dtype == DType::F16 || dtype == DType::BF16 ||
         dtype == DType::F64;
}

DType exportedType(const Parameter &parameter) {
  switch (parameter.type.element) {
  case ElementType::f32:
  case ElementType::bf16: // widened: the file is of f32 throughout
    return DType::F32;
  case ElementType::i8:
    return DType::I8;
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

/// Whether the head of a language model is its embedding: then a copy of it in
/// the source file is not exported, for it would be that of before.
bool sharesEmbedding(const Model &model) {
  return model.manifest().task == ModelTask::lm &&
         configSwitch(model.manifest(), "tie_word_embeddings", true);
}

/// A parameter's values as f32, or as they are where they are whole numbers.
void writeValues(const OutputPart &part, void *target) {
  const TensorType &type = part.parameter->type;
  if (type.element == ElementType::bf16)
    convertToF32({part.parameter->name, DType::BF16, type.shape,
                  static_cast<const std::byte *>(part.data), type.numBytes()},
                 static_cast<float *>(target));
  else
    std::memcpy(target, part.data, type.numBytes());
}

/// The parts of a tensor, which lie one after the other, side by side.
void interleave(const OutputTensor &tensor, std::byte *data) {
  int64_t size = byteSize(tensor.spec.dtype),
          columns = tensor.spec.shape.back();
  int64_t rows = 1;
  for (size_t i = 0; i + 1 < tensor.spec.shape.size(); ++i)
    rows *= tensor.spec.shape[i];
  std::vector<std::byte> parts(data, data + rows * columns * size);
  const std::byte *from = parts.data();
  for (const OutputPart &part : tensor.parts) {
    int64_t bytes = part.parameter->type.shape.back() * size;
    for (int64_t row = 0; row < rows; ++row, from += bytes)
      std::memcpy(data + (row * columns + part.parameter->column) * size, from,
                  bytes);
  }
}

std::vector<OutputTensor> collect(const Model &model) {
  const Manifest &manifest = model.manifest();
  std::map<std::string_view, const SparseLayer *> layers;
  for (const SparseLayer &layer : manifest.sparseLayers)
    layers[layer.weight] = &layer;

  std::vector<OutputTensor> tensors;
  std::map<std::string, size_t> split; // tensors of several parts, by name
  std::set<std::string> taken;         // sources, and names written
  for (const Parameter &parameter : manifest.parameters) {
    if (parameter.role == Role::state || parameter.role == Role::cache ||
        manifest.findLayerOfFactor(parameter.name))
      continue;
    OutputPart part{&parameter};
    auto layer = layers.find(parameter.name);
    if (layer != layers.end())
      part.layer = layer->second;
    else
      part.data = model.parameters().data(parameter);
    std::string name = parameter.tensorName();
    taken.insert(name);
    if (!parameter.source.empty())
      taken.insert(parameter.source);
    if (parameter.sourceColumns && split.contains(name)) {
      tensors[split[name]].parts.push_back(part);
      continue;
    }
    OutputTensor tensor;
    tensor.spec = {name, exportedType(parameter), parameter.type.shape};
    tensor.parts.push_back(part);
    if (parameter.sourceColumns) {
      tensor.spec.shape.back() = parameter.sourceColumns;
      split[name] = tensors.size();
    }
    tensors.push_back(std::move(tensor));
  }
  for (const auto &[name, index] : split) {
    OutputTensor &tensor = tensors[index];
    std::sort(tensor.parts.begin(), tensor.parts.end(), [](auto &a, auto &b) {
      return a.parameter->column < b.parameter->column;
    });
    int64_t columns = 0;
    for (const OutputPart &part : tensor.parts) {
      if (part.parameter->column != columns)
        break;
      columns += part.parameter->type.shape.back();
    }
    if (columns != tensor.spec.shape.back())
      throw Error("tensor \"" + name + "\" has " +
                  std::to_string(tensor.spec.shape.back()) +
                  " columns, of which the program knows those before " +
                  std::to_string(columns) + ", each once: it cannot be " +
                  "exported");
  }
  if (sharesEmbedding(model))
    taken.insert("lm_head.weight");
  // What the program does not use goes over as it is, under its own name.
  if (const auto &files = model.parameters().files())
    for (const auto &[name, view] : files->tensors()) {
      if (taken.contains(std::string(name)))
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
    auto *target = static_cast<std::byte *>(writer.data(tensor.spec.name));
    if (tensor.source) {
      const ModelFiles &files = *model.parameters().files();
      const TensorView *source = files.find(tensor.source->name);
      int64_t bytes = source->numElements() * byteSize(tensor.spec.dtype);
      if (isFloatingPoint(source->dtype))
        convertToF32(*source, reinterpret_cast<float *>(target));
      else
        std::memcpy(target, source->data, bytes);
      forgetPages(target, bytes);
      files.forget(*source);
    }
    for (const OutputPart &part : tensor.parts) {
      int64_t bytes = part.parameter->type.numElements() *
                      byteSize(exportedType(*part.parameter));
      if (part.layer) {
        targets[part.parameter->name] = target;
      } else {
        writeValues(part, target);
        forgetPages(target, bytes);
      }
      target += bytes;
    }
  }
  if (!targets.empty()) {
    model.select(sparsity);
    model.materialize(targets);
  }
  for (const OutputTensor &tensor : tensors)
    if (tensor.parts.size() > 1)
      interleave(tensor,
                 static_cast<std::byte *>(writer.data(tensor.spec.name)));
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
  ModelTask task = model.manifest().task;
  if (task == ModelTask::regression || task == ModelTask::multiLabel)
    config["problem_type"] = std::string(name(task));
  else if (task == ModelTask::tokenClasses)
    config.erase("problem_type");
  else if (config.contains("problem_type"))
    config["problem_type"] = "single_label_classification";
}

/// config.json: as the source had it, with what has changed, and what the
/// caller adds.
std::string makeConfig(const Model &model, const std::string &updates) {
  const Manifest &manifest = model.manifest();
  Json config = Json::object();
  if (!manifest.config.empty())
    config = Json::parse(manifest.config);
  if (!manifest.architecture.empty())
    config["architectures"] = {manifest.architecture};
  config["torch_dtype"] = "float32";
  config.erase("dtype");
  config.erase("quantization_config"); // how the source was stored
  if (manifest.task != ModelTask::none && manifest.task != ModelTask::lm)
    describeLabels(config, model);
  if (!updates.empty()) {
    Json changes = Json::parse(updates, nullptr, false);
    if (nestsTooDeep(updates) || !changes.is_object())
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

/// How many elements of a layer its selection has pruned, as it counted them,
/// or as they follow from its sparsity; nothing where that is not known.
std::optional<int64_t> countPruned(const Model &model, const SparseLayer &layer,
                                   double ofRun) {
  if (!layer.pruned.empty()) {
    int64_t count;
    std::memcpy(&count, model.parameters().data(layer.pruned), sizeof count);
    return count;
  }
  double sparsity = model.manifest().sparsityOf(layer, ofRun);
  auto share = [sparsity](int64_t count) {
    return static_cast<int64_t>(static_cast<double>(count) * sparsity);
  };
  const char *text = layer.selection.c_str();
  int64_t rows = 0, columns = 0;
  if (layer.selection.starts_with("rows"))
    return share(layer.rows) * layer.columns;
  if (std::sscanf(text, "nm %" SCNd64 ":%" SCNd64, &rows, &columns) == 2)
    return layer.rows * layer.columns / columns *
           std::min(columns - rows, share(columns));
  if (std::sscanf(text, "block %" SCNd64 "x%" SCNd64, &rows, &columns) == 2 &&
      layer.rows % rows == 0 && layer.columns % columns == 0)
    return share(layer.rows / rows * (layer.columns / columns)) * rows *
           columns;
  return std::nullopt; // blocks at the edges are smaller
}

/// Counts the zeros of the sparse layers in the file that was written.
ExportResult inspect(const fs::path &path, const Model &model,
                     double sparsity) {
  const Manifest &manifest = model.manifest();
  SafeTensorsFile file(path);
  ExportResult result;
  result.sparsity = sparsity;
  result.numTensors = static_cast<int64_t>(file.tensors().size());
  result.numBytes = static_cast<int64_t>(fs::file_size(path));
  for (const SparseLayer &entry : manifest.sparseLayers) {
    const Parameter *weight = model.parameters().find(entry.weight);
    const TensorView *tensor = file.find(weight->tensorName());
    std::vector<int64_t> shape = weight->type.shape;
    if (weight->sourceColumns)
      shape.back() = weight->sourceColumns;
    if (!tensor || tensor->dtype != DType::F32 || tensor->shape != shape)
      throw Error(path.string() + ": tensor \"" + weight->tensorName() +
                  "\" was not written");
    const float *values =
        reinterpret_cast<const float *>(tensor->data) + weight->column;
    int64_t stride = tensor->shape.back();
    ExportedLayer layer{entry.weight, entry.rows * entry.columns, 0, 0};
    std::optional<int64_t> pruned = countPruned(model, entry, sparsity);
    for (int64_t i = 0; i < entry.rows; ++i, values += stride) {
      layer.numZeros += std::count(values, values + entry.columns, 0.0f);
      int64_t bad = findNonFinite(values, entry.columns);
      if (bad >= 0)
        throw Error(path.string() + ": layer \"" + entry.weight + "\" holds " +
                    std::to_string(values[bad]) + ": training has diverged");
    }
    // An element that is kept may be 0 by itself, so that there may be more.
    layer.numPruned = pruned.value_or(layer.numZeros);
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

/// Whether a model directory has this beside its weights, config.json and card:
/// the tokenizer's files, and how texts are made with it.
static bool isCompanion(const std::string &name) {
  static const std::set<std::string> exact{"added_tokens.json",
                                           "chat_template.jinja",
                                           "generation_config.json",
                                           "merges.txt",
                                           "sentencepiece.bpe.model",
                                           "special_tokens_map.json",
                                           "spiece.model",
                                           "vocab.json",
                                           "vocab.txt"};
  return exact.contains(name) ||
         (name.starts_with("tokenizer") &&
          (name.ends_with(".json") || name.ends_with(".model")));
}

void pst::runtime::copyCompanions(const fs::path &from, const fs::path &to) {
  for (const fs::directory_entry &entry : fs::directory_iterator(from)) {
    std::string name = entry.path().filename().string();
    std::error_code unknown;
    if (entry.is_regular_file(unknown) && isCompanion(name))
      writeFile(to / name, readFile(entry.path()));
  }
}

/// A directory that exists is only replaced if it looks like a model, and is
/// not the one that is read.
void pst::runtime::checkModelTarget(const fs::path &target,
                                    const fs::path &source, bool overwrite) {
  if (target.empty())
    throw Error("the directory of the exported model is not given");
  if (!isNamed(target))
    return;
  std::error_code unknown;
  if (!fs::is_directory(target, unknown))
    throw Error(target.string() + ": exists, and is no directory");
  bool empty = fs::is_empty(target, unknown);
  if (unknown)
    throwSystemError(target, "read", unknown.value());
  if (empty)
    return;
  if (!source.empty() && fs::equivalent(target, source, unknown))
    throw Error(target.string() + ": is the directory of the pretrained "
                                  "model; export to another one");
  if (!overwrite)
    throw Error(target.string() +
                ": exists and is not empty; choose another directory, or allow "
                "it to be replaced (--overwrite_output_dir)");
  // What each form of `pst export` consists of.
  static constexpr const char *forms[][2] = {
      {"model.safetensors", "config.json"},
      {"adapter_model.safetensors", "adapter_config.json"},
      {"model.gguf", "README.md"},
      {"model.onnx", "config.json"}};
  if (std::ranges::none_of(forms, [&](auto &files) {
        return fs::exists(target / files[0]) && fs::exists(target / files[1]);
      }))
    throw Error(target.string() + ": is not an exported model (it lacks "
                                  "config.json or model.safetensors), so it "
                                  "will not be replaced");
}

void pst::runtime::checkExportTarget(const Model &model,
                                     const ExportOptions &options) {
  const auto &files = model.parameters().files();
  checkModelTarget(options.outputDir, files ? files->directory() : fs::path(),
                   options.overwrite);
}

ExportResult pst::runtime::exportModel(Model &model, double sparsity,
                                       const ExportOptions &options) {
  checkExportTarget(model, options);
  if (model.parameters().files())
    model.parameters().files()->requireWhole();
  // An entry point is told apart from none before anything is written.
  if (!model.manifest().sparseLayers.empty())
    model.program().entryPoint("materialize");
  std::string config = makeConfig(model, options.configUpdates);
  StagedDirectory staged(options.outputDir);
  writeFile(staged.path() / "config.json", config);
  if (const auto &files = model.parameters().files())
    copyCompanions(files->directory(), staged.path());
  writeWeights(model, sparsity, staged.path() / "model.safetensors");
  ExportResult result =
      inspect(staged.path() / "model.safetensors", model, sparsity);
  staged.commit();
  return result;
}
