//===- TrainerTest.cpp - The training loop --------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TinyProgram.h"
#include "pst/Runtime/Error.h"
#include "pst/Runtime/Philox.h"

#include <nlohmann/json.hpp>

#include <cmath>
#include <cstring>
#include <fstream>

using namespace pst;
using namespace pst::runtime;
using namespace tiny;
namespace fs = std::filesystem;

namespace {

class TrainerTest : public ::testing::Test {
protected:
  TrainerTest() {
    writeModel(directory / "model");
    options.outputDir = directory / "run";
    options.learningRate = 0.02;
    options.seed = 5;
    options.sparsity = 0.7;
    options.saveStrategy = Interval::no;
  }

  /// Trains a new model; keeps the loss of every step.
  TrainingResult train(int examples, Variant variant = {},
                       TrainingCallbacks callbacks = {}) {
    model = makeModel(directory / "model", variant);
    losses.clear();
    auto onStep = callbacks.onStep;
    callbacks.onStep = [this, onStep](const StepRecord &record) {
      losses.push_back(record.loss);
      if (onStep)
        onStep(record);
    };
    options.overwriteOutputDir = true;
    Trainer trainer(*model, options, makeData(examples, variant),
                    makeData(13, variant, 2), callbacks);
    return trainer.train();
  }

  const float *trainable() const {
    return static_cast<const float *>(model->parameters().space("trainable"));
  }

  TemporaryDirectory directory;
  TrainingOptions options;
  std::unique_ptr<Model> model;
  std::vector<double> losses;
};

/// The whole run in double: the same batches and dropout, everything else
/// written anew from the formulas.
struct Reference {
  std::vector<double> losses, parameters;

  Reference(const Model &start, const Dataset &data,
            const TrainingOptions &options, int batch, int totalSteps,
            int warmup) {
    const ParameterStore &store = start.parameters();
    auto floats = [&](const char *name) {
      return static_cast<const float *>(store.data(name));
    };
    Frozen frozen{floats("tiny.embeddings.weight"), floats("tiny.dense.weight"),
                  floats("tiny.dense.bias")};
    const float *initial = static_cast<const float *>(store.space("trainable"));
    int count = numTrainable(3);
    parameters.assign(initial, initial + count);
    std::vector<double> gradient(count), m(count), v(count);
    auto ints = [&](const char *name) {
      return static_cast<const int32_t *>(data.find(name)->data);
    };
    int n = static_cast<int>(data.size());
    int accumulation = static_cast<int>(options.gradientAccumulationSteps);
    std::vector<std::vector<int64_t>> steps; // rows of each step
    for (int epoch = 0; static_cast<int>(steps.size()) < totalSteps; ++epoch) {
      std::vector<int64_t> order = shuffledOrder(n, options.seed, epoch);
      for (int at = 0; at < n; at += batch * accumulation)
        steps.emplace_back(order.begin() + at,
                           order.begin() +
                               std::min(n, at + batch * accumulation));
    }
    double T = totalSteps, sf = *options.sparsity;
    for (int t = 0; t < totalSteps; ++t) {
      double i = options.initialWarmup, f = options.finalWarmup;
      double sparsity =
          t <= i * T ? 0
          : t > T - f * T
              ? sf
              : sf - sf * std::pow(1 - (t - i * T) / (T - (i + f) * T), 3);
      float threshold;
      int64_t cut;
      std::vector<bool> mask =
          makeMask(frozen, parameters.data(), sparsity, threshold, cut);
      const std::vector<int64_t> &rows = steps[t];
      double scale = 1.0 / static_cast<double>(rows.size()), loss = 0;
      for (size_t from = 0, micro = 0; from < rows.size();
           from += batch, ++micro) {
        std::vector<int32_t> ids, attention, labels;
        size_t end = std::min(rows.size(), from + batch);
        for (size_t r = from; r < end; ++r) {
          const int32_t *row = ints("input_ids") + rows[r] * kLength;
          ids.insert(ids.end(), row, row + kLength);
          row = ints("attention_mask") + rows[r] * kLength;
          attention.insert(attention.end(), row, row + kLength);
          labels.push_back(ints("labels")[rows[r]]);
        }
        int64_t seed = microBatchSeed(
            options.seed, t * accumulation + static_cast<int64_t>(micro));
        loss += run<double>(frozen, parameters.data(), mask,
                            {static_cast<int>(end - from), ids.data(),
                             attention.data(), labels.data(), nullptr},
                            3, scale, &seed, gradient.data(), nullptr);
      }
      losses.push_back(loss);
      double factor = t < warmup ? double(t) / warmup : (T - t) / (T - warmup);
      AdamW adam{*options.learningRate * factor,
                 options.adamBeta1,
                 options.adamBeta2,
                 options.adamEpsilon,
                 options.weightDecay,
                 1 - std::pow(options.adamBeta1, t + 1),
                 1 - std::pow(options.adamBeta2, t + 1),
                 options.maxGradNorm};
      tiny::apply(adam, parameters.data(), gradient.data(), m.data(), v.data(),
                  count);
    }
  }
};

} // namespace

