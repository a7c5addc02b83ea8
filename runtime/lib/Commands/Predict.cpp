//===- Predict.cpp - pst-run predict --------------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Command.h"
#include "Predictions.h"
#include "TokenLines.h"
#include "pst/Runtime/Error.h"
#include "pst/Runtime/Evaluation.h"
#include "pst/Runtime/Files.h"

#include <cstdio>
#include <fstream>

using namespace pst;
using namespace pst::runtime;

namespace {

/// Lines that are read and computed together.
constexpr int64_t kLines = 1024;

struct PredictCommand final : Command {
  Inputs inputs;
  std::string file, output;

  explicit PredictCommand(CLI::App &app) {
    CLI::App *command = app.add_subcommand(
        "predict", "Classes of texts that are tokens already, as JSON lines");
    addInputs(*command, inputs);
    command
        ->add_option("--file", file,
                     "JSON lines, each with \"input_ids\" and, where the model "
                     "has them, \"token_type_ids\" (-: standard input)")
        ->required();
    command->add_option("--output_file", output,
                        "Write the JSON lines here (default: standard output)");
    command->callback([this] { run(); });
  }

  void run() override {
    checkOutput(output);
    std::ifstream opened;
    std::istream &stream = openLines(file, opened);
    // Standard output is for what is predicted.
    std::unique_ptr<Model> model = open(inputs, 0, /*tells=*/false);
    if (model->predictsTokens())
      throw Error(inputs.bundle + ": a language model's program has no "
                                  "classes to predict");
    double sparsity = loadTrained(*model, inputs, /*sparsityGiven=*/false);
    TokenLines lines(stream, file, *model);
    Predictions predictions(*model);
    std::string text;
    while (std::optional<Dataset> rows = lines.read(kLines)) {
      Evaluation evaluation = evaluate(*model, *rows, sparsity);
      for (int64_t row = 0; row < rows->size(); ++row)
        text += predictions.describe(evaluation, row, lines.length(row)) + "\n";
      if (output.empty())
        print(text);
    }
    if (!output.empty())
      writeFile(output, text);
  }

private:
  /// Writes the text, and forgets it.
  static void print(std::string &text) {
    if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() ||
        std::fflush(stdout) != 0)
      throw Error("standard output: cannot be written");
    text.clear();
  }
};

} // namespace

std::unique_ptr<Command> pst::runtime::addPredict(CLI::App &app) {
  return std::make_unique<PredictCommand>(app);
}
