//===- Metrics.cpp - What an evaluation reports ---------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Runtime/Metrics.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

using namespace pst::runtime;

Metrics
pst::runtime::classificationMetrics(std::span<const int32_t> predictions,
                                    std::span<const int32_t> labels,
                                    int32_t numClasses) {
  // Rows of the confusion matrix: true class; columns: predicted class.
  std::vector<double> confusion(static_cast<size_t>(numClasses) * numClasses);
  auto count = [&](int32_t truth, int32_t predicted) -> double & {
    return confusion[static_cast<size_t>(truth) * numClasses + predicted];
  };
  for (size_t i = 0; i < labels.size(); ++i)
    count(labels[i], predictions[i]) += 1;

  double total = static_cast<double>(labels.size());
  double correct = 0, products = 0, truthSquares = 0, predictedSquares = 0;
  for (int32_t k = 0; k < numClasses; ++k) {
    double truth = 0, predicted = 0;
    for (int32_t other = 0; other < numClasses; ++other) {
      truth += count(k, other);
      predicted += count(other, k);
    }
    correct += count(k, k);
    products += truth * predicted;
    truthSquares += truth * truth;
    predictedSquares += predicted * predicted;
  }
  Metrics metrics;
  metrics["accuracy"] = correct / total;
  double denominator = std::sqrt((total * total - predictedSquares) *
                                 (total * total - truthSquares));
  // As scikit-learn: 0 when all predictions, or all labels, are one class.
  metrics["matthews"] =
      denominator > 0 ? (correct * total - products) / denominator : 0;
  if (numClasses == 2) {
    double errors = count(0, 1) + count(1, 0);
    double hits = count(1, 1);
    metrics["f1"] = hits > 0 ? 2 * hits / (2 * hits + errors) : 0;
  }
  return metrics;
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
