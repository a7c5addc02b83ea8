//===- ResumeTest.cpp - Stopped, killed and continued runs ----------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TinyProgram.h"
#include "pst/Runtime/Error.h"
#include "pst/Runtime/SafeTensorsWriter.h"

#include <nlohmann/json.hpp>

#include <csignal>
#include <fstream>
#include <random>
#include <sstream>
#include <sys/wait.h>
#include <unistd.h>

using namespace pst;
using namespace pst::runtime;
using namespace tiny;
namespace fs = std::filesystem;

namespace {

class ResumeTest : public ::testing::Test {
protected:
  ResumeTest() {
    writeModel(directory / "model");
    options.learningRate = 0.03;
    options.seed = 5;
    options.sparsity = 0.8;
    options.gradientAccumulationSteps = 2;
    options.maxSteps = 17; // in the sixth epoch of three steps
    options.warmupSteps = 3;
    options.loggingSteps = 4;
    options.saveStrategy = Interval::steps;
    options.saveSteps = 5;
  }

  TrainingResult train(const fs::path &output, const std::string &resume = "",
                       int64_t stopAfter = -1) {
    // A new model each time, as in a new process.
    std::unique_ptr<Model> model = makeModel(directory / "model");
    TrainingOptions all = options;
    all.outputDir = output;
    all.resumeFromCheckpoint = resume;
    TrainingCallbacks callbacks;
    int64_t steps = 0;
    callbacks.onStep = [&](const StepRecord &record) { steps = record.step; };
    callbacks.shouldStop = [&] { return steps == stopAfter; };
    Trainer trainer(*model, all, makeData(23), makeData(7, {}, 2), callbacks);
    return trainer.train();
  }

  /// The log without what depends on the clock and the machine.
  static std::string timelessLog(const fs::path &run) {
    std::istringstream lines(readBytes(run / "log.jsonl"));
    std::string text;
    for (std::string line; std::getline(lines, line);) {
      auto json = nlohmann::json::parse(line);
      for (const char *key : {"seconds_per_step", "tokens_per_second",
                              "memory_bytes", "eval_seconds"})
        json.erase(key);
      text += json.dump() + "\n";
    }
    return text;
  }

  static void expectNoLeftovers(const fs::path &run) {
    for (const auto &entry : fs::directory_iterator(run))
      EXPECT_EQ(entry.path().filename().string().find(".pst-tmp-"),
                std::string::npos)
          << entry.path();
  }

  TemporaryDirectory directory;
  TrainingOptions options;
};

} // namespace

TEST_F(ResumeTest, ContinuesWithTheSameBitsFromEveryStep) {
  fs::path whole = directory / "whole";
  TrainingResult expected = train(whole);
  ASSERT_EQ(expected.step, 17);
  auto bytes = readAll(whole / "checkpoint-17");
  EXPECT_EQ(bytes.size(), 4u);
  for (int stop = 1; stop < 17; ++stop) {
    fs::path run = directory / ("run" + std::to_string(stop));
    TrainingResult first = train(run, "", stop);
    EXPECT_TRUE(first.stopped);
    EXPECT_EQ(first.step, stop);
    TrainingResult second = train(run, "last");
    EXPECT_FALSE(second.stopped);
    EXPECT_EQ(second.step, 17);
    EXPECT_EQ(readAll(run / "checkpoint-17"), bytes) << "stopped at " << stop;
    EXPECT_EQ(timelessLog(run), timelessLog(whole)) << "stopped at " << stop;
    ASSERT_EQ(second.history.size(), expected.history.size());
    EXPECT_EQ(second.history.back().metrics, expected.history.back().metrics);
    expectNoLeftovers(run);
  }
}

TEST_F(ResumeTest, ContinuesFromAnEarlierCheckpointOverLaterOnes) {
  fs::path run = directory / "run";
  train(run);
  auto bytes = readAll(run / "checkpoint-17");
  std::string log = timelessLog(run);
  train(run, (run / "checkpoint-5").string());
  EXPECT_EQ(readAll(run / "checkpoint-17"), bytes);
  EXPECT_EQ(timelessLog(run), log);
  expectNoLeftovers(run);
}

TEST_F(ResumeTest, AFinishedRunIsLeftAsItIs) {
  fs::path run = directory / "run";
  train(run);
  auto bytes = readAll(run / "checkpoint-17");
  TrainingResult again = train(run, "last");
  EXPECT_EQ(again.step, 17);
  EXPECT_EQ(readAll(run / "checkpoint-17"), bytes);
}

