//===- PeersTest.cpp - Data-parallel training -----------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TinyProgram.h"
#include "pst/Runtime/Error.h"
#include "pst/Runtime/Trainer.h"

#include <array>
#include <barrier>
#include <cstring>
#include <thread>

using namespace pst;
using namespace pst::runtime;
using namespace tiny;

namespace {

/// Ranks that are threads of this process.
class Ranks {
public:
  explicit Ranks(int count) : count(count), meeting(count), places(count) {}

  Peers peers(int rank) {
    auto sum = [this, rank](std::span<float> values) {
      std::vector<double> all =
          exchange(rank, std::vector<double>(values.begin(), values.end()));
      for (size_t i = 0; i < values.size(); ++i) {
        float total = 0;
        for (int r = 0; r < count; ++r)
          total += static_cast<float>(all[r * values.size() + i]);
        values[i] = total;
      }
    };
    auto gather = [this, rank](std::span<const double> values) {
      return exchange(rank, {values.begin(), values.end()});
    };
    return Peers(rank, count, sum, gather);
  }

  /// Runs `body` as each rank; returns what each threw, or nothing.
  std::vector<std::string> run(const std::function<void(const Peers &)> &body) {
    std::vector<std::string> errors(count);
    std::vector<std::thread> threads;
    for (int rank = 0; rank < count; ++rank)
      threads.emplace_back([&, rank] {
        try {
          body(peers(rank));
        } catch (const Error &error) {
          errors[rank] = error.what();
        }
      });
    for (std::thread &thread : threads)
      thread.join();
    return errors;
  }

private:
  std::vector<double> exchange(int rank, std::vector<double> values) {
    places[rank] = std::move(values);
    meeting.arrive_and_wait();
    std::vector<double> all;
    for (const std::vector<double> &place : places)
      all.insert(all.end(), place.begin(), place.end());
    meeting.arrive_and_wait();
    return all;
  }

  int count;
  std::barrier<> meeting;
  std::vector<std::vector<double>> places;
};

class PeersTest : public ::testing::Test {
protected:
  PeersTest() {
    writeModel(directory / "model");
    options.learningRate = 0.02;
    options.seed = 5;
    options.sparsity = 0.7;
    options.numTrainEpochs = 5;
    options.loggingSteps = 3;
  }

  struct Outcome {
    std::unique_ptr<Model> model;
    std::vector<double> losses;
    TrainingResult result;
  };

  /// Trains as rank of `peers` in the directory `run`.
  void train(Outcome &outcome, int examples, int batch, const char *run,
             const Peers &peers, TrainingOptions options,
             TrainingCallbacks callbacks = {}) {
    Variant variant{batch, false, false};
    outcome.model = makeModel(directory / "model", variant);
    options.outputDir = directory / run;
    callbacks.onStep = [&](const StepRecord &record) {
      outcome.losses.push_back(record.loss);
    };
    Trainer trainer(*outcome.model, options, makeData(examples, variant),
                    makeData(13, variant, 2), callbacks, peers);
    outcome.result = trainer.train();
  }

  static std::string trainable(const Outcome &outcome) {
    ParameterStore &store = outcome.model->parameters();
    return {static_cast<const char *>(store.space("trainable")),
            static_cast<size_t>(store.spaceBytes("trainable"))};
  }

  TemporaryDirectory directory;
  TrainingOptions options;
};

} // namespace

// 37 and 13 examples: the last step of an epoch is short, so that one rank has
// a part of a batch, or none.
TEST_F(PeersTest, TwoRanksMakeTheStepsOfOneWithTwiceTheBatch) {
  for (int accumulation : {1, 2})
    for (int examples : {37, 13}) {
      options.gradientAccumulationSteps = accumulation;
      options.overwriteOutputDir = true;
      Outcome one, two[2];
      train(one, examples, 8, "one", Peers(), options);
      auto errors = Ranks(2).run([&](const Peers &peers) {
        train(two[peers.rank()], examples, 4, "two", peers, options);
      });
      EXPECT_EQ(errors, std::vector<std::string>(2));
      ASSERT_EQ(two[0].losses.size(), one.losses.size());
      for (size_t i = 0; i < one.losses.size(); ++i)
        EXPECT_NEAR(two[0].losses[i], one.losses[i], 1e-5) << i;
      EXPECT_EQ(two[0].losses, two[1].losses);
      EXPECT_EQ(trainable(two[0]), trainable(two[1]));
      ASSERT_EQ(two[0].result.history.size(), one.result.history.size());
      for (size_t i = 0; i < one.result.history.size(); ++i) {
        EXPECT_NEAR(two[1].result.history[i].loss, one.result.history[i].loss,
                    1e-5);
        EXPECT_EQ(two[1].result.history[i].numExamples, 13);
      }
    }
}