// 23 examples, batches of 4, two of them a step: 6 micro-batches and 3 steps an
// epoch, the last one of which has 7 examples.
TEST_F(TrainerTest, FollowsTheReferenceInDouble) {
  options.gradientAccumulationSteps = 2;
  options.numTrainEpochs = 9;
  options.warmupRatio = 0.1; // 2.7 steps: 3
  options.weightDecay = 0.1;
  options.maxGradNorm = 0.4;
  options.adamBeta2 = 0.99;
  std::unique_ptr<Model> start = makeModel(directory / "model");
  Reference reference(*start, makeData(23), options, 4, 27, 3);
  TrainingResult result = train(23);
  EXPECT_EQ(result.step, 27);
  ASSERT_EQ(losses.size(), reference.losses.size());
  for (size_t i = 0; i < losses.size(); ++i)
    EXPECT_NEAR(losses[i], reference.losses[i], 1e-4 * reference.losses[i])
        << "step " << i;
  double moved = 0;
  const float *before =
      static_cast<const float *>(start->parameters().space("trainable"));
  for (int i = 0; i < numTrainable(3); ++i) {
    EXPECT_NEAR(trainable()[i], reference.parameters[i], 2e-4) << i;
    moved += std::abs(trainable()[i] - before[i]);
  }
  EXPECT_GT(moved, 1) << "nothing was trained";
}

TEST_F(TrainerTest, AccumulatedBatchesAreOneLargeBatch) {
  options.numTrainEpochs = 5;
  train(37, {8, false, false});
  std::vector<double> large = losses;
  options.gradientAccumulationSteps = 2;
  train(37, {4, false, false});
  ASSERT_EQ(losses.size(), large.size());
  for (size_t i = 0; i < losses.size(); ++i)
    EXPECT_NEAR(losses[i], large[i], 1e-5) << i;
}

// 5 and 6 examples in batches of 4: the padding of the second batch must not
// count. A model that is not trained has the mean loss of the examples.
TEST_F(TrainerTest, PaddingIsNoExample) {
  options.learningRate = 0;
  options.sparsity = 0.5;
  options.initialSparsity = 0.5;
  options.maxSteps = 1;
  options.gradientAccumulationSteps = 2;
  for (int count : {4, 5, 6, 7, 8}) {
    Variant plain{4, false, false};
    train(count, plain);
    Evaluation all = evaluate(*model, makeData(count, plain), 0.5);
    EXPECT_NEAR(losses.at(0), all.loss, 1e-6) << count;
  }
}

// What a run that names no initial sparsity begins with is the method's.
TEST_F(TrainerTest, BeginsAtItsFinalSparsityInOneShot) {
  options.maxSteps = 3;
  auto sparsities = [&](bool oneShot) {
    std::vector<double> all;
    TrainingCallbacks callbacks;
    callbacks.onStep = [&](const StepRecord &record) {
      all.push_back(record.sparsity);
    };
    Variant variant;
    variant.oneShot = oneShot;
    train(8, variant, callbacks);
    return all;
  };
  EXPECT_EQ(sparsities(true), std::vector<double>(3, 0.7));
  EXPECT_EQ(sparsities(false).front(), 0);
  options.initialSparsity = 0.2;
  EXPECT_EQ(sparsities(true).front(), 0.2);
}

TEST_F(TrainerTest, RegressionTrains) {
  options.numTrainEpochs = 40;
  Variant variant{4, true};
  double first = 0;
  TrainingCallbacks callbacks;
  TrainingResult result = train(22, variant, callbacks);
  first = result.history.front().loss;
  EXPECT_LT(result.history.back().loss, first);
  EXPECT_TRUE(result.history.back().metrics.contains("pearson"));
  EXPECT_TRUE(result.history.back().metrics.contains("spearman"));
}

