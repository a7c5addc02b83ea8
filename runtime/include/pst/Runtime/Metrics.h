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

/// Of `logits`, examples x numClasses, and `labels`, classes in [0,
/// numClasses); the class of highest logit is predicted, the lowest of equals.
/// As scikit-learn defines them:
///
/// - "accuracy"
/// - "matthews": Matthews' correlation, for any number of classes (Gorodkin's
///   R_K); 0 if all predictions, or all labels, are one class
/// - "macro_f1": the mean F1 of the classes that are labels or predictions
/// - "f1", for two classes: of class 1
/// - "auc": the area under the ROC curve of softmax(logits), for more than two
///   classes the mean of each against the rest; NaN where a class has no
///   example, or there are no others
Metrics classificationMetrics(std::span<const float> logits,
                              std::span<const int32_t> labels,
                              int32_t numClasses);

/// Of `logits` and `labels` (0 or 1), both examples x numLabels; an example has
/// the labels whose sigmoid(logit) > 0.5, which is logit > 0. As scikit-learn
/// defines them for an indicator matrix; where nothing is a label nor predicted
/// an F1 is 0:
///
/// - "micro_f1": F1 of all pairs of an example and a label
/// - "macro_f1": the mean F1 of the labels
/// - "subset_accuracy": the share of the examples all of whose labels are right
Metrics multiLabelMetrics(std::span<const float> logits,
                          std::span<const float> labels, int64_t numLabels);

/// Of `logits`, tokens x numClasses, and `labels`, of which those that are no
/// class (kNoExample) do not count: "accuracy". Some label is a class.
Metrics tokenMetrics(std::span<const float> logits,
                     std::span<const int32_t> labels, int64_t numClasses);

/// "pearson", "spearman" (ties share their mean rank), "mse".
Metrics regressionMetrics(std::span<const float> predictions,
                          std::span<const float> labels);

} // namespace pst::runtime

#endif // PST_RUNTIME_METRICS_H
