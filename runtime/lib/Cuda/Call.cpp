//===- Call.cpp - An entry point on an NVIDIA GPU -------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Launches read inputs from one block of the GPU's memory and write outputs to
// another, so that the addresses never change and the launches can be recorded
// as a graph. On the way of the inputs there are two slots: those of the next
// call go over while kernels of this one run.
//
//   pinned[slot] --copies--> staged[slot] --compute--> inputs, launches,
//   outputs --compute--> pinned results[slot]
//
//===----------------------------------------------------------------------===//

#include "Gpu.h"
#include "pst/Runtime/Bench.h"
#include "pst/Runtime/Error.h"

#include <algorithm>
#include <cstring>

using namespace pst;
using namespace pst::runtime;
using namespace pst::runtime::cuda;

namespace {

/// Outputs larger than this have no memory of their own between calls.
constexpr int64_t kKeptBytes = 64 << 20;

/// Where the arguments of one kind lie in their block; -1 for others.
struct Layout {
  Layout(const EntryPoint &entry, Argument::Kind kind) {
    for (const Argument &argument : entry.arguments) {
      bool ours = argument.kind == kind;
      offsets.push_back(ours ? bytes : -1);
      if (ours)
        bytes += alignUp(argument.type.numBytes());
    }
  }
  std::vector<int64_t> offsets;
  int64_t bytes = 0;
};

/// A launch with its addresses.
struct ReadyLaunch {
  const Launch *launch = nullptr;
  Function function = nullptr;
  DevicePointer to = 0, from = 0; ///< of a copy
  std::vector<uint64_t> values;   ///< addresses and values
  std::vector<std::unique_ptr<TensorMapObject>> maps;
  std::vector<void *> parameters; ///< into the two
};

class Call : public RemoteCall {
public:
  Call(Gpu &gpu, std::string_view entry);
  ~Call() override;
  void operator()(void *const *pointers) override;
  void enqueue() override { run(); }
  std::vector<LaunchTime> measureLaunches(int repetitions) override;

private:
  struct Slot {
    explicit Slot(const Driver &cuda)
        : arrived(cuda), consumed(cuda), done(cuda) {}
    Memory pinned, staged, results;
    OwnedEvent arrived, consumed, done;
  };
  void resolve();
  DevicePointer addressOf(const Place &place) const;
  void encode(const LaunchArgument &argument, TensorMapObject &map,
              const std::string &kernel) const;
  void enqueue(const ReadyLaunch &ready) const;
  void enqueueAll() const;
  void record();
  void run();
  std::string what(const char *verb) const {
    return std::string(verb) + " \"" + name + "\" on the GPU";
  }

  Gpu &gpu;
  const Driver &cuda;
  std::string name;
  const EntryPoint &entry;
  Layout inputLayout, outputLayout;
  Memory inputs, outputs;
  std::array<Slot, 2> slots{Slot(cuda), Slot(cuda)};
  size_t next = 0;
  std::vector<ReadyLaunch> launches;
  OwnedGraphExec graph{cuda};
};

} // namespace

Call::Call(Gpu &gpu, std::string_view entryName)
    : gpu(gpu), cuda(gpu.driver()), name(entryName),
      entry(gpu.program().entryPoint(entryName)),
      inputLayout(entry, Argument::Kind::input),
      outputLayout(entry, Argument::Kind::output) {
  gpu.makeCurrent();
  std::string of = "the inputs and outputs of \"" + name + "\"";
  inputs = Memory(cuda, Memory::Kind::device, inputLayout.bytes, of);
  bool kept = outputLayout.bytes <= kKeptBytes;
  for (Slot &slot : slots) {
    slot.pinned = Memory(cuda, Memory::Kind::pinned, inputLayout.bytes, of);
    slot.staged = Memory(cuda, Memory::Kind::device, inputLayout.bytes, of);
    if (kept)
      slot.results = Memory(cuda, Memory::Kind::pinned, outputLayout.bytes, of);
    for (OwnedEvent *event : {&slot.arrived, &slot.consumed, &slot.done})
      PST_CUDA(cuda, cuEventCreate, what("prepare"), event->out(),
               kEventDisableTiming);
  }
  if (!kept)
    return; // the call itself does the rest
  outputs = Memory(cuda, Memory::Kind::device, outputLayout.bytes, of);
  resolve();
  if (gpu.launchMode() == LaunchMode::graph)
    record();
}

Call::~Call() {
  // Nothing may run that uses what goes now.
  cuda.cuStreamSynchronize(gpu.copies());
  cuda.cuStreamSynchronize(gpu.compute());
}

//===----------------------------------------------------------------------===//
// Launches with their addresses
//===----------------------------------------------------------------------===//