// A child trains, and is killed after a random time, until one comes to the
// end.
TEST_F(ResumeTest, SurvivesSIGKILLAtAnyMoment) {
  options.saveSteps = 1;
  options.saveTotalLimit = 2;
  options.loggingSteps = 1;
  fs::path whole = directory / "whole", run = directory / "run";
  train(whole);
  auto bytes = readAll(whole / "checkpoint-17");
  std::mt19937 engine(std::random_device{}());
  int kills = 0;
  // As many rounds as it takes to be killed some times: a fast machine often
  // comes to the end.
  for (int round = 0; round < 2 || kills < 4; ++round) {
    fs::remove_all(run);
    // A step with its checkpoint takes milliseconds; on a busy machine it may
    // take any time, so that more is granted after each kill.
    double microseconds = 20000;
    for (bool finished = false; !finished; microseconds *= 1.15) {
      pid_t child = ::fork();
      ASSERT_GE(child, 0);
      if (child == 0) {
        try {
          train(run, "last");
        } catch (const std::exception &error) {
          std::fprintf(stderr, "child: %s\n", error.what());
          ::_exit(1);
        }
        ::_exit(0);
      }
      ::usleep(engine() % static_cast<unsigned>(microseconds));
      ::kill(child, SIGKILL);
      int status = 0;
      ASSERT_EQ(::waitpid(child, &status, 0), child);
      if (WIFSIGNALED(status)) {
        ASSERT_EQ(WTERMSIG(status), SIGKILL);
        ++kills;
        continue;
      }
      ASSERT_EQ(WEXITSTATUS(status), 0);
      finished = true;
    }
    EXPECT_EQ(readAll(run / "checkpoint-17"), bytes);
    EXPECT_EQ(timelessLog(run), timelessLog(whole));
    expectNoLeftovers(run);
    EXPECT_EQ(listCheckpoints(run).size(), 2u);
  }
  RecordProperty("kills", kills);
}

TEST_F(ResumeTest, RefusesToOverwriteARunUnasked) {
  fs::path run = directory / "run";
  train(run, "", 6);
  EXPECT_ERROR(train(run), "already holds a run (checkpoint-6): continue it "
                           "with --resume_from_checkpoint last, or replace it "
                           "with --overwrite_output_dir");
  EXPECT_EQ(listCheckpoints(run).size(), 2u);
  options.overwriteOutputDir = true;
  EXPECT_ERROR(train(run, "last"), "contradict each other");
  writeBytes(run / "notes.txt", "mine");
  train(run, "", 2);
  EXPECT_EQ(listCheckpoints(run).size(), 1u);
  EXPECT_EQ(readBytes(run / "notes.txt"), "mine");
}

TEST_F(ResumeTest, OneRunAtATime) {
  fs::path run = directory / "run";
  std::string error;
  std::unique_ptr<Model> model = makeModel(directory / "model");
  options.outputDir = run;
  TrainingCallbacks callbacks;
  callbacks.onStep = [&](const StepRecord &record) {
    if (record.step == 3)
      error = errorOf([&] { train(run, "last"); });
  };
  Trainer(*model, options, makeData(23), std::nullopt, callbacks).train();
  EXPECT_PRED_FORMAT2(::testing::IsSubstring,
                      "another run is writing to this output directory", error);
}

