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
    : owner(std::move(program)), weights(std::make_shared<Weights>()) {
  weights->files = std::move(files);
  if (manifest().isForGPU())
    remote = openGPU(owner);
  for (const auto &[name, bytes] : manifest().spaces)
    makeSpace(name, bytes);
  readManifest();
  if (!remote)
    askForLargePages();
  for (const Parameter &parameter : manifest().parameters) {
    if (parameter.role != Role::frozen)
      initialize(parameter, seed);
    else if (!isPacked(parameter.name))
      mapFrozen(parameter);
  }
}

/// The spaces that nothing writes where programs only evaluate.
static constexpr const char *kSharedSpaces[] = {"trainable", "state"};

ParameterStore::ParameterStore(std::shared_ptr<const Program> program,
                               const ParameterStore &other)
    : owner(std::move(program)), weights(other.weights) {
  readManifest();
  requireShareable(other);
  std::vector<std::string_view> shared;
  for (std::string_view name : kSharedSpaces)
    if (auto found = other.spaces.find(name); found != other.spaces.end()) {
      spaces.insert(*found);
      shared.push_back(name);
    }
  if (manifest().isForGPU()) {
    remote = openGPU(owner);
    remote->share(*other.remote, shared);
  }
  for (const auto &[name, bytes] : manifest().spaces)
    if (!spaces.contains(name))
      makeSpace(name, bytes);
}

void ParameterStore::makeSpace(const std::string &name, int64_t bytes) {
  // Pages that are never written cost nothing: a program that is only
  // evaluated has moments, but no memory for them.
  int64_t size = std::max<int64_t>(bytes, 64);
  void *base = ::mmap(nullptr, size, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED)
    throw Error("cannot allocate " + formatBytes(bytes) + " for \"" + name +
                "\": " + std::strerror(errno) +
                "; a smaller batch or a shorter length needs less");
  spaces[name] = std::make_shared<Mapping>(base, size);
  if (remote)
    remote->zero(name);
}

void ParameterStore::readManifest() {
  std::set<std::string, std::less<>> readLater;
  for (const auto &[name, entry] : manifest().entryPoints)
    for (const Argument &argument : entry.arguments)
      if (argument.kind == Argument::Kind::parameter)
        (isPackEntry(name) ? readOnce : readLater).insert(argument.name);
      else if (argument.kind == Argument::Kind::input && isPackEntry(name))
        readOnce.insert(argument.name); // rows of it at a time
  for (const std::string &name : readLater)
    readOnce.erase(name);
  for (const Parameter &parameter : manifest().parameters)
    byName[parameter.name] = &parameter;
}

/// What a parameter is to all programs that share it.
static std::string describe(const Parameter &parameter, bool isPacked) {
  const Initializer &first = parameter.initializer;
  std::string text = '"' + parameter.name + "\", ";
  if (parameter.role == Role::frozen)
    text += isPacked ? "frozen and stored in another form" : "frozen";
  else
    text += std::string(spaceOf(parameter.role)) + " at byte " +
            std::to_string(parameter.offset);
  text += ", " + parameter.type.text();
  if (!parameter.source.empty())
    text += ", from \"" + parameter.source + '"';
  if (!parameter.sourceFile.empty())
    text += " in " + parameter.sourceFile;
  if (parameter.sourceColumns)
    text += " from column " + std::to_string(parameter.column) + " of " +
            std::to_string(parameter.sourceColumns);
  if (first.kind == Initializer::Kind::normal)
    text += ", random of standard deviation " + std::to_string(first.stddev);
  if (first.kind == Initializer::Kind::constant)
    text += ", " + std::to_string(first.value) + " at first";
  return text;
}

/// All that a program may share with others, in order; the spaces end each
/// list, so that none is the begin of another.
static std::vector<std::string> describeAll(const ParameterStore &store) {
  std::vector<std::string> all;
  for (const Parameter &parameter : store.manifest().parameters)
    if (parameter.role != Role::cache)
      all.push_back(describe(parameter, store.isPacked(parameter.name)));
  for (const char *space : kSharedSpaces)
    all.push_back("the space \"" + std::string(space) + "\" of " +
                  std::to_string(store.spaceBytes(space)) + " bytes");
  return all;
}

