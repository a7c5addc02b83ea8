//===- GpuTest.cpp - Programs for GPUs, against a stand-in driver ---------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// test/StandIn takes the place of NVIDIA's driver: it ends the process where it
// is not used as its manual says, and complains at the end of what was not
// freed.
//
//===----------------------------------------------------------------------===//

#include "TinyProgram.h"
#include "pst/Runtime/Invocation.h"
#include "pst/Runtime/SafeTensorsWriter.h"

#include <cstdlib>
#include <dlfcn.h>
#include <fstream>
#include <sys/wait.h>

using namespace pst;
using namespace pst::runtime;
using namespace tiny;

namespace {

constexpr int64_t kCount = 40;

/// axpy (GpuKernels.cpp) over a frozen parameter, a space and two inputs, then
/// a copy within the space.
Manifest makeGpuManifest() {
  Manifest manifest;
  manifest.triple = kGPUTriple;
  manifest.cpu = "sm_80";
  manifest.library = "kernels.sm_80.ptx";
  TensorType vector{ElementType::f32, {kCount}};
  Parameter w{"w", Role::frozen, vector, {}, "w", "", 0, 0, 0, false};
  w.initializer.kind = Initializer::Kind::file;
  Parameter sums{"sums", Role::trainable, vector, {}, "", "", 0, 0, 0, false};
  sums.initializer = {Initializer::Kind::constant, 0, 2.0};
  Parameter copied{"copied", Role::trainable, vector, {}, "", "", 0, 0, 256,
                   false};
  manifest.parameters = {w, sums, copied};
  manifest.spaces = {{"trainable", 512}, {"gradient", 512}};
  EntryPoint entry;
  entry.arguments = {{Argument::Kind::input, "x", vector},
                     {Argument::Kind::input, "factor", {ElementType::f32, {}}},
                     {Argument::Kind::parameter, "w", vector},
                     {Argument::Kind::space, "trainable", {}},
                     {Argument::Kind::output, "y", vector}};
  entry.launches = {
      Launch::fromText("axpy grid 2x1x1 block 32x1x1 : #0+0 #1+0 #2+0 #3+0 "
                       "#4+0 4:fffffffd",
                       "test"),
      Launch::fromText("copy bytes 160 : #3+256 #3+0", "test")};
  manifest.entryPoints["add"] = entry;
  return manifest;
}

const char kKernels[] = R"(
.version 8.0
.target sm_80
.address_size 64
.visible .entry axpy(
  .param .u64 .ptr .align 1 axpy_param_0,
  .param .u64 .ptr .align 1 axpy_param_1,
  .param .u64 .ptr .align 1 axpy_param_2,
  .param .u64 .ptr .align 1 axpy_param_3,
  .param .u64 .ptr .align 1 axpy_param_4,
  .param .u32 axpy_param_5
)
.maxntid 32, 1, 1
{
  ret;
}
)";

class Gpu : public ::testing::Test {
protected:
  Gpu() {
    ::setenv("PST_CUDA_LIBRARY", PST_STANDIN, 1);
    ::setenv("PST_STANDIN_KERNELS", PST_GPU_KERNELS, 1);
    for (const char *name : {"PST_STANDIN", "PST_CUDA_LAUNCH", "LOCAL_RANK"})
      ::unsetenv(name);
    for (int64_t i = 0; i < kCount; ++i) {
      x[i] = static_cast<float>(i % 7) - 3;
      w[i] = static_cast<float>(i % 5) * 0.5f;
    }
    std::filesystem::create_directories(directory / "model");
    writeSafeTensors(directory / "model" / "model.safetensors",
                     {{{"w", DType::F32, {kCount}}, w}});
    writeBytes(directory / "model" / "config.json", "{}");
  }

  std::unique_ptr<ParameterStore> makeStore() {
    return std::make_unique<ParameterStore>(
        Program::createForGPU(makeGpuManifest(), kKernels),
        std::make_shared<const ModelFiles>(directory / "model"), 1);
  }

  /// How often the stand-in's function was called.
  static int64_t calls(const char *name) {
    void *library = ::dlopen(PST_STANDIN, RTLD_NOW | RTLD_NOLOAD);
    auto count = reinterpret_cast<int64_t (*)(const char *)>(
        ::dlsym(library, "standin_calls"));
    return count(name);
  }