TEST_F(PeersTest, EvaluationIsThatOfOneProcess) {
  Variant variant{4, false, false};
  // 13 examples are four batches, the last of which has one example.
  Dataset data = makeData(13, variant, 2);
  Evaluation alone =
      evaluate(*makeModel(directory / "model", variant), data, 0.4);
  auto errors = Ranks(3).run([&](const Peers &peers) {
    auto model = makeModel(directory / "model", variant);
    Evaluation shared = evaluate(*model, data, 0.4, peers);
    EXPECT_EQ(shared.logits, alone.logits);
    EXPECT_EQ(shared.loss, alone.loss);
    EXPECT_EQ(shared.metrics, alone.metrics);
  });
  EXPECT_EQ(errors, std::vector<std::string>(3));
}

// Whichever rank wants it: all end after the same step, as after the last.
TEST_F(PeersTest, OneRankMayEndTheRun) {
  Ranks ranks(2);
  std::array<Outcome, 2> outcomes;
  auto errors = ranks.run([&](const Peers &peers) {
    Outcome &own = outcomes[peers.rank()];
    TrainingCallbacks callbacks;
    callbacks.shouldEnd = [&] {
      return peers.rank() == 1 && own.losses.size() == 4;
    };
    train(own, 37, 4, "run", peers, options, callbacks);
  });
  EXPECT_EQ(errors, std::vector<std::string>(2));
  for (const Outcome &outcome : outcomes) {
    EXPECT_EQ(outcome.result.step, 4);
    EXPECT_TRUE(outcome.result.endedEarly);
    EXPECT_FALSE(outcome.result.stopped);
  }
  EXPECT_EQ(listCheckpoints(directory / "run").back().first, 4);
}

TEST_F(PeersTest, RanksWithOtherOptionsAreFoundOut) {
  Outcome outcomes[3];
  auto errors = Ranks(3).run([&](const Peers &peers) {
    TrainingOptions own = options;
    if (peers.rank() == 2) {
      own.seed = 6;
      own.loggingSteps = 4;
    }
    train(outcomes[peers.rank()], 21, 4, "run", peers, own);
  });
  for (const std::string &error : errors)
    EXPECT_EQ(error, "rank 2 differs from rank 0 in logging_steps, seed: start "
                     "every rank with the same command line, on the same "
                     "files");
}

TEST_F(PeersTest, ParametersThatDriftApartAreFoundOut) {
  options.maxSteps = 20;
  options.outputDir = directory / "run";
  Outcome outcomes[2];
  auto errors = Ranks(2).run([&](const Peers &peers) {
    Variant variant{4, false, false};
    Outcome &own = outcomes[peers.rank()];
    own.model = makeModel(directory / "model", variant);
    TrainingCallbacks callbacks;
    callbacks.onStep = [&](const StepRecord &record) {
      if (record.step == 5 && peers.rank() == 1)
        static_cast<float *>(own.model->parameters().space("trainable"))[3] +=
            0.125f;
    };
    Trainer(*own.model, options, makeData(21, variant), std::nullopt, callbacks,
            peers)
        .train();
  });
  for (const std::string &error : errors)
    EXPECT_PRED_FORMAT2(::testing::IsSubstring,
                        "the trained parameters of rank 1 differ from those of "
                        "rank 0: after step 6. ",
                        error);
}

TEST(Peers, ARankMustBeOneOfThem) {
  EXPECT_ERROR(Peers(2, 2, nullptr, nullptr),
               "rank 2 is none of 2 ranks, which count from 0");
  EXPECT_ERROR(Peers(-1, 2, nullptr, nullptr), "rank -1 is none of 2 ranks");
}
