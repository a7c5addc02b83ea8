//===- CompressedWeight.cpp - Weights stored small ------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Runtime/CompressedWeight.h"
#include "pst/Bundle/Checked.h"
#include "pst/Runtime/Error.h"
#include "pst/Runtime/Memory.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

using namespace pst;
using namespace pst::runtime;

namespace {

/// An element of a tensor of I32 or I64.
int64_t wholeNumber(const TensorView &tensor, int64_t i) {
  if (tensor.dtype == DType::I32) {
    int32_t narrow;
    std::memcpy(&narrow, tensor.data + i * 4, 4);
    return narrow;
  }
  int64_t number;
  std::memcpy(&number, tensor.data + i * 8, 8);
  return number;
}

/// Finds the parts of one module and checks them against each other.
class PartsReader {
public:
  PartsReader(const runtime::TensorMap &tensors, const std::string &path,
              const std::string &module)
      : tensors(tensors), path(path), module(module) {}

  /// A weight of a bitmask and its values.
  CompressedWeight readSparse() {
    CompressedWeight weight;
    weight.name = module + ".weight";
    weight.values = part("compressed");
    weight.bitmask = part("bitmask");
    readShape(weight);
    int64_t maskColumns = weight.columns / 8 + (weight.columns % 8 != 0);
    require(*weight.bitmask, {DType::U8}, {weight.rows, maskColumns});
    const TensorView &values = *weight.values;
    std::vector<int64_t> shape = values.shape;
    if (shape.size() == 2) {
      if (weight.columns % 4)
        fail(values, "has two dimensions, as weights of which two of each four "
                     "neighbours are kept, but " +
                         std::to_string(weight.columns) +
                         " columns are no multiple of 4");
      if (const TensorView *offsets = find("row_offsets"))
        fail(*offsets, "belongs to values of one dimension, but \"" +
                           values.name + "\" has two");
      shape = {weight.rows, weight.columns / 2};
    } else {
      weight.rowOffsets = part("row_offsets");
      require(*weight.rowOffsets, {DType::I64, DType::I32}, {weight.rows});
      if (shape.size() != 1)
        fail(values, "must have one dimension, that of the values kept, or "
                     "two, rows and half of the columns");
      if (values.numElements() > elements)
        fail(values, "has more values than the " + std::to_string(elements) +
                         " elements of the weight");
    }
    require(values, {DType::F32, DType::F16, DType::BF16, DType::I8}, shape);
    readScale(weight);
    if (tensors.contains(weight.name))
      throw Error(path + ": \"" + weight.name +
                  "\" is there twice: as a tensor, and in parts (\"" +
                  values.name + "\", ...)");
    return weight;
  }

  /// A weight of whole numbers and their scales.
  CompressedWeight readQuantized(const TensorView &values) {
    CompressedWeight weight;
    weight.name = values.name;
    weight.values = &values;
    if (values.shape.size() != 2)
      fail(values, "must have two dimensions, rows and columns");
    weight.rows = values.shape[0];
    weight.columns = values.shape[1];
    countElements(weight, values);
    readScale(weight);
    return weight;
  }

private:
  [[noreturn]] void fail(const TensorView &tensor,
                         const std::string &what) const {
    throw Error(path + ": tensor \"" + tensor.name + "\", " +
                describe(tensor.dtype, tensor.shape) + ", " + what);
  }

  const TensorView *find(const char *name) const {
    auto found = tensors.find(module + "." + name);
    return found == tensors.end() ? nullptr : found->second;
  }

  const TensorView *part(const char *name) const {
    if (const TensorView *tensor = find(name))
      return tensor;
    throw Error(path + ": the compressed weight of \"" + module +
                "\" lacks its part \"" + module + "." + name +
                "\": the file is damaged, or was written in another layout "
                "than sparse-bitmask and sparse-24-bitmask");
  }

  /// Throws if a part is of none of these types, or of another shape.
  void require(const TensorView &tensor, std::initializer_list<DType> types,
               const std::vector<int64_t> &shape) const {
    std::string wanted;
    bool known = false;
    for (DType type : types) {
      known |= type == tensor.dtype;
      wanted += (wanted.empty() ? "" : " or ") + describe(type, shape);
    }
    if (!known || tensor.shape != shape)
      fail(tensor, "does not fit the weight's other parts: expected " + wanted);
  }

