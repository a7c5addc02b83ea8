//===- Machine.h - The threads of an emulated block -------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_LIB_EMULATOR_MACHINE_H
#define PST_LIB_EMULATOR_MACHINE_H

#include "AsyncUnits.h"
#include "WarpUnits.h"

#include <array>
#include <csetjmp>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace pst::emulator {

inline constexpr int64_t kWarp = 32;

/// The function of one thread, as -pst-emulate-launches makes it.
using Kernel = void (*)(const int64_t *arguments, int64_t block, int64_t thread,
                        void *shared);

/// What a lane shows the others of its warp.
using LaneWords = std::array<uint64_t, 3>;

/// Ends the program: what a GPU would do is not known, or not defined.
[[noreturn]] void fail(const std::string &message);

/// Threads of which each waits for the last to come.
struct Meeting {
  int64_t arrived = 0;
  uint64_t phase = 0; ///< how often the last has come
};

/// A thread of the GPU: a stack, and where on it to go on.
struct Thread {
  bool started = false, done = true;
  /// What it waits for, and how that is called; null if it runs.
  const Meeting *meeting = nullptr;
  uint64_t phase; ///< of the meeting, when it came
  const std::function<bool()> *condition = nullptr;
  const std::function<std::string()> *waiting = nullptr;
  std::jmp_buf resume;
  std::unique_ptr<char[]> stack;

  /// Whether it runs if it is its turn.
  bool isReady() const {
    if (done)
      return false;
    return meeting ? meeting->phase != phase : !condition || (*condition)();
  }
};

/// Runs one block at a time.
class Machine {
public:
  static Machine &get();

  void launch(Kernel kernel, const int64_t *arguments, int64_t blocks,
              int64_t threads, int64_t sharedBytes);

  /// Waits until all threads of the block are here.
  void barrier();
  /// Waits until `count` threads are at the barrier of this number.
  void barrier(int64_t number, int64_t count);
  /// Waits until all lanes of the warp are here.
  void warpBarrier();
  uint64_t shuffleXor(uint64_t value, uint32_t mask);
  /// All lanes of the warp come with their words; `use` sees those of all.
  void exchange(const LaneWords &words, const char *what,
                const std::function<void(const LaneWords *)> &use);

  /// The other threads run until the condition holds, which they, or the
  /// asynchronous units, bring about.
  void waitUntil(const std::function<bool()> &condition,
                 const std::function<std::string()> &what);

  /// The thread that runs.
  int64_t thread() const { return running; }
  AsyncUnits &units() { return async; }
  WarpUnits &warpUnits() { return ofWarps; }
  /// Ends the program if some of the bytes are not the block's.
  void checkShared(const char *begin, int64_t bytes) const;

private:
  /// What lanes show at one meeting, and at the next: who comes to the one
  /// after that has seen the first.
  struct Warp {
    LaneWords words[2][kWarp];
    Meeting meeting;
  };

  Machine();
  void runBlock();
  void runRound();
  // These leave the stack that they are on without a return. The address
  // sanitizer would take what it noted of their frames for those of calls to
  // come.
#define PST_LEAVES_STACK __attribute__((no_sanitize("address")))
  PST_LEAVES_STACK [[noreturn]] void runNext();
  PST_LEAVES_STACK [[noreturn]] void start(Thread &thread);
  PST_LEAVES_STACK void yield();
#undef PST_LEAVES_STACK
  void meet(Meeting &meeting, int64_t count, const char *what);
  [[noreturn]] void failWaiting();
  static void threadMain();

  Kernel kernel;
  const int64_t *arguments;
  int64_t block, running; // now
  int64_t numThreads;     // of a block
  int64_t visited, alive; // of them, in this round and at all
  bool backwards;
  std::array<Meeting, 16> barriers; ///< by number; 0 is that of all threads
  uint64_t progress = 0;
  std::vector<std::unique_ptr<Thread>> threads;
  std::vector<Warp> warps;
  std::jmp_buf scheduler;
  std::map<Kernel, int64_t> launches;
  /// The window of shared addresses, and what the kernel has of it.
  std::unique_ptr<char, decltype(&std::free)> window;
  char *shared;
  int64_t sharedBytes = 0;
  AsyncUnits async;
  WarpUnits ofWarps;
};

} // namespace pst::emulator

#endif // PST_LIB_EMULATOR_MACHINE_H
