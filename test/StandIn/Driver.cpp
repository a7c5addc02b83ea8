//===- Driver.cpp - A driver for machines without one ---------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Exports those functions of NVIDIA's driver that the runtime uses, and makes
// sure that they are used as the driver's manual says: order, sizes, lifetimes.
// A misuse ends the process. Work on a stream is done as late as the program
// allows: at the next wait. Memory of the device is this process's, begins as
// NaN and has canaries around it.
//
// $PST_STANDIN: "KEY=NUMBER ..." with version (13000), capability (90), devices
// (1), memory (bytes; 0: all), jit (0: the driver rejects the code), broken (1:
// kernels fail when they run), leaks (0: do not complain at the end).
// $PST_STANDIN_LOG: a file to which the name of each call is added, below that
// of a copy "give BYTES bytes", and "run KERNEL" when a kernel's turn has come.
// $PST_STANDIN_KERNELS: kernels for this CPU (pst-compile --emit=emulation),
// one or more libraries, separated by colons. Without them launches are
// checked, and compute nothing.
//
//===----------------------------------------------------------------------===//

#include "Handles.h"

#include <cstdlib>
#include <cstring>
#include <utility>

using namespace standin;

namespace {

constexpr Result kNotFound = 500, kNoBinary = 218, kIllegalAddress = 700;
constexpr uint64_t kCanary = 256;
constexpr unsigned char kCanaryByte = 0xc5;

/// A copy between two memories, one of which may be the device's.
Result copy(const char *name, void *to, const void *from, size_t bytes,
            bool toDevice, bool fromDevice, Stream stream) {
  State &state = enter(name, true, true);
  State::log("give " + std::to_string(bytes) + " bytes");
  auto check = [=] {
    State &state = State::get();
    if (toDevice)
      state.requireDevice(reinterpret_cast<uint64_t>(to), bytes, name);
    if (fromDevice)
      state.requireDevice(reinterpret_cast<uint64_t>(from), bytes, name);
  };
  check();
  bool usesHost = !toDevice || !fromDevice;
  const void *host = toDevice ? from : to;
  if (usesHost) {
    auto after = state.pinned.upper_bound(host);
    bool pinned = after != state.pinned.begin() &&
                  static_cast<const char *>(host) + bytes <=
                      static_cast<const char *>(std::prev(after)->first) +
                          std::prev(after)->second;
    if (!pinned) {
      // From pageable memory the driver copies at once.
      if (state.stream(stream).capturing)
        fail(std::string(name) + ": captured a copy of pageable memory");
      state.drain(state.stream(stream));
    }
  }
  state.give(stream, [=] {
    check();
    std::memmove(to, from, bytes);
  });
  return kSuccess;
}

} // namespace

