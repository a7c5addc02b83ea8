//===- Launches.cpp - The driver's launches and tensor maps ---------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Handles.h"
#include "pst/Emulator/Emulator.h"

#include <cstring>

using namespace standin;

namespace {

/// A tensor map as this library writes it; the kernels of the emulator read it.
struct MapText {
  pst::emulator::TensorMap map;
  uint64_t mark;
};
static_assert(sizeof(MapText) <= sizeof(TensorMapObject));
constexpr uint64_t kMapMark = 0x70614d726f736e54;

} // namespace

static Result launch(const char *name, Function handle,
                     const unsigned (&grid)[3], const unsigned (&block)[3],
                     unsigned sharedBytes, Stream stream, void **parameters) {
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
                      sharedBytes, text = function->text, where] {
    for (size_t i = 0; i < arguments.size(); ++i)
      if (text.parameters[i].isPointer)
        State::get().requireDevice(arguments[i], 1, where.c_str());
    State::log("run " + kernel);
    if (State::get().setting("broken", 0))
      State::get().broken = true;
    else
      execute(kernel, arguments, blocks, threads, sharedBytes);
  });
  return kSuccess;
}

extern "C" {

Result cuLaunchKernel(Function function, unsigned gridX, unsigned gridY,
                      unsigned gridZ, unsigned blockX, unsigned blockY,
                      unsigned blockZ, unsigned sharedBytes, Stream stream,
                      void **parameters, void **) {
  return launch("cuLaunchKernel", function, {gridX, gridY, gridZ},
                {blockX, blockY, blockZ}, sharedBytes, stream, parameters);
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
}
