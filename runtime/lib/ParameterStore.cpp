//===- ParameterStore.cpp - The memory of a program's parameters ----------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Runtime/ParameterStore.h"
#include "pst/Runtime/Digest.h"
#include "pst/Runtime/Error.h"
#include "pst/Runtime/Memory.h"
#include "pst/Runtime/Philox.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <sys/mman.h>

using namespace pst;
using namespace pst::runtime;

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

ParameterStore::ParameterStore(std::shared_ptr<const Program> program,
                               std::shared_ptr<const ModelFiles> files,
                               uint64_t seed)
    : owner(std::move(program)), modelFiles(std::move(files)) {
  if (manifest().isForGPU())
    remote = openGPU(owner);
  for (const auto &[name, bytes] : manifest().spaces) {
    // Pages that are never written cost nothing: a program that is only
    // evaluated has moments, but no memory for them.
    int64_t size = std::max<int64_t>(bytes, 64);
    void *base = ::mmap(nullptr, size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED)
      throw Error("cannot allocate " + formatBytes(bytes) + " for \"" + name +
                  "\": " + std::strerror(errno) +
                  "; a smaller batch or a shorter length needs less");
    // Stored weights are read from one end to the other for each token, more
    // slowly by small pages. A system without others goes on.
    if (name == "state" && !remote)
      ::madvise(base, size, MADV_HUGEPAGE);
    spaces.try_emplace(name, base, size);
  }
  if (remote)
    for (const auto &[name, bytes] : manifest().spaces)
      remote->zero(name);
  std::set<std::string, std::less<>> readLater;
  for (const auto &[name, entry] : manifest().entryPoints)
    for (const Argument &argument : entry.arguments)
      if (argument.kind == Argument::Kind::parameter)
        (isPackEntry(name) ? readOnce : readLater).insert(argument.name);
  for (const std::string &name : readLater)
    readOnce.erase(name);
  for (const Parameter &parameter : manifest().parameters) {
    byName[parameter.name] = &parameter;
    if (parameter.role != Role::frozen)
      initialize(parameter, seed);
    else if (!readOnce.contains(parameter.name))
      mapFrozen(parameter);
  }
}

std::string ParameterStore::modelDigest() const {
  return hexDigest(digestBits);
}

ParameterStore::~ParameterStore() = default;

ParameterStore::Mapping::~Mapping() { ::munmap(base, bytes); }

/// The shape of the tensor that the parameter is, or is columns of.
static std::vector<int64_t> sourceShape(const Parameter &parameter) {
  std::vector<int64_t> shape = parameter.type.shape;
  if (parameter.sourceColumns)
    shape.back() = parameter.sourceColumns;
  return shape;
}

/// The columns of its tensor that a parameter is, in memory of their own.
static std::unique_ptr<std::byte[]> gatherColumns(const Parameter &parameter,
                                                  TensorView &tensor) {
  int64_t size = byteSize(tensor.dtype);
  int64_t bytes = parameter.type.shape.back() * size;
  int64_t rows = parameter.type.numElements() / parameter.type.shape.back();
  auto columns = std::make_unique<std::byte[]>(rows * bytes);
  const std::byte *from = tensor.data + parameter.column * size;
  for (int64_t row = 0; row < rows; ++row)
    std::memcpy(columns.get() + row * bytes,
                from + row * parameter.sourceColumns * size, bytes);
  tensor.shape = parameter.type.shape;
  tensor.data = columns.get();
  tensor.numBytes = rows * bytes;
  return columns;
}

const ModelFiles &ParameterStore::filesOf(const Parameter &parameter) {
  if (const std::string &path = parameter.sourceFile; !path.empty())
    return ownFiles.try_emplace(path, path).first->second;
  if (!modelFiles)
    throw Error("the program reads \"" + parameter.source +
                "\" from the model's files, but none were given");
  return *modelFiles;
}

const TensorView &ParameterStore::sourceOf(const Parameter &parameter) {
  const ModelFiles &files = filesOf(parameter);
  std::string where =
      files.path().string() + ": tensor \"" + parameter.source + "\"";
  const TensorView *tensor = files.find(parameter.source);
  if (!tensor)
    throw Error(where + " is missing: " +
                (parameter.sourceFile.empty()
                     ? "the program was compiled for another model"
                     : "the criterion reads one such tensor for each sparse "
                       "layer"));
  std::vector<int64_t> shape = sourceShape(parameter);
  std::vector<DType> accepted = sourceTypes(parameter.type.element);
  bool known = std::find(accepted.begin(), accepted.end(), tensor->dtype) !=
               accepted.end();
  if (!known || tensor->shape != shape)
    throw Error(where + " is " + describe(tensor->dtype, tensor->shape) +
                ", but the program was compiled for " +
                describe(accepted.front(), shape));
  return *tensor;
}