extern "C" {

Result cuInit(unsigned flags) {
  State &state = State::get();
  ++state.calls["cuInit"];
  if (flags != 0)
    return kInvalidValue;
  state.initialized = true;
  return state.setting("devices", 1) ? kSuccess : kNoDevice;
}

Result cuDriverGetVersion(int *version) {
  *version = int(enter("cuDriverGetVersion", false).setting("version", 13000));
  return kSuccess;
}

Result cuGetErrorName(Result error, const char **text) {
  switch (error) {
  case kInvalidValue:
    *text = "CUDA_ERROR_INVALID_VALUE";
    return kSuccess;
  case kOutOfMemory:
    *text = "CUDA_ERROR_OUT_OF_MEMORY";
    return kSuccess;
  case kNotFound:
    *text = "CUDA_ERROR_NOT_FOUND";
    return kSuccess;
  case kNoBinary:
    *text = "CUDA_ERROR_INVALID_PTX";
    return kSuccess;
  case kIllegalAddress:
    *text = "CUDA_ERROR_ILLEGAL_ADDRESS";
    return kSuccess;
  }
  return kInvalidValue;
}

Result cuGetErrorString(Result error, const char **text) {
  switch (error) {
  case kInvalidValue:
    *text = "invalid argument";
    return kSuccess;
  case kOutOfMemory:
    *text = "out of memory";
    return kSuccess;
  case kNotFound:
    *text = "named symbol not found";
    return kSuccess;
  case kNoBinary:
    *text = "a PTX JIT compilation failed";
    return kSuccess;
  case kIllegalAddress:
    *text = "an illegal memory access was encountered";
    return kSuccess;
  }
  return kInvalidValue;
}

Result cuDeviceGetCount(int *count) {
  *count = int(enter("cuDeviceGetCount", false).setting("devices", 1));
  return kSuccess;
}

Result cuDeviceGet(DeviceHandle *device, int ordinal) {
  State &state = enter("cuDeviceGet", false);
  *device = ordinal;
  return ordinal < state.setting("devices", 1) ? kSuccess : kInvalidValue;
}

Result cuDeviceGetName(char *name, int length, DeviceHandle) {
  enter("cuDeviceGetName", false);
  std::strncpy(name, "stand-in", static_cast<size_t>(length));
  return kSuccess;
}

Result cuDeviceGetAttribute(int *value, int attribute, DeviceHandle) {
  State &state = enter("cuDeviceGetAttribute", false);
  int64_t capability = state.setting("capability", 90);
  switch (attribute) {
  case kComputeCapabilityMajor:
    *value = int(capability / 10);
    return kSuccess;
  case kComputeCapabilityMinor:
    *value = int(capability % 10);
    return kSuccess;
  case kMultiprocessorCount:
    *value = 132;
    return kSuccess;
  }
  return kInvalidValue;
}

Result cuDevicePrimaryCtxRetain(Context *context, DeviceHandle) {
  State &state = enter("cuDevicePrimaryCtxRetain", false);
  ++state.contexts;
  *context = reinterpret_cast<Context>(&state);
  return kSuccess;
}

Result cuDevicePrimaryCtxRelease_v2(DeviceHandle) {
  State &state = enter("cuDevicePrimaryCtxRelease_v2", false);
  if (--state.contexts < 0)
    fail("the context was released more often than retained");
  if (state.contexts == 0)
    state.current = false;
  return kSuccess;
}

Result cuCtxSetCurrent(Context context) {
  State &state = enter("cuCtxSetCurrent", false, true);
  if (state.contexts <= 0 || context != reinterpret_cast<Context>(&state))
    fail("cuCtxSetCurrent of no live context");
  state.current = true;
  return kSuccess;
}

Result cuModuleLoadDataEx(Module *module, const void *image, unsigned count,
                          int *options, void **values) {
  State &state = enter("cuModuleLoadDataEx");
  if (!state.setting("jit", 1)) {
    static const char log[] = "ptxas error   : Unexpected instruction 'wgmma'";
    for (unsigned i = 0; i < count; ++i)
      if (options[i] == kJitErrorLog)
        std::strcpy(static_cast<char *>(values[i]), log);
    return kNoBinary;
  }
  LoadedModule *made = create(state.modules);
  made->kernels = parseKernels(static_cast<const char *>(image));
  *module = reinterpret_cast<Module>(made);
  return kSuccess;
}

Result cuModuleUnload(Module module) {
  return destroy("cuModuleUnload", State::get().modules, module);
}

Result cuModuleGetFunction(Function *function, Module handle,
                           const char *name) {
  State &state = enter("cuModuleGetFunction");
  LoadedModule &module = lookUp(state.modules, handle, "a module");
  auto text = module.kernels.find(name);
  if (text == module.kernels.end())
    return kNotFound;
  auto &made = module.functions[name];
  if (!made)
    made = std::make_unique<LoadedFunction>(
        LoadedFunction{name, text->second, 48 << 10});
  *function = reinterpret_cast<Function>(made.get());
  return kSuccess;
}

Result cuFuncSetAttribute(Function function, int attribute, int value) {
  State &state = enter("cuFuncSetAttribute");
  int64_t limit = state.setting("capability", 90) >= 90 ? 227 << 10 : 163 << 10;
  if (attribute != kMaxDynamicSharedBytes || value > limit)
    return kInvalidValue;
  reinterpret_cast<LoadedFunction *>(function)->allowedShared = value;
  return kSuccess;
}

Result cuMemGetInfo_v2(size_t *free, size_t *total) {
  State &state = enter("cuMemGetInfo_v2");
  *total = size_t(state.setting("memory", int64_t(1) << 37));
  *free = *total - size_t(state.used);
  return kSuccess;
}

Result cuMemAlloc_v2(DevicePointer *address, size_t bytes) {
  State &state = enter("cuMemAlloc_v2");
  if (!bytes)
    return kInvalidValue;
  int64_t memory = state.setting("memory", 0);
  if (memory && state.used + int64_t(bytes) > memory)
    return kOutOfMemory;
  size_t whole = (bytes + 2 * kCanary + 255) / 256 * 256;
  auto *base = static_cast<unsigned char *>(std::aligned_alloc(256, whole));
  std::memset(base, kCanaryByte, kCanary);
  std::memset(base + kCanary, 0xff, bytes);
  std::memset(base + kCanary + bytes, kCanaryByte, kCanary);
  *address = reinterpret_cast<DevicePointer>(base + kCanary);
  state.device[*address] = bytes;
  state.used += int64_t(bytes);
  return kSuccess;
}

Result cuMemFree_v2(DevicePointer address) {
  State &state = enter("cuMemFree_v2");
  auto found = state.device.find(address);
  if (found == state.device.end())
    fail("cuMemFree_v2 of what was not allocated, or freed before");
  state.drainAll();
  state.used -= int64_t(found->second);
  state.device.erase(found);
  std::free(reinterpret_cast<void *>(address - kCanary));
  return kSuccess;
}

Result cuMemAllocHost_v2(void **address, size_t bytes) {
  State &state = enter("cuMemAllocHost_v2");
  if (!bytes)
    return kInvalidValue;
  *address = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  std::memset(*address, 0xff, bytes);
  state.pinned[*address] = bytes;
  return kSuccess;
}

Result cuMemFreeHost(void *address) {
  State &state = enter("cuMemFreeHost");
  if (!state.pinned.contains(address))
    fail("cuMemFreeHost of what was not allocated, or freed before");
  state.drainAll();
  state.pinned.erase(address);
  std::free(address);
  return kSuccess;
}

Result cuMemcpyHtoDAsync_v2(DevicePointer to, const void *from, size_t bytes,
                            Stream stream) {
  return copy("cuMemcpyHtoDAsync_v2", reinterpret_cast<void *>(to), from, bytes,
              true, false, stream);
}

Result cuMemcpyDtoHAsync_v2(void *to, DevicePointer from, size_t bytes,
                            Stream stream) {
  return copy("cuMemcpyDtoHAsync_v2", to, reinterpret_cast<void *>(from), bytes,
              false, true, stream);
}

Result cuMemcpyDtoDAsync_v2(DevicePointer to, DevicePointer from, size_t bytes,
                            Stream stream) {
  return copy("cuMemcpyDtoDAsync_v2", reinterpret_cast<void *>(to),
              reinterpret_cast<void *>(from), bytes, true, true, stream);
}

Result cuMemsetD8Async(DevicePointer to, unsigned char value, size_t bytes,
                       Stream stream) {
  State &state = enter("cuMemsetD8Async", true, true);
  state.requireDevice(to, bytes, "cuMemsetD8Async");
  state.give(stream,
             [=] { std::memset(reinterpret_cast<void *>(to), value, bytes); });
  return kSuccess;
}

/// For tests: how often a function was called.
int64_t standin_calls(const char *name) {
  State &state = State::get();
  auto found = state.calls.find(name);
  return found == state.calls.end() ? 0 : found->second;
}
}
