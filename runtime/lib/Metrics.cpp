//===- Metrics.cpp - What an evaluation reports ---------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Runtime/Metrics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

using namespace pst::runtime;

/// Ranks from 1; equal values share their mean rank.
static std::vector<double> ranks(std::span<const double> values) {
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return values[a] < values[b]; });
  std::vector<double> result(values.size());
  for (size_t begin = 0; begin < order.size();) {
    size_t end = begin;
    while (end < order.size() && values[order[end]] == values[order[begin]])
      ++end;
    for (size_t i = begin; i < end; ++i)
      result[order[i]] = (static_cast<double>(begin + end) + 1) / 2;
    begin = end;
  }
  return result;
}

/// Classes of highest logit.
static std::vector<int32_t> predictClasses(std::span<const float> logits,
                                           int32_t numClasses) {
  std::vector<int32_t> classes;
  for (auto row = logits.begin(); row != logits.end(); row += numClasses)
    classes.push_back(
        static_cast<int32_t>(std::max_element(row, row + numClasses) - row));
  return classes;
}

/// F1 of a class from its hits and its errors of either kind.
static double f1(double hits, double errors) {
  return hits > 0 ? 2 * hits / (2 * hits + errors) : 0;
}

/// The share of pairs of an example of the class and another one in which the
/// former has the higher score; half of it where they are equal.
static double areaUnderROC(std::span<const double> scores,
                           std::span<const int32_t> labels, int32_t ofClass) {
  std::vector<double> rank = ranks(scores);
  double sum = 0, hits = 0;
  for (size_t i = 0; i < labels.size(); ++i)
    if (labels[i] == ofClass)
      sum += rank[i], hits += 1;
  double others = static_cast<double>(labels.size()) - hits;
  return (sum - hits * (hits + 1) / 2) / (hits * others);
}

/// The mean over the classes, of each against the rest; two have the same.
static double meanAreaUnderROC(std::span<const float> logits,
                               std::span<const int32_t> labels,
                               int32_t numClasses) {
  std::vector<int64_t> counts(numClasses);
  for (int32_t label : labels)
    ++counts[label];
  if (numClasses < 2 ||
      std::find(counts.begin(), counts.end(), 0) != counts.end())
    return std::numeric_limits<double>::quiet_NaN();
  size_t width = numClasses, rows = labels.size();
  std::vector<double> largest(rows), total(rows), scores(rows);
  for (size_t i = 0; i < rows; ++i) {
    auto row = logits.subspan(i * width, width);
    largest[i] = *std::max_element(row.begin(), row.end());
    for (float logit : row)
      total[i] += std::exp(logit - largest[i]);
  }
  double sum = 0;
  int32_t first = numClasses == 2 ? 1 : 0;
  for (int32_t k = first; k < numClasses; ++k) {
    for (size_t i = 0; i < rows; ++i)
      // Of two classes the difference, in which nothing rounds to 1.
      scores[i] = numClasses == 2
                      ? double(logits[2 * i + 1]) - logits[2 * i]
                      : std::exp(logits[i * width + k] - largest[i]) / total[i];
    sum += areaUnderROC(scores, labels, k);
  }
  return sum / (numClasses - first);
}

Metrics pst::runtime::classificationMetrics(std::span<const float> logits,
                                            std::span<const int32_t> labels,
                                            int32_t numClasses) {
  std::vector<int32_t> predictions = predictClasses(logits, numClasses);
  // Of each class: labels, predictions, and where they agree.
  std::vector<double> truth(numClasses), predicted(numClasses),
      hits(numClasses);
  for (size_t i = 0; i < labels.size(); ++i) {
    truth[labels[i]] += 1;
    predicted[predictions[i]] += 1;
    hits[labels[i]] += labels[i] == predictions[i];
  }
  double total = static_cast<double>(labels.size());
  double correct = 0, products = 0, truthSquares = 0, predictedSquares = 0;
  double f1Sum = 0, f1Count = 0;
  for (int32_t k = 0; k < numClasses; ++k) {
    correct += hits[k];
    products += truth[k] * predicted[k];
    truthSquares += truth[k] * truth[k];
    predictedSquares += predicted[k] * predicted[k];
    double occurrences = truth[k] + predicted[k];
    f1Sum += f1(hits[k], occurrences - 2 * hits[k]);
    f1Count += occurrences > 0;
  }
  Metrics metrics;
  metrics["accuracy"] = correct / total;
  double denominator = std::sqrt((total * total - predictedSquares) *
                                 (total * total - truthSquares));
  metrics["matthews"] =
      denominator > 0 ? (correct * total - products) / denominator : 0;
  metrics["macro_f1"] = f1Sum / f1Count;
  if (numClasses == 2)
    metrics["f1"] = f1(hits[1], truth[1] + predicted[1] - 2 * hits[1]);
  metrics["auc"] = meanAreaUnderROC(logits, labels, numClasses);
  return metrics;
}

Metrics pst::runtime::multiLabelMetrics(std::span<const float> logits,
                                        std::span<const float> labels,
                                        int64_t numLabels) {
  size_t width = static_cast<size_t>(numLabels);
  std::vector<double> hits(width), errors(width);
  double examples = static_cast<double>(labels.size() / width), whole = 0;
  for (size_t begin = 0; begin < labels.size(); begin += width) {
    bool right = true;
    for (size_t k = 0; k < width; ++k) {
      bool predicted = logits[begin + k] > 0, truth = labels[begin + k] != 0;
      hits[k] += predicted && truth;
      errors[k] += predicted != truth;
      right &= predicted == truth;
    }
    whole += right;
  }
  double allHits = 0, allErrors = 0, f1Sum = 0;
  for (size_t k = 0; k < width; ++k) {
    allHits += hits[k];
    allErrors += errors[k];
    f1Sum += f1(hits[k], errors[k]);
  }
  return {{"micro_f1", f1(allHits, allErrors)},
          {"macro_f1", f1Sum / static_cast<double>(width)},
          {"subset_accuracy", whole / examples}};
}

Metrics pst::runtime::tokenMetrics(std::span<const float> logits,
                                   std::span<const int32_t> labels,
                                   int64_t numClasses) {
  double correct = 0, total = 0;
  for (size_t i = 0; i < labels.size(); ++i) {
    if (labels[i] < 0)
      continue;
    auto row = logits.begin() + static_cast<int64_t>(i) * numClasses;
    total += 1;
    correct += std::max_element(row, row + numClasses) - row == labels[i];
  }
  return {{"accuracy", correct / total}};
}

/// Pearson's correlation; NaN if one side is constant.
static double correlation(std::span<const double> x,
                          std::span<const double> y) {
  double n = static_cast<double>(x.size());
  double meanX = std::accumulate(x.begin(), x.end(), 0.0) / n;
  double meanY = std::accumulate(y.begin(), y.end(), 0.0) / n;
  double xy = 0, xx = 0, yy = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    double dx = x[i] - meanX, dy = y[i] - meanY;
    xy += dx * dy;
    xx += dx * dx;
    yy += dy * dy;
  }
  return xy / std::sqrt(xx * yy);
}

Metrics pst::runtime::regressionMetrics(std::span<const float> predictions,
                                        std::span<const float> labels) {
  std::vector<double> x(predictions.begin(), predictions.end());
  std::vector<double> y(labels.begin(), labels.end());
  double squares = 0;
  for (size_t i = 0; i < x.size(); ++i)
    squares += (x[i] - y[i]) * (x[i] - y[i]);
  return {{"pearson", correlation(x, y)},
          {"spearman", correlation(ranks(x), ranks(y))},
          {"mse", squares / static_cast<double>(x.size())}};
}
