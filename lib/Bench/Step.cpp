//===- Step.cpp - A training step of a model ------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Bench/Step.h"
#include "pst/Bench/Kernel.h"
#include "pst/Compiler.h"
#include "pst/Runtime/Error.h"

#include <algorithm>
#include <cmath>
#include <random>

using namespace pst;
using namespace pst::bench;
using runtime::Error;

namespace {

/// A model in training on one batch that never changes.
class Training {
public:
  Training(const StepOptions &options, const std::string &method, bool profile);
  void step();
  runtime::Model &model() { return *trained; }

private:
  double sparsity;
  int64_t count = 0;
  std::unique_ptr<runtime::Model> trained;
  std::unique_ptr<runtime::Batch> batch;
};

} // namespace

Training::Training(const StepOptions &options, const std::string &method,
                   bool profile)
    : sparsity(options.sparsity) {
  CompilerOptions compiler;
  compilerOptions().set(compiler, "method", method);
  compiler.model.batch = options.batch;
  compiler.model.length = options.length;
  compiler.model.numLabels = 2;
  compilerOptions().set(compiler, "products", options.products);
  compiler.cpu = options.cpu;
  compiler.profile = profile;
  trained = std::make_unique<runtime::Model>(
      compileModel(options.model, compiler),
      std::make_shared<const runtime::ModelFiles>(options.model), 1);

  // Tokens of the smallest vocabulary that a BERT has.
  int64_t tokens = options.batch * options.length;
  std::mt19937 generator(1);
  std::vector<int32_t> ids(tokens), ones(tokens, 1), zeros(tokens, 0),
      labels(options.batch);
  for (int32_t &id : ids)
    id = static_cast<int32_t>(generator() % 1000);
  for (int32_t &label : labels)
    label = static_cast<int32_t>(generator() % 2);
  TensorType matrix{ElementType::i32, {options.batch, options.length}};
  runtime::Dataset data({{"input_ids", matrix, ids.data(), nullptr},
                         {"attention_mask", matrix, ones.data(), nullptr},
                         {"token_type_ids", matrix, zeros.data(), nullptr},
                         {"labels",
                          {ElementType::i32, {options.batch}},
                          labels.data(),
                          nullptr}});
  batch = std::make_unique<runtime::Batch>(
      trained->program().entryPoint("forward_backward"));
  std::vector<int64_t> rows(options.batch);
  for (int64_t row = 0; row < options.batch; ++row)
    rows[row] = row;
  batch->gather(data, rows);
}

void Training::step() {
  ++count;
  trained->select(sparsity);
  float loss = trained->forwardBackward(
      *batch, 1.0f / static_cast<float>(batch->capacity()), count);
  if (!std::isfinite(loss))
    throw Error("the loss of step " + std::to_string(count) +
                " is not finite: the step is wrong and is not timed");
  runtime::ApplyOptions apply;
  apply.learningRate = 3e-5;
  apply.maxGradNorm = 1;
  apply.step = count;
  trained->apply(apply);
}

bool pst::bench::isProduct(const std::string &kernel) {
  for (const char *family :
       {"linear_", "matmul_", "masked_matmul_", "masked_weight_",
        "materialize_", "stored_matmul_", "lowrank_accumulate_"})
    if (kernel.starts_with(family))
      return true;
  return false;
}

/// One step's time by kernel.
static void addProfile(const StepOptions &options, StepResult &result) {
  Training training(options, options.method, true);
  training.step(); // touches the memory
  training.model().takeProfile();
  int steps = std::max(1, options.timing.samples / 3);
  for (int i = 0; i < steps; ++i)
    training.step();
  double whole = 0, inKernels = 0, products = 0;
  for (runtime::KernelTime time : training.model().takeProfile()) {
    time.seconds /= steps;
    time.calls /= steps;
    if (time.name.starts_with("entry point ")) {
      whole += time.seconds;
      continue;
    }
    if (time.calls == 0)
      continue;
    inKernels += time.seconds;
    products += isProduct(time.name) ? time.seconds : 0;
    result.kernels.push_back(time);
  }
  result.kernels.push_back({"(between kernels)", whole - inKernels, 1});
  std::sort(result.kernels.begin(), result.kernels.end(),
            [](const auto &a, const auto &b) { return a.seconds > b.seconds; });
  result.shareOfProducts = products / whole;
}

StepResult pst::bench::runStep(const StepOptions &options) {
  setKernelThreads(options.timing.threads);
  StepResult result;
  result.times.title = options.model + ", batch " +
                       std::to_string(options.batch) + " x " +
                       std::to_string(options.length) + ", " +
                       std::to_string(options.timing.threads) + " threads";
  std::vector<std::string> methods = {options.method};
  if (!options.against.empty())
    methods.push_back(options.against);
  {
    std::vector<std::unique_ptr<Training>> trainings;
    std::vector<Contestant> contestants;
    for (const std::string &method : methods) {
      trainings.push_back(std::make_unique<Training>(options, method, false));
      contestants.push_back(
          {method, [training = trainings.back().get()] { training->step(); }});
    }
    std::vector<Samples> samples = takeTurns(contestants, options.timing);
    for (size_t i = 0; i < contestants.size(); ++i) {
      result.times.contestants.push_back({contestants[i].name, samples[i]});
      if (i > 0)
        result.times.ratios.push_back(ratio(samples[i], samples[0]));
    }
  }
  if (options.profile)
    addProfile(options, result);
  return result;
}
