//===- Bench.cpp - pst-run bench ------------------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Runtime/Bench.h"
#include "Command.h"
#include "pst/Runtime/Error.h"

#include <nlohmann/json.hpp>

#include <cstdio>
#include <iostream>

using namespace pst;
using namespace pst::runtime;

namespace {

struct BenchCommand final : Command {
  std::vector<std::string> directories;
  std::string model, json;
  BenchOptions options;

  explicit BenchCommand(CLI::App &app) {
    CLI::App *command =
        app.add_subcommand("bench", "Measure entry points, with random inputs");
    command->add_option("directories", directories, "Bundles")->required();
    command->add_option("--model", model,
                        "Directory of the model (model.safetensors), for "
                        "bundles that take parameters from it");
    command->add_option("--entry", options.entries,
                        "Entry points (default: those of a training step, and "
                        "the step as a whole; of other programs all)");
    auto flag = [&](const char *name, auto &value, const char *help) {
      return command->add_option(name, value, help)->capture_default_str();
    };
    flag("--repetitions", options.repetitions, "Calls of each")
        ->check(CLI::PositiveNumber);
    flag("--sparsity", options.sparsity, "Share of zeros");
    flag("--seed", options.seed, "Of the inputs");
    command->add_option("--zero", options.zero,
                        "Inputs that are zero instead of random");
    flag("--copy-bytes", options.copyBytes,
         "Size of the copy that measures the GPU's memory")
        ->check(CLI::PositiveNumber);
    flag("--matrix-ceiling", options.matrixCeiling,
         "Operations per second of the GPU's fastest matrix product, if known");
    command->add_option("--json", json, "Write what was found to this file");
    command->callback([this] { run(); });
  }

  void run() override {
    checkOutput(json);
    nlohmann::ordered_json all;
    int failures = 0;
    auto open = keepGPUsOpen();
    for (const std::string &directory : directories) {
      nlohmann::ordered_json entry{{"bundle", directory}};
      std::printf("== %s\n", directory.c_str());
      try {
        BenchResult result = bench(
            Program::load(directory),
            model.empty() ? nullptr : std::make_shared<const ModelFiles>(model),
            options);
        std::cout << result.toText() << std::flush;
        entry.update(nlohmann::ordered_json::parse(result.toJson()));
      } catch (const Error &error) {
        ++failures;
        std::printf("FAILED  %s\n", error.what());
        entry["error"] = error.what();
      }
      std::fflush(stdout);
      all.push_back(std::move(entry));
    }
    writeJson(json, all);
    if (failures)
      throw Error(std::to_string(failures) + " of " +
                  std::to_string(directories.size()) +
                  " bundles could not be measured");
  }
};

} // namespace

std::unique_ptr<Command> pst::runtime::addBench(CLI::App &app) {
  return std::make_unique<BenchCommand>(app);
}
