//===- State.cpp - The state of a run that goes on ------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Fuzz.h"

#include <nlohmann/json.hpp>

using namespace pst::runtime;
namespace fs = std::filesystem;

static TrainingOptions options(const fs::path &run) {
  TrainingOptions options;
  options.outputDir = run;
  options.maxSteps = 6;
  options.saveStrategy = Interval::no;
  options.numThreads = 1;
  return options;
}

/// Trains until `step`, from a checkpoint or from the beginning.
static void train(TrainingOptions options, int64_t step) {
  std::unique_ptr<Model> model = tiny::makeModel(fuzz::directory() / "model");
  TrainingCallbacks callbacks;
  int64_t done = 0;
  callbacks.onStep = [&](const StepRecord &record) { done = record.step; };
  callbacks.shouldStop = [&] { return done >= step; };
  Trainer(*model, options, tiny::makeData(23), std::nullopt, callbacks).train();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const fs::path run = [] {
    fs::path run = fuzz::directory() / "run";
    train(options(run), 3);
    return run;
  }();
  static const std::string state =
      tiny::readBytes(run / "checkpoint-3" / "trainer_state.json");
  static std::unique_ptr<Model> model =
      tiny::makeModel(fuzz::directory() / "model");
  fs::path checkpoint = run / "checkpoint-3";
  std::string text = fuzz::text(data, size);
  tiny::writeBytes(checkpoint / "trainer_state.json", text);
  // The digests shall fit, so that what they cover is looked at. An input may
  // be the keys that differ from those of a real state alone.
  auto json = nlohmann::ordered_json::parse(text, nullptr, false);
  if (json.is_object()) {
    tiny::writeBytes(checkpoint / "trainer_state.json", state);
    tiny::changeState(checkpoint, [&](nlohmann::ordered_json &whole) {
      for (const auto &[key, value] : json.items())
        if (key != "digests")
          whole[key] = value;
    });
  }
  fuzz::expectErrorsOnly([&] { (void)loadCheckpoint(checkpoint, *model); });
  fuzz::expectErrorsOnly([&] {
    TrainingOptions more = options(run);
    more.resumeFromCheckpoint = checkpoint.string();
    (void)readTrainerState(checkpoint, *model);
    train(more, 4);
  });
  return 0;
}
