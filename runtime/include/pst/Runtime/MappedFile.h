//===- MappedFile.h - Files in memory ---------------------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_RUNTIME_MAPPEDFILE_H
#define PST_RUNTIME_MAPPEDFILE_H

#include <cstddef>
#include <filesystem>

namespace pst::runtime {

/// A regular file in memory, to be read. What lies past the end of a file that
/// became shorter afterwards cannot be read: the system sends SIGBUS.
class MappedFile {
public:
  /// Throws Error.
  explicit MappedFile(std::filesystem::path path);
  ~MappedFile();
  MappedFile(const MappedFile &) = delete;
  MappedFile &operator=(const MappedFile &) = delete;

  const std::filesystem::path &path() const { return filePath; }
  const std::byte *data() const { return base; }
  size_t size() const { return bytes; }
  /// Throws Error if the file is shorter by now. To be called before it is read
  /// for long; takes less than a microsecond.
  void requireWhole() const;

private:
  std::filesystem::path filePath;
  int descriptor = -1;
  const std::byte *base = nullptr;
  size_t bytes = 0;
};

/// From now on a mapped file that became shorter ends the process with a
/// sentence in the name of `program`, a literal, and the status 1, where it
/// would have ended without a word. For programs: it handles SIGBUS, and a
/// library leaves handlers alone.
void tellOfLostFiles(const char *program);

} // namespace pst::runtime

#endif // PST_RUNTIME_MAPPEDFILE_H