TEST_F(ResumeTest, StartsFromTheBeginningIfThereIsNoCheckpointYet) {
  fs::path whole = directory / "whole", run = directory / "run";
  train(whole);
  fs::create_directories(run);
  // What a run killed in its first step leaves.
  writeBytes(run / "log.jsonl", "{\"event\":\"train\",\"step\":1}\n"
                                "{\"step\":\"0\"}\n{\"step\":-1}\n"
                                "{\"step\":1e300}\n[0]\n" +
                                    std::string(100'000, '[') + "\n{\"eve");
  fs::create_directories(run / ".checkpoint-5.pst-tmp-77-0");
  writeBytes(run / ".checkpoint-5.pst-tmp-77-0" / "trainer_state.json", "{}");
  train(run, "last");
  EXPECT_EQ(readAll(run / "checkpoint-17"), readAll(whole / "checkpoint-17"));
  EXPECT_EQ(timelessLog(run), timelessLog(whole));
  expectNoLeftovers(run);
}

// A checkpoint of a version that lacked an option.
TEST_F(ResumeTest, AnOptionThatARunDidNotKnowHadItsDefault) {
  fs::path run = directory / "run";
  train(run, "", 6);
  changeState(run / "checkpoint-6", [](nlohmann::ordered_json &state) {
    ASSERT_EQ(state["options"].erase("lr_scheduler_type"), 1u);
  });
  options.lrSchedulerType = RateCurve::cosine;
  EXPECT_ERROR(train(run, "last"),
               "lr_scheduler_type: linear in the checkpoint, cosine now");
  options.lrSchedulerType = RateCurve::linear;
  EXPECT_EQ(train(run, "last").step, 17);
}

TEST_F(ResumeTest, NamesTheOptionsThatDiffer) {
  fs::path run = directory / "run";
  train(run, "", 6);
  struct Case {
    std::function<void(TrainingOptions &)> change;
    std::string message;
  };
  using O = TrainingOptions;
  std::vector<Case> cases = {
      {[](O &o) { o.learningRate = 0.01; },
       "learning_rate: 0.03 in the checkpoint, 0.01 now"},
      {[](O &o) { o.maxSteps = 20; },
       "max_steps (or num_train_epochs): 17 in the checkpoint, 20 now"},
      {[](O &o) { o.warmupSteps = 4; }, "warmup_steps: 3 in the checkpoint, 4"},
      {[](O &o) { o.sparsity = 0.9; }, "sparsity: 0.8 in the checkpoint, 0.9"},
      {[](O &o) { o.finalWarmup = 0.4; }, "final_warmup: 0.3 in the"},
      {[](O &o) { o.seed = 6; }, "seed: 5 in the checkpoint, 6 now"},
      {[](O &o) { o.gradientAccumulationSteps = 1; },
       "gradient_accumulation_steps: 2 in the checkpoint, 1 now"},
      {[](O &o) { o.maxGradNorm = 2; }, "max_grad_norm: 1 in the checkpoint"},
      {[](O &o) { o.lrSchedulerType = RateCurve::cosine; },
       "lr_scheduler_type: linear in the checkpoint, cosine now"},
  };
  TrainingOptions good = options;
  for (const Case &c : cases) {
    options = good;
    c.change(options);
    EXPECT_ERROR(train(run, "last"), c.message);
  }
  // Both of two differences are told.
  options = good;
  options.seed = 6;
  options.weightDecay = 0.125;
  EXPECT_ERROR(train(run, "last"), "seed: 5");
  EXPECT_ERROR(train(run, "last"), "weight_decay: 0 in the checkpoint, 0.125");
  // What does not change the trajectory may change.
  options = good;
  options.loggingSteps = 2;
  options.evalStrategy = Interval::no;
  options.saveSteps = 3;
  EXPECT_EQ(train(run, "last").step, 17);
}

// The best one is looked for anew: by the metric of now, and among checkpoints
// that are still there.
TEST_F(ResumeTest, FindsTheBestAnew) {
  fs::path run = directory / "run";
  options.maxSteps = 30;
  options.metricForBestModel = "loss";
  options.loadBestModelAtEnd = true;
  TrainingResult before = train(run);
  std::map<int64_t, const EvaluationRecord *> eligible;
  for (const EvaluationRecord &record : before.history)
    if (record.eligible)
      eligible[record.step] = &record;
  ASSERT_GT(eligible.size(), 2u);
  ASSERT_TRUE(before.best);
  int64_t best = before.best->step;
  for (const auto &[step, record] : eligible)
    EXPECT_GE(record->loss, eligible.at(best)->loss);
  for (const auto &[step, path] : listCheckpoints(run))
    if (step == best && best != 30)
      removeCheckpoint(path);
  options.metricForBestModel = "accuracy";
  TrainingResult after = train(run, "last");
  ASSERT_TRUE(after.best);
  EXPECT_TRUE(fs::exists(after.bestCheckpoint));
  for (const auto &[step, record] : eligible) {
    if (fs::exists(run / ("checkpoint-" + std::to_string(step)))) {
      EXPECT_LE(record->value("accuracy"), after.best->value("accuracy"));
    }
  }
}

TEST_F(ResumeTest, NamesOtherDataAndOtherBatches) {
  fs::path run = directory / "run";
  train(run, "", 6);
  options.outputDir = run;
  options.resumeFromCheckpoint = "last";
  auto model = makeModel(directory / "model");
  EXPECT_ERROR(Trainer(*model, options, makeData(23, {}, 9)).train(),
               "training data (digest): ");
  Variant large{8};
  auto other = makeModel(directory / "model", large);
  EXPECT_ERROR(Trainer(*other, options, makeData(23)).train(),
               "per_device_train_batch_size: 4 in the checkpoint, 8 now");
}
