//===- Machine.cpp - The threads of an emulated block ---------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Machine.h"

#include <cstdio>
#include <cstring>
#include <ucontext.h>

using namespace pst::emulator;

static constexpr size_t kStackBytes = size_t(1) << 17;
/// A block's shared memory does not begin at address 0: the system has some.
static constexpr int64_t kFirstShared = 1024;
/// What a block may have (sm_90).
static constexpr int64_t kMostShared = 227 * 1024;

void pst::emulator::fail(const std::string &message) {
  std::fprintf(stderr, "GPU emulator: %s\n", message.c_str());
  std::abort();
}

Machine::Machine()
    : window(
          static_cast<char *>(std::aligned_alloc(kSharedWindow, kSharedWindow)),
          &std::free),
      shared(window.get() + kFirstShared), async(*this), ofWarps(*this) {}

Machine &Machine::get() {
  static thread_local Machine machine;
  return machine;
}

void Machine::launch(Kernel kernel, const int64_t *arguments, int64_t blocks,
                     int64_t threads, int64_t sharedBytes) {
  if (threads % kWarp != 0 || threads <= 0 || threads > 1024)
    fail("a block must have 32, 64, ... or 1024 threads");
  if (sharedBytes > kMostShared)
    fail("a block asks for " + std::to_string(sharedBytes) +
         " bytes of shared memory; there are " + std::to_string(kMostShared));
  this->kernel = kernel;
  this->arguments = arguments;
  this->sharedBytes = sharedBytes;
  numThreads = threads;
  backwards = launches[kernel]++ % 2 != 0;
  for (int64_t i = 0; i < blocks; ++i) {
    block = backwards ? blocks - 1 - i : i;
    std::memset(shared, 0xff, sharedBytes);
    async.start(shared, sharedBytes, threads, /*eager=*/backwards);
    ofWarps.start(threads, /*eager=*/backwards);
    runBlock();
    async.finish();
    ofWarps.finish();
  }
}

void Machine::barrier() {
  meet(barriers[0], numThreads, "the barrier of the block");
}

void Machine::barrier(int64_t number, int64_t count) {
  if (number < 1 || number > 15 || count % kWarp != 0)
    fail("barriers of a part of a block have numbers from 1 to 15 and whole "
         "warps");
  meet(barriers[number], count, "a barrier of a part of the block");
}

void Machine::exchange(const LaneWords &words, const char *what,
                       const std::function<void(const LaneWords *)> &use) {
  Warp &warp = warps[running / kWarp];
  LaneWords *shown = warp.words[warp.meeting.phase % 2];
  shown[running % kWarp] = words;
  meet(warp.meeting, kWarp, what);
  use(shown);
}

void Machine::warpBarrier() {
  meet(warps[running / kWarp].meeting, kWarp, "a barrier of the warp");
}

uint64_t Machine::shuffleXor(uint64_t value, uint32_t mask) {
  int64_t other = (running % kWarp) ^ (mask % kWarp);
  uint64_t result = 0;
  exchange({value}, "a shuffle",
           [&](const LaneWords *lanes) { result = lanes[other][0]; });
  return result;
}

void Machine::checkShared(const char *begin, int64_t bytes) const {
  if (begin < shared || begin + bytes > shared + sharedBytes)
    fail("an address of shared memory is outside of the block's " +
         std::to_string(sharedBytes) + " bytes");
}

void Machine::runBlock() {
  while (int64_t(threads.size()) < numThreads) {
    threads.push_back(std::make_unique<Thread>());
    threads.back()->stack.reset(new char[kStackBytes]);
  }
  warps.assign(numThreads / kWarp, Warp());
  barriers = {};
  alive = numThreads;
  for (int64_t i = 0; i < numThreads; ++i)
    threads[i]->done = false;
  while (alive != 0) {
    uint64_t before = progress;
    runRound();
    if (progress == before && !async.deliver())
      failWaiting();
  }
}

void Machine::failWaiting() {
  std::string message = "all threads wait, and nothing will wake them:";
  for (int64_t first = 0; first < numThreads;) {
    auto state = [&](int64_t i) {
      return threads[i]->done ? " have ended"
                              : " wait for " + (*threads[i]->waiting)();
    };
    std::string common = state(first);
    int64_t end = first + 1;
    while (end < numThreads && state(end) == common)
      ++end;
    message += "\n  threads " + std::to_string(first) + " to " +
               std::to_string(end - 1) + common;
    first = end;
  }
  fail(message);
}

/// Every thread that can goes on, until it waits or ends.
void Machine::runRound() {
  visited = 0;
  if (!_setjmp(scheduler))
    runNext();
}

/// From thread to thread; back to the scheduler after the round's last.
void Machine::runNext() {
  while (visited < numThreads) {
    running = backwards ? numThreads - 1 - visited : visited;
    ++visited;
    Thread &thread = *threads[running];
    if (!thread.isReady())
      continue;
    if (thread.started)
      _longjmp(thread.resume, 1);
    start(thread);
  }
  _longjmp(scheduler, 1);
}

void Machine::start(Thread &thread) {
  thread.started = true;
  ucontext_t context;
  getcontext(&context);
  context.uc_stack.ss_sp = thread.stack.get();
  // Stacks are whole pages apart; their tops should not share a cache's sets.
  context.uc_stack.ss_size = kStackBytes - running % 16 * 256;
  context.uc_link = nullptr;
  makecontext(&context, &Machine::threadMain, 0);
  setcontext(&context);
  fail("a thread could not be started");
}

/// Lives as long as the machine: runs one thread of the GPU after another.
void Machine::threadMain() {
  Machine &machine = get();
  int64_t self = machine.running;
  for (;;) {
    machine.kernel(machine.arguments, machine.block, self, machine.shared);
    machine.threads[self]->done = true;
    --machine.alive;
    ++machine.progress;
    machine.yield();
  }
}

void Machine::yield() {
  if (!_setjmp(threads[running]->resume))
    runNext();
}

void Machine::waitUntil(const std::function<bool()> &condition,
                        const std::function<std::string()> &what) {
  if (!condition()) {
    Thread &thread = *threads[running];
    thread.condition = &condition;
    thread.waiting = &what;
    yield();
    thread.condition = nullptr;
    thread.waiting = nullptr;
  }
  ++progress;
}

/// The last of `count` threads to come sets all of them free.
void Machine::meet(Meeting &meeting, int64_t count, const char *what) {
  ++progress;
  if (++meeting.arrived == count) {
    meeting.arrived = 0;
    ++meeting.phase;
    return;
  }
  const std::function<std::string()> waiting = [what] {
    return what + std::string(", which others do not reach");
  };
  Thread &thread = *threads[running];
  thread.meeting = &meeting;
  thread.phase = meeting.phase;
  thread.waiting = &waiting;
  yield();
  thread.meeting = nullptr;
  thread.waiting = nullptr;
  ++progress;
}