  void checkCalls() {
    auto store = makeStore();
    Invocation add(*store, "add");
    float y[kCount], factor = 0.5f;
    add.bind("x", x);
    add.bind("factor", &factor);
    add.bind("y", y);
    std::vector<float> expected(kCount, 2.0f);
    for (int step = 0; step < 5; ++step, factor += 0.25f) {
      if (step == 3) // written by the host between two calls
        for (int64_t i = 0; i < kCount; ++i)
          expected[i] = static_cast<float *>(store->space("trainable"))[i] =
              static_cast<float>(i);
      add();
      for (int64_t i = 0; i < kCount; ++i) {
        expected[i] += factor * w[i] * x[i];
        ASSERT_EQ(y[i], expected[i] - 3) << "step " << step << ", " << i;
      }
      if (step % 2)
        continue;
      auto *sums = static_cast<const float *>(store->data("sums"));
      auto *copied = static_cast<const float *>(store->data("copied"));
      for (int64_t i = 0; i < kCount; ++i)
        ASSERT_TRUE(sums[i] == expected[i] && copied[i] == expected[i]) << i;
    }
  }

  /// Runs pst-run on a bundle of the program; returns its status and messages.
  std::pair<int, std::string> run(const std::string &environment) {
    auto bundle = directory / "bundle";
    std::filesystem::create_directories(bundle);
    writeBytes(bundle / "manifest.json", makeGpuManifest().toJson());
    writeBytes(bundle / "kernels.sm_80.ptx", kKernels);
    std::string messages = directory / "messages";
    std::string command = environment + " " + PST_RUN + " eval --bundle " +
                          bundle.string() + " --model " +
                          (directory / "model").string() +
                          " --eval /nonexistent > " + messages + " 2>&1";
    int status = std::system(command.c_str());
    return {WEXITSTATUS(status), readBytes(messages)};
  }

  TemporaryDirectory directory;
  float x[kCount], w[kCount];
};

} // namespace

TEST_F(Gpu, RunsAsAGraph) { checkCalls(); }

TEST_F(Gpu, RunsLaunchByLaunch) {
  ::setenv("PST_CUDA_LAUNCH", "stream", 1);
  checkCalls();
}

TEST_F(Gpu, RunsAndWaitsForEachLaunch) {
  ::setenv("PST_CUDA_LAUNCH", "wait", 1);
  checkCalls();
}

TEST_F(Gpu, ACallAllocatesAndLaunchesNothingAnew) {
  auto store = makeStore();
  Invocation add(*store, "add");
  float y[kCount], factor = 1;
  add.bind("x", x);
  add.bind("factor", &factor);
  add.bind("y", y);
  std::map<std::string, int64_t> before;
  const char *names[] = {"cuMemAlloc_v2",  "cuMemAllocHost_v2",
                         "cuLaunchKernel", "cuEventCreate",
                         "cuStreamCreate", "cuStreamSynchronize"};
  add(); // the first brings over what the host wrote
  for (const char *name : names)
    before[name] = calls(name);
  int64_t graphs = calls("cuGraphLaunch");
  for (int i = 0; i < 3; ++i)
    add();
  EXPECT_EQ(calls("cuGraphLaunch"), graphs + 3);
  for (const char *name : names)
    EXPECT_EQ(calls(name), before[name]) << name;
}

// One copy of the weights, and one of the space in which the others are, serve
// both, and outlive the first.
TEST_F(Gpu, ProgramsShareParameters) {
  auto first = makeStore();
  float y[kCount], factor = 2;
  auto call = [&](ParameterStore &store) {
    Invocation add(store, "add");
    add.bind("x", x);
    add.bind("factor", &factor);
    add.bind("y", y);
    add();
  };
  call(*first);
  int64_t copies = calls("cuMemcpyHtoDAsync_v2");
  ParameterStore second(Program::createForGPU(makeGpuManifest(), kKernels),
                        *first);
  EXPECT_EQ(calls("cuMemcpyHtoDAsync_v2"), copies);
  first.reset();
  call(second);
  auto *sums = static_cast<const float *>(second.data("sums"));
  for (int64_t i = 0; i < kCount; ++i) {
    float sum = 2 + factor * w[i] * x[i] + factor * w[i] * x[i];
    ASSERT_TRUE(y[i] == sum - 3 && sums[i] == sum) << i;
  }

  Manifest fewer = makeGpuManifest();
  fewer.parameters.pop_back();
  std::string refused = errorOf(
      [&] { ParameterStore(Program::createForGPU(fewer, kKernels), second); });
  EXPECT_NE(refused.find("the first that differs is here the space "
                         "\"trainable\" of 512 bytes, and there \"copied\", "
                         "trainable at byte 256, f32[40]"),
            std::string::npos)
      << refused;
}

