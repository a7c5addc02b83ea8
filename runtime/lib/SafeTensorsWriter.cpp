//===- SafeTensorsWriter.cpp - Writing safetensors files ------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Runtime/SafeTensorsWriter.h"
#include "pst/Runtime/Error.h"
#include "pst/Runtime/Files.h"

#include <nlohmann/json.hpp>

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <unordered_set>

using namespace pst::runtime;
namespace fs = std::filesystem;

namespace {

/// Header and places of the tensors of a file to be written.
struct Layout {
  std::string header;          // its length, the JSON, and spaces
  std::vector<size_t> offsets; // of the file, in the order given
  size_t fileBytes = 0;
};

/// The tensors lie in the order given. The header is filled up with spaces to a
/// multiple of 64 bytes, so that data are aligned where sizes allow it.
template <typename Spec>
Layout makeLayout(const std::vector<Spec> &tensors, const Metadata &metadata) {
  // Members are appended: of an ordered object, a search walks all of them.
  using Object = nlohmann::ordered_json::object_t;
  auto json = nlohmann::ordered_json::object();
  auto append = [&](const std::string &key, nlohmann::ordered_json value) {
    std::vector<Object::value_type> &members = json.get_ref<Object &>();
    members.emplace_back(key, std::move(value));
  };
  std::unordered_set<std::string_view> names;
  if (!metadata.empty())
    append("__metadata__", metadata);
  size_t dataBytes = 0;
  Layout layout;
  for (const Spec &tensor : tensors) {
    size_t bytes = byteSize(tensor.dtype);
    for (int64_t size : tensor.shape)
      bytes *= size;
    if (!names.insert(tensor.name).second)
      throw Error("tensor \"" + tensor.name + "\" would be written twice");
    append(tensor.name, {{"dtype", name(tensor.dtype)},
                         {"shape", tensor.shape},
                         {"data_offsets", {dataBytes, dataBytes + bytes}}});
    layout.offsets.push_back(dataBytes);
    dataBytes += bytes;
  }
  std::string text = json.dump();
  text.resize((text.size() + 8 + 63) / 64 * 64 - 8, ' ');
  uint64_t headerBytes = text.size();
  layout.header.assign(reinterpret_cast<const char *>(&headerBytes), 8);
  layout.header += text;
  for (size_t &offset : layout.offsets)
    offset += layout.header.size();
  layout.fileBytes = layout.header.size() + dataBytes;
  return layout;
}

/// Writes all of `bytes`; returns 0 or an error's code.
int writeAll(int descriptor, const char *bytes, size_t count) {
  while (count) {
    ssize_t written = ::write(descriptor, bytes, count);
    if (written < 0 && errno == EINTR)
      continue;
    if (written < 0)
      return errno;
    bytes += written;
    count -= written;
  }
  return 0;
}

} // namespace

void pst::runtime::writeSafeTensors(const fs::path &path,
                                    const std::vector<TensorData> &tensors,
                                    const Metadata &metadata) {
  Layout layout = makeLayout(tensors, metadata);
  if (!isReplaceable(path))
    throw Error(path.string() + ": exists, and is no regular file");
  fs::path temporary = temporaryName(path);
  int descriptor =
      ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (descriptor < 0)
    throwSystemError(path, "write", errno);
  int code = writeAll(descriptor, layout.header.data(), layout.header.size());
  for (size_t i = 0; i < tensors.size() && !code; ++i) {
    size_t end =
        i + 1 < tensors.size() ? layout.offsets[i + 1] : layout.fileBytes;
    code = writeAll(descriptor, static_cast<const char *>(tensors[i].data),
                    end - layout.offsets[i]);
  }
  if (!code && ::fsync(descriptor) != 0)
    code = errno;
  if (::close(descriptor) != 0 && !code)
    code = errno;
  if (!code && ::rename(temporary.c_str(), path.c_str()) != 0)
    code = errno;
  if (code) {
    ::unlink(temporary.c_str());
    throwSystemError(path, "write", code);
  }
  syncDirectory(path.parent_path());
}

MappedSafeTensorsWriter::MappedSafeTensorsWriter(
    fs::path path, const std::vector<TensorSpec> &tensors,
    const Metadata &metadata)
    : finalPath(std::move(path)), temporaryPath(temporaryName(finalPath)) {
  Layout layout = makeLayout(tensors, metadata);
  for (size_t i = 0; i < tensors.size(); ++i)
    offsets[tensors[i].name] = layout.offsets[i];
  descriptor = ::open(temporaryPath.c_str(),
                      O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (descriptor < 0)
    throwSystemError(finalPath, "write", errno);
  // Blocks, not only a size: on a full disk a write to a mapped hole would kill
  // the process.
  int code = ::posix_fallocate(descriptor, 0, layout.fileBytes);
  if (!code) {
    mappedBytes = layout.fileBytes;
    void *base = ::mmap(nullptr, mappedBytes, PROT_READ | PROT_WRITE,
                        MAP_SHARED, descriptor, 0);
    if (base == MAP_FAILED)
      code = errno;
    else
      mapping = static_cast<std::byte *>(base);
  }
  if (code) {
    ::close(descriptor);
    ::unlink(temporaryPath.c_str());
    throwSystemError(finalPath, "write", code);
  }
  std::memcpy(mapping, layout.header.data(), layout.header.size());
}

MappedSafeTensorsWriter::~MappedSafeTensorsWriter() {
  if (mapping)
    ::munmap(mapping, mappedBytes);
  if (descriptor >= 0) {
    ::close(descriptor);
    ::unlink(temporaryPath.c_str());
  }
}

void *MappedSafeTensorsWriter::data(std::string_view name) {
  auto found = offsets.find(name);
  if (found == offsets.end())
    throw Error(finalPath.string() + ": no tensor \"" + std::string(name) +
                "\" was announced");
  return mapping + found->second;
}

void MappedSafeTensorsWriter::commit() {
  if (::msync(mapping, mappedBytes, MS_SYNC) != 0 || ::fsync(descriptor) != 0)
    throwSystemError(finalPath, "flush to the disk", errno);
  if (::rename(temporaryPath.c_str(), finalPath.c_str()) != 0)
    throwSystemError(finalPath, "rename to this name", errno);
  ::munmap(mapping, mappedBytes);
  mapping = nullptr;
  ::close(descriptor);
  descriptor = -1;
  syncDirectory(finalPath.parent_path());
}
