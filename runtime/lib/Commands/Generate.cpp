//===- Generate.cpp - pst-run generate ------------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Command.h"
#include "TokenLines.h"
#include "pst/Runtime/Error.h"
#include "pst/Runtime/Files.h"
#include "pst/Runtime/Generation.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdio>
#include <fstream>

using namespace pst;
using namespace pst::runtime;

namespace {

struct GenerateCommand final : Command {
  Inputs inputs;
  std::string file, output;
  GenerationOptions options;

  explicit GenerateCommand(CLI::App &app) {
    CLI::App *command = app.add_subcommand(
        "generate",
        "Go on with prompts that are tokens already, as JSON lines");
    addInputs(*command, inputs);
    command
        ->add_option("--file", file,
                     "JSON lines, each with \"input_ids\", the tokens of a "
                     "prompt (-: standard input)")
        ->required();
    command->add_option("--output_file", output,
                        "Write the JSON lines here (default: standard output)");
    addOptions(*command, generationOptions(), options);
    command->callback([this] { run(); });
  }

  void run() override {
    checkOutput(output);
    check(options);
    std::ifstream opened;
    std::istream &stream = openLines(file, opened);
    // Standard output is for what is generated.
    std::unique_ptr<Model> model = open(inputs, 0, /*tells=*/false);
    loadTrained(*model, inputs, /*sparsityGiven=*/false);
    resolveEndTokens(options, model->manifest(), inputs.model);
    TokenLines lines(stream, file, *model);
    std::vector<std::vector<int32_t>> prompts;
    while (std::optional<std::vector<int32_t>> ids = lines.readIds())
      prompts.push_back(std::move(*ids));

    // In the order of the prompts, each as soon as those before it are there.
    std::vector<std::string> texts(prompts.size());
    size_t printed = 0;
    GenerationCallbacks callbacks;
    callbacks.onEnd = [&](int64_t prompt, const Continuation &found) {
      texts[static_cast<size_t>(prompt)] = describe(found);
      while (output.empty() && printed < texts.size() &&
             !texts[printed].empty())
        print(texts[printed++]);
    };
    callbacks.shouldStop = [] { return isInterrupted(); };
    Generation made = generate(*model, prompts, options, callbacks);
    if (!output.empty()) {
      std::string all;
      for (const std::string &text : texts)
        all += text;
      writeFile(output, all);
    }
    std::fprintf(stderr,
                 "%lld tokens read in %.3f s, %lld generated in %.3f s: "
                 "%.1f tokens/s\n",
                 static_cast<long long>(made.promptTokens), made.promptSeconds,
                 static_cast<long long>(made.newTokens), made.stepSeconds,
                 static_cast<double>(made.newTokens) /
                     std::max(made.stepSeconds, 1e-9));
  }

private:
  std::string describe(const Continuation &found) const {
    nlohmann::ordered_json line;
    line["output_ids"] = found.tokens;
    line["finish_reason"] = finishReason(found);
    if (options.numBeams > 1)
      line["score"] = found.score;
    return line.dump() + "\n";
  }

  static void print(const std::string &text) {
    if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() ||
        std::fflush(stdout) != 0)
      throw Error("standard output: cannot be written");
  }
};

} // namespace

std::unique_ptr<Command> pst::runtime::addGenerate(CLI::App &app) {
  return std::make_unique<GenerateCommand>(app);
}
