//===- GpuTrainerTest.cpp - The training loop with a GPU ------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The tiny model's kernels run on the stand-in for the driver, as late as the
// program allows, and are the functions of the program for this processor: a
// run there must have the bits of a run here.
//
//===----------------------------------------------------------------------===//

#include "TinyProgram.h"
#include "pst/Runtime/Error.h"

#include <nlohmann/json.hpp>

#include <cmath>
#include <cstdlib>
#include <dlfcn.h>
#include <fstream>

using namespace pst;
using namespace pst::runtime;
using namespace tiny;
namespace fs = std::filesystem;

namespace {

/// What a run leaves behind, but for times.
struct Trained {
  std::vector<std::vector<double>> steps; ///< each step's record
  std::vector<std::string> log;
  std::map<std::string, std::string> checkpoints; ///< files, by name
  TrainingResult result;
};

class GpuTrainer : public ::testing::Test {
protected:
  GpuTrainer() {
    ::setenv("PST_CUDA_LIBRARY", PST_STANDIN, 1);
    ::setenv("PST_STANDIN_KERNELS", PST_GPU_KERNELS, 1);
    for (const char *name : {"PST_STANDIN", "PST_CUDA_LAUNCH", "LOCAL_RANK"})
      ::unsetenv(name);
    writeModel(directory / "model");
    options.learningRate = 0.02;
    options.seed = 5;
    options.sparsity = 0.7;
    options.saveStrategy = Interval::no;
    options.overwriteOutputDir = true;
  }
  ~GpuTrainer() override { ::unsetenv("PST_STANDIN_LOG"); }

  Trained train(bool gpu, TrainingCallbacks callbacks = {}, Peers peers = {}) {
    options.outputDir = directory / (gpu ? "there" : "here");
    model = std::make_unique<Model>(
        gpu ? makeGpuProgram() : makeProgram(),
        std::make_shared<const ModelFiles>(directory / "model"), 7);
    Trained run;
    auto onStep = callbacks.onStep;
    callbacks.onStep = [&run, onStep](const StepRecord &r) {
      run.steps.push_back({double(r.step), r.epoch, r.loss, r.learningRate,
                           r.sparsity, r.gradNorm});
      if (onStep)
        onStep(r);
    };
    Trainer trainer(*model, options, makeData(23), makeData(13, {}, 2),
                    callbacks, peers);
    run.result = trainer.train();
    std::ifstream log(options.outputDir / "log.jsonl");
    for (std::string line; std::getline(log, line);) {
      auto json = nlohmann::json::parse(line);
      for (const char *key : {"seconds_per_step", "tokens_per_second",
                              "memory_bytes", "eval_seconds"})
        json.erase(key);
      run.log.push_back(json.dump());
    }
    for (const auto &[step, path] : listCheckpoints(options.outputDir))
      for (const auto &[name, bytes] : readAll(path))
        if (name.ends_with(".safetensors"))
          run.checkpoints[path.filename() / name] = bytes;
    return run;
  }

  /// Trains here and there, and compares.
  void compare(size_t steps, size_t checkpoints) {
    Trained here = train(false), there = train(true);
    EXPECT_EQ(here.steps.size(), steps);
    EXPECT_EQ(here.steps, there.steps);
    EXPECT_EQ(here.log, there.log);
    EXPECT_EQ(here.checkpoints.size(), checkpoints);
    EXPECT_EQ(here.checkpoints, there.checkpoints);
  }

  static int64_t calls(const char *name) {
    void *library = ::dlopen(PST_STANDIN, RTLD_NOW);
    auto count = reinterpret_cast<int64_t (*)(const char *)>(
        ::dlsym(library, "standin_calls"));
    return count(name);
  }

  TemporaryDirectory directory;
  TrainingOptions options;
  std::unique_ptr<Model> model;
};

} // namespace

TEST_F(GpuTrainer, StepsHaveTheBitsOfThoseHere) {
  options.maxSteps = 13;
  options.loggingSteps = 4;
  compare(13, 0);
}

TEST_F(GpuTrainer, SoHaveAccumulatedOnesThatAreEvaluatedAndSaved) {
  options.maxSteps = 9;
  options.gradientAccumulationSteps = 4;
  options.loggingSteps = 2;
  options.evalStrategy = Interval::steps;
  options.evalSteps = 4;
  options.saveStrategy = Interval::steps;
  options.saveSteps = 3;
  compare(9, 3 * 3);
  // Once more, launch by launch.
  ::setenv("PST_CUDA_LAUNCH", "stream", 1);
  compare(9, 3 * 3);
}

TEST_F(GpuTrainer, TheBestModelIsTheSame) {
  options.maxSteps = 12;
  options.evalStrategy = options.saveStrategy = Interval::epoch;
  options.loadBestModelAtEnd = true;
  Trained here = train(false), there = train(true);
  EXPECT_EQ(here.log, there.log);
  EXPECT_EQ(here.checkpoints, there.checkpoints);
  ASSERT_TRUE(here.result.best && there.result.best);
  EXPECT_EQ(here.result.best->step, there.result.best->step);
}

