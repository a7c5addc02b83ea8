//===- SafeTensors.cpp - Reading safetensors files ------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A file is: 8 bytes N (little endian), N bytes of JSON, and the data of the
// tensors, without gaps. The JSON maps each name to dtype, shape and
// data_offsets [begin, end) from the first byte after it.
//
//===----------------------------------------------------------------------===//

#include "pst/Runtime/SafeTensors.h"
#include "pst/Bundle/Checked.h"
#include "pst/Bundle/ParseJson.h"
#include "pst/Runtime/Error.h"
#include "pst/Runtime/Memory.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <set>

using namespace pst;
using namespace pst::runtime;
using Json = nlohmann::json;
namespace fs = std::filesystem;

static_assert(std::endian::native == std::endian::little,
              "the format is little endian, and is used where it is mapped");

//===----------------------------------------------------------------------===//
// Element types
//===----------------------------------------------------------------------===//

namespace {

struct DTypeInfo {
  DType dtype;
  std::string_view name;
  int64_t bytes;
};

constexpr std::array<DTypeInfo, 15> kDTypes{{{DType::BOOL, "BOOL", 1},
                                             {DType::U8, "U8", 1},
                                             {DType::I8, "I8", 1},
                                             {DType::F8_E4M3, "F8_E4M3", 1},
                                             {DType::F8_E5M2, "F8_E5M2", 1},
                                             {DType::U16, "U16", 2},
                                             {DType::I16, "I16", 2},
                                             {DType::F16, "F16", 2},
                                             {DType::BF16, "BF16", 2},
                                             {DType::U32, "U32", 4},
                                             {DType::I32, "I32", 4},
                                             {DType::F32, "F32", 4},
                                             {DType::U64, "U64", 8},
                                             {DType::I64, "I64", 8},
                                             {DType::F64, "F64", 8}}};

const DTypeInfo &info(DType dtype) {
  return *std::find_if(kDTypes.begin(), kDTypes.end(),
                       [&](auto &entry) { return entry.dtype == dtype; });
}

} // namespace

int64_t pst::runtime::byteSize(DType dtype) { return info(dtype).bytes; }
std::string_view pst::runtime::name(DType dtype) { return info(dtype).name; }