DevicePointer Call::addressOf(const Place &place) const {
  const Argument &argument = entry.arguments[place.argument];
  DevicePointer base = 0;
  if (argument.kind == Argument::Kind::input)
    base = inputs.device() + inputLayout.offsets[place.argument];
  else if (argument.kind == Argument::Kind::output)
    base = outputs.device() + outputLayout.offsets[place.argument];
  else
    base = gpu.place(argument);
  return base + static_cast<DevicePointer>(place.offset);
}

/// The driver counts dimensions from the innermost.
void Call::encode(const LaunchArgument &argument, TensorMapObject &map,
                  const std::string &kernel) const {
  const TensorMap &recipe = argument.map;
  std::vector<uint64_t> sizes(recipe.shape.rbegin(), recipe.shape.rend());
  std::vector<uint64_t> strides(recipe.strides.rbegin(), recipe.strides.rend());
  std::vector<uint32_t> box(recipe.box.rbegin(), recipe.box.rend());
  std::vector<uint32_t> steps(sizes.size(), 1);
  int type = recipe.element == ElementType::f32 ? kMapFloat32 : kMapBFloat16;
  int swizzle = recipe.swizzle == 0    ? 0
                : recipe.swizzle == 32 ? 1
                : recipe.swizzle == 64 ? 2
                                       : 3;
  constexpr int kPromote256 = 3, kZerosOutside = 0, kNoInterleave = 0;
  PST_CUDA(cuda, cuTensorMapEncodeTiled,
           "describe a tensor to the kernel \"" + kernel + "\"", &map, type,
           static_cast<uint32_t>(sizes.size()),
           reinterpret_cast<void *>(addressOf(argument.place)), sizes.data(),
           strides.data(), box.data(), steps.data(), kNoInterleave, swizzle,
           kPromote256, kZerosOutside);
}

void Call::resolve() {
  launches.clear();
  for (const Launch &launch : entry.launches) {
    ReadyLaunch &ready = launches.emplace_back();
    ready.launch = &launch;
    if (launch.isCopy()) {
      ready.to = addressOf(launch.arguments[0].place);
      ready.from = addressOf(launch.arguments[1].place);
      continue;
    }
    ready.function = gpu.function(launch.kernel, launch.sharedBytes);
    ready.values.resize(launch.arguments.size());
    for (size_t i = 0; i < launch.arguments.size(); ++i) {
      const LaunchArgument &argument = launch.arguments[i];
      void *parameter = &ready.values[i];
      if (argument.kind == LaunchArgument::Kind::address) {
        ready.values[i] = addressOf(argument.place);
      } else if (argument.kind == LaunchArgument::Kind::value) {
        ready.values[i] = argument.bits;
      } else {
        ready.maps.push_back(std::make_unique<TensorMapObject>());
        encode(argument, *ready.maps.back(), launch.kernel);
        parameter = ready.maps.back().get();
      }
      ready.parameters.push_back(parameter);
    }
  }
}

void Call::enqueue(const ReadyLaunch &ready) const {
  const Launch &launch = *ready.launch;
  if (launch.isCopy()) {
    PST_CUDA(cuda, cuMemcpyDtoDAsync_v2, what("copy within"), ready.to,
             ready.from, static_cast<size_t>(launch.copyBytes), gpu.compute());
    return;
  }
  std::string doing =
      "launch the kernel \"" + launch.kernel + "\" of \"" + name + "\"";
  auto size = [](int64_t n) { return static_cast<uint32_t>(n); };
  auto **parameters = const_cast<void **>(ready.parameters.data());
  const auto &[gridX, gridY, gridZ] = launch.grid;
  const auto &[blockX, blockY, blockZ] = launch.block;
  if (launch.cluster == Launch::Extent{1, 1, 1}) {
    PST_CUDA(cuda, cuLaunchKernel, doing, ready.function, size(gridX),
             size(gridY), size(gridZ), size(blockX), size(blockY), size(blockZ),
             size(launch.sharedBytes), gpu.compute(), parameters, nullptr);
    return;
  }
  LaunchAttribute cluster{kClusterDimension, 0, {}};
  for (size_t i = 0; i < 3; ++i)
    cluster.value.cluster[i] = size(launch.cluster[i]);
  LaunchConfig config{{size(gridX), size(gridY), size(gridZ)},
                      {size(blockX), size(blockY), size(blockZ)},
                      size(launch.sharedBytes),
                      gpu.compute(),
                      &cluster,
                      1};
  PST_CUDA(cuda, cuLaunchKernelEx, doing, &config, ready.function, parameters,
           nullptr);
}