TEST_F(TrainerTest, CountsStepsAsHuggingFaceDoes) {
  auto plan = [&](int64_t examples) {
    return makePlan(options, *makeModel(directory / "model"), examples);
  };
  options.gradientAccumulationSteps = 3;
  options.numTrainEpochs = 2.5;
  options.warmupRatio = 0.3;
  TrainingPlan p = plan(29); // 8 micro-batches, 3 steps an epoch
  EXPECT_EQ(p.microBatchesPerEpoch, 8);
  EXPECT_EQ(p.stepsPerEpoch, 3);
  EXPECT_EQ(p.totalSteps, 8);       // ceil(7.5)
  EXPECT_EQ(p.rate.warmupSteps, 3); // ceil(2.4)
  options.warmupSteps = 7;
  options.maxSteps = 100;
  p = plan(1);
  EXPECT_EQ(p.stepsPerEpoch, 1);
  EXPECT_EQ(p.totalSteps, 100);
  EXPECT_EQ(p.rate.warmupSteps, 7);
  EXPECT_EQ(p.metric, "accuracy");
}

// The first steps run dense, then the sparsity of the completed steps.
TEST_F(TrainerTest, ReportsEveryStepAndLogsSome) {
  options.maxSteps = 10;
  options.loggingSteps = 4;
  options.evalStrategy = Interval::steps;
  options.evalSteps = 5;
  std::vector<StepRecord> steps, logged;
  std::vector<EvaluationRecord> evaluations;
  TrainingCallbacks callbacks;
  callbacks.onStep = [&](const StepRecord &r) { steps.push_back(r); };
  callbacks.onLog = [&](const StepRecord &r) { logged.push_back(r); };
  callbacks.onEvaluate = [&](const EvaluationRecord &r) {
    evaluations.push_back(r);
  };
  train(23, {}, callbacks);
  ASSERT_EQ(steps.size(), 10u);
  SparsitySchedule schedule{0, 0.7, 0.1, 0.3, 10};
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(steps[i].step, i + 1);
    EXPECT_EQ(steps[i].sparsity, schedule.at(i));
    EXPECT_DOUBLE_EQ(steps[i].learningRate, 0.02 * (10 - i) / 10.0);
    EXPECT_GT(steps[i].gradNorm, 0);
    EXPECT_GT(steps[i].memoryBytes, 1000000);
    EXPECT_GT(steps[i].tokensPerSecond, 0);
    EXPECT_DOUBLE_EQ(steps[i].epoch, (i + 1) / 6.0);
  }
  ASSERT_EQ(logged.size(), 3u); // 4, 8, and the end
  EXPECT_EQ(logged[2].step, 10);
  EXPECT_DOUBLE_EQ(logged[0].loss,
                   (losses[0] + losses[1] + losses[2] + losses[3]) / 4);
  EXPECT_DOUBLE_EQ(logged[2].loss, (losses[8] + losses[9]) / 2);
  ASSERT_EQ(evaluations.size(), 2u);
  EXPECT_EQ(evaluations[0].sparsity, schedule.at(5));
  EXPECT_FALSE(evaluations[0].eligible);
  EXPECT_TRUE(evaluations[1].eligible);
  EXPECT_EQ(evaluations[1].sparsity, 0.7);

  std::ifstream log(directory / "run" / "log.jsonl");
  std::vector<std::string> events;
  for (std::string line; std::getline(log, line);) {
    auto json = nlohmann::json::parse(line);
    events.push_back(json.at("event").get<std::string>() +
                     std::to_string(json.at("step").get<int>()));
  }
  EXPECT_EQ(events, (std::vector<std::string>{"train4", "eval5", "train8",
                                              "train10", "eval10"}));
}

