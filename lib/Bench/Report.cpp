//===- Report.cpp - Results as text and as JSON ---------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Bench/Report.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>

using namespace pst::bench;
using nlohmann::ordered_json;

__attribute__((format(printf, 2, 3))) static void
append(std::string &text, const char *pattern, ...) {
  char line[512];
  va_list values;
  va_start(values, pattern);
  std::vsnprintf(line, sizeof line, pattern, values);
  va_end(values);
  text += line;
}

std::string pst::bench::format(const CaseResult &result) {
  std::string text = result.title + "\n";
  for (size_t i = 0; i < result.contestants.size(); ++i) {
    const ContestantResult &contestant = result.contestants[i];
    append(text, "  %-44s %11.3f ms", contestant.name.c_str(),
           1e3 * contestant.samples.median());
    if (contestant.gflops > 0)
      append(text, "  %7.1f GF/s  %5.1f %% of peak", contestant.gflops,
             100 * contestant.shareOfPeak);
    if (i > 0)
      append(text, "  / ours %.3f (%.3f to %.3f)", result.ratios[i - 1].median,
             result.ratios[i - 1].low, result.ratios[i - 1].high);
    text += "\n";
  }
  if (result.peak > 0)
    append(text, "  peak %.1f GF/s, largest error %.1e\n", result.peak,
           result.error);
  return text;
}

std::string pst::bench::format(const StepResult &result) {
  std::string text = format(result.times);
  if (result.kernels.empty())
    return text;
  double whole = 0;
  for (const auto &kernel : result.kernels)
    whole += kernel.seconds;
  append(text, "  share outside products with weights: %.1f %%\n",
         100 * (1 - result.shareOfProducts));
  for (const auto &kernel : result.kernels)
    append(text, "  %9.3f ms  %5.2f %%  %5lld calls  %s\n",
           1e3 * kernel.seconds, 100 * kernel.seconds / whole,
           static_cast<long long>(kernel.calls), kernel.name.c_str());
  return text;
}

static ordered_json json(const Quartiles &quartiles) {
  return {{"low", quartiles.low},
          {"median", quartiles.median},
          {"high", quartiles.high}};
}

static ordered_json json(const CaseResult &result) {
  ordered_json object = {{"title", result.title},
                         {"operations", result.operations},
                         {"peak_gflops", result.peak},
                         {"error", result.error},
                         {"contestants", ordered_json::array()}};
  for (size_t i = 0; i < result.contestants.size(); ++i) {
    const ContestantResult &contestant = result.contestants[i];
    ordered_json entry = {{"name", contestant.name},
                          {"seconds", contestant.samples.median()},
                          {"samples", contestant.samples.seconds}};
    if (contestant.gflops > 0) {
      entry["gflops"] = contestant.gflops;
      entry["share_of_peak"] = contestant.shareOfPeak;
    }
    if (i > 0)
      entry["over_ours"] = json(result.ratios[i - 1]);
    object["contestants"].push_back(std::move(entry));
  }
  return object;
}

std::string pst::bench::toJson(const std::vector<CaseResult> &cases,
                               const std::vector<StepResult> &steps,
                               const std::vector<std::string> &absent) {
  ordered_json all = {{"cases", ordered_json::array()},
                      {"steps", ordered_json::array()},
                      {"absent", absent}};
  for (const CaseResult &result : cases)
    all["cases"].push_back(json(result));
  for (const StepResult &result : steps) {
    ordered_json object = json(result.times);
    if (!result.kernels.empty()) {
      object["share_outside_products"] = 1 - result.shareOfProducts;
      for (const auto &kernel : result.kernels)
        object["kernels"].push_back({{"name", kernel.name},
                                     {"seconds", kernel.seconds},
                                     {"calls", kernel.calls}});
    }
    all["steps"].push_back(std::move(object));
  }
  double load = 0;
  if (getloadavg(&load, 1) == 1)
    all["load"] = load;
  return all.dump(2) + "\n";
}
