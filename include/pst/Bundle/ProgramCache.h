//===- ProgramCache.h - Compiled programs on disk ---------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_BUNDLE_PROGRAMCACHE_H
#define PST_BUNDLE_PROGRAMCACHE_H

#include "pst/Bundle/CompiledProgram.h"
#include "llvm/Support/Error.h"

#include <optional>

namespace pst {

/// Compiled programs on disk, by a key that tells all that they depend on.
/// Any number of processes may use one directory at once: a program is written
/// aside and renamed, and read only if it is whole.
class ProgramCache {
public:
  static constexpr uint64_t kMaxBytes = uint64_t(1) << 30;

  /// The programs in `directory`, which need not exist. After each `store`, the
  /// least recently used go until at most `maxBytes` are left.
  explicit ProgramCache(std::string directory, uint64_t maxBytes = kMaxBytes)
      : directory(std::move(directory)), maxBytes(maxBytes) {}

  /// $PST_CACHE_DIR, else $XDG_CACHE_HOME/pst, else ~/.cache/pst; empty if
  /// there is no home.
  static std::string defaultDirectory();

  /// The program of that key; nothing if there is none, or it is damaged.
  std::optional<CompiledProgram> find(llvm::StringRef key) const;

  /// Keeps a program. The error says what could not be written.
  llvm::Error store(llvm::StringRef key, const CompiledProgram &program) const;

private:
  std::string fileOf(llvm::StringRef key) const;

  std::string directory;
  uint64_t maxBytes;
};

/// Tells one build of the compiler from another: the digest of its sources,
/// and LLVM's build ids.
std::string compilerBuildId();

} // namespace pst

#endif // PST_BUNDLE_PROGRAMCACHE_H