std::string pst::runtime::describe(DType dtype,
                                   const std::vector<int64_t> &shape) {
  std::string text = std::string(name(dtype)) + "[";
  for (size_t i = 0; i < shape.size(); ++i)
    text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

//===----------------------------------------------------------------------===//
// The header
//===----------------------------------------------------------------------===//

namespace {

/// Longer headers are refused, as by the reference implementation.
constexpr uint64_t kMaxHeaderBytes = 100'000'000;

/// Checks the header of one file and makes its views.
class HeaderReader {
public:
  HeaderReader(const fs::path &path, const std::byte *base, uint64_t fileBytes)
      : path(path), base(base), fileBytes(fileBytes) {}

  void read(std::map<std::string, TensorView, std::less<>> &views,
            std::map<std::string, std::string> &metadata) {
    Json header = parse();
    for (const auto &[name, entry] : header.items()) {
      if (name == "__metadata__")
        readMetadata(entry, metadata);
      else
        views.emplace(name, readTensor(name, entry));
    }
    checkLayout(views);
  }

private:
  [[noreturn]] void fail(const std::string &what) const {
    throw Error(path.string() + ": " + what);
  }
  [[noreturn]] void fail(const std::string &tensor,
                         const std::string &what) const {
    fail("tensor \"" + tensor + "\" " + what);
  }

  Json parse() {
    if (fileBytes < 8)
      fail("not a safetensors file, or cut short: it has " +
           std::to_string(fileBytes) +
           " bytes, and 8 hold the header's length");
    uint64_t headerBytes;
    std::memcpy(&headerBytes, base, 8);
    if (headerBytes > kMaxHeaderBytes)
      fail("not a safetensors file: its header would have " +
           std::to_string(headerBytes) + " bytes (at most " +
           std::to_string(kMaxHeaderBytes) + " are allowed)");
    if (headerBytes > fileBytes - 8)
      fail("the header ends at byte " + std::to_string(headerBytes + 8) +
           ", past the end of the file (" + std::to_string(fileBytes) +
           " bytes): the file is cut short");
    dataBegin = headerBytes + 8;
    dataBytes = fileBytes - dataBegin;

    const char *text = reinterpret_cast<const char *>(base) + 8;
    // A JSON parser keeps the last of two equal keys, silently.
    std::vector<std::set<std::string>> keys;
    auto noDuplicates = [&](int, Json::parse_event_t event, Json &value) {
      if (event == Json::parse_event_t::object_start)
        keys.emplace_back();
      else if (event == Json::parse_event_t::object_end)
        keys.pop_back();
      else if (event == Json::parse_event_t::key &&
               !keys.back().insert(value.get<std::string>()).second)
        fail("\"" + value.get<std::string>() + "\" occurs twice in the header");
      return true;
    };
    Json header;
    try {
      header = parseJson<Json>({text, headerBytes}, noDuplicates);
    } catch (const JsonError &error) {
      fail(std::string("the header is not valid JSON: ") + error.what());
    }
    if (!header.is_object())
      fail("the header must be a JSON object, but is of type " +
           std::string(header.type_name()));
    return header;
  }

  void readMetadata(const Json &entry,
                    std::map<std::string, std::string> &metadata) {
    if (!entry.is_object())
      fail("\"__metadata__\" must be an object");
    for (const auto &[key, value] : entry.items()) {
      if (!value.is_string())
        fail("\"__metadata__\": the value of \"" + key +
             "\" must be a string, but is " + value.dump());
      metadata[key] = value.get<std::string>();
    }
  }

  /// A list of whole numbers, none negative, all below 2^63.
  std::vector<int64_t> readNumbers(const std::string &tensor, const Json &entry,
                                   const char *key) {
    auto found = entry.find(key);
    if (found == entry.end() || !found->is_array())
      fail(tensor, "has no list \"" + std::string(key) + "\"");
    std::vector<int64_t> numbers;
    for (const Json &item : *found) {
      constexpr uint64_t limit = std::numeric_limits<int64_t>::max();
      if (!item.is_number_unsigned() || item.get<uint64_t>() > limit)
        fail(tensor, "has " + item.dump() + " in \"" + key +
                         "\", where only whole numbers from 0 may stand");
      numbers.push_back(item.get<int64_t>());
    }
    return numbers;
  }

  TensorView readTensor(const std::string &tensor, const Json &entry) {
    if (!entry.is_object())
      fail(tensor, "must be an object with dtype, shape and data_offsets");
    for (const auto &[key, value] : entry.items())
      if (key != "dtype" && key != "shape" && key != "data_offsets")
        fail(tensor, "has an unknown key \"" + key + "\"");
    TensorView view;
    view.name = tensor;
    auto dtype = entry.find("dtype");
    if (dtype == entry.end() || !dtype->is_string())
      fail(tensor, "has no \"dtype\"");
    auto known = std::find_if(kDTypes.begin(), kDTypes.end(), [&](auto &item) {
      return item.name == dtype->get_ref<const std::string &>();
    });
    if (known == kDTypes.end())
      fail(tensor, "has the unknown dtype " + dtype->dump());
    view.dtype = known->dtype;
    view.shape = readNumbers(tensor, entry, "shape");

    Checked bytes = known->bytes;
    for (int64_t size : view.shape)
      bytes = bytes * size;
    if (!bytes.get())
      fail(tensor, "is too large: " + describe(view.dtype, view.shape) +
                       " overflows 64 bits");

    std::vector<int64_t> offsets = readNumbers(tensor, entry, "data_offsets");
    if (offsets.size() != 2 || offsets[0] > offsets[1])
      fail(tensor, "must have two data_offsets, begin <= end, but has " +
                       entry["data_offsets"].dump());
    if (static_cast<uint64_t>(offsets[1]) > dataBytes)
      fail(tensor, "ends at byte " + std::to_string(offsets[1]) +
                       " of the data, past the end of the file (" +
                       std::to_string(dataBytes) +
                       " bytes of data): the file is cut short");
    view.numBytes = offsets[1] - offsets[0];
    if (view.numBytes != bytes.get())
      fail(tensor, "occupies " + std::to_string(view.numBytes) +
                       " bytes, but " + describe(view.dtype, view.shape) +
                       " needs " + bytes.text());
    view.data = base + dataBegin + offsets[0];
    return view;
  }

  /// The tensors follow one another and fill the file.
  void checkLayout(
      const std::map<std::string, TensorView, std::less<>> &views) const {
    std::vector<const TensorView *> order;
    for (const auto &[name, view] : views)
      order.push_back(&view);
    std::sort(order.begin(), order.end(), [](auto *a, auto *b) {
      return std::pair(a->data, a->numBytes) < std::pair(b->data, b->numBytes);
    });
    const std::byte *end = base + dataBegin;
    const TensorView *previous = nullptr;
    for (const TensorView *view : order) {
      if (view->data < end)
        fail(view->name, "overlaps tensor \"" + previous->name + "\"");
      if (view->data > end)
        fail(view->name, "begins " + std::to_string(view->data - end) +
                             " bytes after the end of " +
                             (previous ? "tensor \"" + previous->name + "\""
                                       : std::string("the header")) +
                             ": the format allows no gaps");
      end = view->data + view->numBytes;
      previous = view;
    }
    if (end != base + fileBytes)
      fail(std::to_string(base + fileBytes - end) +
           " bytes at the end of the file belong to no tensor");
  }

  const fs::path &path;
  const std::byte *base;
  uint64_t fileBytes;
  uint64_t dataBegin = 0, dataBytes = 0;
};

} // namespace

//===----------------------------------------------------------------------===//
// One file
//===----------------------------------------------------------------------===//

SafeTensorsFile::SafeTensorsFile(fs::path path) : file(std::move(path)) {
  HeaderReader(file.path(), file.data(), file.size())
      .read(views, metadataEntries);
}

void SafeTensorsFile::forget() const { forgetPages(file.data(), file.size()); }

const TensorView *SafeTensorsFile::find(std::string_view name) const {
  auto found = views.find(name);
  return found == views.end() ? nullptr : &found->second;
}

//===----------------------------------------------------------------------===//
// Values
//===----------------------------------------------------------------------===//

/// IEEE half to single precision, exact.
static float halfToFloat(uint16_t half) {
  uint32_t sign = uint32_t(half & 0x8000) << 16;
  uint32_t exponent = (half >> 10) & 0x1f, fraction = half & 0x3ff;
  if (exponent == 0) {
    // Zero or subnormal: fraction * 2^-24.
    float value = static_cast<float>(fraction) * 0x1p-24f;
    return std::bit_cast<float>(std::bit_cast<uint32_t>(value) | sign);
  }
  uint32_t bits = exponent == 0x1f ? 0x7f800000 : (exponent + 112) << 23;
  return std::bit_cast<float>(sign | bits | fraction << 13);
}

template <typename Source, typename Target, typename Convert>
static void convertElements(const TensorView &tensor, Target *target,
                            Convert convert) {
  for (int64_t i = 0, e = tensor.numElements(); i < e; ++i) {
    Source value; // the file promises no alignment
    std::memcpy(&value, tensor.data + i * sizeof(Source), sizeof(Source));
    target[i] = convert(value);
  }
}

void pst::runtime::convertToF32(const TensorView &tensor, float *target) {
  switch (tensor.dtype) {
  case DType::F32:
    if (tensor.numBytes) // of no elements, neither has a place
      std::memcpy(target, tensor.data, tensor.numBytes);
    return;
  case DType::F16:
    convertElements<uint16_t>(tensor, target, halfToFloat);
    return;
  case DType::BF16:
    convertElements<uint16_t>(tensor, target, [](uint16_t bits) {
      return std::bit_cast<float>(uint32_t(bits) << 16);
    });
    return;
  case DType::F64:
    convertElements<double>(
        tensor, target, [](double value) { return static_cast<float>(value); });
    return;
  default:
    throw Error("tensor \"" + tensor.name + "\" is " +
                describe(tensor.dtype, tensor.shape) +
                ", where floating-point numbers are expected");
  }
}

/// Round to nearest, ties to even: a carry out of the significand is right.
static uint16_t roundToBF16(float value) {
  uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffff) > 0x7f800000)
    return static_cast<uint16_t>(bits >> 16 | 0x40); // NaN, a quiet one
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

