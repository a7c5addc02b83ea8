//===- TrainerStep.h - One step of the training loop ------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What the loop (Trainer.cpp) and its steps (TrainerStep.cpp) share.
//
//===----------------------------------------------------------------------===//

#ifndef PST_RUNTIME_LIB_TRAINERSTEP_H
#define PST_RUNTIME_LIB_TRAINERSTEP_H

#include "pst/Runtime/Trainer.h"

namespace pst::runtime {

/// A step that was begun. On an accelerator the next one is begun before this
/// one's results are looked at, so that it never waits for us, and the next
/// batch goes over while it computes.
struct Trainer::Flight {
  StepRecord record; ///< its loss: of this rank, until it is settled
  double tokens = 0, begun = 0;
  bool selects = false, settled = false;
};

/// Leaves nothing begun behind, however the loop is left.
struct Trainer::Abandon {
  Model &model;
  Flight *&lossOf;
  ~Abandon() {
    model.abandon();
    lossOf = nullptr;
  }
};

struct Trainer::Clock {
  double seconds = 0, windowSeconds = 0, finished = 0;
  int64_t steps = 0, windowSteps = 0, windowTokens = 0;

  void add(double step, int64_t tokens) {
    seconds += step;
    windowSeconds += step;
    windowTokens += tokens;
    ++steps;
    ++windowSteps;
  }
  void startWindow() { windowSeconds = 0, windowSteps = 0, windowTokens = 0; }
};

/// Seconds since some moment.
double now();

/// "The last checkpoint is ...", for errors that end a run.
std::string lastCheckpoint(const std::filesystem::path &outputDir);

/// Selects after `step` steps; an error tells the step.
void selectAt(Model &model, double sparsity, int64_t step,
              const std::filesystem::path &outputDir);

} // namespace pst::runtime

#endif // PST_RUNTIME_LIB_TRAINERSTEP_H
