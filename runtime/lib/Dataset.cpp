//===- Dataset.cpp - Examples, and batches of them ------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Runtime/Dataset.h"
#include "ModelConfig.h"
#include "pst/Runtime/Digest.h"
#include "pst/Runtime/Error.h"
#include "pst/Runtime/InputValues.h"
#include "pst/Runtime/Philox.h"
#include "pst/Runtime/SafeTensors.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

using namespace pst;
using namespace pst::runtime;
namespace fs = std::filesystem;

/// Tensor inputs make up a batch, but for one; scalars are settings.
static bool isBatchInput(const Argument &argument) {
  return argument.kind == Argument::Kind::input &&
         !argument.type.shape.empty() && argument.name != kClassWeights;
}

/// What a row that is no example has none of.
static bool isAnswer(std::string_view input) {
  return input == "labels" || input == kTeacherLogits;
}

/// Type of one example: without the first dimension.
static TensorType exampleType(TensorType type) {
  type.shape.erase(type.shape.begin());
  return type;
}

static std::string spell(const TensorType &type, std::string_view first) {
  std::string text = std::string(name(type.element)) + "[" + std::string(first);
  for (size_t i = 1; i < type.shape.size(); ++i)
    text += "," + std::to_string(type.shape[i]);
  return text + "]";
}

//===----------------------------------------------------------------------===//
// Making
//===----------------------------------------------------------------------===//

Dataset::Dataset(std::vector<DataArray> list, std::string description)
    : arrays(std::move(list)), what(std::move(description)) {
  if (arrays.empty())
    throw Error(what + ": there are no arrays in it");
  for (const DataArray &array : arrays) {
    if (array.type.shape.empty())
      throw Error(
          what + ": \"" + array.name +
          "\" is a scalar; its first dimension must count the examples");
    if (array.type.element != ElementType::i32 &&
        array.type.element != ElementType::f32)
      throw Error(what + ": \"" + array.name +
                  "\" must be i32 or f32, but is " +
                  std::string(name(array.type.element)));
    if (array.type.shape.front() != arrays.front().type.shape.front())
      throw Error(what + ": \"" + array.name + "\" has " +
                  std::to_string(array.type.shape.front()) +
                  " examples, but \"" + arrays.front().name + "\" has " +
                  std::to_string(arrays.front().type.shape.front()));
  }
  numExamples = arrays.front().type.shape.front();
  if (numExamples <= 0)
    throw Error(what + ": holds no example");
}

/// A tensor of 64-bit integers as the 32-bit ones that programs read.
static std::shared_ptr<const void> narrow(const TensorView &tensor,
                                          const std::string &where) {
  int64_t count = tensor.numElements();
  std::shared_ptr<int32_t[]> values(new int32_t[count]);
  for (int64_t i = 0; i < count; ++i) {
    int64_t value;
    std::memcpy(&value, tensor.data + i * sizeof value, sizeof value);
    if (value < std::numeric_limits<int32_t>::min() ||
        value > std::numeric_limits<int32_t>::max())
      throw Error(where + " holds " + std::to_string(value) +
                  ", which does not fit into 32 bits");
    values[i] = static_cast<int32_t>(value);
  }
  return values;
}

Dataset Dataset::load(const fs::path &path) {
  auto file = std::make_shared<const SafeTensorsFile>(path);
  std::vector<DataArray> arrays;
  for (const auto &[name, tensor] : file->tensors()) {
    std::string where = path.string() + ": tensor \"" + name + "\"";
    DataArray array{name, {ElementType::i32, tensor.shape}, tensor.data, file};
    if (tensor.dtype == DType::I64) {
      array.owner = narrow(tensor, where);
      array.data = array.owner.get();
    } else if (tensor.dtype == DType::F32 || tensor.dtype == DType::I32) {
      if (tensor.dtype == DType::F32)
        array.type.element = ElementType::f32;
      if (reinterpret_cast<uintptr_t>(tensor.data) % 4 != 0) {
        std::shared_ptr<std::byte[]> copy(new std::byte[tensor.numBytes]);
        std::memcpy(copy.get(), tensor.data, tensor.numBytes);
        array.data = copy.get();
        array.owner = copy;
      }
    } else {
      throw Error(where + " is " + describe(tensor.dtype, tensor.shape) +
                  "; data must be I32, I64 or F32");
    }
    arrays.push_back(std::move(array));
  }
  return Dataset(std::move(arrays), path.string());
}

