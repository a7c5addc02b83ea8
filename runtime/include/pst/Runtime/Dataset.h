//===- Dataset.h - Examples, and batches of them ----------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_RUNTIME_DATASET_H
#define PST_RUNTIME_DATASET_H

#include "pst/Bundle/Manifest.h"

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace pst::runtime {

/// The label of a row that is no example: it adds nothing to the loss and is
/// not counted. For f32 labels, the same is said by NaN.
inline constexpr int32_t kNoExample = -100;

/// One array of a data set; the first dimension counts the examples. Row-major,
/// i32 or f32.
struct DataArray {
  std::string name;
  TensorType type;
  const void *data = nullptr;
  /// Keeps `data` alive; null for memory that the caller keeps alive.
  std::shared_ptr<const void> owner;
};

/// Named arrays of one length: `input_ids`, `attention_mask`,
/// `token_type_ids` i32[N,L]; `labels` i32[N] (classes), f32[N,C] (0 or 1 for
/// each of several labels), f32[N] (regression) or i32[N,L] (classes of
/// tokens; or tokens to be predicted, each from those before it);
/// `teacher_logits` f32[N,C] (regression: f32[N]), of a distilled program.
class Dataset {
public:
  /// Throws Error if there is no array, no example, or lengths differ.
  explicit Dataset(std::vector<DataArray> arrays,
                   std::string description = "the data");
  /// All tensors (I32 or F32) of a safetensors file, mapped. Throws Error.
  static Dataset load(const std::filesystem::path &file);

  int64_t size() const { return numExamples; }
  const DataArray *find(std::string_view name) const;
  /// What errors call it: the file's name.
  const std::string &description() const { return what; }

  /// Checks the data against the entry point that is to read them: every tensor
  /// input is there, with the type and shape of one example; ids lie in the
  /// vocabulary (of `manifest.config`); labels are finite, or classes of the
  /// logits' width. Labels may be absent if `needLabels` is not set, a
  /// teacher's logits for "forward". Throws Error, with the first row at fault.
  void check(const Manifest &manifest, std::string_view entry,
             bool needLabels) const;

  /// How many losses the examples `rows` add up: one each; where tokens have
  /// labels one for each that is not kNoExample, for a language model but the
  /// first of each row.
  int64_t countTargets(std::span<const int64_t> rows, ModelTask task) const;

  /// Digest of all arrays: equal for equal data.
  std::string digest() const;

private:
  std::vector<DataArray> arrays;
  int64_t numExamples = 0;
  std::string what;
};

/// The buffers of one batch: every tensor input of an entry point.
class Batch {
public:
  /// `tokenCapacity` is the manifest's.
  explicit Batch(const EntryPoint &entry, int64_t tokenCapacity = 0);

  /// Rows that a batch has room for.
  int64_t capacity() const { return numRows; }
  /// Copies `rows` of `data` (at most capacity()) to the batch's rows from
  /// `first` on. Others are labelled as no example; they repeat the last row
  /// or, without padding, have no tokens. Without labels no row is an example.
  /// Throws Error for a row that there is not, and for more tokens than there
  /// is room for.
  void gather(const Dataset &data, std::span<const int64_t> rows,
              int64_t first = 0);
  /// How many of `rows`, from the first one on, one batch has room for: all,
  /// but without padding, where their tokens count.
  int64_t countFitting(const Dataset &data,
                       std::span<const int64_t> rows) const;

  /// Rows with a label.
  int64_t numExamples() const { return examples; }
  /// Sum of `attention_mask` over the rows gathered, without the padding; rows
  /// times length if the program has no such input.
  int64_t numTokens() const { return tokens; }

  struct Buffer {
    std::string name;
    TensorType type;
    std::vector<std::byte> bytes;
  };
  const std::vector<Buffer> &buffers() const { return all; }

private:
  std::vector<Buffer> all;
  int64_t tokenCapacity = 0; ///< 0: with padding
  int64_t numRows = 0;
  int64_t examples = 0;
  int64_t tokens = 0;
};

} // namespace pst::runtime

#endif // PST_RUNTIME_DATASET_H
