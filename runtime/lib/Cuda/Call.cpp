//===- Call.cpp - An entry point on an NVIDIA GPU -------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Launches read inputs from one block of the GPU's memory and write outputs to
// another, so that the addresses never change and the launches can be recorded
// as a graph. Of two calls that were begun, the inputs of the second go over
// while kernels of the first run: on the way there are two slots.
//
//   pinned[slot] --copies--> staged[slot] --compute--> inputs, launches,
//   outputs and spaces that come back --compute--> pinned results[slot]
//
//===----------------------------------------------------------------------===//

#include "Gpu.h"
#include "pst/Runtime/Error.h"
#include "pst/Runtime/Samples.h"

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
  Call(Gpu &gpu, std::string_view entry, std::span<const std::string> returned);
  ~Call() override;
  void begin(void *const *pointers, const std::vector<bool> &there) override;
  void finish() override;
  void abandon() noexcept override;
  void enqueue() override;
  std::vector<LaunchTime> measureLaunches(int repetitions) override;

private:
  struct Slot {
    explicit Slot(const Driver &cuda)
        : arrived(cuda), consumed(cuda), done(cuda) {}
    Memory pinned, staged, results;
    OwnedEvent arrived, consumed, done;
    std::vector<void *> pointers; ///< of the call
    std::vector<bool> there;      ///< which of them are the GPU's
    bool waits = false;           ///< whether any result is not
  };
  /// What comes back after a call: an output, or a space.
  struct Result {
    size_t argument = 0;
    int64_t bytes = 0, offset = 0; ///< in Slot::results
  };
  void sendInputs(Slot &slot);
  void placeOutputs();
  void resolve();
  DevicePointer addressOf(const Place &place) const;
  void encode(const LaunchArgument &argument, TensorMapObject &map,
              const std::string &kernel) const;
  void enqueue(const ReadyLaunch &ready, Stream stream) const;
  void enqueueAll(Stream stream) const;
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
  std::vector<Result> results;
  int64_t resultBytes = 0;
  Memory inputs, outputs;
  bool kept = true; ///< whether outputs have memory between calls
  std::array<Slot, kBegun> slots{Slot(cuda), Slot(cuda)};
  int64_t begun = 0, finished = 0;
  std::vector<ReadyLaunch> launches;
  OwnedGraphExec graph{cuda};
};

} // namespace

