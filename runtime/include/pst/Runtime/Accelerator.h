//===- Accelerator.h - A processor with memory of its own -------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What the rest of the runtime knows of a GPU. ParameterStore keeps its memory
// and this process's in step, Invocation calls; nobody else needs to know.
//
//===----------------------------------------------------------------------===//

#ifndef PST_RUNTIME_ACCELERATOR_H
#define PST_RUNTIME_ACCELERATOR_H

#include "pst/Runtime/Program.h"

#include <functional>
#include <optional>
#include <span>

namespace pst::runtime {

/// How long one launch takes.
struct LaunchTime {
  std::string kernel; ///< empty: a copy
  double seconds = 0; ///< the median
};

/// An entry point that runs elsewhere. All memory that a call needs is there
/// beforehand, but for results of many megabytes (`materialize`).
class RemoteCall {
public:
  virtual ~RemoteCall() = default;
  /// How many calls may be begun and not finished.
  static constexpr int64_t kBegun = 2;
  /// Begins a call. `pointers` are as in the calling convention, in this
  /// process's memory: inputs are copied before this returns; where outputs,
  /// and spaces that come back (Accelerator::prepare), are to go must be there
  /// until the call is finished. Inputs and outputs that are `there` lie in the
  /// accelerator's memory: they are read and written in the order of its work,
  /// for which nobody waits. Throws Error.
  virtual void begin(void *const *pointers, const std::vector<bool> &there) = 0;
  /// Waits for the call that was begun first, of those not finished, whose
  /// results then are where they belong. Throws Error.
  virtual void finish() = 0;
  /// Waits for all calls; nobody wants their results any more.
  virtual void abandon() noexcept = 0;
  /// Lets it run on the inputs of the last call, and does not wait for it.
  virtual void enqueue() = 0;
  /// The same, launch by launch, in order: of each the median over
  /// `repetitions` calls.
  virtual std::vector<LaunchTime> measureLaunches(int repetitions) = 0;
};

/// A program on a processor with memory of its own: its spaces and its frozen
/// parameters. Throws Error where the processor, or its driver, does not do
/// what it is asked for.
class Accelerator {
public:
  virtual ~Accelerator() = default;

  /// "NVIDIA H200, compute capability 9.0".
  virtual std::string describe() const = 0;
  /// Copies a frozen parameter; once each, before the first call.
  virtual void addFrozen(const Parameter &parameter, const void *data) = 0;
  /// Takes those of a program on the same processor in place of copies, and
  /// these spaces of it in place of its own; they outlive it.
  virtual void share(const Accelerator &other,
                     std::span<const std::string_view> spaces) = 0;
  /// A space as a whole, to and from there; waits for the calls before it.
  virtual void upload(std::string_view space, const void *from) = 0;
  virtual void download(std::string_view space, void *to) = 0;
  virtual void zero(std::string_view space) = 0;
  /// Copies `bytes` that lie there, in the order of its work; waits for them.
  virtual void read(const void *there, size_t bytes, void *to) = 0;
  /// A space's address there, and the number of the device.
  virtual void *address(std::string_view space) const = 0;
  virtual int deviceNumber() const = 0;

  // Streams of other libraries in this process: a CUstream as a whole number,
  // such as torch.cuda.current_stream().cuda_stream; 0 and 1 are the driver's
  // default stream, 2 is the thread's.

  /// Gives work to that stream from now on, after what was given before; or
  /// again to a stream of our own. It must live until another one is chosen.
  virtual void useStream(std::optional<uintptr_t> stream) = 0;
  /// Lets what is given to that stream from now on begin after our work so far.
  virtual void letWait(uintptr_t stream) = 0;
  /// Lets our work from now on begin after what that stream has been given.
  virtual void waitFor(uintptr_t stream) = 0;

  /// Makes an entry point ready. Each space of `returned` comes back after each
  /// call, as outputs do.
  virtual std::unique_ptr<RemoteCall>
  prepare(std::string_view entry, std::span<const std::string> returned) = 0;

  /// Seconds of each of the `count` pieces of work that `enqueue(i)` gives to
  /// the processor. They follow each other without a pause, after one that is
  /// not counted, so that the time in which a call reaches it is hidden.
  virtual std::vector<double> time(int count,
                                   const std::function<void(int)> &enqueue) = 0;
  /// Of each of `repetitions` copies of `bytes` within its memory.
  virtual std::vector<double> timeCopy(int64_t bytes, int repetitions) = 0;
};

/// While this lives, a GPU stays open from the first program that runs on it
/// to the next: opening it takes a good part of a second.
std::shared_ptr<void> keepGPUsOpen();

/// The GPU that `program` (Manifest::isForGPU) runs on: that of the number
/// $LOCAL_RANK, which torchrun gives every process of a machine, or the first.
/// libcuda.so.1, or the library that $PST_CUDA_LIBRARY names, is opened here.
/// $PST_CUDA_LAUNCH says how launches reach it (docs/GPU.md). Throws Error: no
/// driver, one that is too old, no GPU, a GPU of another architecture, not
/// enough memory.
std::unique_ptr<Accelerator> openGPU(std::shared_ptr<const Program> program);

} // namespace pst::runtime

#endif // PST_RUNTIME_ACCELERATOR_H