  void readShape(CompressedWeight &weight) {
    const TensorView &shape = *part("shape");
    if (shape.shape == std::vector<int64_t>{2, 1}) // sparse-24-bitmask's
      require(shape, {DType::I64, DType::I32}, {2, 1});
    else
      require(shape, {DType::I64, DType::I32}, {2});
    weight.rows = wholeNumber(shape, 0);
    weight.columns = wholeNumber(shape, 1);
    if (weight.rows < 0 || weight.columns < 0)
      fail(shape, "holds " + std::to_string(weight.rows) + " and " +
                      std::to_string(weight.columns) +
                      ", which are no rows and columns");
    countElements(weight, shape);
  }

  void countElements(const CompressedWeight &weight, const TensorView &source) {
    Checked count = Checked(weight.rows) * weight.columns;
    if (!(count * 8).get())
      fail(source, "tells of " + std::to_string(weight.rows) + " x " +
                       std::to_string(weight.columns) +
                       " elements, which overflow 64 bits");
    elements = *count.get();
  }

  void readScale(CompressedWeight &weight) const {
    const TensorView *scale = find("weight_scale");
    if (const TensorView *zero = find("weight_zero_point"))
      fail(*zero, "is of a kind of quantization that is not read: only "
                  "symmetric ones are");
    if (weight.values->dtype != DType::I8) {
      if (scale)
        fail(*scale, "belongs to values of I8, but \"" + weight.values->name +
                         "\" is " +
                         describe(weight.values->dtype, weight.values->shape));
      return;
    }
    weight.scale = part("weight_scale");
    if (scale->shape == std::vector<int64_t>{weight.rows})
      require(*scale, {DType::F32, DType::F16, DType::BF16}, {weight.rows});
    else
      require(*scale, {DType::F32, DType::F16, DType::BF16}, {weight.rows, 1});
  }

  const runtime::TensorMap &tensors;
  const std::string &path, &module;
  int64_t elements = 0;
};

/// Calls `visit` with the first column and the bits of each 64 of a row's mask,
/// of which the last may be fewer. One branch for so many bits is foreseen more
/// often than one for each byte.
template <typename Visit>
void forEachWord(const uint8_t *mask, int64_t maskBytes, Visit visit) {
  int64_t byte = 0;
  uint64_t word;
  for (; byte + 8 <= maskBytes; byte += 8) {
    std::memcpy(&word, mask + byte, 8);
    visit(byte * 8, word);
  }
  if (byte == maskBytes)
    return;
  word = 0;
  std::memcpy(&word, mask + byte, maskBytes - byte);
  visit(byte * 8, word);
}

int64_t countBits(const uint8_t *mask, int64_t bytes) {
  int64_t count = 0;
  forEachWord(mask, bytes,
              [&](int64_t, uint64_t word) { count += std::popcount(word); });
  return count;
}

/// How many of `count` values of type T are not zero, of either sign.
template <typename T>
int64_t countValues(const std::byte *values, int64_t count) {
  constexpr bool isFloat = std::is_unsigned_v<T>;
  constexpr T magnitude = isFloat ? std::numeric_limits<T>::max() >> 1 : -1;
  int64_t kept = 0;
  for (int64_t i = 0; i < count; ++i) {
    T value; // the file promises no alignment
    std::memcpy(&value, values + i * sizeof(T), sizeof(T));
    kept += (value & magnitude) != 0;
  }
  return kept;
}

/// Those below bit `end`, which may lie on either side of the word.
uint64_t bitsBelow(int64_t end) {
  return end <= 0 ? 0 : end >= 64 ? ~uint64_t{0} : (uint64_t{1} << end) - 1;
}

/// Whether no element, of T as bits, has all bits of `exponent` set.
template <typename T>
bool areFinite(const std::byte *values, int64_t count, T exponent) {
  T bad = 0;
  for (int64_t i = 0; i < count; ++i) {
    T bits; // the file promises no alignment
    std::memcpy(&bits, values + i * sizeof(T), sizeof(T));
    bad |= static_cast<T>((bits & exponent) == exponent);
  }
  return bad == 0;
}

} // namespace

DType CompressedWeight::dtype() const {
  return values->dtype == DType::I8 ? DType::F32 : values->dtype;
}

int64_t CompressedWeight::numBytes() const {
  return rows * columns * byteSize(dtype());
}

