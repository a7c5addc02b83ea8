//===- ParameterSource.cpp - The tensor that a parameter is read from -----===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ParameterSource.h"
#include "pst/Runtime/Error.h"
#include "pst/Runtime/Memory.h"

#include <algorithm>
#include <bit>
#include <cstring>

using namespace pst;
using namespace pst::runtime;

/// What is read at once: it stays in a core's second cache.
static constexpr int64_t kPieceBytes = 1 << 19;

/// Where the address sanitizer looks, parameters lie apart from each other, not
/// side by side as in their file.
#if __has_feature(address_sanitizer)
static constexpr bool kReadsInPlace = false;
#else
static constexpr bool kReadsInPlace = true;
#endif

/// The element types of a file that a parameter may be read from; the first one
/// is used in place.
static std::vector<DType> sourceTypes(ElementType element) {
  switch (element) {
  case ElementType::f32:
    return {DType::F32, DType::F16, DType::BF16, DType::F64};
  case ElementType::f64:
    return {DType::F64};
  case ElementType::bf16:
    return {DType::BF16, DType::F32, DType::F16, DType::F64};
  case ElementType::i8:
    return {DType::I8};
  case ElementType::i32:
    return {DType::I32};
  case ElementType::i64:
    return {DType::I64};
  }
  return {};
}

/// "[3, 17]", the indices of the element at `position`.
static std::string indexText(const std::vector<int64_t> &shape,
                             int64_t position) {
  std::string text;
  for (size_t i = shape.size(); i-- > 0;) {
    text =
        std::to_string(position % shape[i]) + (text.empty() ? "" : ", ") + text;
    position /= shape[i];
  }
  return "[" + text + "]";
}

/// The shape of the tensor that the parameter is, or is columns of.
static std::vector<int64_t> sourceShape(const Parameter &parameter) {
  std::vector<int64_t> shape = parameter.type.shape;
  if (parameter.sourceColumns)
    shape.back() = parameter.sourceColumns;
  return shape;
}

ParameterSource::ParameterSource(const Parameter &parameter,
                                 const ModelFiles &files)
    : parameter(parameter), files(files),
      parts(files.compressed(parameter.source)) {
  std::string where =
      files.path().string() + ": tensor \"" + parameter.source + "\"";
  auto found = files.tensors().find(parameter.source);
  if (found == files.tensors().end())
    throw Error(where + " is missing: " +
                (parameter.sourceFile.empty()
                     ? "the program was compiled for another model"
                     : "the criterion reads one such tensor for each sparse "
                       "layer"));
  tensor = found->second;
  std::vector<int64_t> shape = sourceShape(parameter);
  std::vector<DType> accepted = sourceTypes(parameter.type.element);
  bool known = std::find(accepted.begin(), accepted.end(), tensor->dtype) !=
               accepted.end();
  if (!known || tensor->shape != shape)
    throw Error(where + " is " + describe(tensor->dtype, tensor->shape) +
                ", but the program was compiled for " +
                describe(accepted.front(), shape));
  numColumns = shape.empty() ? 1 : parameter.type.shape.back();
  numRows = numColumns ? parameter.type.numElements() / numColumns : 0;
  sourceRowBytes = numRows ? tensor->numBytes / numRows : 0;
  if (parts) {
    parts->check(files.path().string());
    partsAreFinite = isSameType() && parts->isFinite();
  }
}

bool ParameterSource::isSameType() const {
  return tensor->dtype == sourceTypes(parameter.type.element).front();
}

int64_t ParameterSource::rowBytes() const {
  return numColumns * byteSize(parameter.type.element);
}

const std::byte *ParameterSource::inPlace() const {
  bool isAligned = reinterpret_cast<uintptr_t>(tensor->data) %
                       byteSize(parameter.type.element) ==
                   0;
  return !parts && isWhole() && isAligned && kReadsInPlace ? tensor->data
                                                           : nullptr;
}

void ParameterSource::requireFinite(int64_t first, int64_t count,
                                    const void *data) const {
  if (partsAreFinite)
    return;
  int64_t at = -1;
  float value = 0;
  if (parameter.type.element == ElementType::f32) {
    const float *values = static_cast<const float *>(data);
    at = findNonFinite(values, count * numColumns);
    value = at < 0 ? 0 : values[at];
  } else if (parameter.type.element == ElementType::bf16) {
    const uint16_t *values = static_cast<const uint16_t *>(data);
    at = findNonFinite(values, count * numColumns);
    value = at < 0 ? 0 : std::bit_cast<float>(uint32_t(values[at]) << 16);
  }
  if (at < 0)
    return;
  at += first * numColumns;
  if (parameter.sourceColumns)
    at = at / numColumns * parameter.sourceColumns + at % numColumns +
         parameter.column;
  throw Error(files.path().string() + ": tensor \"" + parameter.source +
              "\" holds " + std::to_string(value) + " at " +
              indexText(sourceShape(parameter), at) +
              ": the file is damaged, or its training diverged");
}

void ParameterSource::forget(int64_t first, int64_t count) const {
  if (parts)
    parts->forgetPages(first, count);
  else
    forgetPages(tensor->data + first * sourceRowBytes, count * sourceRowBytes);
}

void ParameterSource::read(int64_t first, int64_t count, std::byte *target) {
  int64_t end = first + count;
  int64_t most =
      std::max<int64_t>(kPieceBytes / std::max<int64_t>(sourceRowBytes, 1), 1);
  while (first < end) {
    int64_t piece = std::min(most, end - first);
    readPiece(first, piece, target);
    forget(first, piece);
    first += piece;
    target += piece * rowBytes();
  }
}

void ParameterSource::readPiece(int64_t first, int64_t count,
                                std::byte *target) {
  TensorView piece = *tensor;
  piece.numBytes = count * sourceRowBytes;
  if (parts) {
    if (!isWhole())
      expanded.resize(piece.numBytes);
    std::byte *rows = isWhole() ? target : expanded.data();
    parts->expand(first, count, /*isZero=*/false, rows);
    piece.data = rows;
  } else {
    piece.data += first * sourceRowBytes;
  }
  if (parameter.sourceColumns) {
    int64_t size = byteSize(piece.dtype), bytes = numColumns * size;
    columns.resize(count * bytes);
    for (int64_t row = 0; row < count; ++row)
      std::memcpy(columns.data() + row * bytes,
                  piece.data + row * sourceRowBytes + parameter.column * size,
                  bytes);
    piece.data = columns.data();
    piece.numBytes = count * bytes;
  }
  if (isRounded())
    convertToBF16(piece, reinterpret_cast<uint16_t *>(target));
  else if (!isSameType())
    convertToF32(piece, reinterpret_cast<float *>(target));
  else if (piece.data != target) // not expanded there
    std::memcpy(target, piece.data, piece.numBytes);
  requireFinite(first, count, target);
}
