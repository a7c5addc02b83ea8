//===- Files.h - Files that appear whole or not at all ----------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_RUNTIME_FILES_H
#define PST_RUNTIME_FILES_H

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace pst::runtime {

/// The name beside `path` under which it is written before it is renamed.
std::filesystem::path temporaryName(const std::filesystem::path &path);

/// More than any description of a model, index or program has.
inline constexpr int64_t kMaxTextBytes = int64_t{256} << 20;

/// Whole text of a regular file: of a pipe or a device, one might wait for
/// ever. Throws Error, also if it is longer than `maxBytes`.
std::string readFile(const std::filesystem::path &path,
                     int64_t maxBytes = kMaxTextBytes);

/// Whether there is anything of that name, a link that leads nowhere included:
/// opening it says what is wrong.
bool isNamed(const std::filesystem::path &path);

/// Whether a file may be renamed to this name: nothing has it, or a regular
/// file does. A file in the place of a pipe or a device, as /dev/null, would be
/// everyone's loss.
bool isReplaceable(const std::filesystem::path &path);

/// Writes aside, flushes, renames; to a pipe or a device, writes. Throws Error.
void writeFile(const std::filesystem::path &path, std::string_view text);

/// Gives standard streams that are closed to /dev/null. A program calls it
/// first: the next file opened would be taken for the stream.
void openStandardStreams();

/// Flushes the entries of a directory to the disk. Throws Error.
void syncDirectory(const std::filesystem::path &directory);

/// "FILE: cannot WHAT: strerror(code)", with what to do about it.
[[noreturn]] void throwSystemError(const std::filesystem::path &path,
                                   std::string_view what, int code);

/// A directory that is filled aside and takes its final name at once.
class StagedDirectory {
public:
  /// Makes an empty directory beside `target`, after removing what killed
  /// processes left of earlier ones. Throws Error.
  explicit StagedDirectory(std::filesystem::path target);
  /// Removes it, unless it was committed.
  ~StagedDirectory();
  StagedDirectory(const StagedDirectory &) = delete;
  StagedDirectory &operator=(const StagedDirectory &) = delete;

  /// Where to write.
  const std::filesystem::path &path() const { return staging; }
  /// Renames to the target, in place of a directory that may lie there. The
  /// files in it must have been flushed. Throws Error.
  void commit();
  /// Removes it now, unless it was committed.
  void discard();

private:
  std::filesystem::path target, staging;
  int lock = -1;
  bool committed = false;
};

/// Removes from `directory` what killed processes left of staged files and
/// directories for `target` (a file name), or of all targets if it is empty.
/// Returns how many.
int removeLeftovers(const std::filesystem::path &directory,
                    std::string_view target = {});

/// Renames, then removes a directory, so that no half of it is seen under its
/// name. Throws Error.
void removeDirectory(const std::filesystem::path &directory);

} // namespace pst::runtime

#endif // PST_RUNTIME_FILES_H