Call::Call(Gpu &gpu, std::string_view entryName,
           std::span<const std::string> returned)
    : gpu(gpu), cuda(gpu.driver()), name(entryName),
      entry(gpu.program().entryPoint(entryName)),
      inputLayout(entry, Argument::Kind::input),
      outputLayout(entry, Argument::Kind::output) {
  gpu.makeCurrent();
  std::string of = "the inputs and outputs of \"" + name + "\"";
  for (size_t i = 0; i < entry.arguments.size(); ++i) {
    const Argument &argument = entry.arguments[i];
    bool isOutput = argument.kind == Argument::Kind::output;
    if (!isOutput && (argument.kind != Argument::Kind::space ||
                      std::find(returned.begin(), returned.end(),
                                argument.name) == returned.end()))
      continue;
    int64_t bytes = isOutput
                        ? argument.type.numBytes()
                        : static_cast<int64_t>(gpu.spaceBytes(argument.name));
    results.push_back({i, bytes, resultBytes});
    resultBytes += alignUp(bytes);
  }
  inputs = Memory(cuda, Memory::Kind::device, inputLayout.bytes, of);
  kept = outputLayout.bytes <= kKeptBytes;
  for (Slot &slot : slots) {
    slot.pointers.resize(entry.arguments.size());
    slot.there.resize(entry.arguments.size());
    slot.pinned = Memory(cuda, Memory::Kind::pinned, inputLayout.bytes, of);
    slot.staged = Memory(cuda, Memory::Kind::device, inputLayout.bytes, of);
    if (kept)
      slot.results = Memory(cuda, Memory::Kind::pinned, resultBytes, of);
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

void Call::enqueue(const ReadyLaunch &ready, Stream stream) const {
  const Launch &launch = *ready.launch;
  if (launch.isCopy()) {
    PST_CUDA(cuda, cuMemcpyDtoDAsync_v2, what("copy within"), ready.to,
             ready.from, static_cast<size_t>(launch.copyBytes), stream);
    return;
  }
  std::string doing =
      "launch the kernel \"" + launch.kernel + "\" of \"" + name + "\"";
  auto size = [](int64_t n) { return static_cast<uint32_t>(n); };
  auto **parameters = const_cast<void **>(ready.parameters.data());
  const auto &[gridX, gridY, gridZ] = launch.grid;
  const auto &[blockX, blockY, blockZ] = launch.block;
  PST_CUDA(cuda, cuLaunchKernel, doing, ready.function, size(gridX),
           size(gridY), size(gridZ), size(blockX), size(blockY), size(blockZ),
           size(launch.sharedBytes), stream, parameters, nullptr);
}

void Call::enqueueAll(Stream stream) const {
  for (const ReadyLaunch &ready : launches) {
    enqueue(ready, stream);
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
  PST_CUDA(cuda, cuStreamBeginCapture_v2, what("record"), gpu.recording(),
           kCaptureThreadLocal);
  OwnedGraph recorded(cuda);
  try {
    enqueueAll(gpu.recording());
  } catch (...) {
    cuda.cuStreamEndCapture(gpu.recording(), recorded.out());
    throw;
  }
  PST_CUDA(cuda, cuStreamEndCapture, what("record"), gpu.recording(),
           recorded.out());
  PST_CUDA(cuda, cuGraphInstantiateWithFlags, what("record"), graph.out(),
           recorded, 0);
}

void Call::run() {
  if (graph != nullptr)
    PST_CUDA(cuda, cuGraphLaunch, what("start"), graph, gpu.compute());
  else
    enqueueAll(gpu.compute());
}

//===----------------------------------------------------------------------===//
// Calling
//===----------------------------------------------------------------------===//

void Call::sendInputs(Slot &slot) {
  size_t bytes = static_cast<size_t>(inputLayout.bytes);
  if (!bytes)
    return;
  // The slot's last inputs must have left it.
  PST_CUDA(cuda, cuEventSynchronize, what("start"), slot.consumed);
  for (size_t i = 0; i < entry.arguments.size(); ++i)
    if (int64_t offset = inputLayout.offsets[i]; offset >= 0 && !slot.there[i])
      std::memcpy(slot.pinned.host() + offset, slot.pointers[i],
                  entry.arguments[i].type.numBytes());
  PST_CUDA(cuda, cuMemcpyHtoDAsync_v2, what("copy the inputs of"),
           slot.staged.device(), slot.pinned.host(), bytes, gpu.copies());
  PST_CUDA(cuda, cuEventRecord, what("start"), slot.arrived, gpu.copies());
  PST_CUDA(cuda, cuStreamWaitEvent, what("start"), gpu.compute(), slot.arrived,
           0);
  PST_CUDA(cuda, cuMemcpyDtoDAsync_v2, what("copy the inputs of"),
           inputs.device(), slot.staged.device(), bytes, gpu.compute());
  PST_CUDA(cuda, cuEventRecord, what("start"), slot.consumed, gpu.compute());
  for (size_t i = 0; i < entry.arguments.size(); ++i)
    if (int64_t offset = inputLayout.offsets[i]; offset >= 0 && slot.there[i])
      PST_CUDA(cuda, cuMemcpyDtoDAsync_v2, what("copy the inputs of"),
               inputs.device() + offset,
               reinterpret_cast<DevicePointer>(slot.pointers[i]),
               static_cast<size_t>(entry.arguments[i].type.numBytes()),
               gpu.compute());
}

void Call::placeOutputs() {
  outputs = Memory(cuda, Memory::Kind::device, outputLayout.bytes,
                   "the outputs of \"" + name + "\"");
  resolve();
}

void Call::begin(void *const *pointers, const std::vector<bool> &there) {
  // Outputs without memory of their own are those of one call.
  if (begun - finished >= (kept ? kBegun : 1))
    throw Error("cannot start \"" + name +
                "\" on the GPU: " + std::to_string(begun - finished) +
                " calls were begun and not finished");
  gpu.makeCurrent();
  Slot &slot = slots[begun % kBegun];
  slot.pointers.assign(pointers, pointers + entry.arguments.size());
  slot.there = there;
  slot.waits = false;
  sendInputs(slot);
  if (!kept)
    placeOutputs();
  run();
  for (const Result &result : results) {
    DevicePointer from = addressOf({static_cast<int64_t>(result.argument), 0});
    size_t bytes = static_cast<size_t>(result.bytes);
    if (slot.there[result.argument]) {
      PST_CUDA(cuda, cuMemcpyDtoDAsync_v2, what("copy the outputs of"),
               reinterpret_cast<DevicePointer>(slot.pointers[result.argument]),
               from, bytes, gpu.compute());
      continue;
    }
    slot.waits = true;
    void *to = kept ? slot.results.host() + result.offset
                    : slot.pointers[result.argument];
    PST_CUDA(cuda, cuMemcpyDtoHAsync_v2, what("copy the outputs of"), to, from,
             bytes, gpu.compute());
  }
  if (slot.waits)
    PST_CUDA(cuda, cuEventRecord, what("start"), slot.done, gpu.compute());
  ++begun;
}

void Call::finish() {
  if (begun == finished)
    throw Error("no call of \"" + name + "\" was begun");
  gpu.makeCurrent();
  Slot &slot = slots[finished++ % kBegun];
  if (slot.waits)
    PST_CUDA(cuda, cuEventSynchronize, what("run"), slot.done);
  if (!kept) {
    outputs = Memory();
    return;
  }
  for (const Result &result : results)
    if (!slot.there[result.argument])
      std::memcpy(slot.pointers[result.argument],
                  slot.results.host() + result.offset,
                  static_cast<size_t>(result.bytes));
}

void Call::abandon() noexcept {
  if (begun == finished)
    return;
  // What fails now would have been told by finish.
  cuda.cuStreamSynchronize(gpu.compute());
  finished = begun;
  if (!kept)
    outputs = Memory();
}

//===----------------------------------------------------------------------===//
// Measuring
//===----------------------------------------------------------------------===//

void Call::enqueue() {
  gpu.makeCurrent();
  if (!kept && !outputs.device())
    placeOutputs(); // until the next call, or the end
  run();
}

std::vector<LaunchTime> Call::measureLaunches(int repetitions) {
  if (!kept && !outputs.device())
    placeOutputs();
  std::vector<std::vector<double>> times(launches.size());
  for (int i = 0; i < repetitions; ++i) {
    std::vector<double> once =
        gpu.time(static_cast<int>(launches.size()), [&](int j) {
          enqueue(launches[static_cast<size_t>(j)], gpu.compute());
        });
    for (size_t j = 0; j < launches.size(); ++j)
      times[j].push_back(once[j]);
  }
  std::vector<LaunchTime> result;
  for (size_t j = 0; j < launches.size(); ++j)
    result.push_back({launches[j].launch->kernel, Samples(times[j]).median});
  return result;
}

std::unique_ptr<RemoteCall>
cuda::makeCall(Gpu &gpu, std::string_view entry,
               std::span<const std::string> returned) {
  return std::make_unique<Call>(gpu, entry, returned);
}
