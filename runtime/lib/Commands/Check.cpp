//===- Check.cpp - pst-run check ------------------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Runtime/Check.h"
#include "Command.h"
#include "pst/Runtime/Error.h"

#include <nlohmann/json.hpp>

#include <cstdio>

using namespace pst;
using namespace pst::runtime;

namespace {

struct CheckCommand final : Command {
  std::vector<std::string> directories;
  std::string json, against, model, data, precision = "f32";
  StepCheckOptions step;
  int repetitions = 0;

  explicit CheckCommand(CLI::App &app) {
    CLI::App *command = app.add_subcommand(
        "check", "Compare bundles with the results recorded beside them, or a "
                 "training step with that of another bundle");
    command->add_option("directories", directories, "Bundles")->required();
    auto *reference = command->add_option(
        "--against", against, "A bundle whose step is right, for the CPU");
    auto *from = command->add_option("--model", model,
                                     "With --against: the model's directory");
    reference->needs(from);
    from->needs(reference);
    for (CLI::Option *option :
         {command->add_option("--train", data,
                              "With --against: data (safetensors; default: "
                              "random tokens)"),
          command
              ->add_option("--precision", precision,
                           "With --against: f32, tf32 or bf16, as the bundle "
                           "was compiled (f32)")
              ->check(CLI::IsMember({"f32", "tf32", "bf16"})),
          command->add_option("--sparsity", step.sparsity,
                              "With --against: of the step (0.5)")})
      option->needs(reference);
    command->add_option("--time", repetitions,
                        "On a GPU: time each kernel, median of so many calls");
    command->add_option("--json", json, "Write what was found to this file");
    command->callback([this] { run(); });
  }

  /// A step of the bundle against that of another.
  void runStep() {
    if (directories.size() != 1)
      throw Error("--against compares one bundle, but " +
                  std::to_string(directories.size()) + " are given");
    std::optional<Dataset> examples;
    if (!data.empty())
      step.data = &examples.emplace(Dataset::load(data));
    step.rounding = precision == "bf16"   ? 0x1p-8
                    : precision == "tf32" ? 0x1p-11
                                          : 0x1p-24;
    nlohmann::ordered_json all;
    int failures = 0;
    for (const auto &[name, check] :
         checkStep(Program::load(directories[0]), Program::load(against),
                   std::make_shared<const ModelFiles>(model), step)) {
      failures += !check.passed();
      std::printf(
          "%s  %-20s %10lld values, worst %.3g of what is allowed%s%s\n",
          check.passed() ? "ok    " : "FAILED", name.c_str(),
          static_cast<long long>(check.numElements), check.worst,
          check.worst > 0 ? ": " : "", check.where.c_str());
      all.push_back({{"quantity", name},
                     {"passed", check.passed()},
                     {"worst", check.worst}, // null: infinite
                     {"where", check.where}});
    }
    writeJson(json, all);
    if (failures)
      throw Error("the step differs from that of " + against);
    std::printf("the step is that of %s\n", against.c_str());
  }

  void run() override {
    checkOutput(json);
    if (!against.empty())
      return runStep();
    nlohmann::ordered_json all;
    int failures = 0;
    auto open = keepGPUsOpen();
    for (const std::string &directory : directories) {
      nlohmann::ordered_json entry{{"bundle", directory}};
      try {
        CheckResult check = checkBundle(directory, repetitions);
        failures += !check.passed();
        std::printf("%s  %s  %lld results, worst %.3g of what is allowed%s%s\n",
                    check.passed() ? "ok    " : "FAILED", directory.c_str(),
                    static_cast<long long>(check.numElements), check.worst,
                    check.passed() ? "" : ": ",
                    check.passed() ? "" : check.where.c_str());
        entry["passed"] = check.passed();
        entry["worst"] = check.worst; // null: infinite
        entry["seconds"] = check.seconds;
        for (const LaunchTime &launch : check.launches)
          entry["launches"].push_back({launch.kernel, launch.seconds});
      } catch (const Error &error) {
        ++failures;
        std::printf("FAILED  %s  %s\n", directory.c_str(), error.what());
        entry["passed"] = false;
        entry["error"] = error.what();
      }
      std::fflush(stdout);
      all.push_back(std::move(entry));
    }
    writeJson(json, all);
    if (failures)
      throw Error(std::to_string(failures) + " of " +
                  std::to_string(directories.size()) + " checks failed");
    std::printf("all %zu checks passed\n", directories.size());
  }
};

} // namespace

std::unique_ptr<Command> pst::runtime::addCheck(CLI::App &app) {
  return std::make_unique<CheckCommand>(app);
}