const DataArray *Dataset::find(std::string_view name) const {
  for (const DataArray &array : arrays)
    if (array.name == name)
      return &array;
  return nullptr;
}

int64_t Dataset::countTargets(std::span<const int64_t> rows,
                              ModelTask task) const {
  const DataArray *labels = find("labels");
  bool tokens = task == ModelTask::lm || task == ModelTask::tokenClasses;
  if (!labels || !tokens || labels->type.shape.size() != 2 ||
      labels->type.element != ElementType::i32)
    return static_cast<int64_t>(rows.size());
  const int32_t *values = static_cast<const int32_t *>(labels->data);
  int64_t length = labels->type.shape[1], count = 0;
  for (int64_t row : rows)
    for (int64_t t = task == ModelTask::lm ? 1 : 0; t < length; ++t)
      count += values[row * length + t] != kNoExample;
  return count;
}

std::string Dataset::digest() const {
  uint64_t digest = 0;
  for (const DataArray &array : arrays)
    digest += digestBytes(array.data, array.type.numBytes(),
                          hashName(array.name + spell(array.type, "")));
  return hexDigest(digest);
}

//===----------------------------------------------------------------------===//
// Checking
//===----------------------------------------------------------------------===//

namespace {

/// Checks the values of one array against what the model can take.
class ValueCheck {
public:
  ValueCheck(const DataArray &array, const std::string &description)
      : array(array), description(description),
        width(exampleType(array.type).numElements()) {}

  /// Ids must lie in [0, size), or be `other`.
  void ids(int64_t size, const std::string &what, int32_t other = 0) const {
    const int32_t *values = static_cast<const int32_t *>(array.data);
    for (int64_t i = 0, e = array.type.numElements(); i < e; ++i)
      if ((values[i] < 0 || values[i] >= size) && values[i] != other)
        fail(i, std::to_string(values[i]), what);
  }

  /// Zero or one, and some token in every example; of `packed` programs, tokens
  /// come first.
  void mask(bool packed) const {
    ids(2, "a mask is 0 or 1");
    const int32_t *values = static_cast<const int32_t *>(array.data);
    for (int64_t row = 0; row < array.type.shape.front(); ++row) {
      bool some = false;
      for (int64_t i = 0; i < width; ++i) {
        bool isToken = values[row * width + i] != 0;
        if (packed && isToken && i > 0 && !values[row * width + i - 1])
          fail(row * width + i, "1",
               "a program without padding (--token_capacity) takes examples "
               "that are padded at their end only");
        some |= isToken;
      }
      if (!some)
        throw Error(description + ": example " + std::to_string(row) +
                    " is empty: its attention_mask has no 1");
    }
  }

  /// Whether an example has each label: 0 or 1, or NaN in all places of an
  /// example that is none, if there may be such ones.
  void answers(bool mayBeNoExample) const {
    const float *values = static_cast<const float *>(array.data);
    for (int64_t i = 0, e = array.type.numElements(); i < e; ++i) {
      bool isNone = mayBeNoExample && std::isnan(values[i]) &&
                    std::isnan(values[i / width * width]);
      if (values[i] != 0 && values[i] != 1 && !isNone)
        fail(i, std::to_string(values[i]),
             "each of an example's labels is 0 or 1");
    }
  }

  void finite() const {
    const float *values = static_cast<const float *>(array.data);
    int64_t at = findNonFinite(values, array.type.numElements());
    if (at >= 0)
      fail(at, std::to_string(values[at]), "a number is expected");
  }

private:
  [[noreturn]] void fail(int64_t at, const std::string &value,
                         const std::string &expected) const {
    throw Error(description + ": \"" + array.name + "\" of example " +
                std::to_string(at / width) +
                (width > 1 ? " is " + value + " at position " +
                                 std::to_string(at % width)
                           : " is " + value) +
                "; " + expected);
  }

  const DataArray &array;
  const std::string &description;
  int64_t width;
};

} // namespace

