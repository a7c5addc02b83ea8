//===- Bench.cpp - How long a program takes -------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Runtime/Bench.h"
#include "RandomInputs.h"
#include "pst/Runtime/Error.h"
#include "pst/Runtime/Invocation.h"
#include "pst/Runtime/Philox.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstring>
#include <random>

using namespace pst;
using namespace pst::runtime;

/// What the copies of the inputs and outputs shall amount to, several times any
/// cache; programs that are much smaller have one copy, like those that read
/// what they wrote.
static constexpr int64_t kSpread = 256 << 20, kSmall = 4 << 20, kMostCopies = 6;

namespace {
/// An entry point with memory for its inputs and outputs.
class BoundCall {
public:
  BoundCall(const ParameterStore &store, const std::string &entry,
            const BenchOptions &options)
      : call(store, entry) {
    RandomInputs inputs(store.manifest(), call.entryPoint(), options.sparsity,
                        options.seed);
    for (const Argument &argument : call.entryPoint().arguments) {
      bool isInput = argument.kind == Argument::Kind::input;
      if (isInput && !isZero(argument, options))
        memory.push_back(inputs.fill(argument));
      else if (isInput || argument.kind == Argument::Kind::output)
        memory.emplace_back(static_cast<size_t>(argument.type.numBytes()));
    }
    bind();
  }
  /// The same inputs and outputs, for a call with its own memory on the GPU.
  BoundCall(const ParameterStore &store, const std::string &entry,
            const BoundCall &other)
      : call(store, entry), memory(other.memory) {
    bind();
  }
  /// Bytes of the inputs and outputs.
  int64_t bytes() const {
    size_t sum = 0;
    for (const auto &one : memory)
      sum += one.size();
    return static_cast<int64_t>(sum);
  }
  void operator()() const { call(); }
  RemoteCall &remote() const { return *call.remoteCall(); }

  Invocation call;
  const float *loss = nullptr;

private:
  static bool isZero(const Argument &argument, const BenchOptions &options) {
    return std::find(options.zero.begin(), options.zero.end(), argument.name) !=
           options.zero.end();
  }
  void bind() {
    size_t next = 0;
    for (const Argument &argument : call.entryPoint().arguments) {
      if (argument.kind != Argument::Kind::input &&
          argument.kind != Argument::Kind::output)
        continue;
      const std::byte *data = memory[next++].data();
      call.bind(argument.name, data);
      if (argument.name == "loss")
        loss = reinterpret_cast<const float *>(data);
    }
  }

  std::vector<std::vector<std::byte>> memory;
};
} // namespace

//===----------------------------------------------------------------------===//
// Measuring
//===----------------------------------------------------------------------===//

static double secondsOf(auto &&action) {
  auto start = std::chrono::steady_clock::now();
  action();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
      .count();
}

/// By op, from the time of each launch.
static std::map<std::string, OpTime>
timesByOp(const EntryPoint &entry, const std::vector<LaunchTime> &times,
          const BenchResult &rates) {
  std::map<std::string, OpTime> ops;
  auto floorOf = [&](double flops, double bytes) {
    double products = rates.matrixRate > 0 ? flops / rates.matrixRate : 0;
    double copies = rates.copyRate > 0 ? bytes / rates.copyRate : 0;
    return flops > 0 && !rates.matrixRate ? 0 : std::max(products, copies);
  };
  OpTime *current = nullptr;
  for (size_t i = 0; i < times.size(); ++i) {
    const Launch &launch = entry.launches[i];
    std::string name = launch.isCopy() ? "copy" : launch.op;
    if (!name.empty() || !current) {
      current = &ops[name.empty() ? "(not said)" : name];
      // A copy reads and writes.
      double bytes = static_cast<double>(launch.isCopy() ? 2 * launch.copyBytes
                                                         : launch.bytes);
      double flops = static_cast<double>(launch.flops);
      ++current->count;
      current->flops += flops;
      current->bytes += bytes;
      current->floor += floorOf(flops, bytes);
    }
    current->seconds += times[i].seconds;
    OpTime::Kernel &kernel =
        current->kernels[launch.isCopy() ? "copy" : launch.kernel];
    ++kernel.launches;
    kernel.seconds += times[i].seconds;
    if (launch.isCopy())
      current = nullptr;
  }
  return ops;
}

