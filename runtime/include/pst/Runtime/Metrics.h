//===- Metrics.h - What an evaluation reports -------------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_RUNTIME_METRICS_H
#define PST_RUNTIME_METRICS_H

#include <cstdint>
#include <map>
#include <span>
#include <string>

namespace pst::runtime {

using Metrics = std::map<std::string, double>;

/// "accuracy", "matthews" (Matthews' correlation, for any number of classes:
/// Gorodkin's R_K, as scikit-learn has it), and for two classes "f1" (of class
/// 1). `predictions` and `labels` are classes in [0, numClasses).
Metrics classificationMetrics(std::span<const int32_t> predictions,
                              std::span<const int32_t> labels,
                              int32_t numClasses);

/// "pearson", "spearman" (ties share their mean rank), "mse".
Metrics regressionMetrics(std::span<const float> predictions,
                          std::span<const float> labels);

} // namespace pst::runtime

#endif // PST_RUNTIME_METRICS_H
