//===- RunLog.h - The log of a run, line by line ----------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_RUNTIME_RUNLOG_H
#define PST_RUNTIME_RUNLOG_H

#include "pst/Runtime/Trainer.h"

namespace pst::runtime {

/// `log.jsonl`: one JSON object a line, each with "event" ("train" or "eval")
/// and "step".
class RunLog {
public:
  /// Opens `file` for a run that has completed `step` steps: lines of later
  /// steps, and half a line of a killed run, are dropped. Throws Error.
  RunLog(std::filesystem::path file, int64_t step);
  ~RunLog();
  RunLog(const RunLog &) = delete;
  RunLog &operator=(const RunLog &) = delete;

  void write(const StepRecord &record);
  void write(const EvaluationRecord &record);
  /// Flushes to the disk; before a checkpoint, so that no line is missing when
  /// the run is resumed from it.
  void sync();

private:
  void writeLine(const std::string &line);

  std::filesystem::path file;
  int descriptor = -1;
};

} // namespace pst::runtime

#endif // PST_RUNTIME_RUNLOG_H
