//===- Train.cpp - pst-run train ------------------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Command.h"
#include "pst/Runtime/Memory.h"
#include "pst/Runtime/Trainer.h"

#include <cstdio>
#include <iostream>

using namespace pst;
using namespace pst::runtime;

namespace {

void printStep(const StepRecord &r) {
  std::printf(
      "step %lld/%lld  epoch %.2f  loss %.4f  lr %.3g  sparsity %.3f  "
      "grad_norm %.3g  %.3f s/step  %.0f tokens/s  %s  %.0f s left\n",
      static_cast<long long>(r.step), static_cast<long long>(r.totalSteps),
      r.epoch, r.loss, r.learningRate, r.sparsity, r.gradNorm, r.secondsPerStep,
      r.tokensPerSecond, formatBytes(r.memoryBytes).c_str(), r.secondsLeft);
  std::fflush(stdout);
}

void printEvaluation(const EvaluationRecord &r) {
  std::printf("eval at step %lld  sparsity %.3f  loss %.4f",
              static_cast<long long>(r.step), r.sparsity, r.loss);
  printMetrics(r.metrics);
}

struct TrainCommand final : Command {
  Inputs inputs;
  std::string evalData;
  TrainingOptions options;

  explicit TrainCommand(CLI::App &app) {
    CLI::App *command = app.add_subcommand("train", "Train, or resume a run");
    addInputs(*command, inputs);
    command->add_option("--train", inputs.data, "Training data (safetensors)")
        ->required();
    command->add_option("--eval", evalData, "Evaluation data (safetensors)");
    addOptions(*command, trainingOptions(), options);
    command->get_option("--output_dir")->required();
    command->callback([this] { run(); });
  }

  void run() override {
    std::unique_ptr<Model> model = open(inputs, options.seed);
    std::optional<Dataset> eval;
    if (!evalData.empty())
      eval = Dataset::load(evalData);
    TrainingCallbacks callbacks;
    callbacks.onLog = printStep;
    callbacks.onEvaluate = printEvaluation;
    callbacks.onSave = [](const std::filesystem::path &path) {
      std::cout << "saved " << path.string() << std::endl;
    };
    callbacks.onMessage = [](const std::string &text) {
      std::cout << text << std::endl;
    };
    callbacks.shouldStop = [] { return isInterrupted(); };
    Trainer trainer(*model, options, Dataset::load(inputs.data),
                    std::move(eval), callbacks);
    TrainingResult result = trainer.train();
    std::cout << (result.stopped ? "stopped" : "finished") << " at step "
              << result.step << " of " << result.totalSteps << ", sparsity "
              << result.sparsity << ", " << result.secondsPerStep
              << " s/step, peak memory " << formatBytes(peakResidentBytes())
              << "\n";
    if (!result.bestCheckpoint.empty())
      std::cout << "best " << result.bestCheckpoint.string() << "\n";
    if (result.stopped)
      std::cout << "continue with --resume_from_checkpoint last\n";
  }
};

} // namespace

std::unique_ptr<Command> pst::runtime::addTrain(CLI::App &app) {
  return std::make_unique<TrainCommand>(app);
}