// Nothing is waited for but that a slot's inputs have left it.
TEST_F(Gpu, CallsWithoutResultsKeepTheirInputs) {
  Manifest manifest = makeGpuManifest();
  Argument &output = manifest.entryPoints["add"].arguments[4];
  output = {Argument::Kind::space, "gradient", {}};
  ParameterStore store(Program::createForGPU(manifest, kKernels),
                       std::make_shared<const ModelFiles>(directory / "model"),
                       1);
  Invocation add(store, "add");
  float factor = 0.5f;
  add.bind("x", x);
  add.bind("factor", &factor);
  int64_t waits = calls("cuStreamSynchronize");
  for (int i = 0; i < 7; ++i, factor *= 2)
    add();
  EXPECT_EQ(calls("cuStreamSynchronize"), waits + 1); // of the first upload
  ASSERT_NE(x[4] * w[4], 0);
  EXPECT_EQ(static_cast<const float *>(store.data("sums"))[4],
            2 + (factor - 0.5f) * w[4] * x[4]);
}

// Work of another library on its stream, done when the stream's turn comes.
TEST_F(Gpu, WorkTakesItsTurnOnTheCallersStream) {
  void *library = ::dlopen(PST_STANDIN, RTLD_NOW);
  auto find = [&]<typename T>(const char *name, T *) {
    return reinterpret_cast<T *>(::dlsym(library, name));
  };
  auto give =
      find("standin_give",
           static_cast<void (*)(cuda::Stream, void (*)(void *), void *)>(0));
  auto create =
      find("cuStreamCreate", static_cast<int (*)(cuda::Stream *, unsigned)>(0));
  auto destroy =
      find("cuStreamDestroy_v2", static_cast<int (*)(cuda::Stream)>(0));
  auto wait =
      find("cuStreamSynchronize", static_cast<int (*)(cuda::Stream)>(0));
  auto store = makeStore();
  Accelerator &gpu = *store->accelerator();
  Invocation add(*store, "add");
  float y[kCount], factor = 2;
  add.bind("x", x);
  add.bind("factor", &factor);
  add.bind("y", y);
  auto *sums = static_cast<float *>(store->spaceThere("trainable"));
  auto fill = [](void *data) {
    for (int64_t i = 0; i < kCount; ++i)
      static_cast<float *>(data)[i] = 10;
  };
  auto halve = [](void *data) {
    for (int64_t i = 0; i < kCount; ++i)
      static_cast<float *>(data)[i] /= 2;
  };
  auto expect = [&](float before, const char *what) {
    for (int64_t i = 0; i < kCount; ++i)
      ASSERT_EQ(y[i], before + factor * w[i] * x[i] - 3) << what << " " << i;
  };
  cuda::Stream made = nullptr;
  ASSERT_EQ(create(&made, 1), 0);
  // One that was made, the default one in both spellings, and the thread's.
  for (uintptr_t handle : {reinterpret_cast<uintptr_t>(made), uintptr_t(0),
                           uintptr_t(1), uintptr_t(2)}) {
    auto stream = reinterpret_cast<cuda::Stream>(handle);
    // Calls on that stream come after what it was given before, and before
    // what it is given then.
    gpu.useStream(handle);
    give(stream, fill, sums);
    add.begin();
    give(stream, fill, sums);
    give(stream, halve, sums);
    add.finish();
    expect(10, "on the stream");
    // And those on another one after all that.
    gpu.useStream(std::nullopt);
    add();
    expect(5, "on the next stream");
    // Once by events: their work after ours, ours after theirs.
    give(stream, fill, sums);
    gpu.waitFor(handle);
    add.begin();
    gpu.letWait(handle);
    give(stream, fill, sums);
    give(stream, halve, sums);
    wait(stream);
    add.finish();
    expect(10, "after theirs");
    EXPECT_EQ(sums[3], 5);
    EXPECT_EQ(static_cast<const float *>(store->readSpace("trainable"))[3], 5);
  }
  destroy(made);
}