void pst::runtime::convertToBF16(const TensorView &tensor, uint16_t *target) {
  switch (tensor.dtype) {
  case DType::BF16:
    std::memcpy(target, tensor.data, tensor.numBytes);
    return;
  case DType::F32:
    convertElements<float>(tensor, target, roundToBF16);
    return;
  case DType::F16:
    convertElements<uint16_t>(tensor, target, [](uint16_t bits) {
      return roundToBF16(halfToFloat(bits));
    });
    return;
  case DType::F64: // by way of F32, which the same weight is elsewhere
    convertElements<double>(tensor, target, [](double value) {
      return roundToBF16(static_cast<float>(value));
    });
    return;
  default:
    throw Error("tensor \"" + tensor.name + "\" is " +
                describe(tensor.dtype, tensor.shape) +
                ", where floating-point numbers are expected");
  }
}

/// Index of the first element with all bits of `exponent` set, or -1.
template <typename Bits, typename T>
static int64_t findExponent(const T *values, int64_t count, Bits exponent) {
  constexpr int64_t block = 4096;
  auto isBad = [&](int64_t i) {
    return (std::bit_cast<Bits>(values[i]) & exponent) == exponent;
  };
  for (int64_t begin = 0; begin < count; begin += block) {
    int64_t end = std::min(count, begin + block);
    // No early exit inside, so that it is vectorised.
    Bits bad = 0;
    for (int64_t i = begin; i < end; ++i)
      bad |= static_cast<Bits>(isBad(i));
    if (!bad)
      continue;
    for (int64_t i = begin; i < end; ++i)
      if (isBad(i))
        return i;
  }
  return -1;
}

int64_t pst::runtime::findNonFinite(const float *values, int64_t count) {
  return findExponent<uint32_t>(values, count, 0x7f800000);
}

int64_t pst::runtime::findNonFinite(const uint16_t *values, int64_t count) {
  return findExponent<uint16_t>(values, count, 0x7f80);
}
