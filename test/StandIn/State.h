//===- State.h - What the stand-in knows of a process -----------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_TEST_STANDIN_STATE_H
#define PST_TEST_STANDIN_STATE_H

#include "../../runtime/lib/Cuda/Driver.h"
#include "Ptx.h"

#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <set>

namespace standin {

using namespace pst::runtime::cuda;

/// Ends the process: a real driver would have failed, or worse, not.
[[noreturn]] void fail(const std::string &message);

struct LoadedModule {
  std::map<std::string, KernelText> kernels;
  std::map<std::string, std::unique_ptr<struct LoadedFunction>> functions;
};

struct LoadedFunction {
  std::string name;
  KernelText text;
  int64_t allowedShared = 48 << 10;
};

/// Work that was given to a stream, and not done yet.
using Work = std::function<void()>;

struct StreamState {
  std::deque<Work> pending;
  uint64_t given = 0, done = 0;
  bool capturing = false;
  std::vector<Work> captured;
};

/// A point in a stream's work.
struct EventState {
  StreamState *stream = nullptr;
  uint64_t at = 0;
  bool timing = true;
};

struct GraphState {
  std::vector<Work> work;
};

struct State {
  static State &get();

  // As $PST_STANDIN has them: "version=12000 capability=80 memory=BYTES ...".
  int64_t setting(const std::string &key, int64_t otherwise) const;

  /// Notes the call, and that all is well for it to be made.
  void enter(const char *name, bool needsContext = true,
             bool mayCapture = false);
  /// Adds a line to $PST_STANDIN_LOG.
  static void log(const std::string &line);

  /// Whether [address, address + bytes) lies in one live allocation.
  bool inDevice(uint64_t address, uint64_t bytes) const;
  void requireDevice(uint64_t address, uint64_t bytes, const char *what) const;
  void checkCanaries() const;
  /// What a wait ends with: an error, once a kernel has failed ("broken=1").
  Result waited();

  StreamState &stream(Stream handle);
  /// Does the work of a stream up to a point, and before it what it waits for.
  void drain(StreamState &stream, uint64_t to = UINT64_MAX);
  void drainAll();
  /// Records, or queues.
  void give(Stream handle, Work work);

  std::recursive_mutex mutex;
  bool initialized = false;
  int64_t contexts = 0;
  bool current = false;
  int64_t used = 0;
  bool broken = false;
  std::map<uint64_t, uint64_t> device;   // address, bytes
  std::map<const void *, size_t> pinned; // address, bytes
  std::map<LoadedModule *, std::unique_ptr<LoadedModule>> modules;
  std::map<StreamState *, std::unique_ptr<StreamState>> streams;
  // Those that are always there: of the process (handles 0 and 1), and of the
  // thread (2). Ours do not wait for them by themselves (cuStreamCreate).
  StreamState defaults[2];
  std::map<EventState *, std::unique_ptr<EventState>> events;
  std::map<GraphState *, std::unique_ptr<GraphState>> graphs, executables;
  std::map<std::string, int64_t> calls; // by name
};

/// Runs a kernel on the CPU ($PST_STANDIN_KERNELS), if there is one to run.
void execute(const std::string &kernel, const std::vector<int64_t> &arguments,
             int64_t blocks, int64_t threads, int64_t dynamicShared);

} // namespace standin

#endif // PST_TEST_STANDIN_STATE_H