void Dataset::check(const Manifest &manifest, std::string_view entry,
                    bool needLabels) const {
  const EntryPoint *point = manifest.findEntryPoint(entry);
  if (!point)
    throw Error("the program has no entry point \"" + std::string(entry) +
                "\"");
  for (const Argument &input : point->arguments) {
    if (!isBatchInput(input))
      continue;
    const DataArray *array = find(input.name);
    if (!array) {
      if (input.name == "labels" && !needLabels)
        continue;
      if (input.name == kTeacherLogits && entry == "forward")
        continue; // leaves what it adds to the loss out
      if (input.name == kTeacherLogits)
        throw Error(what + ": lacks \"" + input.name +
                    "\", which the program, compiled with --distillation, "
                    "reads as " +
                    spell(input.type, "N") +
                    ": 'pst prepare --distill_from TEACHER' writes it");
      throw Error(what + ": lacks \"" + input.name +
                  "\", which the program reads as " + spell(input.type, "N"));
    }
    if (array->type.element != input.type.element ||
        exampleType(array->type) != exampleType(input.type))
      throw Error(
          what + ": \"" + input.name + "\" is " + spell(array->type, "N") +
          ", but the program was compiled for " + spell(input.type, "N"));
    checkValues(manifest, input, *array, what, /*mayBeNoExample=*/false);
  }
}

/// The ids that an input may hold, from 0; 0 if it holds none. Bundles that do
/// not say so have the model's sizes in their config.json.
static int64_t countIds(const Manifest &manifest, const Argument &input) {
  if (input.ids)
    return input.ids;
  if (input.name == "input_ids")
    return configNumber(manifest, "vocab_size");
  if (input.name == "token_type_ids")
    return configNumber(manifest, "type_vocab_size");
  return 0;
}

static std::string describeIds(const Manifest &manifest, const Argument &input,
                               int64_t count) {
  std::string number = std::to_string(count);
  if (!manifest.config.empty() && input.name == "input_ids")
    return "the vocabulary has " + number + " entries";
  if (!manifest.config.empty() && input.name == "token_type_ids")
    return "the model has " + number + " token types";
  return "its table has " + number + " rows: ids go from 0 to " +
         std::to_string(count - 1);
}

void pst::runtime::checkValues(const Manifest &manifest, const Argument &input,
                               const DataArray &array,
                               const std::string &description,
                               bool mayBeNoExample) {
  ValueCheck values(array, description);
  if (int64_t count = countIds(manifest, input))
    return values.ids(count, describeIds(manifest, input, count));
  if (manifest.config.empty())
    return;
  bool isOfTokens = manifest.task == ModelTask::tokenClasses;
  if (array.name == "labels" && manifest.task == ModelTask::multiLabel) {
    values.answers(mayBeNoExample);
  } else if (array.type.element == ElementType::f32) {
    if (!mayBeNoExample)
      values.finite();
  } else if (array.name == "labels" && manifest.task == ModelTask::lm) {
    if (int64_t size = configNumber(manifest, "vocab_size"))
      values.ids(size,
                 "the vocabulary has " + std::to_string(size) +
                     " entries, and -100 is no label",
                 kNoExample);
  } else if (array.name == "labels") {
    if (int64_t width = manifest.numLogits())
      values.ids(width,
                 "the model has " + std::to_string(width) +
                     " classes: labels go from 0 to " +
                     std::to_string(width - 1) +
                     (isOfTokens ? ", and -100 is no label" : ""),
                 isOfTokens || mayBeNoExample ? kNoExample : 0);
  } else if (array.name == "attention_mask") {
    values.mask(manifest.tokenCapacity != 0);
  }
}

void pst::runtime::checkTokenCount(const Manifest &manifest,
                                   const DataArray &mask,
                                   const std::string &description) {
  const int32_t *values = static_cast<const int32_t *>(mask.data);
  int64_t count = 0;
  for (int64_t i = 0, e = mask.type.numElements(); i < e; ++i)
    count += values[i] != 0;
  if (manifest.tokenCapacity && count > manifest.tokenCapacity)
    throw Error(description + ": the batch has " + std::to_string(count) +
                " tokens, but the program has room for " +
                std::to_string(manifest.tokenCapacity) +
                " (--token_capacity); give it fewer examples");
}