static EntryTime measure(const ParameterStore &store, const std::string &entry,
                         const BenchOptions &options,
                         const BenchResult &rates) {
  EntryTime result;
  result.entry = entry;
  std::vector<std::unique_ptr<BoundCall>> calls;
  calls.push_back(std::make_unique<BoundCall>(store, entry, options));
  (*calls[0])(); // touches the memory
  Accelerator *accelerator = store.accelerator();
  if (!accelerator) {
    std::vector<double> seconds;
    for (int i = 0; i < options.repetitions; ++i)
      seconds.push_back(secondsOf(*calls[0]));
    result.seconds = Samples(seconds);
    return result;
  }
  if (int64_t bytes = calls[0]->bytes(); bytes >= kSmall)
    while (bytes * static_cast<int64_t>(calls.size()) < kSpread &&
           calls.size() < kMostCopies) {
      calls.push_back(std::make_unique<BoundCall>(store, entry, *calls[0]));
      (*calls.back())();
    }
  result.seconds = Samples(accelerator->time(options.repetitions, [&](int i) {
    calls[static_cast<size_t>(i) % calls.size()]->remote().enqueue();
  }));
  result.ops =
      timesByOp(calls[0]->call.entryPoint(),
                calls[0]->remote().measureLaunches(options.repetitions), rates);
  return result;
}

/// Whole training steps, as a trainer makes them.
static void measureStep(const ParameterStore &store,
                        const std::vector<std::string> &entries,
                        const BenchOptions &options, BenchResult &result) {
  std::vector<std::unique_ptr<BoundCall>> calls;
  for (const std::string &entry : entries)
    calls.push_back(std::make_unique<BoundCall>(store, entry, options));
  auto step = [&] {
    for (const auto &call : calls)
      (*call)();
  };
  step();
  for (const auto &call : calls)
    if (call->loss)
      result.loss = *call->loss;
  if (!std::isfinite(result.loss))
    throw Error("the loss of the first step is " + std::to_string(result.loss) +
                ": what is wrong is not timed");
  std::vector<double> seconds;
  for (int i = 0; i < options.repetitions; ++i)
    seconds.push_back(secondsOf(step));
  result.wallSeconds = Samples(seconds);
  if (Accelerator *accelerator = store.accelerator()) {
    EntryTime whole;
    whole.entry = "step";
    whole.seconds = Samples(accelerator->time(options.repetitions, [&](int) {
      for (const auto &call : calls)
        call->remote().enqueue();
    }));
    result.entries.push_back(std::move(whole));
  }
}

static bool hasInput(const EntryPoint &entry, const std::string &name) {
  return std::any_of(entry.arguments.begin(), entry.arguments.end(),
                     [&](const Argument &argument) {
                       return argument.kind == Argument::Kind::input &&
                              argument.name == name;
                     });
}

BenchResult pst::runtime::bench(std::shared_ptr<const Program> program,
                                std::shared_ptr<const ModelFiles> files,
                                const BenchOptions &options) {
  if (options.repetitions < 1 || options.copyBytes < 1)
    throw Error("there must be at least one repetition, and a byte to copy");
  std::vector<std::string> step, entries = options.entries;
  for (const char *entry : {"select", "forward_backward", "apply"})
    if (program->has(entry))
      step.emplace_back(entry);
  bool trains = program->has("forward_backward") && program->has("apply");
  for (const std::string &entry : entries)
    program->entryPoint(entry); // or throws
  bool wholeStep = trains && entries.empty();
  if (wholeStep)
    entries = step;
  else if (entries.empty())
    for (const auto &[name, ignored] : program->manifest().entryPoints)
      if (!isPackEntry(name)) // called once, whose weights are gone then
        entries.push_back(name);

  for (const std::string &name : options.zero)
    if (std::none_of(entries.begin(), entries.end(), [&](const auto &entry) {
          return hasInput(program->entryPoint(entry), name);
        }))
      throw Error("no entry point that is measured has an input \"" + name +
                  "\", which was to be zero");

  for (const Parameter &parameter : program->manifest().parameters)
    if (!files && parameter.initializer.kind == Initializer::Kind::file)
      throw Error("the program takes \"" + parameter.name +
                  "\" from a model's files: name its directory (--model)");

  BenchResult result;
  result.memory = program->manifest().memory;
  result.matrixRate = options.matrixCeiling;
  ParameterStore store(program, std::move(files), options.seed);
  packWeights(store);
  if (Accelerator *accelerator = store.accelerator()) {
    result.device = accelerator->describe();
    Samples copy(accelerator->timeCopy(options.copyBytes, options.repetitions));
    result.copyRate = 2 * static_cast<double>(options.copyBytes) / copy.median;
  }
  if (wholeStep)
    measureStep(store, step, options, result);
  for (const std::string &entry : entries)
    result.entries.push_back(measure(store, entry, options, result));
  return result;
}