// The dense model of the first epochs is better, as it mostly is; the best of
// those that are sparse enough must win, and be in the model afterwards.
TEST_F(TrainerTest, BestModelIsOneOfFinalSparsity) {
  options.numTrainEpochs = 12;
  options.learningRate = 0.03;
  options.sparsity = 0.95;
  options.initialWarmup = 0.5;
  options.finalWarmup = 0.4;
  options.metricForBestModel = "loss";
  options.loadBestModelAtEnd = true;
  options.saveStrategy = Interval::steps;
  options.saveSteps = 7;
  options.saveTotalLimit = 2;
  // Evaluated on what it learns, so that dense is better; and thrown back
  // shortly before the end, so that the last one is not the best.
  model = makeModel(directory / "model");
  TrainingCallbacks callbacks;
  callbacks.onStep = [&](const StepRecord &record) {
    if (record.step == 105)
      static_cast<float *>(
          model->parameters().space("trainable"))[headBias(3)] += 2;
  };
  TrainingResult result =
      Trainer(*model, options, makeData(40), makeData(40), callbacks).train();
  const EvaluationRecord *bestOfAll = nullptr, *bestSparse = nullptr;
  for (const EvaluationRecord &record : result.history) {
    EXPECT_EQ(record.eligible, record.sparsity == 0.95);
    if (!bestOfAll || record.loss < bestOfAll->loss)
      bestOfAll = &record;
    if (record.eligible && (!bestSparse || record.loss < bestSparse->loss))
      bestSparse = &record;
  }
  ASSERT_TRUE(bestOfAll && bestSparse && result.best);
  EXPECT_FALSE(bestOfAll->eligible) << "the test shows nothing";
  EXPECT_NE(bestSparse->step, result.step) << "the test shows nothing";
  EXPECT_EQ(result.best->step, bestSparse->step);
  EXPECT_EQ(result.bestCheckpoint.filename(),
            "checkpoint-" + std::to_string(bestSparse->step));
  EXPECT_EQ(result.sparsity, 0.95);
  Evaluation again = evaluate(*model, makeData(40), result.sparsity);
  EXPECT_EQ(again.loss, bestSparse->loss);
  // The best one and the last one are left.
  auto checkpoints = listCheckpoints(directory / "run");
  ASSERT_EQ(checkpoints.size(), 2u);
  EXPECT_EQ(checkpoints[0].first, bestSparse->step);
  EXPECT_EQ(checkpoints[1].first, result.step);
}

TEST_F(TrainerTest, DivergenceIsAnErrorThatKeepsTheCheckpoint) {
  options.maxSteps = 9;
  options.saveStrategy = Interval::steps;
  options.saveSteps = 3;
  auto poison = [&](int step, int place, float value) {
    TrainingCallbacks callbacks;
    callbacks.onStep = [=, this](const StepRecord &record) {
      if (record.step == step)
        static_cast<float *>(model->parameters().space("trainable"))[place] =
            value;
    };
    return errorOf([&] { train(23, {}, callbacks); });
  };
  using ::testing::IsSubstring;
  std::string text = poison(4, headBias(3), NAN);
  EXPECT_PRED_FORMAT2(IsSubstring, "the loss is nan at step 5", text);
  EXPECT_PRED_FORMAT2(IsSubstring, "lower the learning rate", text);
  EXPECT_PRED_FORMAT2(IsSubstring, "The last checkpoint is", text);
  EXPECT_PRED_FORMAT2(IsSubstring, "checkpoint-3", text);
  EXPECT_EQ(listCheckpoints(directory / "run").size(), 1u);
  text = poison(4, kR, NAN);
  EXPECT_PRED_FORMAT2(IsSubstring,
                      "step 5: a score of layer \"tiny.dense.weight\" is NaN: "
                      "its parameters have diverged; lower the learning rate",
                      text);
  EXPECT_PRED_FORMAT2(IsSubstring, "The last checkpoint is", text);
  // What could not be selected does not stand.
  EXPECT_ERROR(model->select(0.5), "is NaN");
  EXPECT_ERROR(model->select(0.5), "is NaN");
  EXPECT_PRED_FORMAT2(IsSubstring, "No checkpoint was written yet",
                      poison(1, headBias(3), NAN));
}

TEST_F(TrainerTest, GradientsThatOverflowAreAnError) {
  // Finite loss, but squares of gradients beyond f32.
  options.maxSteps = 3;
  TrainingCallbacks callbacks;
  callbacks.onStep = [&](const StepRecord &) {
    float *p = static_cast<float *>(model->parameters().space("trainable"));
    for (int i = kHeadWeight; i < headBias(3); ++i)
      p[i] = i % 2 ? 3e37f : -3e37f;
    for (int i = kU; i < kR; ++i)
      p[i] = 1e18f;
  };
  EXPECT_PRED_FORMAT2(::testing::IsSubstring, "training has diverged",
                      errorOf([&] { train(23, {}, callbacks); }));
}

