//===- Memory.h - What a run needs, and what it has used --------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_RUNTIME_MEMORY_H
#define PST_RUNTIME_MEMORY_H

#include "pst/Bundle/Manifest.h"

#include <string>

namespace pst::runtime {

/// What a process that runs a bundle needs beside the plan, about: the C++
/// library, libomp, the bundle's code, the threads' stacks.
inline constexpr int64_t kLibraryBytes = 16 << 20;

/// Largest resident set of this process so far, in bytes (VmHWM).
int64_t peakResidentBytes();
/// Resident set of this process now, in bytes (VmRSS).
int64_t residentBytes();

/// Gives the whole pages of [data, data + bytes) back to the system: pages of a
/// mapped file are read again where they are needed, others become zero.
void forgetPages(const void *data, int64_t bytes);

/// The plan as lines of text, one per kind, in MiB.
std::string formatMemoryPlan(const MemoryPlan &plan);

/// "12.3 MiB".
std::string formatBytes(int64_t bytes);

} // namespace pst::runtime

#endif // PST_RUNTIME_MEMORY_H
