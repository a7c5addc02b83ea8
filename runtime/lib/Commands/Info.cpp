//===- Info.cpp - pst-run info --------------------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Command.h"
#include "pst/Runtime/Memory.h"

#include <iostream>

using namespace pst;
using namespace pst::runtime;

namespace {

void printInfo(const std::string &bundle) {
  auto program = Program::load(bundle);
  const Manifest &manifest = program->manifest();
  std::cout << "architecture  " << manifest.architecture << "\nmethod        "
            << manifest.method;
  for (const auto &[name, value] : manifest.hyperparameters)
    std::cout << "  " << name << "=" << value;
  std::cout << "\ntarget        " << manifest.triple << ", " << manifest.cpu
            << "\nfingerprint   " << manifest.fingerprint()
            << "\nsparse layers " << manifest.sparseLayers.size() << "\n";
  std::map<Role, std::pair<int64_t, int64_t>> counts; // tensors, elements
  for (const Parameter &parameter : manifest.parameters) {
    ++counts[parameter.role].first;
    counts[parameter.role].second += parameter.type.numElements();
  }
  std::cout << "frozen        " << counts[Role::frozen].first << " tensors, "
            << counts[Role::frozen].second << " elements\ntrainable     "
            << counts[Role::trainable].first << " tensors, "
            << counts[Role::trainable].second << " elements\nentry points ";
  for (const auto &[name, entry] : manifest.entryPoints)
    std::cout << " " << name << "(" << entry.arguments.size() << ")";
  std::cout << "\n" << formatMemoryPlan(manifest.memory);
}

struct InfoCommand final : Command {
  std::string bundle;

  explicit InfoCommand(CLI::App &app) {
    CLI::App *command = app.add_subcommand("info", "Say what a bundle is");
    command->add_option("--bundle", bundle, "Directory of the bundle")
        ->required();
    command->callback([this] { run(); });
  }

  void run() override { printInfo(bundle); }
};

} // namespace

std::unique_ptr<Command> pst::runtime::addInfo(CLI::App &app) {
  return std::make_unique<InfoCommand>(app);
}