/// Throws if an f32 or bf16 parameter holds what is no number.
static void checkFinite(const Parameter &parameter, const void *data,
                        const ModelFiles &files) {
  int64_t at = -1, count = parameter.type.numElements();
  float value = 0;
  if (parameter.type.element == ElementType::f32) {
    const float *values = static_cast<const float *>(data);
    at = findNonFinite(values, count);
    value = at < 0 ? 0 : values[at];
  } else if (parameter.type.element == ElementType::bf16) {
    const uint16_t *values = static_cast<const uint16_t *>(data);
    at = findNonFinite(values, count);
    value = at < 0 ? 0 : std::bit_cast<float>(uint32_t(values[at]) << 16);
  }
  if (at >= 0 && parameter.sourceColumns)
    at = at / parameter.type.shape.back() * parameter.sourceColumns +
         at % parameter.type.shape.back() + parameter.column;
  if (at >= 0)
    throw Error(files.path().string() + ": tensor \"" + parameter.source +
                "\" holds " + std::to_string(value) + " at " +
                indexText(sourceShape(parameter), at) +
                ": the file is damaged, or its training diverged");
}

/// Adds a tensor of the files to the digest; the order does not matter.
static uint64_t tensorDigest(const Parameter &parameter, const void *data) {
  return digestBytes(data, parameter.type.numBytes(), hashName(parameter.name));
}

/// The values of a tensor of one of the types of `sourceTypes(element)`.
static void readValues(const TensorView &tensor, ElementType element,
                       void *target) {
  if (tensor.dtype == sourceTypes(element).front())
    std::memcpy(target, tensor.data, tensor.numBytes);
  else if (element == ElementType::bf16)
    convertToBF16(tensor, static_cast<uint16_t *>(target));
  else
    convertToF32(tensor, static_cast<float *>(target));
}

/// Where the address sanitizer looks, parameters lie apart from each other, not
/// side by side as in their file.
#if __has_feature(address_sanitizer)
static constexpr bool kReadsInPlace = false;
#else
static constexpr bool kReadsInPlace = true;
#endif

void ParameterStore::mapFrozen(const Parameter &parameter) {
  const ModelFiles &files = filesOf(parameter);
  const TensorView &source = sourceOf(parameter);
  TensorView tensor = source;
  std::unique_ptr<std::byte[]> owned;
  if (parameter.sourceColumns) {
    owned = gatherColumns(parameter, tensor);
    files.forget(source);
  }
  const void *data = tensor.data;
  bool inPlace = tensor.dtype == sourceTypes(parameter.type.element).front();
  bool aligned =
      reinterpret_cast<uintptr_t>(data) % byteSize(parameter.type.element) == 0;
  if (!inPlace || !aligned || !kReadsInPlace) {
    auto copy = std::make_unique<std::byte[]>(parameter.type.numBytes());
    readValues(tensor, parameter.type.element, copy.get());
    if (parameter.type.element == ElementType::bf16 && !inPlace)
      ++rounded;
    data = copy.get();
    owned = std::move(copy); // instead of the columns as they were
    if (!parameter.sourceColumns)
      files.forget(source);
  }
  checkFinite(parameter, data, files);
  digestBits += tensorDigest(parameter, data);
  if (remote)
    remote->addFrozen(parameter, data);
  if (data == source.data) {
    if (!readOnce.contains(parameter.name))
      files.keep(source);
    // Rows of an embedding that no example uses need not stay in memory; those
    // of a compressed weight have no other place.
    if (!files.compressed(parameter.source))
      forgetPages(data, parameter.type.numBytes());
    filesInPlace.insert(&files);
  }
  if (owned)
    converted[parameter.name] = std::move(owned);
  frozen[parameter.name] = data;
}

void ParameterStore::readForPacking(std::string_view name) {
  const Parameter *parameter = find(name);
  if (parameter && readOnce.contains(name) && !frozen.contains(name))
    mapFrozen(*parameter);
}

void ParameterStore::forgetPacked(std::string_view name) {
  auto found = frozen.find(name);
  if (found == frozen.end() || !readOnce.contains(name))
    return;
  const Parameter &parameter = *find(name);
  if (!converted.erase(parameter.name))
    filesOf(parameter).forget(sourceOf(parameter));
  frozen.erase(found);
}

void ParameterStore::requireFiles() const {
  for (const ModelFiles *files : filesInPlace)
    files->requireWhole();
}

template <typename T>
static void fillConstant(void *data, int64_t count, double value) {
  std::fill_n(static_cast<T *>(data), count, static_cast<T>(value));
}

