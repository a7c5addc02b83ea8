//===- Memory.cpp - What a run needs, and what it has used ----------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Runtime/Memory.h"

#include <cstdio>
#include <fstream>
#include <string_view>
#include <sys/mman.h>
#include <unistd.h>

using namespace pst;
using namespace pst::runtime;

/// A line such as "VmHWM:    1234 kB" of /proc/self/status, in bytes.
static int64_t statusField(std::string_view key) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(key))
      return std::stoll(line.substr(key.size())) * 1024;
  return 0;
}

int64_t pst::runtime::peakResidentBytes() { return statusField("VmHWM:"); }
int64_t pst::runtime::residentBytes() { return statusField("VmRSS:"); }

void pst::runtime::forgetPages(const void *data, int64_t bytes) {
  const uintptr_t page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  uintptr_t first = reinterpret_cast<uintptr_t>(data);
  uintptr_t begin = (first + page - 1) / page * page;
  uintptr_t end = (first + bytes) / page * page;
  if (begin < end)
    ::madvise(reinterpret_cast<void *>(begin), end - begin, MADV_DONTNEED);
}

std::string pst::runtime::formatBytes(int64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f MiB",
                static_cast<double>(bytes) / (1024.0 * 1024.0));
  return text;
}

std::string pst::runtime::formatMemoryPlan(const MemoryPlan &plan) {
  std::string text;
  auto line = [&](const char *kind, int64_t bytes, const char *what) {
    char buffer[128];
    std::snprintf(buffer, sizeof buffer, "  %-20s %14s  %s\n", kind,
                  formatBytes(bytes).c_str(), what);
    text += buffer;
  };
  text += "memory plan\n";
  line("frozen parameters", plan.frozen, "(mapped from the model's files)");
  line("trainable", plan.trainable, "");
  line("gradients", plan.gradients, "");
  line("optimizer", plan.optimizer, "(two moments)");
  line("state", plan.state,
       "(thresholds, compressed weights, keys and values)");
  line("arena", plan.arena, "");
  line("  activations", plan.activations, "");
  line("  workspace", plan.workspace, "");
  line("peak", plan.peak(), "");
  line("libraries", kLibraryBytes, "(about, beside the plan)");
  return text;
}
