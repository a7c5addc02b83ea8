//===- MappedFile.cpp - Files in memory -----------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Runtime/MappedFile.h"
#include "pst/Runtime/Error.h"
#include "pst/Runtime/Files.h"

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

using namespace pst::runtime;
namespace fs = std::filesystem;

/// What the handler of SIGBUS finds an address in. A handler may take no lock
/// and no memory; of more files than these it says nothing.
static std::array<std::atomic<const MappedFile *>, 1024> allMapped;

static void replaceInAll(const MappedFile *from, const MappedFile *to) {
  for (std::atomic<const MappedFile *> &slot : allMapped) {
    const MappedFile *expected = from;
    if (slot.compare_exchange_strong(expected, to))
      return;
  }
}

MappedFile::MappedFile(fs::path path) : filePath(std::move(path)) {
  // Without O_NONBLOCK, opening a pipe would wait for somebody to write to it.
  descriptor = ::open(filePath.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0)
    throwSystemError(filePath, "open", errno);
  struct stat status;
  bool regular = false;
  int code = 0;
  if (::fstat(descriptor, &status) != 0) {
    code = errno;
  } else if (regular = S_ISREG(status.st_mode); regular && status.st_size > 0) {
    bytes = static_cast<size_t>(status.st_size);
    void *mapping =
        ::mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE, descriptor, 0);
    if (mapping == MAP_FAILED)
      code = errno;
    else
      base = static_cast<const std::byte *>(mapping);
  }
  if (code || !regular)
    ::close(descriptor);
  if (code)
    throwSystemError(filePath, "map", code);
  if (!regular)
    throw Error(filePath.string() + ": not a regular file");
  replaceInAll(nullptr, this);
}

MappedFile::~MappedFile() {
  replaceInAll(this, nullptr);
  if (base)
    ::munmap(const_cast<std::byte *>(base), bytes);
  ::close(descriptor);
}

void MappedFile::requireWhole() const {
  struct stat status;
  if (::fstat(descriptor, &status) != 0)
    throwSystemError(filePath, "read", errno);
  if (static_cast<size_t>(status.st_size) < bytes)
    throw Error(filePath.string() +
                ": the file became shorter while it was in "
                "use: it had " +
                std::to_string(bytes) + " bytes, and has " +
                std::to_string(status.st_size));
}

static const char *programName = "";

extern "C" {
static void tellOfLostFile(int number, siginfo_t *info, void *) {
  auto at = static_cast<const std::byte *>(info->si_addr);
  auto piece = [](const char *text) {
    return iovec{const_cast<char *>(text), std::strlen(text)};
  };
  for (const std::atomic<const MappedFile *> &slot : allMapped) {
    const MappedFile *file = slot.load();
    if (!file || at < file->data() || at >= file->data() + file->size())
      continue;
    // All threads of a product read the file: the first one tells, the others
    // wait for the end.
    static std::atomic_flag isTold;
    while (isTold.test_and_set())
      ::pause();
    iovec line[] = {piece(programName), piece(": error: "),
                    piece(file->path().c_str()),
                    piece(": the file became shorter while it was in use, or "
                          "its disk failed; checkpoints written before are "
                          "whole\n")};
    // Nothing can be done where nobody hears it.
    [[maybe_unused]] auto ignored = ::writev(2, line, std::size(line));
    ::_exit(1);
  }
  // Of something else: as without a handler, when it happens again.
  ::signal(number, SIG_DFL);
}
}

void pst::runtime::tellOfLostFiles(const char *program) {
  programName = program;
  struct sigaction action = {};
  action.sa_sigaction = tellOfLostFile;
  action.sa_flags = SA_SIGINFO;
  ::sigaction(SIGBUS, &action, nullptr);
}
