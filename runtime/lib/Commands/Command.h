//===- Command.h - What the commands of pst-run share -----------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_RUNTIME_LIB_COMMANDS_COMMAND_H
#define PST_RUNTIME_LIB_COMMANDS_COMMAND_H

#include "pst/Runtime/Metrics.h"
#include "pst/Runtime/Model.h"
#include "pst/Runtime/Option.h"

#include <CLI/CLI.hpp>
#include <nlohmann/json_fwd.hpp>

#include <memory>
#include <string>

namespace pst::runtime {

/// A subcommand: it has its flags, and runs when they have been read.
class Command {
public:
  virtual ~Command() = default;
  /// Throws Error.
  virtual void run() = 0;
};

std::unique_ptr<Command> addTrain(CLI::App &app);
std::unique_ptr<Command> addEval(CLI::App &app);
std::unique_ptr<Command> addPredict(CLI::App &app);
std::unique_ptr<Command> addGenerate(CLI::App &app);
std::unique_ptr<Command> addExport(CLI::App &app);
std::unique_ptr<Command> addCheck(CLI::App &app);
std::unique_ptr<Command> addBench(CLI::App &app);
std::unique_ptr<Command> addInfo(CLI::App &app);

/// Whether a signal asks to end.
bool isInterrupted();

struct Inputs {
  std::string bundle, model, data, checkpoint, predictions;
  double sparsity = 0;
};

/// A flag for each option of a table, which sets that of `options`.
template <typename StructT>
void addOptions(CLI::App &command, const OptionTable<StructT> &table,
                StructT &options) {
  for (const auto &option : table) {
    auto set = [&options, &option](const std::string &text) {
      option.setText(options, option, text);
    };
    std::string flag = "--" + option.name;
    if (option.type == OptionType::flag && !option.isOptional)
      command.add_flag_callback(
          flag, [set] { set("true"); }, option.describe());
    else
      command.add_option_function<std::string>(flag, set, option.describe())
          ->type_name(spell(option.type));
  }
}

void addInputs(CLI::App &command, Inputs &inputs);

/// The bundle and the weights of the model that it was compiled for. `tells`:
/// prints what memory it takes, and what was rounded.
std::unique_ptr<Model> open(const Inputs &inputs, uint64_t seed,
                            bool tells = true);

/// Loads what was trained, if a checkpoint was given; returns the sparsity.
double loadTrained(Model &model, const Inputs &inputs, bool sparsityGiven);

void printMetrics(const Metrics &metrics);

/// What the end needs of the file to be written, if one was asked for. Throws
/// Error.
void checkOutput(const std::string &file);

/// To `file`, if one was asked for.
void writeJson(const std::string &file, const nlohmann::ordered_json &json);

} // namespace pst::runtime

#endif // PST_RUNTIME_LIB_COMMANDS_COMMAND_H