void ParameterStore::initialize(const Parameter &parameter, uint64_t seed) {
  void *target =
      data(parameter, parameter.role == Role::state ? "state" : "trainable");
  int64_t count = parameter.type.numElements();
  ElementType element = parameter.type.element;
  // Manifest::verify knows which elements can begin so.
  switch (parameter.initializer.kind) {
  case Initializer::Kind::zeros:
    return; // as the space was made
  case Initializer::Kind::normal:
    fillNormal({static_cast<float *>(target), static_cast<size_t>(count)},
               parameter.initializer.stddev, seed, parameter.name);
    return;
  case Initializer::Kind::constant: {
    double value = parameter.initializer.value;
    if (element == ElementType::f32)
      fillConstant<float>(target, count, value);
    else if (element == ElementType::f64)
      fillConstant<double>(target, count, value);
    else if (element == ElementType::i8)
      fillConstant<int8_t>(target, count, value);
    else if (element == ElementType::i32)
      fillConstant<int32_t>(target, count, value);
    else if (element == ElementType::i64)
      fillConstant<int64_t>(target, count, value);
    return;
  }
  case Initializer::Kind::file: {
    const TensorView &source = sourceOf(parameter);
    TensorView tensor = source;
    std::unique_ptr<std::byte[]> columns;
    if (parameter.sourceColumns)
      columns = gatherColumns(parameter, tensor);
    readValues(tensor, element, target);
    filesOf(parameter).forget(source);
    checkFinite(parameter, target, filesOf(parameter));
    digestBits += tensorDigest(parameter, target);
    return;
  }
  }
}

const ParameterStore::Mapping &
ParameterStore::mapping(std::string_view name) const {
  auto found = spaces.find(name);
  if (found == spaces.end())
    throw Error("the program has no space \"" + std::string(name) + "\"");
  return found->second;
}

const void *ParameterStore::readSpace(std::string_view name) const {
  const Mapping &found = mapping(name);
  if (found.latest == Latest::there) {
    remote->download(name, found.base);
    found.latest = Latest::both;
  }
  return found.base;
}

void *ParameterStore::space(std::string_view name) const {
  readSpace(name);
  const Mapping &found = mapping(name);
  if (remote)
    found.latest = Latest::here;
  return found.base;
}

void *ParameterStore::spaceThere(std::string_view name) const {
  const Mapping &found = mapping(name);
  if (!remote)
    return nullptr;
  if (found.latest == Latest::here)
    remote->upload(name, found.base);
  found.latest = Latest::there;
  return remote->address(name);
}

void ParameterStore::clearSpace(std::string_view name) const {
  const Mapping &found = mapping(name);
  if (remote) {
    remote->zero(name);
    found.latest = Latest::there;
  } else {
    std::memset(found.base, 0, spaceBytes(name));
  }
}

void ParameterStore::beforeCall(const EntryPoint &entry) const {
  for (const Argument &argument : entry.arguments)
    if (argument.kind == Argument::Kind::space)
      if (const Mapping &found = mapping(argument.name);
          found.latest == Latest::here) {
        remote->upload(argument.name, found.base);
        found.latest = Latest::both;
      }
}

void ParameterStore::afterCall(const EntryPoint &entry) const {
  for (const Argument &argument : entry.arguments)
    if (argument.kind == Argument::Kind::space)
      mapping(argument.name).latest = Latest::there;
}

int64_t ParameterStore::spaceBytes(std::string_view name) const {
  auto found = manifest().spaces.find(std::string(name));
  return found == manifest().spaces.end() ? 0 : found->second;
}

const void *ParameterStore::data(const Parameter &parameter) const {
  if (parameter.role == Role::frozen) {
    auto found = frozen.find(parameter.name);
    if (found == frozen.end())
      throw Error("the weight \"" + parameter.name +
                  "\" is in memory as the program stores it, and not as its "
                  "file has it any more");
    return found->second;
  }
  const void *base =
      readSpace(parameter.role == Role::state ? "state" : "trainable");
  return static_cast<const std::byte *>(base) + parameter.offset;
}

const Parameter *ParameterStore::find(std::string_view name) const {
  auto found = byName.find(name);
  return found == byName.end() ? nullptr : found->second;
}

const void *ParameterStore::data(std::string_view parameter) const {
  if (const Parameter *found = find(parameter))
    return data(*found);
  throw Error("the program has no parameter \"" + std::string(parameter) +
              "\"");
}

void *ParameterStore::data(const Parameter &parameter,
                           std::string_view spaceName) const {
  return static_cast<std::byte *>(space(spaceName)) + parameter.offset;
}
