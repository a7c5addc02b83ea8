//===- SafeTensors.h - Reading safetensors files ----------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A file is mapped, not read: a view points into the mapping. Everything in
// the header is checked before a view exists, with one error per malformation.
//
//===----------------------------------------------------------------------===//

#ifndef PST_RUNTIME_SAFETENSORS_H
#define PST_RUNTIME_SAFETENSORS_H

#include "pst/Runtime/MappedFile.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace pst::runtime {

/// Element types of the format, spelled as in its headers.
enum class DType {
  BOOL,
  U8,
  I8,
  F8_E4M3,
  F8_E5M2,
  U16,
  I16,
  F16,
  BF16,
  U32,
  I32,
  F32,
  U64,
  I64,
  F64
};

int64_t byteSize(DType dtype);
std::string_view name(DType dtype);

/// One tensor of a mapped file; valid as long as the file object.
struct TensorView {
  std::string name;
  DType dtype = DType::F32;
  std::vector<int64_t> shape;
  const std::byte *data = nullptr;
  int64_t numBytes = 0;

  int64_t numElements() const { return numBytes / byteSize(dtype); }
};

/// "F32[3, 5]".
std::string describe(DType dtype, const std::vector<int64_t> &shape);

/// One mapped file.
class SafeTensorsFile {
public:
  /// Throws Error if the file is not a regular file or breaks the format.
  explicit SafeTensorsFile(std::filesystem::path path);

  const std::filesystem::path &path() const { return file.path(); }
  const std::map<std::string, TensorView, std::less<>> &tensors() const {
    return views;
  }
  const std::map<std::string, std::string> &metadata() const {
    return metadataEntries;
  }
  /// Null if there is no such tensor.
  const TensorView *find(std::string_view name) const;
  /// As MappedFile's.
  void requireWhole() const { file.requireWhole(); }
  /// Gives back the memory of its pages, until they are read again.
  void forget() const;
  int64_t numBytes() const { return static_cast<int64_t>(file.size()); }

private:
  MappedFile file;
  std::map<std::string, TensorView, std::less<>> views;
  std::map<std::string, std::string> metadataEntries;
};

struct CompressedWeight;

/// The weights of a model: one file, or the shards of an index. A weight that
/// is stored in parts (CompressedWeight.h) is one tensor here, as if the file
/// held it whole; its parts are none.
class ModelFiles {
public:
  /// `path` is a directory that holds `model.safetensors` or
  /// `model.safetensors.index.json`, or such a file itself. Throws Error.
  explicit ModelFiles(std::filesystem::path path);
  ~ModelFiles();
  ModelFiles(const ModelFiles &) = delete;
  ModelFiles &operator=(const ModelFiles &) = delete;

  /// As it was given.
  const std::filesystem::path &path() const { return modelPath; }
  /// The directory in which config.json and the tokenizer's files lie.
  std::filesystem::path directory() const;
  /// What the tensors are called, and their types and shapes. The values are
  /// find()'s.
  const std::map<std::string, const TensorView *, std::less<>> &
  tensors() const {
    return views;
  }
  /// A tensor with its values, null if there is no such tensor. Those of a
  /// compressed weight are expanded when it is first asked for, into memory of
  /// the process. Throws Error if its parts disagree, or memory is short.
  const TensorView *find(std::string_view name) const;
  /// Gives back the memory of a tensor's values, unless they are kept; find()
  /// gets them again.
  void forget(const TensorView &tensor) const;
  /// Gives back the pages of the files, until they are read again.
  void forgetPages() const;
  /// The values that find() has told stay where they are.
  void keep(const TensorView &tensor) const;
  /// The parts of a weight that is stored in some; else null.
  const CompressedWeight *compressed(std::string_view name) const;
  /// Of all files; of one key in several, the first file's.
  std::map<std::string, std::string> metadata() const;
  /// Of all files, as MappedFile's.
  void requireWhole() const;
  /// Of all files.
  int64_t numBytes() const;

private:
  class Expanded;

  std::filesystem::path modelPath;
  std::vector<std::unique_ptr<SafeTensorsFile>> files;
  std::map<std::string, const TensorView *, std::less<>> views;
  std::map<std::string, std::unique_ptr<Expanded>, std::less<>> expanded;
};

/// Converts a tensor of floating-point elements (F32, F16, BF16, F64) to f32,
/// round to nearest. `target` has room for all elements. Throws Error for
/// other element types.
void convertToF32(const TensorView &tensor, float *target);

/// The same to bf16, ties to even; F64 by way of F32. NaN stays NaN.
void convertToBF16(const TensorView &tensor, uint16_t *target);

/// Index of the first element of `values` that is NaN or infinite, or -1.
int64_t findNonFinite(const float *values, int64_t count);
/// The same for the bits of bf16.
int64_t findNonFinite(const uint16_t *values, int64_t count);

} // namespace pst::runtime

#endif // PST_RUNTIME_SAFETENSORS_H
