//===- ProgramCache.cpp - Compiled programs on disk -----------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A file of the cache: BLAKE3 of the rest (32 bytes), then key, manifest and
// objects, each as its length (8 bytes, little-endian) and its bytes. The key
// is there so that a file under another's name is not taken for it.
//
//===----------------------------------------------------------------------===//

#include "pst/Bundle/ProgramCache.h"
#include "pst/Runtime/Error.h"
#include "pst/Runtime/Files.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/BLAKE3.h"
#include "llvm/Support/CachePruning.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/EndianStream.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

using namespace pst;
namespace fs = llvm::sys::fs;
namespace path = llvm::sys::path;
using llvm::StringRef;

static constexpr size_t kDigestBytes = 32;
/// More than the object code of any program has.
static constexpr int64_t kMaxEntryBytes = int64_t{4} << 30;

static std::string digest(StringRef data) {
  auto bytes =
      llvm::BLAKE3::hash<kDigestBytes>(llvm::arrayRefFromStringRef(data));
  return std::string(bytes.begin(), bytes.end());
}

std::string ProgramCache::defaultDirectory() {
  if (const char *named = std::getenv("PST_CACHE_DIR"); named && *named)
    return named;
  llvm::SmallString<128> directory;
  if (!path::cache_directory(directory))
    return "";
  path::append(directory, "pst");
  return std::string(directory);
}

/// llvm::pruneCache looks at files of this prefix only.
std::string ProgramCache::fileOf(StringRef key) const {
  llvm::SmallString<128> file(directory);
  path::append(file, "llvmcache-" + key);
  return std::string(file);
}

/// Cuts length and bytes off the front of `data`; null if it is too short.
static std::optional<StringRef> takeField(StringRef &data) {
  if (data.size() < sizeof(uint64_t))
    return std::nullopt;
  uint64_t size = llvm::support::endian::read64le(data.data());
  data = data.drop_front(sizeof(uint64_t));
  if (data.size() < size)
    return std::nullopt;
  StringRef field = data.take_front(size);
  data = data.drop_front(size);
  return field;
}

std::optional<CompiledProgram> ProgramCache::find(StringRef key) const {
  std::string file = fileOf(key);
  std::string contents;
  try {
    contents = runtime::readFile(file, kMaxEntryBytes);
  } catch (const runtime::Error &) {
    return std::nullopt;
  }
  StringRef data = contents;
  StringRef expected = data.take_front(kDigestBytes);
  data = data.drop_front(expected.size());
  if (digest(data) != expected || takeField(data) != key)
    return std::nullopt;
  CompiledProgram program;
  std::optional<StringRef> manifest = takeField(data);
  if (!manifest)
    return std::nullopt;
  try {
    program.manifest = Manifest::fromJson(std::string_view(*manifest));
  } catch (const ManifestError &) {
    return std::nullopt;
  }
  while (std::optional<StringRef> object = takeField(data))
    program.objects.push_back(object->str());
  if (!data.empty())
    return std::nullopt;

  // What was used last is thrown out last; whether that can be noted is of no
  // matter to the caller.
  int descriptor;
  if (!fs::openFileForRead(file, descriptor)) {
    (void)fs::setLastAccessAndModificationTime(
        descriptor, std::chrono::system_clock::now());
    fs::file_t handle = fs::convertFDToNativeFile(descriptor);
    (void)fs::closeFile(handle);
  }
  return program;
}

llvm::Error ProgramCache::store(StringRef key,
                                const CompiledProgram &program) const {
  auto fail = [&](std::error_code error) {
    return llvm::createStringError(
        error, "the compiled program was not kept for the next time: '" +
                   directory + "': " + error.message() +
                   "; name another directory as PST_CACHE_DIR");
  };
  if (directory.empty())
    return fail(std::make_error_code(std::errc::no_such_file_or_directory));
  if (std::error_code error = fs::create_directories(directory))
    return fail(error);

  std::string data;
  llvm::raw_string_ostream stream(data);
  auto addField = [&](StringRef field) {
    llvm::support::endian::write<uint64_t>(stream, field.size(),
                                           llvm::endianness::little);
    stream << field;
  };
  addField(key);
  addField(program.manifest.toJson());
  for (const std::string &object : program.objects)
    addField(object);

  // The prefix is that of programs, so that what a killed process leaves is
  // thrown out in its turn.
  // Not llvm::sys::fs::TempFile, which installs handlers of signals: those are
  // the program's, of which the compiler may be a library.
  llvm::SmallString<128> file;
  int descriptor;
  if (std::error_code error =
          fs::createUniqueFile(fileOf("partial-%%%%%%%%%%"), descriptor, file))
    return fail(error);
  {
    llvm::raw_fd_ostream out(descriptor, /*shouldClose=*/true);
    out << digest(data) << data;
    out.close();
    if (std::error_code error = out.error()) {
      out.clear_error();
      (void)fs::remove(file);
      return fail(error);
    }
  }
  // Where many write at once, another may have thrown the file out already.
  if (std::error_code error = fs::rename(file, fileOf(key));
      error && error != std::errc::no_such_file_or_directory) {
    (void)fs::remove(file);
    return fail(error);
  }

  llvm::CachePruningPolicy policy;
  policy.Interval = std::chrono::seconds(0);
  policy.Expiration = std::chrono::seconds(0);
  policy.MaxSizeBytes = maxBytes;
  llvm::pruneCache(directory, policy);
  return llvm::Error::success();
}
