//===- Gpu.cpp - A program on an NVIDIA GPU -------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Gpu.h"
#include "pst/Runtime/Error.h"
#include "pst/Runtime/Memory.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <deque>

using namespace pst;
using namespace pst::runtime;
using namespace pst::runtime::cuda;

//===----------------------------------------------------------------------===//
// Memory
//===----------------------------------------------------------------------===//

Memory::Memory(const Driver &driver, Kind kind, int64_t bytes,
               const std::string &what)
    : driver(&driver), kind(kind) {
  size_t size = static_cast<size_t>(std::max<int64_t>(bytes, 1));
  if (kind == Kind::pinned) {
    PST_CUDA(driver, cuMemAllocHost_v2,
             "allocate " + formatBytes(bytes) +
                 " of pinned memory of this machine for " + what,
             &base, size);
    return;
  }
  DevicePointer address = 0;
  Result error = driver.cuMemAlloc_v2(&address, size);
  if (error == kOutOfMemory) {
    size_t free = 0, total = 0;
    driver.cuMemGetInfo_v2(&free, &total);
    throw Error("cannot allocate " + formatBytes(bytes) +
                " of the GPU's memory for " + what + ": " +
                formatBytes(static_cast<int64_t>(free)) + " of " +
                formatBytes(static_cast<int64_t>(total)) +
                " are free; a smaller batch or a shorter length needs less");
  }
  driver.check(error, "cuMemAlloc_v2",
               "allocate " + formatBytes(bytes) + " of the GPU's memory for " +
                   what);
  base = reinterpret_cast<void *>(address);
}

Memory::~Memory() {
  // What fails now has failed before, and was told then.
  if (base && kind == Kind::device)
    driver->cuMemFree_v2(device());
  else if (base)
    driver->cuMemFreeHost(base);
}

Memory &Memory::operator=(Memory &&other) noexcept {
  std::swap(driver, other.driver);
  std::swap(kind, other.kind);
  std::swap(base, other.base);
  return *this;
}

//===----------------------------------------------------------------------===//
// Opening
//===----------------------------------------------------------------------===//

static LaunchMode chosenMode() {
  const char *text = std::getenv("PST_CUDA_LAUNCH");
  std::string mode = text ? text : "";
  if (mode.empty() || mode == "graph")
    return LaunchMode::graph;
  if (mode == "stream")
    return LaunchMode::stream;
  if (mode == "wait")
    return LaunchMode::wait;
  throw Error("PST_CUDA_LAUNCH must be graph, stream or wait, but is \"" +
              mode + "\"");
}

Gpu::Gpu(std::shared_ptr<const Program> program)
    : cuda(Driver::get()), owner(std::move(program)), mode(chosenMode()) {
  openDevice();
  loadKernels();
  for (OwnedStream *stream : {&computeStream, &copyStream})
    PST_CUDA(cuda, cuStreamCreate, "make a stream", stream->out(),
             kStreamNonBlocking);
  inUse = computeStream;
  PST_CUDA(cuda, cuEventCreate, "make an event", handover.out(),
           kEventDisableTiming);
  for (const auto &[space, bytes] : owner->manifest().spaces)
    spaces[space] = std::make_shared<Memory>(cuda, Memory::Kind::device, bytes,
                                             "\"" + space + "\"");
}

Gpu::~Gpu() {
  // What fails now has failed before, and was told then.
  cuda.cuStreamSynchronize(copyStream);
  cuda.cuStreamSynchronize(inUse);
}

/// Of keepGPUsOpen: the context that outlives programs, once there is one.
static std::weak_ptr<std::deque<PrimaryContext>> keptOpen;

/// The number that torchrun gives this process among those of the machine.
static int localRank() {
  const char *text = std::getenv("LOCAL_RANK");
  return text && *text ? std::atoi(text) : 0;
}

void Gpu::openDevice() {
  int count = 0;
  PST_CUDA(cuda, cuDeviceGetCount, "count the GPUs", &count);
  ordinal = localRank();
  if (ordinal < 0 || ordinal >= count)
    throw Error("LOCAL_RANK asks for GPU " + std::to_string(ordinal) +
                ", but this machine has " + std::to_string(count) +
                ": start one process for each GPU");
  PST_CUDA(cuda, cuDeviceGet, "open the GPU", &device, ordinal);
  char text[256] = "";
  PST_CUDA(cuda, cuDeviceGetName, "name the GPU", text, sizeof text - 1,
           device);
  name = text;
  PST_CUDA(cuda, cuDeviceGetAttribute, "ask the GPU for its architecture",
           &major, kComputeCapabilityMajor, device);
  PST_CUDA(cuda, cuDeviceGetAttribute, "ask the GPU for its architecture",
           &minor, kComputeCapabilityMinor, device);
  // Code for sm_90a runs on 9.0 alone, code for sm_80 on 8.0 and all later.
  const std::string &arch = owner->manifest().cpu;
  bool exact = arch.ends_with('a');
  int needed = std::atoi(arch.substr(std::min<size_t>(3, arch.size())).c_str());
  int own = major * 10 + minor;
  if (exact ? own != needed : own < needed)
    throw Error("the program was compiled for " + arch + ", but the GPU is " +
                describe() + ": compile it with --gpu-arch=" +
                (own == 90   ? "sm_90a"
                 : own >= 80 ? "sm_80"
                             : "... for a GPU of compute capability 8.0 or "
                               "later: older ones are not supported"));
  context.retain(device);
  if (auto kept = keptOpen.lock(); kept && kept->empty())
    kept->emplace_back(cuda).retain(device);
  makeCurrent();
}