// Nobody waits for inputs and outputs in the GPU's memory.
TEST_F(Gpu, InputsAndOutputsMayBeThere) {
  auto store = makeStore();
  void *library = ::dlopen(PST_STANDIN, RTLD_NOW);
  auto give =
      reinterpret_cast<void (*)(cuda::Stream, void (*)(void *), void *)>(
          ::dlsym(library, "standin_give"));
  auto wait = reinterpret_cast<int (*)(cuda::Stream)>(
      ::dlsym(library, "cuStreamSynchronize"));
  store->accelerator()->useStream(0);
  // Any memory over there will do: x here, y behind it.
  auto *there = static_cast<float *>(store->spaceThere("gradient"));
  float *result = there + 64;
  auto fill = [](void *data) {
    for (int64_t i = 0; i < kCount; ++i)
      static_cast<float *>(data)[i] += static_cast<float>(i);
  };
  Invocation add(*store, "add");
  float factor = 2, y[kCount];
  add.bindThere("x", there);
  add.bind("factor", &factor);
  add.bindThere("y", result);
  wait(nullptr); // the space was cleared at first
  std::fill_n(there, kCount, 1.0f);
  std::fill_n(result, kCount, -1.0f);
  add(); // which brings over what the host wrote
  int64_t waits = calls("cuStreamSynchronize");
  // x changes after the first call, and before the second.
  give(nullptr, fill, there);
  add();
  EXPECT_EQ(result[7], -1) << "somebody has waited for it";
  EXPECT_EQ(calls("cuStreamSynchronize"), waits);
  wait(nullptr);
  for (int64_t i = 0; i < kCount; ++i)
    ASSERT_EQ(result[i], 2 + factor * w[i] * (2 + static_cast<float>(i)) - 3)
        << i;
  // And back to memory of this process, half of it.
  add.bind("x", x);
  add();
  add.bind("y", y);
  add();
  EXPECT_EQ(y[4] - result[4], factor * w[4] * x[4]);
  EXPECT_ERROR(add.bindThere("z", x), "has no input or output \"z\"");
}

TEST_F(Gpu, ClearsSpacesOverThere) {
  auto store = makeStore();
  static_cast<float *>(store->space("trainable"))[3] = 7;
  store->clearSpace("trainable");
  EXPECT_EQ(static_cast<const float *>(store->readSpace("trainable"))[3], 0);
  EXPECT_EQ(static_cast<const float *>(store->data("sums"))[0], 0);
}

TEST_F(Gpu, MeasuresCallsAndLaunches) {
  auto store = makeStore();
  Invocation add(*store, "add");
  float y[kCount], factor = 1;
  add.bind("x", x);
  add.bind("factor", &factor);
  add.bind("y", y);
  add();
  // The stand-in says 1 ms of everything.
  Accelerator &gpu = *store->accelerator();
  auto seconds = gpu.time(3, [&](int) { add.remoteCall()->enqueue(); });
  ASSERT_EQ(seconds.size(), 3u);
  EXPECT_NEAR(seconds[2], 1e-3, 1e-9);
  EXPECT_EQ(gpu.timeCopy(1 << 20, 5).size(), 5u);
  auto times = add.remoteCall()->measureLaunches(3);
  ASSERT_EQ(times.size(), 2u);
  EXPECT_EQ(times[0].kernel, "axpy");
  EXPECT_EQ(times[1].kernel, "");
}

TEST_F(Gpu, RefusesAnotherArchitecture) {
  ::setenv("PST_STANDIN", "capability=75", 1);
  EXPECT_ERROR(makeStore(), "compiled for sm_80, but the GPU is stand-in, "
                            "compute capability 7.5");
}

TEST_F(Gpu, RunsOnLaterArchitectures) {
  ::setenv("PST_STANDIN", "capability=100", 1);
  checkCalls();
}

TEST_F(Gpu, RefusesAnOldDriver) {
  ::setenv("PST_STANDIN", "version=11080", 1);
  EXPECT_ERROR(makeStore(), "the program's kernels are PTX 8.0, which NVIDIA's "
                            "drivers know from CUDA 12.0 on, but this one is "
                            "of CUDA 11.8: install a newer driver");
}

TEST_F(Gpu, TellsWhatTheDriversCompilerSays) {
  ::setenv("PST_STANDIN", "jit=0", 1);
  EXPECT_ERROR(makeStore(),
               "cuModuleLoadDataEx: a PTX JIT compilation failed "
               "(CUDA_ERROR_INVALID_PTX); the driver says: ptxas error   : "
               "Unexpected instruction 'wgmma'");
}

