//===- Command.cpp - What the commands of pst-run share -------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Command.h"
#include "pst/Runtime/Checkpoint.h"
#include "pst/Runtime/Commands.h"
#include "pst/Runtime/Error.h"
#include "pst/Runtime/Files.h"
#include "pst/Runtime/MappedFile.h"
#include "pst/Runtime/Memory.h"

#include <nlohmann/json.hpp>

#include <csignal>
#include <cstdio>
#include <iostream>

using namespace pst;
using namespace pst::runtime;

static volatile std::sig_atomic_t interrupted = 0;

bool pst::runtime::isInterrupted() { return interrupted != 0; }

std::unique_ptr<Model> pst::runtime::open(const Inputs &inputs, uint64_t seed,
                                          bool tells) {
  auto program = Program::load(inputs.bundle);
  if (tells)
    std::cout << formatMemoryPlan(program->manifest().memory) << std::flush;
  auto files = std::make_shared<const ModelFiles>(inputs.model);
  auto model =
      std::make_unique<Model>(std::move(program), std::move(files), seed);
  if (int64_t rounded = model->parameters().numRounded(); tells && rounded)
    std::cout << "rounded to bf16: " << rounded
              << " frozen tensors, which the file has wider\n"
              << std::flush;
  return model;
}

void pst::runtime::addInputs(CLI::App &command, Inputs &inputs) {
  command.add_option("--bundle", inputs.bundle, "Directory of the bundle")
      ->required();
  command
      .add_option("--model", inputs.model,
                  "Directory of the pretrained model (model.safetensors)")
      ->required();
}

double pst::runtime::loadTrained(Model &model, const Inputs &inputs,
                                 bool sparsityGiven) {
  if (!inputs.checkpoint.empty()) {
    double sparsity = loadCheckpoint(inputs.checkpoint, model).sparsity;
    return sparsityGiven ? inputs.sparsity : sparsity;
  }
  for (const Parameter &parameter : model.manifest().parameters)
    if (parameter.initializer.kind == Initializer::Kind::normal &&
        !model.manifest().findLayerOfFactor(parameter.name))
      throw Error("\"" + parameter.name +
                  "\" has random values in this bundle: give the --checkpoint "
                  "that holds the trained ones");
  return inputs.sparsity;
}

void pst::runtime::printMetrics(const Metrics &metrics) {
  for (const auto &[name, value] : metrics)
    std::printf("  %s %.4f", name.c_str(), value);
  std::printf("\n");
  std::fflush(stdout);
}

void pst::runtime::checkOutput(const std::string &file) {
  if (file.empty())
    return;
  std::error_code unknown;
  std::filesystem::path folder = std::filesystem::path(file).parent_path();
  if (std::filesystem::is_directory(file, unknown))
    throw Error(file + ": is a directory; expected the path of a file");
  if (!folder.empty() && !std::filesystem::is_directory(folder, unknown))
    throw Error(file + ": there is no directory " + folder.string() +
                "; make it first");
}

void pst::runtime::writeJson(const std::string &file,
                             const nlohmann::ordered_json &json) {
  if (!file.empty())
    writeFile(file, json.dump(1) + "\n");
}

/// The first signal ends the run after the step, with a checkpoint; the second
/// one ends the process. nohup's wish that a run outlives its terminal stands.
static void handleSignals() {
  for (int signal : {SIGINT, SIGTERM, SIGHUP}) {
    auto before = std::signal(signal, [](int number) {
      interrupted = 1;
      std::signal(number, SIG_DFL);
    });
    if (signal == SIGHUP && before == SIG_IGN)
      std::signal(signal, SIG_IGN);
  }
  // A limit on file sizes shall be an error that can be told, and a run goes on
  // when nobody reads any more what it says.
  std::signal(SIGXFSZ, SIG_IGN);
  std::signal(SIGPIPE, SIG_IGN);
  tellOfLostFiles("pst-run");
}

int pst::runtime::runCommand(int argc, char **argv) {
  openStandardStreams();
  handleSignals();

  CLI::App app("Runs a bundle that pst-compile made: trains, evaluates, "
               "predicts, generates and exports a sparse model");
  app.require_subcommand(1);
  const std::unique_ptr<Command> commands[] = {
      addTrain(app),  addEval(app),  addPredict(app), addGenerate(app),
      addExport(app), addCheck(app), addBench(app),   addInfo(app)};
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError &error) {
    return app.exit(error);
  } catch (const std::exception &error) {
    std::cerr << "pst-run: error: " << error.what() << std::endl;
    return 1;
  }
  return 0;
}