std::shared_ptr<void> pst::runtime::keepGPUsOpen() {
  auto kept = std::make_shared<std::deque<PrimaryContext>>();
  keptOpen = kept;
  return kept;
}

std::string Gpu::describe() const {
  return name + ", compute capability " + std::to_string(major) + "." +
         std::to_string(minor);
}

/// The CUDA version, as the driver counts them, that knows PTX of `version`
/// (the manual of PTX, "Release History").
static int cudaVersionFor(int version) {
  static constexpr std::array<std::pair<int, int>, 9> known{{{80, 12000},
                                                             {81, 12010},
                                                             {82, 12020},
                                                             {83, 12030},
                                                             {84, 12040},
                                                             {85, 12050},
                                                             {86, 12070},
                                                             {87, 12080},
                                                             {88, 12090}}};
  for (auto [ptx, cuda] : known)
    if (version <= ptx)
      return cuda;
  return 13000;
}

static std::string spellVersion(int cuda) {
  return std::to_string(cuda / 1000) + "." + std::to_string(cuda % 1000 / 10);
}

void Gpu::loadKernels() {
  const std::string &code = owner->gpuCode();
  size_t at = code.find(".version ");
  int ptxMajor = 0, ptxMinor = 0;
  if (at == std::string::npos ||
      std::sscanf(code.c_str() + at, ".version %d.%d", &ptxMajor, &ptxMinor) !=
          2)
    throw Error("the program's kernels are no PTX: they have no .version");
  int driver = 0, needed = cudaVersionFor(ptxMajor * 10 + ptxMinor);
  PST_CUDA(cuda, cuDriverGetVersion, "ask the driver for its version", &driver);
  if (driver < needed)
    throw Error("the program's kernels are PTX " + std::to_string(ptxMajor) +
                "." + std::to_string(ptxMinor) +
                ", which NVIDIA's drivers know from CUDA " +
                spellVersion(needed) + " on, but this one is of CUDA " +
                spellVersion(driver) + ": install a newer driver");
  std::string errors(1 << 14, '\0');
  std::array<int, 2> options{kJitErrorLog, kJitErrorLogBytes};
  std::array<void *, 2> values{errors.data(),
                               reinterpret_cast<void *>(errors.size() - 1)};
  Result error =
      cuda.cuModuleLoadDataEx(module.out(), code.c_str(), options.size(),
                              options.data(), values.data());
  if (error != kSuccess) {
    errors.resize(std::strlen(errors.c_str()));
    throw Error("cannot compile the program's kernels for " + describe() +
                ": " + cuda.explain("cuModuleLoadDataEx", error) +
                (errors.empty() ? "" : "; the driver says: " + errors));
  }
}

Function Gpu::function(const std::string &kernel, int64_t sharedBytes) {
  Kernel &found = kernels[kernel];
  if (!found.function)
    PST_CUDA(cuda, cuModuleGetFunction, "find the kernel \"" + kernel + "\"",
             &found.function, module, kernel.c_str());
  // Beyond 48 KiB only what was asked for is allowed.
  if (sharedBytes > found.sharedBytes) {
    PST_CUDA(cuda, cuFuncSetAttribute,
             "give the kernel \"" + kernel + "\" " +
                 std::to_string(sharedBytes) + " bytes of shared memory",
             found.function, kMaxDynamicSharedBytes,
             static_cast<int>(sharedBytes));
    found.sharedBytes = sharedBytes;
  }
  return found.function;
}

//===----------------------------------------------------------------------===//
// Memory of the program
//===----------------------------------------------------------------------===//

void Gpu::wait(const std::string &what) const {
  PST_CUDA(cuda, cuStreamSynchronize, what, inUse);
}

const Memory &Gpu::memoryOf(std::string_view space) const {
  auto found = spaces.find(space);
  if (found == spaces.end())
    throw Error("the program has no space \"" + std::string(space) + "\"");
  return *found->second;
}

size_t Gpu::spaceBytes(std::string_view space) const {
  return static_cast<size_t>(owner->manifest().spaces.at(std::string(space)));
}

DevicePointer Gpu::place(const Argument &argument) const {
  if (argument.kind == Argument::Kind::space)
    return memoryOf(argument.name).device();
  auto found = frozen.find(argument.name);
  if (found == frozen.end())
    throw Error("the frozen parameter \"" + argument.name +
                "\" was not copied to the GPU");
  return found->second->device();
}

void Gpu::share(const Accelerator &other,
                std::span<const std::string_view> shared) {
  const auto &theirs = static_cast<const Gpu &>(other);
  frozen = theirs.frozen;
  for (std::string_view space : shared)
    spaces.find(space)->second = theirs.spaces.find(space)->second;
}

