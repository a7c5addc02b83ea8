//===- Gpu.h - A program on an NVIDIA GPU -----------------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_RUNTIME_LIB_CUDA_GPU_H
#define PST_RUNTIME_LIB_CUDA_GPU_H

#include "Driver.h"
#include "pst/Runtime/Accelerator.h"

namespace pst::runtime::cuda {

/// Offsets within one of our allocations, and tensors in an entry point's
/// block of inputs, begin at multiples of this.
inline constexpr int64_t kAlignment = 256;
inline int64_t alignUp(int64_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

/// Memory of the GPU; or, pinned, of this process, from where the GPU copies by
/// itself.
class Memory {
public:
  enum class Kind { device, pinned };
  Memory() = default;
  /// Throws Error, which says what the memory is for.
  Memory(const Driver &driver, Kind kind, int64_t bytes,
         const std::string &what);
  ~Memory();
  Memory(Memory &&other) noexcept { *this = std::move(other); }
  Memory &operator=(Memory &&other) noexcept;

  DevicePointer device() const { return reinterpret_cast<DevicePointer>(base); }
  std::byte *host() const { return static_cast<std::byte *>(base); }

private:
  const Driver *driver = nullptr;
  Kind kind = Kind::device;
  void *base = nullptr;
};

/// A handle of the driver, destroyed at the end by DESTROY.
template <typename Handle, auto DESTROY> class Owned {
public:
  Owned() = default;
  explicit Owned(const Driver &driver) : driver(&driver) {}
  ~Owned() {
    if (handle)
      (driver->*DESTROY)(handle);
  }
  Owned(const Owned &) = delete;
  Owned &operator=(const Owned &) = delete;

  operator Handle() const { return handle; }
  /// For the driver to fill in.
  Handle *out() { return &handle; }

private:
  const Driver *driver = nullptr;
  Handle handle{};
};
using OwnedModule = Owned<Module, &Driver::cuModuleUnload>;
using OwnedStream = Owned<Stream, &Driver::cuStreamDestroy_v2>;
using OwnedEvent = Owned<Event, &Driver::cuEventDestroy_v2>;
using OwnedGraph = Owned<Graph, &Driver::cuGraphDestroy>;
using OwnedGraphExec = Owned<GraphExec, &Driver::cuGraphExecDestroy>;

/// The GPU's context, which all libraries of a process share.
class PrimaryContext {
public:
  explicit PrimaryContext(const Driver &driver) : driver(driver) {}
  ~PrimaryContext() {
    if (context)
      driver.cuDevicePrimaryCtxRelease_v2(device);
  }
  PrimaryContext(const PrimaryContext &) = delete;
  PrimaryContext &operator=(const PrimaryContext &) = delete;

  void retain(DeviceHandle which) {
    device = which;
    PST_CUDA(driver, cuDevicePrimaryCtxRetain, "use the GPU", &context, device);
  }
  /// For the calls of this thread from now on.
  void makeCurrent() const {
    PST_CUDA(driver, cuCtxSetCurrent, "use the GPU", context);
  }

private:
  const Driver &driver;
  DeviceHandle device = 0;
  Context context = nullptr;
};

/// How the launches of an entry point reach the GPU ($PST_CUDA_LAUNCH): as a
/// graph recorded once, one by one, or one by one and waiting for each, so that
/// an error names its kernel.
enum class LaunchMode { graph, stream, wait };

class Gpu : public Accelerator {
public:
  explicit Gpu(std::shared_ptr<const Program> program);
  ~Gpu() override;

  std::string describe() const override;
  void addFrozen(const Parameter &parameter, const void *data) override;
  void share(const Accelerator &other,
             std::span<const std::string_view> spaces) override;
  void upload(std::string_view space, const void *from) override;
  void download(std::string_view space, void *to) override;
  void zero(std::string_view space) override;
  void read(const void *there, size_t bytes, void *to) override;
  void *address(std::string_view space) const override;
  int deviceNumber() const override { return ordinal; }
  void useStream(std::optional<uintptr_t> stream) override;
  void letWait(uintptr_t stream) override;
  void waitFor(uintptr_t stream) override;
  std::unique_ptr<RemoteCall>
  prepare(std::string_view entry,
          std::span<const std::string> returned) override;
  std::vector<double> time(int count,
                           const std::function<void(int)> &enqueue) override;
  std::vector<double> timeCopy(int64_t bytes, int repetitions) override;

  const Driver &driver() const { return cuda; }
  const Program &program() const { return *owner; }
  LaunchMode launchMode() const { return mode; }
  /// Calls of the driver by this thread are about this GPU from now on.
  void makeCurrent() const { context.makeCurrent(); }
  /// Where kernels run, and where inputs of the next call go over meanwhile.
  Stream compute() const { return inUse; }
  Stream copies() const { return copyStream; }
  /// Ours, where launches are recorded: a caller's may not be able to.
  Stream recording() const { return computeStream; }
  void wait(const std::string &what) const;
  void copyBack(const std::string &what, DevicePointer from, size_t bytes,
                void *to);
  /// A kernel, which may have `sharedBytes` of dynamic shared memory.
  Function function(const std::string &kernel, int64_t sharedBytes);
  /// The address of a parameter or a space.
  DevicePointer place(const Argument &argument) const;
  size_t spaceBytes(std::string_view space) const;

private:
  const Memory &memoryOf(std::string_view space) const;
  void order(Stream first, Stream then);
  void openDevice();
  void loadKernels();

  const Driver &cuda;
  std::shared_ptr<const Program> owner;
  LaunchMode mode;
  int ordinal = 0, major = 0, minor = 0;
  std::string name;
  DeviceHandle device = 0;
  // Destroyed in the opposite order.
  PrimaryContext context{cuda};
  OwnedModule module{cuda};
  OwnedStream computeStream{cuda}, copyStream{cuda};
  Stream inUse = nullptr; ///< computeStream, or one of the caller's
  OwnedEvent handover{cuda};
  struct Kernel {
    Function function = nullptr;
    int64_t sharedBytes = 0;
  };
  std::map<std::string, Kernel, std::less<>> kernels;
  std::map<std::string, std::shared_ptr<const Memory>, std::less<>> spaces,
      frozen;
};

/// An entry point on `gpu`, which must outlive it.
std::unique_ptr<RemoteCall> makeCall(Gpu &gpu, std::string_view entry,
                                     std::span<const std::string> returned);

} // namespace pst::runtime::cuda

#endif // PST_RUNTIME_LIB_CUDA_GPU_H
