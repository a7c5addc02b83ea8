//===- State.cpp - What the stand-in knows of a process -------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "State.h"
#include "pst/Emulator/Emulator.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <sstream>
#include <unistd.h>

using namespace standin;

void standin::fail(const std::string &message) {
  std::fprintf(stderr, "driver stand-in: %s\n", message.c_str());
  std::fflush(nullptr);
  std::abort();
}

/// Bytes around an allocation that nobody may write.
static constexpr uint64_t kCanary = 256;
static constexpr unsigned char kCanaryByte = 0xc5;

/// What is left at the end was forgotten.
static void reportLeaks() {
  State &state = State::get();
  if (!state.setting("leaks", 1))
    return;
  std::string left;
  auto count = [&](const char *what, size_t number) {
    if (number)
      left += " " + std::to_string(number) + " " + what;
  };
  count("device allocations", state.device.size());
  count("pinned allocations", state.pinned.size());
  count("modules", state.modules.size());
  count("streams", state.streams.size());
  count("events", state.events.size());
  count("graphs", state.graphs.size() + state.executables.size());
  count("contexts", static_cast<size_t>(state.contexts));
  if (left.empty())
    return;
  std::fprintf(stderr, "driver stand-in: never freed:%s\n", left.c_str());
  std::fflush(nullptr);
  ::_exit(99);
}

State &State::get() {
  static State *state = [] {
    std::atexit(reportLeaks);
    return new State; // outlives whatever runs at exit
  }();
  return *state;
}

int64_t State::setting(const std::string &key, int64_t otherwise) const {
  const char *text = std::getenv("PST_STANDIN");
  std::string all = std::string(" ") + (text ? text : "");
  size_t at = all.find(" " + key + "=");
  return at == std::string::npos
             ? otherwise
             : std::strtoll(all.c_str() + at + key.size() + 2, nullptr, 10);
}

void State::log(const std::string &line) {
  if (const char *path = std::getenv("PST_STANDIN_LOG"))
    if (FILE *file = std::fopen(path, "a")) {
      std::fprintf(file, "%s\n", line.c_str());
      std::fclose(file);
    }
}

void State::enter(const char *name, bool needsContext, bool mayCapture) {
  ++calls[name];
  log(name);
  if (!initialized)
    fail(std::string(name) + " before cuInit");
  if (needsContext && !(contexts > 0 && current))
    fail(std::string(name) + " without a current context");
  for (const auto &[key, stream] : streams)
    if (stream->capturing && !mayCapture)
      fail(std::string(name) + " while a stream is being captured");
}

bool State::inDevice(uint64_t address, uint64_t bytes) const {
  auto after = device.upper_bound(address);
  if (after == device.begin())
    return false;
  auto [base, size] = *std::prev(after);
  return address - base <= size && bytes <= size - (address - base);
}

void State::requireDevice(uint64_t address, uint64_t bytes,
                          const char *what) const {
  if (!inDevice(address, bytes))
    fail(std::string(what) + ": " + std::to_string(bytes) +
         " bytes are in no live allocation of the device");
}

void State::checkCanaries() const {
  for (auto [base, size] : device)
    for (uint64_t i = 0; i < kCanary; ++i)
      if (*reinterpret_cast<unsigned char *>(base - 1 - i) != kCanaryByte ||
          *reinterpret_cast<unsigned char *>(base + size + i) != kCanaryByte)
        fail("something wrote outside of an allocation of " +
             std::to_string(size) + " bytes");
}

Result State::waited() {
  constexpr Result kIllegalAddress = 700;
  checkCanaries();
  broken &= setting("broken", 0) != 0;
  return broken ? kIllegalAddress : kSuccess;
}

StreamState &State::stream(Stream handle) {
  if (auto number = reinterpret_cast<uintptr_t>(handle); number <= 2)
    return defaults[number / 2];
  auto found = streams.find(reinterpret_cast<StreamState *>(handle));
  if (found == streams.end())
    fail("a stream that does not exist, or no longer");
  return *found->second;
}

void State::drain(StreamState &stream, uint64_t to) {
  while (stream.done < to && !stream.pending.empty()) {
    Work work = std::move(stream.pending.front());
    stream.pending.pop_front();
    ++stream.done;
    work();
  }
}

void State::drainAll() {
  for (auto &[key, stream] : streams)
    drain(*stream);
  for (StreamState &stream : defaults)
    drain(stream);
  checkCanaries();
}

void State::give(Stream handle, Work work) {
  StreamState &to = stream(handle);
  if (to.capturing) {
    to.captured.push_back(std::move(work));
    return;
  }
  ++to.given;
  to.pending.push_back(std::move(work));
}

/// The libraries of emulated kernels. They call the emulator, which is in this
/// library, by name.
static const std::vector<void *> &kernelLibraries() {
  static const std::vector<void *> libraries = [] {
    std::vector<void *> found;
    const char *paths = std::getenv("PST_STANDIN_KERNELS");
    Dl_info self;
    if (paths &&
        (!::dladdr(reinterpret_cast<void *>(&kernelLibraries), &self) ||
         !::dlopen(self.dli_fname, RTLD_NOW | RTLD_GLOBAL | RTLD_NOLOAD)))
      fail("cannot find itself");
    std::stringstream list(paths ? paths : "");
    for (std::string path; std::getline(list, path, ':');) {
      found.push_back(::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL));
      if (!found.back())
        fail(std::string("cannot load the kernels: ") + ::dlerror());
    }
    return found;
  }();
  return libraries;
}

void standin::execute(const std::string &kernel,
                      const std::vector<int64_t> &arguments, int64_t blocks,
                      int64_t threads, int64_t dynamicShared) {
  if (kernelLibraries().empty())
    return;
  using Thread = void (*)(const int64_t *, int64_t, int64_t, void *);
  Thread thread = nullptr;
  const int64_t *shared = nullptr;
  for (void *library : kernelLibraries()) {
    if (thread && shared)
      break;
    thread = reinterpret_cast<Thread>(
        ::dlsym(library, (kernel + "_thread").c_str()));
    shared = static_cast<const int64_t *>(
        ::dlsym(library, (kernel + "_shared").c_str()));
  }
  if (!thread || !shared)
    fail("the emulated kernels lack " + kernel);
  using Launch = void (*)(Thread, const int64_t *, int64_t, int64_t, int64_t);
  static const auto launch = [] {
    for (auto [name, address] : pst::emulatorSymbols())
      if (name == "pst_emulate_launch")
        return reinterpret_cast<Launch>(address);
    fail("the emulator launches no kernels");
  }();
  launch(thread, arguments.data(), blocks, threads, *shared + dynamicShared);
}
