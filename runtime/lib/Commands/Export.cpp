//===- Export.cpp - pst-run export ----------------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Runtime/Export.h"
#include "Command.h"
#include "pst/Runtime/Memory.h"

#include <cstdio>

using namespace pst;
using namespace pst::runtime;

namespace {

struct ExportCommand final : Command {
  Inputs inputs;
  ExportOptions options;
  CLI::Option *sparsity = nullptr;

  explicit ExportCommand(CLI::App &app) {
    CLI::App *command =
        app.add_subcommand("export", "Write a Hugging Face directory");
    addInputs(*command, inputs);
    command->add_option("--checkpoint", inputs.checkpoint,
                        "Trained parameters: a checkpoint's directory");
    command->add_option("--output_dir", options.outputDir, "Where to write")
        ->required();
    command->add_flag("--overwrite_output_dir", options.overwrite,
                      "Replace a model that lies there");
    command->add_option("--config_updates", options.configUpdates,
                        "Keys for config.json, as a JSON object");
    sparsity =
        command->add_option("--sparsity", inputs.sparsity,
                            "Sparsity (the checkpoint's, or 0 without one)");
    command->callback([this] { run(); });
  }

  void run() override {
    std::unique_ptr<Model> model = open(inputs, 0);
    double at = loadTrained(*model, inputs, sparsity->count() > 0);
    ExportResult result = exportModel(*model, at, options);
    for (const ExportedLayer &layer : result.layers)
      std::printf("%-60s %10lld elements  %10lld zeros  %.4f\n",
                  layer.weight.c_str(),
                  static_cast<long long>(layer.numElements),
                  static_cast<long long>(layer.numZeros),
                  static_cast<double>(layer.numZeros) /
                      static_cast<double>(layer.numElements));
    std::printf("wrote %s: %lld tensors, %s, zeros in sparse layers %.4f\n",
                options.outputDir.c_str(),
                static_cast<long long>(result.numTensors),
                formatBytes(result.numBytes).c_str(), result.zeroShare());
  }
};

} // namespace

std::unique_ptr<Command> pst::runtime::addExport(CLI::App &app) {
  return std::make_unique<ExportCommand>(app);
}