// Rank 0 of two that have the same examples: the other's gradient and loss are
// this one's. Summed in this process's memory, and by an engine over there,
// whose work takes its turn on a stream.
TEST_F(GpuTrainer, RanksSumHereOrThere) {
  options.maxSteps = 7;
  options.loggingSteps = 3;
  auto sum = [](std::span<float> values) {
    for (float &value : values)
      value *= 2;
  };
  auto gather = [](std::span<const double> values) {
    std::vector<double> all(values.begin(), values.end());
    all.insert(all.end(), values.begin(), values.end());
    return all;
  };
  Trained here = train(false, {}, Peers(0, 2, sum, gather));
  EXPECT_EQ(here.steps.size(), 7u);
  int64_t copies[2] = {calls("cuMemcpyDtoHAsync_v2")};
  Trained through = train(true, {}, Peers(0, 2, sum, gather));
  EXPECT_EQ(here.steps, through.steps);
  auto give =
      reinterpret_cast<void (*)(cuda::Stream, void (*)(void *), void *)>(
          ::dlsym(::dlopen(PST_STANDIN, RTLD_NOW), "standin_give"));
  int sums = 0;
  auto sumThere = [&] {
    ++sums;
    ParameterStore &store = model->parameters();
    static size_t count;
    count = store.spaceBytes("gradient") / sizeof(float);
    void *gradient = store.spaceThere("gradient");
    store.accelerator()->letWait(1);
    auto twice = [](void *data) {
      for (size_t i = 0; i < count; ++i)
        static_cast<float *>(data)[i] *= 2;
    };
    give(reinterpret_cast<cuda::Stream>(1), twice, gradient);
    store.accelerator()->waitFor(1);
  };
  auto notHere = [](std::span<float>) { FAIL() << "summed here"; };
  copies[1] = calls("cuMemcpyDtoHAsync_v2");
  Trained there = train(true, {}, Peers(0, 2, notHere, gather, sumThere));
  EXPECT_EQ(here.steps, there.steps);
  EXPECT_EQ(here.log, there.log);
  EXPECT_EQ(sums, 7);
  // The gradient of no step has come over.
  EXPECT_EQ(copies[1] - copies[0],
            7 + calls("cuMemcpyDtoHAsync_v2") - copies[1]);
}

// The stand-in computes when somebody waits. By the time it computes a step,
// the next one's batch must have been given to it.
TEST_F(GpuTrainer, TheNextBatchGoesOverWhileAStepRuns) {
  fs::path file = directory / "calls";
  ::setenv("PST_STANDIN_LOG", file.c_str(), 1);
  options.maxSteps = 6;
  options.loggingSteps = 1;
  train(true);
  // A batch: ids, mask, labels, scale and seed, each of them at a multiple of
  // 256 bytes.
  int uploads = 0, runs = 0, ahead = 0;
  std::ifstream log(file);
  std::string before;
  for (std::string line; std::getline(log, line); before = line) {
    uploads += before == "cuMemcpyHtoDAsync_v2" && line == "give 1280 bytes";
    if (line != "run tiny_forward_backward_4")
      continue;
    ++runs;
    ahead += uploads > runs;
  }
  EXPECT_EQ(uploads, 6);
  EXPECT_EQ(runs, 6);
  EXPECT_EQ(ahead, 5); // all but the last
}

TEST_F(GpuTrainer, AStepAllocatesNothing) {
  const char *names[] = {"cuMemAlloc_v2",  "cuMemAllocHost_v2",
                         "cuEventCreate",  "cuStreamCreate",
                         "cuLaunchKernel", "cuStreamSynchronize"};
  options.maxSteps = 9;
  options.gradientAccumulationSteps = 2;
  std::map<std::string, int64_t> before;
  TrainingCallbacks callbacks;
  callbacks.onStep = [&](const StepRecord &record) {
    for (const char *name : names) {
      if (record.step == 2)
        before[name] = calls(name);
      if (record.step == 9)
        EXPECT_EQ(calls(name), before[name]) << name;
    }
  };
  train(true, callbacks);
  EXPECT_GT(before["cuMemAlloc_v2"], 0);
}