/// Throws Error unless two bits are set of each four.
static void checkTwoOfFour(const CompressedWeight &weight,
                           const std::string &path) {
  auto mask = reinterpret_cast<const uint8_t *>(weight.bitmask->data);
  int64_t maskBytes = weight.bitmask->shape.back();
  for (int64_t row = 0; row < weight.rows; ++row, mask += maskBytes)
    for (int64_t group = 0; group < maskBytes * 2; ++group) {
      int kept = std::popcount<unsigned>(mask[group / 2] >> group % 2 * 4 & 15);
      bool isThere = group < weight.columns / 4;
      if (kept != (isThere ? 2 : 0))
        throw Error(path + ": tensor \"" + weight.bitmask->name + "\" keeps " +
                    std::to_string(kept) + " elements " +
                    (isThere
                         ? "of the four from column " +
                               std::to_string(group * 4) + " on"
                         : "past the last of " +
                               std::to_string(weight.columns) + " columns") +
                    " in row " + std::to_string(row) +
                    ", where the values are two of each four: the file is "
                    "damaged");
    }
}

/// Throws Error unless the bits set are as many as the values, in each row as
/// its offset says, and none lies past the last column.
static void checkMask(const CompressedWeight &weight, const std::string &path) {
  auto mask = reinterpret_cast<const uint8_t *>(weight.bitmask->data);
  int64_t maskBytes = weight.bitmask->shape.back(), count = 0;
  auto fail = [&](const TensorView &tensor, const std::string &what) {
    throw Error(path + ": tensor \"" + tensor.name + "\" " + what +
                ": the file is damaged");
  };
  const TensorView &offsets = *weight.rowOffsets;
  for (int64_t row = 0; row < weight.rows; ++row, mask += maskBytes) {
    int64_t offset = wholeNumber(offsets, row);
    if (offset != count)
      fail(offsets, "says that " + std::to_string(offset) +
                        " values come before row " + std::to_string(row) +
                        ", but the bitmask has " + std::to_string(count));
    count += countBits(mask, maskBytes);
    if (weight.columns % 8 && mask[maskBytes - 1] >> weight.columns % 8)
      fail(*weight.bitmask, "has bits past the last of " +
                                std::to_string(weight.columns) +
                                " columns in row " + std::to_string(row));
  }
  if (count != weight.values->numElements())
    fail(*weight.bitmask,
         "keeps " + std::to_string(count) + " elements, but \"" +
             weight.values->name + "\" has " +
             std::to_string(weight.values->numElements()) + " values");
}

void CompressedWeight::check(const std::string &path) const {
  if (rowOffsets)
    checkMask(*this, path);
  else if (bitmask)
    checkTwoOfFour(*this, path);
}

static std::vector<float> scalesOf(const CompressedWeight &weight) {
  std::vector<float> scales;
  if (weight.scale) {
    scales.resize(weight.rows);
    convertToF32(*weight.scale, scales.data());
  }
  return scales;
}

/// Of the type T, a float's bits or a whole number.
template <typename T>
static int64_t countColumns(const CompressedWeight &weight, int64_t first,
                            int64_t count) {
  std::vector<float> scales = scalesOf(weight);
  const std::byte *next = weight.values->data;
  auto mask = reinterpret_cast<const uint8_t *>(
      weight.bitmask ? weight.bitmask->data : nullptr);
  int64_t maskBytes = weight.bitmask ? weight.bitmask->shape.back() : 0;
  int64_t kept = 0;
  for (int64_t row = 0; row < weight.rows; ++row, mask += maskBytes) {
    // Those of the columns lie side by side, behind those of columns before.
    int64_t all = weight.columns, before = first, here = count;
    if (weight.bitmask) {
      before = here = all = 0;
      forEachWord(mask, maskBytes, [&](int64_t column, uint64_t word) {
        all += std::popcount(word);
        before += std::popcount(word & bitsBelow(first - column));
        here += std::popcount(word & bitsBelow(first + count - column));
      });
      here -= before;
    }
    if (scales.empty() || scales[row] != 0)
      kept += countValues<T>(next + before * sizeof(T), here);
    next += all * sizeof(T);
  }
  return kept;
}

int64_t CompressedWeight::countNonZero(const std::string &path, int64_t first,
                                       int64_t count) const {
  check(path);
  return values->dtype == DType::I8 ? countColumns<int8_t>(*this, first, count)
         : values->dtype == DType::F32
             ? countColumns<uint32_t>(*this, first, count)
             : countColumns<uint16_t>(*this, first, count);
}

bool CompressedWeight::isFinite() const {
  int64_t count = values->numElements();
  if (values->dtype == DType::F32)
    return areFinite<uint32_t>(values->data, count, 0x7f800000);
  if (values->dtype != DType::I8)
    return areFinite<uint16_t>(values->data, count,
                               values->dtype == DType::BF16 ? 0x7f80 : 0x7c00);
  // Of whole numbers each is a scale times 128 at most.
  for (float scale : scalesOf(*this))
    if (!std::isfinite(scale * 128))
      return false;
  return true;
}

