//===- ModelFiles.cpp - The weights of a model ----------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Bundle/ParseJson.h"
#include "pst/Runtime/CompressedWeight.h"
#include "pst/Runtime/Error.h"
#include "pst/Runtime/Files.h"
#include "pst/Runtime/Memory.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <sys/mman.h>

using namespace pst;
using namespace pst::runtime;
using Json = nlohmann::json;
namespace fs = std::filesystem;

/// The shards that an index names, in order, without repetition.
static std::map<std::string, std::string> readIndex(const fs::path &path) {
  Json index;
  try {
    index = parseJson<Json>(readFile(path));
  } catch (const JsonError &error) {
    throw Error(path.string() + ": not valid JSON: " + error.what());
  }
  if (!index.is_object() || !index.contains("weight_map") ||
      !index["weight_map"].is_object())
    throw Error(path.string() + ": there is no object \"weight_map\"");
  std::map<std::string, std::string> shardOf;
  for (const auto &[tensor, shard] : index["weight_map"].items()) {
    if (!shard.is_string())
      throw Error(path.string() + ": \"weight_map\": the shard of \"" + tensor +
                  "\" must be a file's name, but is " + shard.dump());
    std::string file = shard.get<std::string>();
    if (fs::path(file).filename() != file || file == "." || file == "..")
      throw Error(path.string() + ": \"weight_map\": the shard \"" + file +
                  "\" of \"" + tensor +
                  "\" must lie in the directory of the index");
    shardOf[tensor] = file;
  }
  return shardOf;
}

/// A compressed weight as a tensor, whose values lie in pages of their own.
/// Threads may ask for it at once.
class ModelFiles::Expanded {
public:
  explicit Expanded(CompressedWeight parts) : parts(std::move(parts)) {
    tensor.name = this->parts.name;
    tensor.dtype = this->parts.dtype();
    tensor.shape = {this->parts.rows, this->parts.columns};
    tensor.numBytes = this->parts.numBytes();
  }
  ~Expanded() { unmap(); }
  Expanded(const Expanded &) = delete;
  Expanded &operator=(const Expanded &) = delete;

  const TensorView &view() const { return tensor; }
  const CompressedWeight &weight() const { return parts; }

  void expand(const fs::path &path) {
    std::lock_guard guard(mutex);
    if (tensor.data)
      return;
    parts.check(path.string());
    // Pages that hold nothing but zeros are never touched, and cost nothing.
    void *pages = ::mmap(nullptr, mappedBytes(), PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED)
      throw Error(path.string() + ": cannot allocate " +
                  formatBytes(tensor.numBytes) + " for \"" + tensor.name +
                  "\": " + std::strerror(errno));
    // Fewer page faults: loading a BERT-base takes a tenth less.
    (void)::madvise(pages, mappedBytes(), MADV_HUGEPAGE);
    parts.expand(0, parts.rows, /*isZero=*/true,
                 static_cast<std::byte *>(pages));
    tensor.data = static_cast<const std::byte *>(pages);
  }

  void forget() {
    std::lock_guard guard(mutex);
    if (!kept)
      unmap();
  }

  void keep() {
    std::lock_guard guard(mutex);
    kept = true;
  }

private:
  void unmap() {
    if (tensor.data)
      ::munmap(const_cast<std::byte *>(tensor.data), mappedBytes());
    tensor.data = nullptr;
  }

  size_t mappedBytes() const { return std::max<int64_t>(tensor.numBytes, 1); }

  std::mutex mutex;
  CompressedWeight parts;
  TensorView tensor;
  bool kept = false;
};

ModelFiles::ModelFiles(fs::path path) : modelPath(std::move(path)) {
  fs::path file = modelPath;
  std::error_code unknown;
  if (fs::is_directory(modelPath, unknown)) {
    file = modelPath / "model.safetensors";
    if (!isNamed(file))
      file = modelPath / "model.safetensors.index.json";
    if (!isNamed(file))
      throw Error(modelPath.string() +
                  ": holds neither model.safetensors nor "
                  "model.safetensors.index.json (weights in another format "
                  "must be saved with safe_serialization=True first)");
  } else if (!isNamed(modelPath)) {
    throw Error(modelPath.string() + ": no such file or directory");
  }
  auto add = [&](const fs::path &shard) {
    files.push_back(std::make_unique<SafeTensorsFile>(shard));
    for (const auto &[name, view] : files.back()->tensors())
      if (!views.emplace(name, &view).second)
        throw Error(shard.string() + ": tensor \"" + name +
                    "\" is in another shard too");
  };
  if (file.extension() == ".json") {
    std::map<std::string, std::string> shardOf = readIndex(file);
    std::set<std::string> shards;
    for (const auto &[tensor, shard] : shardOf)
      shards.insert(shard);
    for (const std::string &shard : shards)
      add(file.parent_path() / shard);
    for (const auto &[tensor, shard] : shardOf)
      if (!views.contains(tensor))
        throw Error(file.string() + ": tensor \"" + tensor +
                    "\" is not in its shard " + shard);
  } else {
    add(file);
  }
  std::set<std::string> parts;
  std::vector<CompressedWeight> weights =
      findCompressedWeights(views, file.string(), parts);
  for (const std::string &part : parts)
    views.erase(part);
  for (CompressedWeight &weight : weights) {
    std::string name = weight.name;
    auto &entry = expanded[name] =
        std::make_unique<Expanded>(std::move(weight));
    views[name] = &entry->view();
  }
}

ModelFiles::~ModelFiles() = default;

std::map<std::string, std::string> ModelFiles::metadata() const {
  std::map<std::string, std::string> all;
  for (const std::unique_ptr<SafeTensorsFile> &file : files)
    all.insert(file->metadata().begin(), file->metadata().end());
  return all;
}

void ModelFiles::requireWhole() const {
  for (const std::unique_ptr<SafeTensorsFile> &file : files)
    file->requireWhole();
}

fs::path ModelFiles::directory() const {
  std::error_code unknown;
  return fs::is_directory(modelPath, unknown) ? modelPath
                                              : modelPath.parent_path();
}

int64_t ModelFiles::numBytes() const {
  int64_t bytes = 0;
  for (const std::unique_ptr<SafeTensorsFile> &file : files)
    bytes += file->numBytes();
  return bytes;
}

const TensorView *ModelFiles::find(std::string_view name) const {
  auto found = views.find(name);
  if (found == views.end())
    return nullptr;
  if (auto weight = expanded.find(name); weight != expanded.end())
    weight->second->expand(modelPath);
  return found->second;
}

void ModelFiles::forget(const TensorView &tensor) const {
  if (auto weight = expanded.find(tensor.name); weight != expanded.end())
    weight->second->forget();
  else
    runtime::forgetPages(tensor.data, tensor.numBytes);
}

void ModelFiles::forgetPages() const {
  for (const std::unique_ptr<SafeTensorsFile> &file : files)
    file->forget();
}

void ModelFiles::keep(const TensorView &tensor) const {
  if (auto weight = expanded.find(tensor.name); weight != expanded.end())
    weight->second->keep();
}

const CompressedWeight *ModelFiles::compressed(std::string_view name) const {
  auto found = expanded.find(name);
  return found == expanded.end() ? nullptr : &found->second->weight();
}
