//===- BenchReport.cpp - Measured times as text and as JSON ---------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Runtime/Bench.h"
#include "pst/Runtime/Memory.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdarg>
#include <cstdio>

using namespace pst;
using namespace pst::runtime;

/// printf to the end of a text.
[[gnu::format(printf, 2, 3)]] static void append(std::string &text,
                                                 const char *format, ...) {
  char line[512];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  text += line;
}

/// Those that took longest first.
template <typename Times> static auto byTime(const Times &times) {
  std::vector<const typename Times::value_type *> sorted;
  for (const auto &time : times)
    sorted.push_back(&time);
  std::sort(sorted.begin(), sorted.end(), [](auto *a, auto *b) {
    return a->second.seconds != b->second.seconds
               ? a->second.seconds > b->second.seconds
               : a->first < b->first;
  });
  return sorted;
}

static void appendOps(std::string &text, const EntryTime &entry) {
  double whole = 0;
  for (const auto &[name, op] : entry.ops)
    whole += op.seconds;
  append(text, "  %-52s %8s %10s %6s %8s %8s %8s\n", "op and its kernels",
         "number", "ms", "share", "TFLOP/s", "GB/s", "ceiling");
  for (const auto *named : byTime(entry.ops)) {
    const auto &[name, op] = *named;
    append(text, "  %-52s %8lld %10.4f %5.1f%% %8.1f %8.0f", name.c_str(),
           static_cast<long long>(op.count), op.seconds * 1e3,
           100 * op.seconds / whole, op.flops / op.seconds * 1e-12,
           op.bytes / op.seconds * 1e-9);
    if (op.floor > 0)
      append(text, " %7.1f%%", 100 * op.floor / op.seconds);
    text += "\n";
    for (const auto *kernel : byTime(op.kernels))
      append(text, "    %-50s %8lld %10.4f\n", kernel->first.c_str(),
             static_cast<long long>(kernel->second.launches),
             kernel->second.seconds * 1e3);
  }
}

std::string BenchResult::toText() const {
  std::string text;
  append(text, "on %s\n", device.empty() ? "this processor" : device.c_str());
  if (copyRate > 0)
    append(text, "copy ceiling      %10.3f TB/s, read and written, measured\n",
           copyRate * 1e-12);
  if (matrixRate > 0)
    append(text, "matrix ceiling    %10.1f TFLOP/s, as given\n",
           matrixRate * 1e-12);
  auto line = [&](const std::string &name, const Samples &seconds,
                  const char *what) {
    append(text, "%-17s %10.4f ms (%.4f to %.4f)%s\n", name.c_str(),
           seconds.median * 1e3, seconds.low * 1e3, seconds.high * 1e3, what);
  };
  if (wallSeconds.median > 0) {
    append(text, "loss              %10.4f\n", static_cast<double>(loss));
    append(text, "memory, as planned %9s\n",
           formatBytes(memory.peak()).c_str());
    line("step, wall clock", wallSeconds, "");
  }
  for (const EntryTime &entry : entries) {
    line(entry.entry, entry.seconds, device.empty() ? "" : " of the GPU");
    if (!entry.ops.empty())
      appendOps(text, entry);
  }
  return text;
}

std::string BenchResult::toJson() const {
  using Json = nlohmann::ordered_json;
  auto samples = [](const Samples &seconds) {
    return Json{{"median", seconds.median},
                {"low", seconds.low},
                {"high", seconds.high}};
  };
  Json json{{"device", device},
            {"copy_bytes_per_second", copyRate},
            {"matrix_flops_per_second", matrixRate}};
  if (wallSeconds.median > 0) {
    json["wall_seconds"] = samples(wallSeconds);
    json["loss"] = loss;
  }
  json["memory"] = {
      {"frozen", memory.frozen},       {"trainable", memory.trainable},
      {"gradients", memory.gradients}, {"optimizer", memory.optimizer},
      {"state", memory.state},         {"activations", memory.activations},
      {"workspace", memory.workspace}, {"peak", memory.peak()}};
  json["entries"] = Json::object();
  for (const EntryTime &entry : entries) {
    Json &item = json["entries"][entry.entry];
    item["seconds"] = samples(entry.seconds);
    for (const auto *named : byTime(entry.ops)) {
      const auto &[name, op] = *named;
      Json one{{"op", name},
               {"count", op.count},
               {"seconds", op.seconds},
               {"flops", op.flops},
               {"bytes", op.bytes},
               {"floor_seconds", op.floor}};
      for (const auto *kernel : byTime(op.kernels))
        one["kernels"].push_back({{"kernel", kernel->first},
                                  {"launches", kernel->second.launches},
                                  {"seconds", kernel->second.seconds}});
      item["ops"].push_back(std::move(one));
    }
  }
  return json.dump(1);
}