void ParameterStore::requireShareable(const ParameterStore &other) const {
  const std::string cannot = "the program cannot share the parameters of "
                             "another: ";
  // A program that only evaluates may have "apply", but no gradients for it.
  for (const ParameterStore *store : {&other, this})
    for (const char *entry : {"select", "forward_backward"})
      if (store->program().has(entry))
        throw Error(cannot + "one of the two has \"" + entry +
                    "\", and those share that only evaluate");
  if (manifest().isForGPU() != other.manifest().isForGPU())
    throw Error(cannot + "one of the two runs on a GPU");
  std::vector<std::string> ours = describeAll(*this),
                           theirs = describeAll(other);
  auto [own, there] = std::ranges::mismatch(ours, theirs);
  if (own == ours.end() && there == theirs.end())
    return;
  throw Error(
      cannot + "the first that differs is here " + *own + ", and there " +
      *there +
      "; compile both for the same files, with the same options but for "
      "batch, length, token capacity and cache length, and with one "
      "number of --storage_tokens where --weight_storage is auto");
}

/// Stored weights are read from one end to the other for each token, more
/// slowly by small pages. Of what is touched here and there, as keys and
/// values, large pages would hold much that is not used: those have a space of
/// their own, and other state lies behind. A system without large pages goes
/// on.
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
    return weights->ownFiles.try_emplace(path, path).first->second;
  if (!weights->files)
    throw Error("the program reads \"" + parameter.source +
                "\" from the model's files, but none were given");
  return *weights->files;
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
    weights->filesInPlace.insert(&files);
  } else {
    auto copy =
        std::make_unique_for_overwrite<std::byte[]>(parameter.type.numBytes());
    source.read(0, source.rows(), copy.get());
    weights->rounded += source.isRounded();
    data = copy.get();
    weights->converted.push_back(std::move(copy));
  }
  if (remote)
    remote->addFrozen(parameter, data);
  weights->frozen[parameter.name] = data;
}

void ParameterStore::holdForPacking(const Parameter &parameter,
                                    const void *data, bool isRounded) {
  weights->frozen[parameter.name] = data;
  weights->rounded += isRounded;
}

void ParameterStore::forgetPacked(const Parameter &parameter) {
  weights->frozen.erase(parameter.name);
}

std::string ParameterStore::modelDigest() const {
  std::call_once(weights->isDigested, [&] {
    for (const Parameter &parameter : manifest().parameters) {
      if (parameter.role != Role::frozen)
        continue;
      if (!isPacked(parameter.name)) {
        weights->digestBits += tensorDigest(parameter, data(parameter));
        continue;
      }
      ParameterSource source(parameter, filesOf(parameter));
      std::vector<std::byte> values(parameter.type.numBytes());
      source.read(0, source.rows(), values.data());
      weights->digestBits += tensorDigest(parameter, values.data());
    }
  });
  return hexDigest(weights->digestBits);
}

void ParameterStore::requireFiles() const {
  for (const ModelFiles *files : weights->filesInPlace)
    files->requireWhole();
}

template <typename T>
static void fillConstant(void *data, int64_t count, double value) {
  std::fill_n(static_cast<T *>(data), count, static_cast<T>(value));
}

void ParameterStore::initialize(const Parameter &parameter, uint64_t seed) {
  void *target = data(parameter, spaceOf(parameter.role));
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
    weights->digestBits += tensorDigest(parameter, target);
    return;
  }
  }
}

const ParameterStore::Mapping &
ParameterStore::mapping(std::string_view name) const {
  auto found = spaces.find(name);
  if (found == spaces.end())
    throw Error("the program has no space \"" + std::string(name) + "\"");
  return *found->second;
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
    auto found = weights->frozen.find(parameter.name);
    if (found == weights->frozen.end())
      throw Error("the weight \"" + parameter.name +
                  "\" is in memory as the program stores it, and not as its "
                  "file has it any more");
    return found->second;
  }
  const void *base = readSpace(spaceOf(parameter.role));
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