// What is wrong is told with the step that it is of, although the next one has
// been begun, and nothing of it is saved.
TEST_F(GpuTrainer, DivergenceNamesItsStepAndIsNotSaved) {
  options.maxSteps = 9;
  options.saveStrategy = Interval::steps;
  options.saveSteps = 3;
  // Written after the step is known; by then the GPU may have begun another.
  auto poison = [&](int step, int place, float value) {
    TrainingCallbacks callbacks;
    callbacks.onStep = [=, this](const StepRecord &record) {
      if (record.step == step)
        static_cast<float *>(model->parameters().space("trainable"))[place] =
            value;
    };
    return errorOf([&] { train(true, callbacks); });
  };
  auto saved = [&] { return listCheckpoints(options.outputDir).size(); };
  using ::testing::IsSubstring;
  // Step 3 is saved, so that the next begins after it is known; and step 5 is
  // begun when the loss of step 4 is looked at.
  std::string text = poison(3, headBias(3), NAN);
  EXPECT_PRED_FORMAT2(IsSubstring, "the loss is nan at step 4", text);
  EXPECT_PRED_FORMAT2(IsSubstring, "checkpoint-3", text);
  EXPECT_EQ(saved(), 1u);
  // The model can be used after that.
  float *p = static_cast<float *>(model->parameters().space("trainable"));
  for (int i = 0; i < numTrainable(3); ++i)
    p[i] = static_cast<float>(i % 5) / 10;
  model->invalidateSelection();
  model->select(0.5);
  Batch batch(model->program().entryPoint("forward"));
  std::vector<int64_t> rows{0, 1, 2};
  batch.gather(makeData(13), rows);
  float logits[12];
  EXPECT_TRUE(std::isfinite(model->forward(batch, 1, logits)));

  // Step 5 runs when step 4 is told, and is well; step 6 is to be saved.
  text = poison(4, headBias(3), NAN);
  EXPECT_PRED_FORMAT2(IsSubstring, "the loss is nan at step 6", text);
  EXPECT_EQ(saved(), 1u);
  text = poison(1, kR, NAN); // when step 2 runs
  EXPECT_PRED_FORMAT2(IsSubstring,
                      "step 3: a score of layer \"tiny.dense.weight\" is NaN: "
                      "its parameters have diverged; lower the learning rate",
                      text);
  EXPECT_EQ(saved(), 0u);
  EXPECT_ERROR(model->select(0.5), "is NaN");
}

TEST_F(GpuTrainer, StoppingFinishesWhatWasBegun) {
  options.maxSteps = 9;
  Trained whole = train(true);
  int64_t last = 0;
  TrainingCallbacks callbacks;
  callbacks.onStep = [&](const StepRecord &record) { last = record.step; };
  callbacks.shouldStop = [&] { return last == 4; };
  Trained stopped = train(true, callbacks);
  EXPECT_TRUE(stopped.result.stopped);
  EXPECT_EQ(stopped.result.step, 5);
  ASSERT_EQ(listCheckpoints(options.outputDir).size(), 1u);
  EXPECT_EQ(listCheckpoints(options.outputDir)[0].first, 5);
  options.resumeFromCheckpoint = "last";
  options.overwriteOutputDir = false;
  Trained rest = train(true);
  stopped.steps.insert(stopped.steps.end(), rest.steps.begin(),
                       rest.steps.end());
  EXPECT_EQ(stopped.steps, whole.steps);
}

TEST_F(GpuTrainer, EndingFinishesWhatWasBegun) {
  options.maxSteps = 9;
  options.saveSteps = 100; // and at the end
  int64_t last = 0;
  TrainingCallbacks callbacks;
  callbacks.onStep = [&](const StepRecord &record) { last = record.step; };
  callbacks.shouldEnd = [&] { return last == 4; };
  Trained ended = train(true, callbacks);
  EXPECT_TRUE(ended.result.endedEarly);
  EXPECT_FALSE(ended.result.stopped);
  EXPECT_EQ(ended.result.step, 5);
  ASSERT_EQ(listCheckpoints(options.outputDir).size(), 1u);
  EXPECT_EQ(listCheckpoints(options.outputDir)[0].first, 5);
}

// Two calls may be begun; their results come in that order.
TEST_F(GpuTrainer, CallsAreFinishedInOrder) {
  train(false); // for the data's sake: any model will do
  Model there(makeGpuProgram(),
              std::make_shared<const ModelFiles>(directory / "model"), 7);
  Model here(makeProgram(),
             std::make_shared<const ModelFiles>(directory / "model"), 7);
  Dataset data = makeData(8);
  Batch batch(here.program().entryPoint("forward_backward"));
  std::vector<std::vector<int64_t>> rows{{0, 1, 2, 3}, {4, 5, 6}};
  float losses[2];
  here.select(0.5);
  there.select(0.5);
  for (int i = 0; i < 2; ++i) {
    batch.gather(data, rows[i]);
    losses[i] = here.forwardBackward(batch, 0.25f, i);
    there.beginForwardBackward(batch, 0.25f, i);
  }
  EXPECT_ERROR(there.beginForwardBackward(batch, 1, 1),
               "2 calls were begun and not finished");
  EXPECT_ERROR(there.forwardBackward(batch, 1, 1),
               "a step of the model was begun and not finished");
  EXPECT_EQ(there.finishForwardBackward(), losses[0]);
  EXPECT_EQ(there.finishForwardBackward(), losses[1]);
  EXPECT_NE(losses[0], losses[1]);
  there.beginForwardBackward(batch, 0.25f, 1);
  there.abandon();
  EXPECT_EQ(there.forwardBackward(batch, 0.25f, 1), losses[1]);
}
