//===- Emulator.cpp - Runs GPU kernels on the CPU -------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Emulator/Emulator.h"

#include <csetjmp>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <new>
#include <ucontext.h>

namespace {

constexpr int64_t kWarp = 32;
constexpr size_t kStackBytes = size_t(1) << 17;

/// The function of one thread, as -pst-emulate-launches makes it.
using Kernel = void (*)(const int64_t *arguments, int64_t block, int64_t thread,
                        void *shared);

[[noreturn]] void fail(const char *message) {
  std::fprintf(stderr, "GPU emulator: %s\n", message);
  std::abort();
}

/// A thread of the GPU: a stack, and where on it to go on.
struct Thread {
  std::unique_ptr<char[]> stack;
  ucontext_t start;
  std::jmp_buf resume;
  bool started = false, done = true;
};

struct Warp {
  uint64_t values[kWarp];
  int64_t arrived = 0;
  uint64_t phase = 0;
};

/// Runs one block at a time.
class Machine {
public:
  static Machine &get() {
    static thread_local Machine machine;
    return machine;
  }

  void launch(Kernel kernel, const int64_t *arguments, int64_t blocks,
              int64_t threads, int64_t sharedBytes) {
    if (threads % kWarp != 0 || threads <= 0 || threads > 1024)
      fail("a block must have 32, 64, ... or 1024 threads");
    this->kernel = kernel;
    this->arguments = arguments;
    backwards = launches[kernel]++ % 2 != 0;
    std::unique_ptr<char, decltype(&std::free)> memory(
        static_cast<char *>(
            std::aligned_alloc(1024, (sharedBytes + 1024) / 1024 * 1024)),
        &std::free);
    shared = memory.get();
    for (int64_t i = 0; i < blocks; ++i) {
      block = backwards ? blocks - 1 - i : i;
      std::memset(shared, 0xff, sharedBytes);
      runBlock(threads);
    }
  }

  /// Waits until all threads of the block are here.
  void barrier() { meet(arrived, phase, numThreads); }

  uint64_t shuffleXor(uint64_t value, uint32_t mask) {
    Warp &warp = warps[running / kWarp];
    warp.values[running % kWarp] = value;
    meet(warp.arrived, warp.phase, kWarp);
    uint64_t result = warp.values[(running % kWarp) ^ (mask % kWarp)];
    meet(warp.arrived, warp.phase, kWarp);
    return result;
  }

private:
  void runBlock(int64_t count) {
    numThreads = count;
    while (int64_t(threads.size()) < count) {
      threads.push_back(std::make_unique<Thread>());
      threads.back()->stack.reset(new char[kStackBytes]);
    }
    warps.assign(count / kWarp, Warp());
    arrived = 0;
    for (int64_t i = 0; i < count; ++i)
      threads[i]->done = false;
    alive = count;
    while (alive) {
      uint64_t before = progress;
      for (int64_t i = 0; i < count; ++i) {
        running = backwards ? count - 1 - i : i;
        if (!threads[running]->done)
          resume(*threads[running]);
      }
      if (alive && progress == before)
        fail("all threads of a block wait, and nothing will wake them: a "
             "barrier that only some of them reach");
    }
  }

  void resume(Thread &thread) {
    if (_setjmp(scheduler))
      return;
    if (thread.started)
      _longjmp(thread.resume, 1);
    thread.started = true;
    getcontext(&thread.start);
    thread.start.uc_stack.ss_sp = thread.stack.get();
    thread.start.uc_stack.ss_size = kStackBytes;
    thread.start.uc_link = nullptr;
    makecontext(&thread.start, &Machine::threadMain, 0);
    setcontext(&thread.start);
  }

  /// Lives as long as the machine: runs one thread of the GPU after another.
  static void threadMain() {
    Machine &machine = get();
    int64_t self = machine.running;
    for (;;) {
      machine.kernel(machine.arguments, machine.block, self, machine.shared);
      machine.threads[self]->done = true;
      --machine.alive;
      ++machine.progress;
      machine.yield(self);
    }
  }

  void yield(int64_t self) {
    if (!_setjmp(threads[self]->resume))
      _longjmp(scheduler, 1);
  }

  /// The last of `count` threads to come sets all of them free.
  void meet(int64_t &arrived, uint64_t &phase, int64_t count) {
    int64_t self = running;
    ++progress;
    if (++arrived == count) {
      arrived = 0;
      ++phase;
      return;
    }
    // Other threads' code changes it, in what looks like this call.
    const volatile uint64_t &current = phase;
    const uint64_t own = current;
    while (current == own)
      yield(self);
  }

  Kernel kernel;
  const int64_t *arguments;
  int64_t block, numThreads, alive, running;
  char *shared;
  bool backwards;
  int64_t arrived;
  uint64_t phase = 0, progress = 0;
  std::vector<std::unique_ptr<Thread>> threads;
  std::vector<Warp> warps;
  std::jmp_buf scheduler;
  std::map<Kernel, int64_t> launches;
};

} // namespace

extern "C" {
static void pst_emulate_launch(Kernel kernel, const int64_t *arguments,
                               int64_t blocks, int64_t threads,
                               int64_t sharedBytes) {
  Machine::get().launch(kernel, arguments, blocks, threads, sharedBytes);
}
static void pst_emulate_barrier() { Machine::get().barrier(); }
static uint64_t pst_emulate_shuffle_xor(uint64_t value, uint32_t mask) {
  return Machine::get().shuffleXor(value, mask);
}
}

std::vector<std::pair<std::string_view, void *>> pst::emulatorSymbols() {
  auto address = [](auto *function) {
    return reinterpret_cast<void *>(function);
  };
  return {{"pst_emulate_launch", address(&pst_emulate_launch)},
          {"pst_emulate_barrier", address(&pst_emulate_barrier)},
          {"pst_emulate_shuffle_xor", address(&pst_emulate_shuffle_xor)}};
}
