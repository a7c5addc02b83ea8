//===- Files.cpp - Files that appear whole or not at all ------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Runtime/Files.h"
#include "pst/Runtime/Error.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace pst::runtime;
namespace fs = std::filesystem;

/// Part of the name of everything that is not finished; a leading dot keeps it
/// out of sight.
static constexpr std::string_view kTemporaryMark = ".pst-tmp-";

void pst::runtime::throwSystemError(const fs::path &path, std::string_view what,
                                    int code) {
  std::string text = path.string() + ": cannot " + std::string(what) + ": " +
                     std::strerror(code);
  switch (code) {
  case ENOSPC:
  case EDQUOT:
    text += "; free some space, then try again";
    break;
  case EFBIG:
    text += ": a limit on the size of files is in force (ulimit -f)";
    break;
  case EROFS:
  case EACCES:
  case EPERM:
    text += "; choose a directory that you may write to";
    break;
  }
  throw Error(text);
}

fs::path pst::runtime::temporaryName(const fs::path &path) {
  static int counter = 0;
  return path.parent_path() /
         ("." + path.filename().string() + std::string(kTemporaryMark) +
          std::to_string(::getpid()) + "-" + std::to_string(counter++));
}

bool pst::runtime::isNamed(const fs::path &path) {
  std::error_code code;
  return fs::symlink_status(path, code).type() != fs::file_type::not_found;
}

std::string pst::runtime::readFile(const fs::path &path, int64_t maxBytes) {
  // Without O_NONBLOCK, opening a pipe would wait for somebody to write to it.
  int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0)
    throwSystemError(path, "read", errno);
  struct Close {
    ~Close() { ::close(descriptor); }
    int descriptor;
  } close{descriptor};
  struct stat status;
  if (::fstat(descriptor, &status) != 0)
    throwSystemError(path, "read", errno);
  if (S_ISDIR(status.st_mode))
    throwSystemError(path, "read", EISDIR);
  if (!S_ISREG(status.st_mode))
    throw Error(path.string() + ": not a regular file");
  auto tooLong = [&] {
    throw Error(path.string() + ": has more than the " +
                std::to_string(maxBytes) +
                " bytes that are read of such a "
                "file");
  };
  if (status.st_size > maxBytes)
    tooLong();
  std::string text;
  text.reserve(static_cast<size_t>(status.st_size));
  // Files of /proc have a size of 0, and any file may grow.
  for (char buffer[1 << 16];;) {
    ssize_t count = ::read(descriptor, buffer, sizeof buffer);
    if (count < 0 && errno == EINTR)
      continue;
    if (count < 0)
      throwSystemError(path, "read", errno);
    if (count == 0)
      return text;
    text.append(buffer, static_cast<size_t>(count));
    if (static_cast<int64_t>(text.size()) > maxBytes)
      tooLong();
  }
}

void pst::runtime::openStandardStreams() {
  for (int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    if (::fcntl(stream, F_GETFD) < 0 && errno == EBADF)
      ::open("/dev/null", O_RDWR); // the lowest number, which is this one
}

void pst::runtime::syncDirectory(const fs::path &directory) {
  fs::path path = directory.empty() ? "." : directory;
  int descriptor = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0)
    throwSystemError(path, "open", errno);
  int result = ::fsync(descriptor), code = errno;
  ::close(descriptor);
  // Some file systems do not flush directories, and say so.
  if (result != 0 && code != EINVAL)
    throwSystemError(path, "flush to the disk", code);
}

bool pst::runtime::isReplaceable(const fs::path &path) {
  std::error_code unknown;
  return !fs::exists(path, unknown) || fs::is_regular_file(path, unknown);
}

void pst::runtime::writeFile(const fs::path &path, std::string_view text) {
  std::error_code unknown;
  bool replaces = isReplaceable(path);
  // A link stays, and what it leads to is replaced.
  fs::path target = fs::canonical(path, unknown);
  if (unknown || !replaces)
    target = path;
  fs::path written = replaces ? temporaryName(target) : path;
  int flags = O_WRONLY | O_CLOEXEC | (replaces ? O_CREAT | O_TRUNC : 0);
  int descriptor = ::open(written.c_str(), flags, 0666);
  if (descriptor < 0)
    throwSystemError(path, "write", errno);
  auto check = [&](bool ok, const char *what) {
    if (ok)
      return;
    int code = errno;
    if (descriptor >= 0)
      ::close(descriptor);
    if (replaces)
      ::unlink(written.c_str());
    throwSystemError(path, what, code);
  };
  while (!text.empty()) {
    ssize_t count = ::write(descriptor, text.data(), text.size());
    if (count < 0 && errno == EINTR)
      continue;
    check(count >= 0, "write");
    text.remove_prefix(count);
  }
  check(!replaces || ::fsync(descriptor) == 0, "flush to the disk");
  bool closed = ::close(descriptor) == 0;
  descriptor = -1;
  check(closed, "close");
  if (!replaces)
    return;
  check(::rename(written.c_str(), target.c_str()) == 0, "rename");
  syncDirectory(target.parent_path());
}