void Gpu::addFrozen(const Parameter &parameter, const void *data) {
  makeCurrent();
  int64_t bytes = parameter.type.numBytes();
  std::string what = "\"" + parameter.name + "\"";
  auto memory =
      std::make_shared<Memory>(cuda, Memory::Kind::device, bytes, what);
  PST_CUDA(cuda, cuMemcpyHtoDAsync_v2, "copy " + what + " to the GPU",
           memory->device(), data, static_cast<size_t>(bytes), inUse);
  wait("copy " + what + " to the GPU");
  frozen[parameter.name] = std::move(memory);
}

void Gpu::upload(std::string_view space, const void *from) {
  makeCurrent();
  std::string what = "copy \"" + std::string(space) + "\" to the GPU";
  PST_CUDA(cuda, cuMemcpyHtoDAsync_v2, what, memoryOf(space).device(), from,
           spaceBytes(space), inUse);
  wait(what);
}

void Gpu::download(std::string_view space, void *to) {
  copyBack("copy \"" + std::string(space) + "\" from the GPU",
           memoryOf(space).device(), spaceBytes(space), to);
}

void Gpu::read(const void *there, size_t bytes, void *to) {
  copyBack("copy an array from the GPU", reinterpret_cast<DevicePointer>(there),
           bytes, to);
}

void Gpu::copyBack(const std::string &what, DevicePointer from, size_t bytes,
                   void *to) {
  makeCurrent();
  PST_CUDA(cuda, cuMemcpyDtoHAsync_v2, what, to, from, bytes, inUse);
  wait(what);
}

void Gpu::zero(std::string_view space) {
  makeCurrent();
  std::string what = "clear \"" + std::string(space) + "\"";
  PST_CUDA(cuda, cuMemsetD8Async, what, memoryOf(space).device(), 0,
           spaceBytes(space), inUse);
}

/// What `then` is given from now on begins after what `first` was given.
void Gpu::order(Stream first, Stream then) {
  makeCurrent();
  PST_CUDA(cuda, cuEventRecord, "leave a stream", handover, first);
  PST_CUDA(cuda, cuStreamWaitEvent, "wait for a stream", then, handover, 0);
}

void Gpu::useStream(std::optional<uintptr_t> stream) {
  Stream next =
      stream ? reinterpret_cast<Stream>(*stream) : Stream(computeStream);
  if (next == inUse)
    return;
  order(inUse, next);
  inUse = next;
}

void Gpu::letWait(uintptr_t stream) {
  order(inUse, reinterpret_cast<Stream>(stream));
}

void Gpu::waitFor(uintptr_t stream) {
  order(reinterpret_cast<Stream>(stream), inUse);
}

void *Gpu::address(std::string_view space) const {
  return reinterpret_cast<void *>(memoryOf(space).device());
}

std::unique_ptr<RemoteCall>
Gpu::prepare(std::string_view entry, std::span<const std::string> returned) {
  return makeCall(*this, entry, returned);
}

//===----------------------------------------------------------------------===//
// Measuring
//===----------------------------------------------------------------------===//

std::vector<double> Gpu::time(int count,
                              const std::function<void(int)> &enqueue) {
  makeCurrent();
  std::deque<OwnedEvent> marks;
  for (int i = 0; i <= count; ++i)
    PST_CUDA(cuda, cuEventCreate, "measure", marks.emplace_back(cuda).out(), 0);
  if (count > 0)
    enqueue(0);
  PST_CUDA(cuda, cuEventRecord, "measure", marks[0], inUse);
  for (int i = 0; i < count; ++i) {
    enqueue(i);
    PST_CUDA(cuda, cuEventRecord, "measure", marks[static_cast<size_t>(i) + 1],
             inUse);
  }
  wait("measure");
  std::vector<double> seconds;
  for (size_t i = 0; i + 1 < marks.size(); ++i) {
    float milliseconds = 0;
    PST_CUDA(cuda, cuEventElapsedTime, "measure", &milliseconds, marks[i],
             marks[i + 1]);
    seconds.push_back(static_cast<double>(milliseconds) * 1e-3);
  }
  return seconds;
}

std::vector<double> Gpu::timeCopy(int64_t bytes, int repetitions) {
  makeCurrent();
  size_t size = static_cast<size_t>(bytes);
  std::string what = "measure a copy within the GPU's memory";
  Memory from(cuda, Memory::Kind::device, bytes, "a copy to be measured"),
      to(cuda, Memory::Kind::device, bytes, "a copy to be measured");
  // Memory that was never written might be read faster.
  PST_CUDA(cuda, cuMemsetD8Async, what, from.device(), 0x5a, size, inUse);
  return time(repetitions, [&](int) {
    PST_CUDA(cuda, cuMemcpyDtoDAsync_v2, what, to.device(), from.device(), size,
             inUse);
  });
}

std::unique_ptr<Accelerator>
pst::runtime::openGPU(std::shared_ptr<const Program> program) {
  return std::make_unique<Gpu>(std::move(program));
}