/// Puts the values of type T of rows at their columns, by columns of 64 of the
/// mask. `convert` makes an element of a value and the number of its row.
template <typename T, typename Target, typename Convert>
static void expandRows(const CompressedWeight &weight, int64_t first,
                       int64_t count, bool isZero, Target *target,
                       Convert convert) {
  int64_t columns = weight.columns;
  auto read = [](const std::byte *from) {
    T value; // the file promises no alignment
    std::memcpy(&value, from, sizeof(T));
    return value;
  };
  if (!weight.bitmask) {
    const std::byte *next = weight.values->data + first * columns * sizeof(T);
    for (int64_t row = first; row < first + count; ++row)
      for (int64_t i = 0; i < columns; ++i, next += sizeof(T))
        *target++ = convert(read(next), row);
    return;
  }
  int64_t maskBytes = weight.bitmask->shape.back();
  auto mask = reinterpret_cast<const uint8_t *>(weight.bitmask->data) +
              first * maskBytes;
  int64_t before = !count              ? 0
                   : weight.rowOffsets ? wholeNumber(*weight.rowOffsets, first)
                                       : first * (columns / 2);
  const std::byte *next = weight.values->data + before * sizeof(T);
  for (int64_t row = first; row < first + count;
       ++row, mask += maskBytes, target += columns)
    forEachWord(mask, maskBytes, [&](int64_t column, uint64_t word) {
      if (!isZero)
        std::fill_n(target + column, std::min<int64_t>(64, columns - column),
                    Target{0});
      for (; word; word &= word - 1, next += sizeof(T))
        target[column + std::countr_zero(word)] = convert(read(next), row);
    });
}

void CompressedWeight::expand(int64_t first, int64_t count, bool isZero,
                              std::byte *target) const {
  auto same = [](auto value, int64_t) { return value; };
  if (values->dtype == DType::I8) {
    std::vector<float> scales = scalesOf(*this);
    expandRows<int8_t>(*this, first, count, isZero,
                       reinterpret_cast<float *>(target),
                       [&](int8_t value, int64_t row) {
                         return static_cast<float>(value) * scales[row];
                       });
  } else if (values->dtype == DType::F32) {
    // As bits: a float that is copied as one may lose the payload of a NaN.
    expandRows<uint32_t>(*this, first, count, isZero,
                         reinterpret_cast<uint32_t *>(target), same);
  } else {
    expandRows<uint16_t>(*this, first, count, isZero,
                         reinterpret_cast<uint16_t *>(target), same);
  }
}

void CompressedWeight::forgetPages(int64_t first, int64_t count) const {
  auto forget = [](const TensorView &tensor, int64_t from, int64_t to) {
    runtime::forgetPages(tensor.data + from, to - from);
  };
  auto rowStart = [&](int64_t row) {
    return row == rows  ? values->numElements()
           : rowOffsets ? wholeNumber(*rowOffsets, row)
                        : values->numElements() / rows * row;
  };
  int64_t size = byteSize(values->dtype);
  forget(*values, rowStart(first) * size, rowStart(first + count) * size);
  if (bitmask)
    forget(*bitmask, first * bitmask->shape.back(),
           (first + count) * bitmask->shape.back());
}

std::vector<CompressedWeight>
pst::runtime::findCompressedWeights(const TensorMap &tensors,
                                    const std::string &path,
                                    std::set<std::string> &parts) {
  std::set<std::string> sparse, quantized;
  for (const auto &[name, tensor] : tensors) {
    for (std::string_view part : {".compressed", ".bitmask", ".row_offsets"})
      if (name.ends_with(part))
        sparse.insert(name.substr(0, name.size() - part.size()));
    if (name.ends_with(".weight") && tensor->dtype == DType::I8)
      quantized.insert(name.substr(0, name.size() - 7));
  }
  std::vector<CompressedWeight> weights;
  for (const std::string &module : sparse) {
    weights.push_back(PartsReader(tensors, path, module).readSparse());
    for (const char *part :
         {".compressed", ".bitmask", ".row_offsets", ".shape", ".weight_scale"})
      parts.insert(module + part);
  }
  for (const std::string &module : quantized) {
    const TensorView &values = *tensors.find(module + ".weight")->second;
    weights.push_back(PartsReader(tensors, path, module).readQuantized(values));
    parts.insert(module + ".weight_scale");
  }
  return weights;
}
