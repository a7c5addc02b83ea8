//===- RunLog.cpp - The log of a run, line by line ------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "RunLog.h"
#include "pst/Runtime/Error.h"
#include "pst/Runtime/Files.h"

#include <nlohmann/json.hpp>

#include <cerrno>
#include <fcntl.h>
#include <sstream>
#include <unistd.h>

using namespace pst::runtime;
using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

/// A line has some 300 bytes.
static constexpr int64_t kMaxLogBytes = int64_t{4} << 30;

RunLog::RunLog(fs::path path, int64_t step) : file(std::move(path)) {
  if (isNamed(file)) {
    std::istringstream old(readFile(file, kMaxLogBytes));
    std::string kept;
    for (std::string line; std::getline(old, line);) {
      // A line that is none of ours, or was cut short, goes too.
      Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
      auto at = json.is_object() ? json.find("step") : json.end();
      if (at != json.end() && at->is_number_unsigned() &&
          at->get<uint64_t>() <= static_cast<uint64_t>(step))
        kept += line + "\n";
    }
    writeFile(file, kept);
  }
  descriptor =
      ::open(file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (descriptor < 0)
    throwSystemError(file, "open", errno);
}

RunLog::~RunLog() { ::close(descriptor); }

void RunLog::writeLine(const std::string &line) {
  for (size_t done = 0; done < line.size();) {
    ssize_t count = ::write(descriptor, line.data() + done, line.size() - done);
    if (count < 0 && errno == EINTR)
      continue;
    if (count < 0)
      throwSystemError(file, "write", errno);
    done += count;
  }
}

void RunLog::write(const StepRecord &record) {
  Json json{{"event", "train"},
            {"step", record.step},
            {"epoch", record.epoch},
            {"loss", record.loss},
            {"learning_rate", record.learningRate},
            {"sparsity", record.sparsity},
            {"grad_norm", record.gradNorm},
            {"seconds_per_step", record.secondsPerStep},
            {"tokens_per_second", record.tokensPerSecond},
            {"memory_bytes", record.memoryBytes}};
  writeLine(json.dump() + "\n");
}

void RunLog::write(const EvaluationRecord &record) {
  Json json{{"event", "eval"},
            {"step", record.step},
            {"epoch", record.epoch},
            {"sparsity", record.sparsity},
            {"eval_loss", record.loss},
            {"eval_examples", record.numExamples},
            {"eval_seconds", record.seconds},
            {"best", record.best}};
  for (const auto &[metric, value] : record.metrics)
    json["eval_" + metric] = value;
  writeLine(json.dump() + "\n");
}

void RunLog::sync() {
  if (::fsync(descriptor) != 0)
    throwSystemError(file, "flush to the disk", errno);
}
