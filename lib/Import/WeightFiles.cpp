//===- WeightFiles.cpp - The tensors that a model starts from -------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "WeightFiles.h"
#include "mlir/IR/Location.h"
#include "mlir/IR/MLIRContext.h"
#include "pst/Runtime/CompressedWeight.h"
#include "pst/Runtime/Error.h"
#include "pst/Runtime/Files.h"
#include "pst/Runtime/SafeTensors.h"

#include "llvm/ADT/StringExtras.h"

#include <cstring>
#include <filesystem>
#include <limits>

using namespace mlir;
using namespace pst;
namespace fs = std::filesystem;

/// A model of another kind lacks every tensor: more errors say no more.
static constexpr int64_t kMaxErrors = 5;

LogicalResult pst::emitFileError(MLIRContext &context, StringRef path,
                                 StringRef message) {
  StringRef file = path;
  if (message.starts_with(path)) {
    file = message.take_front(message.find(": ", path.size()));
    message = message.drop_front(file.size());
    message.consume_front(": ");
  }
  return emitError(FileLineColLoc::get(&context, file, 0, 0)) << message;
}

WeightFiles::WeightFiles(MLIRContext &context, StringRef directory)
    : context(context), path(directory) {}

WeightFiles::~WeightFiles() = default;

std::unique_ptr<WeightFiles> WeightFiles::open(MLIRContext &context,
                                               StringRef directory,
                                               bool mayBeMissing) {
  std::unique_ptr<WeightFiles> weights(new WeightFiles(context, directory));
  for (const char *name : {"model.safetensors.index.json", "model.safetensors"})
    if (fs::path file = fs::path(directory.str()) / name;
        runtime::isNamed(file))
      weights->path = file.string();
  if (mayBeMissing && weights->path == directory)
    return weights;
  try {
    weights->files = std::make_unique<runtime::ModelFiles>(directory.str());
  } catch (const runtime::Error &error) {
    (void)emitFileError(context, directory, error.what());
    return nullptr;
  }
  return weights;
}

Location WeightFiles::location() const {
  return FileLineColLoc::get(&context, path, 0, 0);
}

InFlightDiagnostic WeightFiles::remark() { return emitRemark(location()); }

/// The tensor under its canonical name, or as older files or files of the bare
/// encoder spell it ("LayerNorm.gamma" and "LayerNorm.beta" for weight, bias).
const runtime::TensorView *WeightFiles::find(StringRef name) const {
  // Values are not asked for: compressed ones would be expanded.
  auto find = [&](StringRef spelled) -> const runtime::TensorView * {
    auto found = files->tensors().find(std::string_view(spelled));
    return found == files->tensors().end() ? nullptr : found->second;
  };
  StringRef bare = name;
  bare.consume_front(prefix);
  for (StringRef spelled : {name, bare}) {
    if (const runtime::TensorView *tensor = find(spelled))
      return tensor;
    StringRef stem = spelled;
    std::string old = stem.consume_back(".weight") ? stem.str() + ".gamma"
                      : stem.consume_back(".bias") ? stem.str() + ".beta"
                                                   : "";
    if (const runtime::TensorView *tensor = find(old))
      return tensor;
  }
  return nullptr;
}

bool WeightFiles::has(StringRef name) const { return !files || find(name); }

std::optional<int64_t> WeightFiles::rows(StringRef name) const {
  const runtime::TensorView *tensor = files ? find(name) : nullptr;
  if (!tensor || tensor->shape.empty())
    return std::nullopt;
  return tensor->shape.front();
}

std::string WeightFiles::resolve(StringRef name, ArrayRef<int64_t> shape) {
  if (!files)
    return name.str();
  auto complain = [&](const Twine &what) {
    if (numErrors++ < kMaxErrors)
      emitError(location()) << "tensor \"" << what;
  };
  std::string wanted =
      "[" +
      llvm::join(llvm::map_range(
                     shape, [](int64_t size) { return std::to_string(size); }),
                 ", ") +
      "]";
  const runtime::TensorView *tensor = find(name);
  if (!tensor) {
    complain(name + "\" is missing; config.json asks for it, of shape " +
             wanted);
    return name.str();
  }
  std::string found =
      tensor->name + "\" is " + runtime::describe(tensor->dtype, tensor->shape);
  if (ArrayRef<int64_t>(tensor->shape) != shape)
    complain(found + ", but config.json asks for the shape " + wanted);
  else if (tensor->dtype != runtime::DType::F32 &&
           tensor->dtype != runtime::DType::F64 &&
           tensor->dtype != runtime::DType::F16 &&
           tensor->dtype != runtime::DType::BF16)
    complain(found + ", but its elements must be F32, F16, BF16 or F64");
  return tensor->name;
}

/// Elements of a row that are not zero, of either sign, by their bits.
template <typename T>
static int64_t countBits(const std::byte *data, int64_t count) {
  constexpr T magnitude = std::numeric_limits<T>::max() >> 1;
  int64_t kept = 0;
  for (int64_t i = 0; i < count; ++i) {
    T bits; // rows of a file need not be aligned
    std::memcpy(&bits, data + i * sizeof bits, sizeof bits);
    kept += (bits & magnitude) != 0;
  }
  return kept;
}

int64_t WeightFiles::countKept(StringRef resolved, int64_t first,
                               int64_t columns) const {
  if (const runtime::CompressedWeight *parts = files->compressed(resolved)) {
    int64_t kept = parts->countNonZero(files->path().string(), first, columns);
    parts->forgetPages(0, parts->rows); // as below
    return kept;
  }
  const runtime::TensorView &tensor = *files->find(resolved);
  int64_t size = runtime::byteSize(tensor.dtype);
  auto *count = size == 2   ? countBits<uint16_t>
                : size == 4 ? countBits<uint32_t>
                            : countBits<uint64_t>;
  int64_t rows = tensor.shape[0], all = tensor.shape[1], kept = 0;
  if (columns == all)
    kept = count(tensor.data, rows * all);
  else
    for (int64_t row = 0; row < rows; ++row)
      kept += count(tensor.data + (row * all + first) * size, columns);
  files->forget(tensor); // the program is loaded later, if at all
  return kept;
}

void WeightFiles::finish() {
  if (numErrors > kMaxErrors)
    emitError(location()) << numErrors - kMaxErrors
                          << " more tensors are missing or of a wrong type";
}