void Call::enqueueAll() const {
  for (const ReadyLaunch &ready : launches) {
    enqueue(ready);
    if (gpu.launchMode() == LaunchMode::wait)
      gpu.wait(ready.launch->isCopy()
                   ? what("copy within")
                   : "run the kernel \"" + ready.launch->kernel + "\" of \"" +
                         name + "\"");
  }
}

void Call::record() {
  if (launches.empty())
    return;
  PST_CUDA(cuda, cuStreamBeginCapture_v2, what("record"), gpu.compute(),
           kCaptureThreadLocal);
  OwnedGraph recorded(cuda);
  try {
    enqueueAll();
  } catch (...) {
    cuda.cuStreamEndCapture(gpu.compute(), recorded.out());
    throw;
  }
  PST_CUDA(cuda, cuStreamEndCapture, what("record"), gpu.compute(),
           recorded.out());
  PST_CUDA(cuda, cuGraphInstantiateWithFlags, what("record"), graph.out(),
           recorded, 0);
}

void Call::run() {
  if (graph != nullptr)
    PST_CUDA(cuda, cuGraphLaunch, what("start"), graph, gpu.compute());
  else
    enqueueAll();
}

//===----------------------------------------------------------------------===//
// Calling
//===----------------------------------------------------------------------===//

void Call::operator()(void *const *pointers) {
  gpu.makeCurrent();
  Slot &slot = slots[next];
  next = (next + 1) % slots.size();
  size_t inputBytes = static_cast<size_t>(inputLayout.bytes);
  if (inputBytes) {
    // The slot's last inputs must have left it.
    PST_CUDA(cuda, cuEventSynchronize, what("start"), slot.consumed);
    for (size_t i = 0; i < entry.arguments.size(); ++i)
      if (int64_t offset = inputLayout.offsets[i]; offset >= 0)
        std::memcpy(slot.pinned.host() + offset, pointers[i],
                    entry.arguments[i].type.numBytes());
    PST_CUDA(cuda, cuMemcpyHtoDAsync_v2, what("copy the inputs of"),
             slot.staged.device(), slot.pinned.host(), inputBytes,
             gpu.copies());
    PST_CUDA(cuda, cuEventRecord, what("start"), slot.arrived, gpu.copies());
    PST_CUDA(cuda, cuStreamWaitEvent, what("start"), gpu.compute(),
             slot.arrived, 0);
    PST_CUDA(cuda, cuMemcpyDtoDAsync_v2, what("copy the inputs of"),
             inputs.device(), slot.staged.device(), inputBytes, gpu.compute());
    PST_CUDA(cuda, cuEventRecord, what("start"), slot.consumed, gpu.compute());
  }
  bool kept = outputLayout.bytes <= kKeptBytes;
  if (!kept) {
    outputs = Memory(cuda, Memory::Kind::device, outputLayout.bytes,
                     "the outputs of \"" + name + "\"");
    resolve();
  }
  run();
  for (size_t i = 0; i < entry.arguments.size(); ++i)
    if (int64_t offset = outputLayout.offsets[i]; offset >= 0) {
      void *to = kept ? slot.results.host() + offset : pointers[i];
      PST_CUDA(cuda, cuMemcpyDtoHAsync_v2, what("copy the outputs of"), to,
               outputs.device() + offset,
               static_cast<size_t>(entry.arguments[i].type.numBytes()),
               gpu.compute());
    }
  if (!outputLayout.bytes)
    return;
  PST_CUDA(cuda, cuEventRecord, what("start"), slot.done, gpu.compute());
  PST_CUDA(cuda, cuEventSynchronize, what("run"), slot.done);
  if (!kept) {
    outputs = Memory();
    return;
  }
  for (size_t i = 0; i < entry.arguments.size(); ++i)
    if (int64_t offset = outputLayout.offsets[i]; offset >= 0)
      std::memcpy(pointers[i], slot.results.host() + offset,
                  entry.arguments[i].type.numBytes());
}

//===----------------------------------------------------------------------===//
// Measuring
//===----------------------------------------------------------------------===//

std::vector<LaunchTime> Call::measureLaunches(int repetitions) {
  std::vector<std::vector<double>> times(launches.size());
  for (int i = 0; i < repetitions; ++i) {
    std::vector<double> once =
        gpu.time(static_cast<int>(launches.size()),
                 [&](int j) { enqueue(launches[static_cast<size_t>(j)]); });
    for (size_t j = 0; j < launches.size(); ++j)
      times[j].push_back(once[j]);
  }
  std::vector<LaunchTime> result;
  for (size_t j = 0; j < launches.size(); ++j)
    result.push_back({launches[j].launch->kernel, Samples(times[j]).median});
  return result;
}

std::unique_ptr<RemoteCall> cuda::makeCall(Gpu &gpu, std::string_view entry) {
  return std::make_unique<Call>(gpu, entry);
}
