//===- Driver.h - The part of NVIDIA's driver that we use -------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Types and functions as of the CUDA driver API 12.0, declared here so that no
// toolkit is needed, and looked up in libcuda.so.1 when a program for GPUs is
// run, so that no driver is needed for anything else.
//
//===----------------------------------------------------------------------===//

#ifndef PST_RUNTIME_LIB_CUDA_DRIVER_H
#define PST_RUNTIME_LIB_CUDA_DRIVER_H

#include <cstddef>
#include <cstdint>
#include <string>

namespace pst::runtime::cuda {

using Result = int;
using DeviceHandle = int;
using DevicePointer = uint64_t;
using Context = struct ContextTag *;
using Module = struct ModuleTag *;
using Function = struct FunctionTag *;
using Stream = struct StreamTag *;
using Event = struct EventTag *;
using Graph = struct GraphTag *;
using GraphExec = struct GraphExecTag *;

/// CUtensorMap.
struct alignas(64) TensorMapObject {
  uint64_t opaque[16];
};

// Values of enumerations.
inline constexpr Result kSuccess = 0, kOutOfMemory = 2, kNoDevice = 100;
inline constexpr int kComputeCapabilityMajor = 75, kComputeCapabilityMinor = 76,
                     kMultiprocessorCount = 16;
inline constexpr int kJitInfoLog = 3, kJitInfoLogBytes = 4, kJitErrorLog = 5,
                     kJitErrorLogBytes = 6;
inline constexpr int kMaxDynamicSharedBytes = 8;
inline constexpr int kMapFloat32 = 7, kMapBFloat16 = 9;
inline constexpr int kCaptureThreadLocal = 1;
inline constexpr unsigned kStreamNonBlocking = 1, kEventDisableTiming = 2;

#define PST_CUDA_FUNCTIONS(F)                                                  \
  F(cuInit, (unsigned flags))                                                  \
  F(cuDriverGetVersion, (int *version))                                        \
  F(cuGetErrorName, (Result error, const char **text))                         \
  F(cuGetErrorString, (Result error, const char **text))                       \
  F(cuDeviceGetCount, (int *count))                                            \
  F(cuDeviceGet, (DeviceHandle * device, int ordinal))                         \
  F(cuDeviceGetName, (char *name, int length, DeviceHandle device))            \
  F(cuDeviceGetAttribute, (int *value, int attribute, DeviceHandle device))    \
  F(cuDevicePrimaryCtxRetain, (Context * context, DeviceHandle device))        \
  F(cuDevicePrimaryCtxRelease_v2, (DeviceHandle device))                       \
  F(cuCtxSetCurrent, (Context context))                                        \
  F(cuModuleLoadDataEx, (Module * module, const void *image, unsigned count,   \
                         int *options, void **values))                         \
  F(cuModuleUnload, (Module module))                                           \
  F(cuModuleGetFunction,                                                       \
    (Function * function, Module module, const char *name))                    \
  F(cuFuncSetAttribute, (Function function, int attribute, int value))         \
  F(cuMemGetInfo_v2, (size_t *free, size_t *total))                            \
  F(cuMemAlloc_v2, (DevicePointer * address, size_t bytes))                    \
  F(cuMemFree_v2, (DevicePointer address))                                     \
  F(cuMemAllocHost_v2, (void **address, size_t bytes))                         \
  F(cuMemFreeHost, (void *address))                                            \
  F(cuMemcpyHtoDAsync_v2,                                                      \
    (DevicePointer to, const void *from, size_t bytes, Stream stream))         \
  F(cuMemcpyDtoHAsync_v2,                                                      \
    (void *to, DevicePointer from, size_t bytes, Stream stream))               \
  F(cuMemcpyDtoDAsync_v2,                                                      \
    (DevicePointer to, DevicePointer from, size_t bytes, Stream stream))       \
  F(cuMemsetD8Async,                                                           \
    (DevicePointer to, unsigned char value, size_t bytes, Stream stream))      \
  F(cuStreamCreate, (Stream * stream, unsigned flags))                         \
  F(cuStreamDestroy_v2, (Stream stream))                                       \
  F(cuStreamSynchronize, (Stream stream))                                      \
  F(cuStreamWaitEvent, (Stream stream, Event event, unsigned flags))           \
  F(cuStreamBeginCapture_v2, (Stream stream, int mode))                        \
  F(cuStreamEndCapture, (Stream stream, Graph * graph))                        \
  F(cuGraphInstantiateWithFlags,                                               \
    (GraphExec * executable, Graph graph, unsigned long long flags))           \
  F(cuGraphLaunch, (GraphExec executable, Stream stream))                      \
  F(cuGraphExecDestroy, (GraphExec executable))                                \
  F(cuGraphDestroy, (Graph graph))                                             \
  F(cuEventCreate, (Event * event, unsigned flags))                            \
  F(cuEventDestroy_v2, (Event event))                                          \
  F(cuEventRecord, (Event event, Stream stream))                               \
  F(cuEventSynchronize, (Event event))                                         \
  F(cuEventElapsedTime, (float *milliseconds, Event begin, Event end))         \
  F(cuLaunchKernel,                                                            \
    (Function function, unsigned gridX, unsigned gridY, unsigned gridZ,        \
     unsigned blockX, unsigned blockY, unsigned blockZ, unsigned sharedBytes,  \
     Stream stream, void **parameters, void **extra))                          \
  F(cuTensorMapEncodeTiled,                                                    \
    (TensorMapObject * map, int type, uint32_t rank, void *address,            \
     const uint64_t *sizes, const uint64_t *strides, const uint32_t *box,      \
     const uint32_t *elementStrides, int interleave, int swizzle,              \
     int promotion, int outside))

/// The driver of this process.
struct Driver {
#define PST_CUDA_FUNCTION(NAME, PARAMETERS) Result(*NAME) PARAMETERS = nullptr;
  PST_CUDA_FUNCTIONS(PST_CUDA_FUNCTION)
#undef PST_CUDA_FUNCTION

  /// Opens and initialises it, the first time. Throws Error.
  static const Driver &get();

  /// "cuMemAlloc_v2: out of memory (CUDA_ERROR_OUT_OF_MEMORY)".
  std::string explain(const char *call, Result error) const;
  /// Throws Error if `error` is one: "cannot WHAT: CALL: ...".
  void check(Result error, const char *call, const std::string &what) const;
};

/// Calls a function of `driver`; the error names it and what it was for.
#define PST_CUDA(DRIVER, NAME, WHAT, ...)                                      \
  (DRIVER).check((DRIVER).NAME(__VA_ARGS__), #NAME, WHAT)

} // namespace pst::runtime::cuda

#endif // PST_RUNTIME_LIB_CUDA_DRIVER_H
