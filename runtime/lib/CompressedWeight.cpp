//===- CompressedWeight.cpp - Weights stored small ------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Runtime/CompressedWeight.h"
#include "pst/Bundle/Checked.h"
#include "pst/Runtime/Error.h"

#include <bit>
#include <cstring>
#include <limits>
#include <type_traits>

using namespace pst;
using namespace pst::runtime;

namespace {

/// Finds the parts of one module and checks them against each other.
class PartsReader {
public:
  PartsReader(const TensorMap &tensors, const std::string &path,
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
    auto read = [&](int64_t i) -> int64_t {
      if (shape.dtype == DType::I32) {
        int32_t size;
        std::memcpy(&size, shape.data + i * 4, 4);
        return size;
      }
      int64_t size;
      std::memcpy(&size, shape.data + i * 8, 8);
      return size;
    };
    weight.rows = read(0);
    weight.columns = read(1);
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

  const TensorMap &tensors;
  const std::string &path, &module;
  int64_t elements = 0;
};

/// Calls `visit` with the column and the value, of type T, of each stored
/// element of a row; returns where the next row's begin.
template <typename T, typename Visit>
const std::byte *forEachOfRow(const uint8_t *mask, int64_t maskBytes,
                              const std::byte *values, Visit visit) {
  for (int64_t byte = 0; byte < maskBytes; ++byte)
    for (unsigned bits = mask[byte]; bits; bits &= bits - 1) {
      T value; // the file promises no alignment
      std::memcpy(&value, values, sizeof(T));
      visit(byte * 8 + std::countr_zero(bits), value);
      values += sizeof(T);
    }
  return values;
}

/// Puts the stored values of one row at their columns. `convert` makes an
/// element of one.
template <typename T, typename Target, typename Convert>
const std::byte *scatter(const uint8_t *mask, int64_t maskBytes,
                         const std::byte *values, Target *row,
                         Convert convert) {
  return forEachOfRow<T>(mask, maskBytes, values, [&](int64_t column, T value) {
    row[column] = convert(value);
  });
}

int64_t countBits(const uint8_t *mask, int64_t bytes) {
  int64_t count = 0;
  for (int64_t i = 0; i < bytes; ++i)
    count += std::popcount(mask[i]);
  return count;
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
    int64_t offset;
    if (offsets.dtype == DType::I32) {
      int32_t narrow;
      std::memcpy(&narrow, offsets.data + row * 4, 4);
      offset = narrow;
    } else {
      std::memcpy(&offset, offsets.data + row * 8, 8);
    }
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

/// Throws Error unless mask, offsets and values agree.
static void checkParts(const CompressedWeight &weight,
                       const std::string &path) {
  if (weight.rowOffsets)
    checkMask(weight, path);
  else if (weight.bitmask)
    checkTwoOfFour(weight, path);
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
  constexpr bool isFloat = std::is_unsigned_v<T>;
  constexpr T magnitude = isFloat ? std::numeric_limits<T>::max() >> 1 : -1;
  std::vector<float> scales = scalesOf(weight);
  const std::byte *next = weight.values->data;
  auto mask = reinterpret_cast<const uint8_t *>(
      weight.bitmask ? weight.bitmask->data : nullptr);
  int64_t maskBytes = weight.bitmask ? weight.bitmask->shape.back() : 0;
  int64_t kept = 0;
  for (int64_t row = 0; row < weight.rows; ++row, mask += maskBytes) {
    int64_t here = 0;
    auto visit = [&](int64_t column, T value) {
      here +=
          column >= first && column < first + count && (value & magnitude) != 0;
    };
    if (weight.bitmask)
      next = forEachOfRow<T>(mask, maskBytes, next, visit);
    else
      for (int64_t column = 0; column < weight.columns; ++column)
        visit(column, static_cast<T>(*next++));
    if (isFloat || scales[row] != 0)
      kept += here;
  }
  return kept;
}

int64_t CompressedWeight::countNonZero(const std::string &path, int64_t first,
                                       int64_t count) const {
  checkParts(*this, path);
  return values->dtype == DType::I8 ? countColumns<int8_t>(*this, first, count)
         : values->dtype == DType::F32
             ? countColumns<uint32_t>(*this, first, count)
             : countColumns<uint16_t>(*this, first, count);
}

void CompressedWeight::expand(const std::string &path,
                              std::byte *target) const {
  checkParts(*this, path);
  std::vector<float> scales = scalesOf(*this);
  auto mask =
      reinterpret_cast<const uint8_t *>(bitmask ? bitmask->data : nullptr);
  int64_t maskBytes = bitmask ? bitmask->shape.back() : 0;
  const std::byte *next = values->data;
  auto same = [](auto value) { return value; };
  for (int64_t row = 0; row < rows; ++row, mask += maskBytes) {
    auto *floats = reinterpret_cast<float *>(target) + row * columns;
    if (values->dtype == DType::I8) {
      auto scaled = [by = scales[row]](int8_t value) {
        return static_cast<float>(value) * by;
      };
      if (bitmask) {
        next = scatter<int8_t>(mask, maskBytes, next, floats, scaled);
        continue;
      }
      for (int64_t i = 0; i < columns; ++i)
        floats[i] = scaled(static_cast<int8_t>(*next++));
    } else if (values->dtype == DType::F32) {
      // As bits: a float that is copied as one may lose the payload of a NaN.
      next = scatter<uint32_t>(mask, maskBytes, next,
                               reinterpret_cast<uint32_t *>(floats), same);
    } else {
      next = scatter<uint16_t>(
          mask, maskBytes, next,
          reinterpret_cast<uint16_t *>(target) + row * columns, same);
    }
  }
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
