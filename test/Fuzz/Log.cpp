//===- Log.cpp - The log of a run that goes on ----------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Fuzz.h"
#include "RunLog.h"

using namespace pst::runtime;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  std::filesystem::path file = fuzz::directory() / "log.jsonl";
  tiny::writeBytes(file, fuzz::text(data, size));
  fuzz::expectErrorsOnly([&] { RunLog(file, 5).write(StepRecord()); });
  return 0;
}