TEST_F(TrainerTest, RefusesOptionsOutOfRange) {
  struct Case {
    std::function<void(TrainingOptions &)> damage;
    std::string message;
  };
  using O = TrainingOptions;
  std::vector<Case> cases = {
      {[](O &o) { o.sparsity = 1; }, "--sparsity must be in [0, 1), but is 1"},
      {[](O &o) { o.sparsity = -0.1; }, "--sparsity must be in [0, 1)"},
      {[](O &o) { o.sparsity = NAN; }, "--sparsity must be in [0, 1)"},
      {[](O &o) { o.initialSparsity = 0.8; },
       "--initial_sparsity must be at most the final sparsity (0.7)"},
      {[](O &o) { o.initialWarmup = 0.8; },
       "--final_warmup must be at most 1 less --initial_warmup (0.8), but is "
       "0.3"},
      {[](O &o) { o.learningRate = -1; }, "--learning_rate must be 0 or more"},
      {[](O &o) { o.learningRate = INFINITY; }, "--learning_rate"},
      {[](O &o) { o.numTrainEpochs = 0; }, "--num_train_epochs must be"},
      {[](O &o) { o.adamBeta1 = 1; }, "--adam_beta1 must be in [0, 1)"},
      {[](O &o) { o.adamEpsilon = 0; }, "--adam_epsilon must be positive"},
      {[](O &o) { o.maxGradNorm = -1; }, "--max_grad_norm"},
      {[](O &o) { o.gradientAccumulationSteps = 0; },
       "--gradient_accumulation_steps must be positive, but is 0"},
      {[](O &o) { o.warmupRatio = 1.5; }, "--warmup_ratio must be in [0, 1]"},
      {[](O &o) {
         o.warmupSteps = 2;
         o.lrSchedulerType = RateCurve::constant;
       },
       "--lr_scheduler_type constant has no warm-up, but 2 steps of it are "
       "asked for"},
      {[](O &o) { o.loggingSteps = 0; }, "--logging_steps must be positive"},
      {[](O &o) { o.saveSteps = 0; }, "--save_steps must be positive"},
      {[](O &o) { o.outputDir.clear(); }, "--output_dir is not given"},
      {[](O &o) { o.metricForBestModel = "f1"; },
       "--metric_for_best_model must be one of loss, accuracy, matthews, "
       "macro_f1, auc for this model, but is f1"},
      {[](O &o) {
         o.loadBestModelAtEnd = true;
         o.evalStrategy = Interval::no;
       },
       "--load_best_model_at_end needs evaluation data"},
  };
  model = makeModel(directory / "model");
  for (const Case &c : cases) {
    TrainingOptions bad = options;
    c.damage(bad);
    EXPECT_ERROR(Trainer(*model, bad, makeData(5), makeData(5)), c.message);
    EXPECT_FALSE(fs::exists(directory / "run"));
  }
}

TEST_F(TrainerTest, RefusesDataAndProgramsThatDoNotFit) {
  model = makeModel(directory / "model");
  EXPECT_ERROR(Trainer(*model, options, makeData(5, {4, true})),
               "\"labels\" is f32[N], but the program was compiled for i32[N]");
  EXPECT_ERROR(Trainer(*model, options, makeData(5), makeData(5, {4, true})),
               "\"labels\" is f32[N]");
  Manifest manifest = makeManifest();
  manifest.method = "dense";
  manifest.entryPoints.erase("select");
  std::map<std::string, EntryFunction> functions;
  auto program = makeProgram();
  for (const auto &[name, entry] : manifest.entryPoints)
    functions[name] = program->function(name);
  Model dense(Program::create(manifest, functions),
              std::make_shared<const ModelFiles>(directory / "model"), 1);
  EXPECT_ERROR(Trainer(dense, options, makeData(5)),
               "--sparsity is 0.7, but the method \"dense\" of this program "
               "has no score");
  options.sparsity.reset();
  EXPECT_EQ(Trainer(dense, options, makeData(5)).plan().sparsity.finalSparsity,
            0);
  EXPECT_EQ(Trainer(*model, options, makeData(5)).plan().sparsity.finalSparsity,
            0.9);
}

TEST_F(TrainerTest, EvaluatesWithoutLabels) {
  model = makeModel(directory / "model");
  Dataset labelled = makeData(9);
  Evaluation with = evaluate(*model, labelled, 0.5);
  Dataset data({*labelled.find("input_ids"), *labelled.find("attention_mask")});
  Evaluation without = evaluate(*model, data, 0.5);
  EXPECT_EQ(without.logits, with.logits);
  EXPECT_EQ(without.logits.size(), 27u);
  EXPECT_TRUE(std::isnan(without.loss));
  EXPECT_TRUE(without.metrics.empty());
  EXPECT_TRUE(with.metrics.contains("accuracy"));
}
