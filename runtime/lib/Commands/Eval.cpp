//===- Eval.cpp - pst-run eval --------------------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Command.h"
#include "pst/Runtime/Evaluation.h"
#include "pst/Runtime/SafeTensorsWriter.h"

#include <cstdio>

using namespace pst;
using namespace pst::runtime;

namespace {

struct EvalCommand final : Command {
  Inputs inputs;
  CLI::Option *sparsity = nullptr;

  explicit EvalCommand(CLI::App &app) {
    CLI::App *command = app.add_subcommand("eval", "Evaluate on data");
    addInputs(*command, inputs);
    command->add_option("--eval", inputs.data, "Data (safetensors)")
        ->required();
    command->add_option("--checkpoint", inputs.checkpoint,
                        "Trained parameters: a checkpoint's directory");
    sparsity =
        command->add_option("--sparsity", inputs.sparsity,
                            "Sparsity (the checkpoint's, or 0 without one)");
    command->add_option("--predictions", inputs.predictions,
                        "Write the logits to this file (safetensors)");
    command->callback([this] { run(); });
  }

  void run() override {
    checkOutput(inputs.predictions);
    std::unique_ptr<Model> model = open(inputs, 0);
    double at = loadTrained(*model, inputs, sparsity->count() > 0);
    Evaluation result = evaluate(*model, Dataset::load(inputs.data), at);
    std::printf("examples %lld  sparsity %.4f  loss %.6f",
                static_cast<long long>(result.numExamples), result.sparsity,
                result.loss);
    printMetrics(result.metrics);
    if (!inputs.predictions.empty())
      writeSafeTensors(
          inputs.predictions,
          {{{"logits",
             DType::F32,
             {result.numExamples * result.numTokens, result.numLabels}},
            result.logits.data()}});
  }
};

} // namespace

std::unique_ptr<Command> pst::runtime::addEval(CLI::App &app) {
  return std::make_unique<EvalCommand>(app);
}