//===----------------------------------------------------------------------===//
// Directories
//===----------------------------------------------------------------------===//

/// "a/b/" and "a/b" have the same last component.
static fs::path withoutSlash(fs::path path) {
  return path.has_filename() ? path : path.parent_path();
}

StagedDirectory::StagedDirectory(fs::path path)
    : target(withoutSlash(std::move(path))) {
  std::error_code code;
  fs::path parent = target.parent_path().empty() ? "." : target.parent_path();
  fs::create_directories(parent, code);
  if (code)
    throwSystemError(parent, "make the directory", code.value());
  removeLeftovers(parent, target.filename().string());
  staging = temporaryName(target);
  if (::mkdir(staging.c_str(), 0777) != 0)
    throwSystemError(target, "make the directory", errno);
  // The lock says that somebody is still at work here, and goes with us even if
  // we are killed.
  lock = ::open(staging.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (lock < 0 || ::flock(lock, LOCK_EX | LOCK_NB) != 0)
    throwSystemError(staging, "lock", errno);
}

StagedDirectory::~StagedDirectory() {
  discard();
  if (lock >= 0)
    ::close(lock);
}

void StagedDirectory::discard() {
  std::error_code ignored;
  if (!committed)
    fs::remove_all(staging, ignored);
}

void StagedDirectory::commit() {
  syncDirectory(staging);
  if (::renameat2(AT_FDCWD, staging.c_str(), AT_FDCWD, target.c_str(),
                  RENAME_NOREPLACE) != 0) {
    if (errno == EEXIST || errno == ENOTEMPTY) {
      // Exchanged in one step: there is never a moment without the target.
      if (::renameat2(AT_FDCWD, staging.c_str(), AT_FDCWD, target.c_str(),
                      RENAME_EXCHANGE) != 0)
        throwSystemError(target, "replace the directory", errno);
      std::error_code ignored;
      fs::remove_all(staging, ignored);
    } else if (errno == EINVAL || errno == ENOSYS) {
      // A file system without these two: the old directory goes first.
      if (fs::exists(target))
        removeDirectory(target);
      if (::rename(staging.c_str(), target.c_str()) != 0)
        throwSystemError(target, "rename to this name", errno);
    } else {
      throwSystemError(target, "rename to this name", errno);
    }
  }
  committed = true;
  syncDirectory(target.parent_path());
}

int pst::runtime::removeLeftovers(const fs::path &directory,
                                  std::string_view target) {
  std::string prefix =
      target.empty() ? "."
                     : "." + std::string(target) + std::string(kTemporaryMark);
  int count = 0;
  std::error_code code;
  for (const fs::directory_entry &entry :
       fs::directory_iterator(directory, code)) {
    std::string name = entry.path().filename().string();
    if (!name.starts_with(prefix) ||
        name.find(kTemporaryMark) == std::string::npos)
      continue;
    if (entry.is_directory()) {
      int descriptor =
          ::open(entry.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
      bool abandoned =
          descriptor >= 0 && ::flock(descriptor, LOCK_EX | LOCK_NB) == 0;
      if (descriptor >= 0)
        ::close(descriptor);
      if (!abandoned)
        continue;
    }
    std::error_code ignored;
    if (fs::remove_all(entry.path(), ignored) > 0)
      ++count;
  }
  return count;
}

void pst::runtime::removeDirectory(const fs::path &directory) {
  fs::path aside = temporaryName(withoutSlash(directory));
  if (::rename(directory.c_str(), aside.c_str()) != 0)
    throwSystemError(directory, "remove", errno);
  std::error_code code;
  fs::remove_all(aside, code);
  if (code)
    throwSystemError(directory, "remove", code.value());
}
