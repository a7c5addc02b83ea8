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
// $PST_STANDIN_LOG: a file to which the name of each call is added.
// $PST_STANDIN_KERNELS: kernels for this CPU (pst-compile --emit=emulation),
// one or more libraries, separated by colons. Without them launches are
// checked, and compute nothing.
//
//===----------------------------------------------------------------------===//

#include "State.h"
#include "pst/Emulator/Emulator.h"

#include <cstdlib>
#include <cstring>
#include <utility>

using namespace standin;

namespace {

constexpr Result kInvalidValue = 1, kNotFound = 500, kNoBinary = 218,
                 kIllegalAddress = 700;
constexpr uint64_t kCanary = 256;
constexpr unsigned char kCanaryByte = 0xc5;

State &enter(const char *name, bool needsContext = true,
             bool mayCapture = false) {
  State &state = State::get();
  state.enter(name, needsContext, mayCapture);
  return state;
}

template <typename T>
T &lookUp(std::map<T *, std::unique_ptr<T>> &all, const void *handle,
          const char *what) {
  auto found = all.find(static_cast<T *>(const_cast<void *>(handle)));
  if (found == all.end())
    fail(std::string(what) + " that does not exist, or no longer");
  return *found->second;
}

template <typename T> T *create(std::map<T *, std::unique_ptr<T>> &all) {
  auto made = std::make_unique<T>();
  T *handle = made.get();
  all[handle] = std::move(made);
  return handle;
}

/// Destroys after all work that may use it: the driver would wait, too.
template <typename T>
Result destroy(const char *name, std::map<T *, std::unique_ptr<T>> &all,
               const void *handle) {
  State &state = enter(name);
  lookUp(all, handle, name);
  state.drainAll();
  all.erase(static_cast<T *>(const_cast<void *>(handle)));
  return kSuccess;
}

/// A tensor map as this library writes it; the kernels of the emulator read it.
struct MapText {
  pst::emulator::TensorMap map;
  uint64_t mark;
};
static_assert(sizeof(MapText) <= sizeof(TensorMapObject));
constexpr uint64_t kMapMark = 0x70614d726f736e54;

Result launch(const char *name, Function handle, const unsigned (&grid)[3],
              const unsigned (&block)[3], unsigned sharedBytes, Stream stream,
              void **parameters, int64_t cluster) {
  State &state = enter(name, true, true);
  auto *function = reinterpret_cast<LoadedFunction *>(handle);
  bool known = false;
  for (const auto &[key, module] : state.modules)
    for (const auto &[kernel, candidate] : module->functions)
      known |= candidate.get() == function;
  if (!known)
    fail("a launch of a kernel that is not loaded");
  std::string where = "launch of " + function->name + ": ";
  uint64_t threads = uint64_t(block[0]) * block[1] * block[2];
  if (threads == 0 || threads > 1024 || block[2] > 64)
    fail(where + "a block of " + std::to_string(threads) + " threads");
  int64_t wanted = function->text.threads;
  if (wanted && (function->text.exactThreads ? int64_t(threads) != wanted
                                             : int64_t(threads) > wanted))
    fail(where + std::to_string(threads) + " threads, but it is made for " +
         std::to_string(wanted));
  if (!grid[0] || !grid[1] || !grid[2] || grid[0] > 0x7fffffffu ||
      grid[1] > 65535 || grid[2] > 65535)
    fail(where + "a grid out of bounds");
  if (int64_t(sharedBytes) > function->allowedShared)
    fail(where + std::to_string(sharedBytes) + " bytes of shared memory, but " +
         std::to_string(function->allowedShared) + " are allowed");
  // The values are taken now; the memory is looked at when the kernel runs.
  std::vector<int64_t> arguments;
  auto maps = std::make_shared<std::vector<TensorMapObject>>();
  maps->reserve(function->text.parameters.size());
  for (size_t i = 0; i < function->text.parameters.size(); ++i) {
    const KernelParameter &parameter = function->text.parameters[i];
    std::string which = where + "parameter " + std::to_string(i) + ": ";
    if (!parameters[i])
      fail(which + "is not given");
    if (parameter.isMap) {
      if (reinterpret_cast<uintptr_t>(parameters[i]) % 64 != 0)
        fail(which + "a tensor map must be aligned to 64 bytes");
      maps->emplace_back();
      std::memcpy(&maps->back(), parameters[i], sizeof(TensorMapObject));
      if (reinterpret_cast<MapText *>(&maps->back())->mark != kMapMark)
        fail(which + "is no tensor map");
      arguments.push_back(reinterpret_cast<int64_t>(&maps->back()));
      continue;
    }
    uint64_t value = 0;
    std::memcpy(&value, parameters[i], parameter.bytes);
    if (parameter.isPointer)
      state.requireDevice(value, 1, which.c_str());
    arguments.push_back(static_cast<int64_t>(value));
  }
  int64_t blocks = int64_t(grid[0]) * grid[1] * grid[2];
  state.give(stream, [kernel = function->name, arguments, maps, blocks, threads,
                      sharedBytes, cluster, text = function->text, where] {
    for (size_t i = 0; i < arguments.size(); ++i)
      if (text.parameters[i].isPointer)
        State::get().requireDevice(arguments[i], 1, where.c_str());
    if (State::get().setting("broken", 0))
      State::get().broken = true;
    else
      execute(kernel, arguments, blocks, threads, sharedBytes, cluster);
  });
  return kSuccess;
}

/// A copy between two memories, one of which may be the device's.
Result copy(const char *name, void *to, const void *from, size_t bytes,
            bool toDevice, bool fromDevice, Stream stream) {
  State &state = enter(name, true, true);
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

Result cuStreamCreate(Stream *stream, unsigned) {
  State &state = enter("cuStreamCreate");
  *stream = reinterpret_cast<Stream>(create(state.streams));
  return kSuccess;
}

Result cuStreamDestroy_v2(Stream stream) {
  return destroy("cuStreamDestroy_v2", State::get().streams, stream);
}

Result cuStreamSynchronize(Stream stream) {
  State &state = enter("cuStreamSynchronize");
  state.drain(state.stream(stream));
  return state.waited();
}

Result cuStreamWaitEvent(Stream stream, Event handle, unsigned) {
  State &state = enter("cuStreamWaitEvent");
  EventState event = lookUp(state.events, handle, "an event");
  state.give(stream, [event] {
    if (event.stream)
      State::get().drain(*event.stream, event.at);
  });
  return kSuccess;
}

Result cuStreamBeginCapture_v2(Stream stream, int) {
  State &state = enter("cuStreamBeginCapture_v2");
  state.stream(stream).capturing = true;
  return kSuccess;
}

Result cuStreamEndCapture(Stream handle, Graph *graph) {
  State &state = enter("cuStreamEndCapture", true, true);
  StreamState &stream = state.stream(handle);
  if (!std::exchange(stream.capturing, false))
    fail("cuStreamEndCapture of a stream that is not captured");
  GraphState *made = create(state.graphs);
  made->work = std::move(stream.captured);
  stream.captured.clear();
  *graph = reinterpret_cast<Graph>(made);
  return kSuccess;
}

Result cuGraphInstantiateWithFlags(GraphExec *executable, Graph handle,
                                   unsigned long long) {
  State &state = enter("cuGraphInstantiateWithFlags");
  GraphState *made = create(state.executables);
  made->work = lookUp(state.graphs, handle, "a graph").work;
  *executable = reinterpret_cast<GraphExec>(made);
  return kSuccess;
}

Result cuGraphLaunch(GraphExec handle, Stream stream) {
  State &state = enter("cuGraphLaunch");
  GraphState &graph = lookUp(state.executables, handle, "a graph");
  state.give(stream, [work = graph.work] {
    for (const Work &one : work)
      one();
  });
  return kSuccess;
}

Result cuGraphExecDestroy(GraphExec graph) {
  return destroy("cuGraphExecDestroy", State::get().executables, graph);
}

Result cuGraphDestroy(Graph graph) {
  return destroy("cuGraphDestroy", State::get().graphs, graph);
}

Result cuEventCreate(Event *event, unsigned flags) {
  State &state = enter("cuEventCreate");
  EventState *made = create(state.events);
  made->timing = !(flags & kEventDisableTiming);
  *event = reinterpret_cast<Event>(made);
  return kSuccess;
}

Result cuEventDestroy_v2(Event event) {
  return destroy("cuEventDestroy_v2", State::get().events, event);
}

Result cuEventRecord(Event handle, Stream stream) {
  State &state = enter("cuEventRecord");
  EventState &event = lookUp(state.events, handle, "an event");
  event.stream = &state.stream(stream);
  event.at = event.stream->given;
  return kSuccess;
}

Result cuEventSynchronize(Event handle) {
  State &state = enter("cuEventSynchronize");
  EventState &event = lookUp(state.events, handle, "an event");
  if (event.stream)
    state.drain(*event.stream, event.at);
  return state.waited();
}

Result cuEventElapsedTime(float *milliseconds, Event begin, Event end) {
  State &state = enter("cuEventElapsedTime");
  for (Event handle : {begin, end}) {
    EventState &event = lookUp(state.events, handle, "an event");
    if (!event.timing || !event.stream)
      fail("cuEventElapsedTime of an event that has no time");
    if (event.stream->done < event.at)
      fail("cuEventElapsedTime before the event was reached");
  }
  *milliseconds = 1;
  return kSuccess;
}

Result cuLaunchKernel(Function function, unsigned gridX, unsigned gridY,
                      unsigned gridZ, unsigned blockX, unsigned blockY,
                      unsigned blockZ, unsigned sharedBytes, Stream stream,
                      void **parameters, void **) {
  return launch("cuLaunchKernel", function, {gridX, gridY, gridZ},
                {blockX, blockY, blockZ}, sharedBytes, stream, parameters, 1);
}

Result cuLaunchKernelEx(const LaunchConfig *config, Function function,
                        void **parameters, void **) {
  uint64_t cluster = 1;
  for (unsigned i = 0; i < config->numAttributes; ++i) {
    const LaunchAttribute &attribute = config->attributes[i];
    if (attribute.id != kClusterDimension)
      fail("cuLaunchKernelEx with an attribute that is not known");
    for (int d = 0; d < 3; ++d) {
      uint32_t size = attribute.value.cluster[d];
      if (!size || config->grid[d] % size != 0)
        fail("the grid is no multiple of the cluster");
      cluster *= size;
    }
    if (cluster > 8)
      fail("a cluster of more than 8 blocks");
  }
  return launch("cuLaunchKernelEx", function, config->grid, config->block,
                config->sharedBytes, config->stream, parameters,
                int64_t(cluster));
}

Result cuTensorMapEncodeTiled(TensorMapObject *map, int type, uint32_t rank,
                              void *address, const uint64_t *sizes,
                              const uint64_t *strides, const uint32_t *box,
                              const uint32_t *elementStrides, int interleave,
                              int swizzle, int promotion, int outside) {
  State &state = enter("cuTensorMapEncodeTiled");
  uint64_t element = type == kMapFloat32 ? 4 : type == kMapBFloat16 ? 2 : 0;
  auto base = reinterpret_cast<uint64_t>(address);
  if (!element || rank < 1 || rank > 5 || base % 16 != 0 ||
      reinterpret_cast<uintptr_t>(map) % 64 != 0 || interleave != 0 ||
      swizzle < 0 || swizzle > 3 || promotion < 0 || promotion > 3 ||
      outside != 0)
    return kInvalidValue;
  uint64_t span = element;
  for (uint32_t i = 0; i < rank; ++i) {
    uint64_t stride = i ? strides[i - 1] : element;
    if (!sizes[i] || !box[i] || box[i] > 256 || elementStrides[i] != 1 ||
        (i && (stride % 16 != 0 || stride >= (uint64_t(1) << 40))))
      return kInvalidValue;
    span += (sizes[i] - 1) * stride;
  }
  if (box[0] * element % 16 != 0 ||
      (swizzle && box[0] * element > (uint64_t(16) << swizzle)))
    return kInvalidValue;
  state.requireDevice(base, span, "cuTensorMapEncodeTiled");
  std::memset(map, 0, sizeof *map);
  auto *text = reinterpret_cast<MapText *>(map);
  text->map = {address,
               {int64_t(sizes[0]), rank > 1 ? int64_t(sizes[1]) : 1},
               rank > 1 ? int64_t(strides[0]) : 0,
               {box[0], rank > 1 ? int64_t(box[1]) : 1},
               int64_t(element),
               swizzle};
  text->mark = kMapMark;
  return kSuccess;
}

/// For tests: how often a function was called.
int64_t standin_calls(const char *name) {
  State &state = State::get();
  auto found = state.calls.find(name);
  return found == state.calls.end() ? 0 : found->second;
}
}