TEST_F(Gpu, TellsWhatDoesNotFit) {
  ::setenv("PST_STANDIN", "memory=800", 1);
  EXPECT_ERROR(makeStore(), "of the GPU's memory for \"trainable\"");
  ::setenv("PST_STANDIN", "memory=1100", 1);
  EXPECT_ERROR(makeStore(), "of the GPU's memory for \"w\"");
}

TEST_F(Gpu, TellsWhichGpuIsMissing) {
  ::setenv("LOCAL_RANK", "1", 1);
  EXPECT_ERROR(makeStore(),
               "LOCAL_RANK asks for GPU 1, but this machine has 1");
}

TEST_F(Gpu, TellsWhichCallFailed) {
  auto store = makeStore();
  Invocation add(*store, "add");
  float y[kCount], factor = 1;
  add.bind("x", x);
  add.bind("factor", &factor);
  add.bind("y", y);
  ::setenv("PST_STANDIN", "broken=1", 1);
  EXPECT_ERROR(add(), "cannot run \"add\" on the GPU: cuEventSynchronize: an "
                      "illegal memory access was encountered "
                      "(CUDA_ERROR_ILLEGAL_ADDRESS)");
}

TEST_F(Gpu, WaitingNamesTheKernelThatFailed) {
  ::setenv("PST_CUDA_LAUNCH", "wait", 1);
  auto store = makeStore();
  Invocation add(*store, "add");
  float y[kCount], factor = 1;
  add.bind("x", x);
  add.bind("factor", &factor);
  add.bind("y", y);
  add();
  ::setenv("PST_STANDIN", "broken=1", 1);
  EXPECT_ERROR(add(), "cannot run the kernel \"axpy\" of \"add\"");
}

TEST_F(Gpu, RefusesCodeWithoutTheKernels) {
  std::string other = kKernels;
  other.replace(other.find("axpy("), 4, "sub2");
  EXPECT_ERROR(Program::createForGPU(makeGpuManifest(), other),
               "lacks the kernel \"axpy\" of the entry point \"add\"");
  other = kKernels;
  other.replace(other.find("sm_80"), 5, "sm_90");
  EXPECT_ERROR(Program::createForGPU(makeGpuManifest(), other),
               "no PTX for sm_80");
}

TEST_F(Gpu, RefusesLaunchesThatTakeOtherParameters) {
  std::string other = kKernels;
  other.replace(other.find(".param .u32"), 11, ".param .u64");
  EXPECT_ERROR(Program::createForGPU(makeGpuManifest(), other),
               "parameter 5 of the kernel \"axpy\" has 8 bytes, but a launch "
               "gives 4");
  Manifest manifest = makeGpuManifest();
  manifest.entryPoints["add"].launches[0].arguments.pop_back();
  EXPECT_ERROR(Program::createForGPU(manifest, kKernels),
               "the kernel \"axpy\" has 6 parameters, but a launch gives 5");
}

// What the driver is asked once in a process, in processes of their own.

TEST_F(Gpu, SaysThatThereIsNoDriver) {
  auto [status, text] = run("PST_CUDA_LIBRARY=/nonexistent/libcuda.so.1");
  EXPECT_EQ(status, 1);
  EXPECT_NE(text.find("NVIDIA's driver cannot be opened"), std::string::npos)
      << text;
  EXPECT_NE(text.find("--target=cpu"), std::string::npos) << text;
}

TEST_F(Gpu, SaysThatThereIsNoGpu) {
  auto [status, text] =
      run("PST_STANDIN=devices=0 PST_CUDA_LIBRARY=" PST_STANDIN);
  EXPECT_EQ(status, 1);
  EXPECT_NE(text.find("but this machine has none"), std::string::npos) << text;
}

TEST_F(Gpu, SaysThatTheDriverLacksAFunction) {
  auto [status, text] = run("PST_CUDA_LIBRARY=" PST_GPU_KERNELS);
  EXPECT_EQ(status, 1);
  EXPECT_NE(text.find("lacks cuInit: it is older than CUDA 12.0"),
            std::string::npos)
      << text;
}

TEST_F(Gpu, LeavesNothingBehindAfterAnError) {
  // The stand-in ends a process that has forgotten something with 99.
  auto [status, text] = run("PST_CUDA_LIBRARY=" PST_STANDIN);
  EXPECT_EQ(status, 1);
  EXPECT_NE(text.find("/nonexistent"), std::string::npos) << text;
}