//===----------------------------------------------------------------------===//
// Batches
//===----------------------------------------------------------------------===//

Batch::Batch(const EntryPoint &entry, int64_t tokenCapacity)
    : tokenCapacity(tokenCapacity) {
  for (const Argument &input : entry.arguments) {
    if (!isBatchInput(input))
      continue;
    all.push_back({input.name, input.type,
                   std::vector<std::byte>(input.type.numBytes())});
    numRows = input.type.shape.front();
  }
  for (const Buffer &buffer : all)
    if (buffer.type.shape.front() != numRows)
      throw Error("the program's inputs differ in their number of rows: \"" +
                  buffer.name + "\" has " +
                  std::to_string(buffer.type.shape.front()) + ", another " +
                  std::to_string(numRows));
}

/// The tokens of one row: the sum of its mask.
static int64_t countTokens(const DataArray &mask, int64_t row) {
  int64_t length = exampleType(mask.type).numElements(), count = 0;
  const int32_t *values =
      static_cast<const int32_t *>(mask.data) + row * length;
  for (int64_t i = 0; i < length; ++i)
    count += values[i];
  return count;
}

int64_t Batch::countFitting(const Dataset &data,
                            std::span<const int64_t> rows) const {
  const DataArray *mask = data.find("attention_mask");
  int64_t size = static_cast<int64_t>(rows.size());
  if (tokenCapacity == 0 || !mask)
    return size;
  int64_t count = 0;
  for (int64_t sum = 0; count < size; ++count) {
    sum += countTokens(*mask, rows[count]);
    if (sum > tokenCapacity)
      break;
  }
  return count;
}

/// Labels a row as no example.
static void clearLabel(std::byte *target, const TensorType &row) {
  if (row.element == ElementType::f32)
    std::fill_n(reinterpret_cast<float *>(target), row.numElements(),
                std::numeric_limits<float>::quiet_NaN());
  else
    std::fill_n(reinterpret_cast<int32_t *>(target), row.numElements(),
                kNoExample);
}

void Batch::gather(const Dataset &data, std::span<const int64_t> rows,
                   int64_t first) {
  int64_t count = static_cast<int64_t>(rows.size());
  if (count < 1 || first < 0 || count > numRows - first)
    throw Error("a batch of " + std::to_string(numRows) + " rows cannot hold " +
                std::to_string(count) +
                (first ? " from row " + std::to_string(first) + " on" : ""));
  for (int64_t row : rows)
    if (row < 0 || row >= data.size())
      throw Error(data.description() + ": there is no row " +
                  std::to_string(row) + "; rows go from 0 to " +
                  std::to_string(data.size() - 1));
  if (countFitting(data, rows) < count)
    throw Error(data.description() + ": the " + std::to_string(count) +
                " rows have more tokens than the " +
                std::to_string(tokenCapacity) +
                " that a batch has room for (--token_capacity); give fewer");
  examples = count;
  tokens = 0;
  bool masked = false;
  for (Buffer &buffer : all) {
    const DataArray *source = data.find(buffer.name);
    TensorType rowType = exampleType(buffer.type);
    int64_t rowBytes = buffer.type.numBytes() / numRows;
    bool isLabel = isAnswer(buffer.name);
    if (buffer.name == "labels" && !source)
      examples = 0;
    for (int64_t row = 0; row < numRows; ++row) {
      std::byte *target = buffer.bytes.data() + row * rowBytes;
      bool isThere = row >= first && row < first + count;
      if (isLabel && (!source || !isThere)) {
        clearLabel(target, rowType);
      } else if (!isThere && tokenCapacity) {
        std::memset(target, 0, rowBytes);
      } else {
        int64_t from = rows[std::clamp<int64_t>(row - first, 0, count - 1)];
        std::memcpy(target,
                    static_cast<const std::byte *>(source->data) +
                        from * rowBytes,
                    rowBytes);
      }
    }
    if (buffer.name == "attention_mask") {
      masked = true;
      for (int64_t row : rows)
        tokens += countTokens(*source, row);
    }
  }
  if (!masked)
    for (const Buffer &buffer : all)
      if (!isAnswer(buffer.name))
        tokens = std::max(tokens, buffer.type.numElements() / numRows * count);
}
