//===- ParameterStore.cpp - The memory of a program's parameters ----------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Runtime/ParameterStore.h"
#include "ParameterSource.h"
#include "pst/Runtime/Digest.h"
#include "pst/Runtime/Error.h"
#include "pst/Runtime/Memory.h"
#include "pst/Runtime/Philox.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <sys/mman.h>

using namespace pst;
using namespace pst::runtime;

/// What the names of its parts have behind a stored weight's.
static constexpr std::string_view kStoredPart = ".pst_";

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
      else if (argument.kind == Argument::Kind::input && isPackEntry(name))
        readOnce.insert(argument.name); // rows of it at a time
  for (const std::string &name : readLater)
    readOnce.erase(name);
  if (!remote)
    askForLargePages();
  for (const Parameter &parameter : manifest().parameters) {
    byName[parameter.name] = &parameter;
    if (parameter.role != Role::frozen)
      initialize(parameter, seed);
    else if (!isPacked(parameter.name))
      mapFrozen(parameter);
  }
}

/// Stored weights are read from one end to the other for each token, more
/// slowly by small pages. Behind them in the state lies what is touched here
/// and there, as keys and values, of which large pages would hold much that is
/// not used. A system without large pages goes on.
void ParameterStore::askForLargePages() const {
  int64_t end = 0;
  for (const Parameter &parameter : manifest().parameters) {
    size_t part = parameter.name.rfind(kStoredPart);
    if (parameter.role == Role::state && part != std::string::npos &&
        isPacked(parameter.name.substr(0, part)))
      end = std::max(end, parameter.offset + parameter.type.numBytes());
  }
  if (end)
    (void)::madvise(mapping("state").base, end, MADV_HUGEPAGE);
}

ParameterStore::~ParameterStore() = default;

ParameterStore::Mapping::~Mapping() { ::munmap(base, bytes); }

const ModelFiles &ParameterStore::filesOf(const Parameter &parameter) const {
  if (const std::string &path = parameter.sourceFile; !path.empty())
    return ownFiles.try_emplace(path, path).first->second;
  if (!modelFiles)
    throw Error("the program reads \"" + parameter.source +
                "\" from the model's files, but none were given");
  return *modelFiles;
}

/// Adds a tensor of the files to the digest; the order does not matter.
static uint64_t tensorDigest(const Parameter &parameter, const void *data) {
  return digestBytes(data, parameter.type.numBytes(), hashName(parameter.name));
}

void ParameterStore::mapFrozen(const Parameter &parameter) {
  const ModelFiles &files = filesOf(parameter);
  ParameterSource source(parameter, files);
  // A vector of the file brings the pages around it into memory: sixteen, for
  // a read of one.
  bool isVector = parameter.type.shape.size() < 2;
  const std::byte *data = isVector ? nullptr : source.inPlace();
  if (!data && source.isWhole() && files.compressed(parameter.source)) {
    const TensorView &expanded = *files.find(parameter.source);
    files.keep(expanded);
    data = expanded.data;
  }
  if (data) {
    source.requireFinite(0, source.rows(), data);
    // Rows of an embedding that no example uses need not stay in memory.
    source.forget(0, source.rows());
    filesInPlace.insert(&files);
  } else {
    auto copy =
        std::make_unique_for_overwrite<std::byte[]>(parameter.type.numBytes());
    source.read(0, source.rows(), copy.get());
    rounded += source.isRounded();
    data = copy.get();
    converted.push_back(std::move(copy));
  }
  if (remote)
    remote->addFrozen(parameter, data);
  frozen[parameter.name] = data;
}

void ParameterStore::holdForPacking(const Parameter &parameter,
                                    const void *data, bool isRounded) {
  frozen[parameter.name] = data;
  rounded += isRounded;
}

void ParameterStore::forgetPacked(const Parameter &parameter) {
  frozen.erase(parameter.name);
}

std::string ParameterStore::modelDigest() const {
  std::call_once(isDigested, [&] {
    for (const Parameter &parameter : manifest().parameters) {
      if (parameter.role != Role::frozen)
        continue;
      if (!isPacked(parameter.name)) {
        digestBits += tensorDigest(parameter, data(parameter));
        continue;
      }
      ParameterSource source(parameter, filesOf(parameter));
      std::vector<std::byte> values(parameter.type.numBytes());
      source.read(0, source.rows(), values.data());
      digestBits += tensorDigest(parameter, values.data());
    }
  });
  return hexDigest(digestBits);
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
    ParameterSource source(parameter, filesOf(parameter));
    source.read(0, source.rows(), static_cast<std::byte *>(target));
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
