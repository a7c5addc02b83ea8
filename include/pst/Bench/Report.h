//===- Report.h - Results as text and as JSON -------------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_BENCH_REPORT_H
#define PST_BENCH_REPORT_H

#include "pst/Bench/Step.h"

#include <string>
#include <vector>

namespace pst::bench {

/// A few lines for one result: medians, ratios with their quartiles, share of
/// the peak.
std::string format(const CaseResult &result);
/// The same for a step, and a line for each kernel that was measured.
std::string format(const StepResult &result);

/// `{"cases": [...], "absent": [...], "load": ...}`: every field of the results
/// under its name in snake case, the samples in seconds.
std::string toJson(const std::vector<CaseResult> &cases,
                   const std::vector<StepResult> &steps,
                   const std::vector<std::string> &absent);

} // namespace pst::bench

#endif // PST_BENCH_REPORT_H
