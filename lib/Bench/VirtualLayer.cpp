//===- VirtualLayer.cpp - A layer of PST as plain loops -------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "VirtualLayer.h"

#include <algorithm>
#include <cmath>
#include <random>

using namespace pst::bench;

static std::vector<float> normal(int64_t count, float deviation,
                                 std::mt19937 &generator) {
  std::normal_distribution<float> distribution(0, deviation);
  std::vector<float> values(count);
  for (float &value : values)
    value = distribution(generator);
  return values;
}

VirtualLayer::VirtualLayer(int64_t rows, int64_t columns, int64_t rank,
                           double sparsity)
    : rows(rows), columns(columns), rank(rank) {
  // Magnitudes as of a BERT's weights after some training.
  std::mt19937 generator(7);
  w = normal(rows * columns, 0.05f, generator);
  u = normal(rows * rank, 0.02f, generator);
  v = normal(rank * columns, 0.02f, generator);
  a = normal(rows * rank, 0.02f, generator);
  b = normal(rank * columns, 0.02f, generator);
  r = normal(rows, 0.01f, generator);
  c = normal(columns, 0.01f, generator);

  weight.resize(rows * columns);
  score.resize(rows * columns);
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j) {
      float uv = 0, ab = 0;
      for (int64_t k = 0; k < rank; ++k) {
        uv = std::fma(u[i * rank + k], v[k * columns + j], uv);
        ab = std::fma(a[i * rank + k], b[k * columns + j], ab);
      }
      float merged = w[i * columns + j] + uv;
      weight[i * columns + j] = merged;
      score[i * columns + j] = (std::fabs(merged) + ab) + (r[i] + c[j]);
    }

  int64_t count = rows * columns;
  keep = count - static_cast<int64_t>(static_cast<double>(count) * sparsity);
  std::vector<float> order = score;
  std::nth_element(order.begin(), order.begin() + (keep - 1), order.end(),
                   std::greater<>());
  threshold = order[keep - 1];
  int64_t above = std::count_if(score.begin(), score.end(),
                                [&](float s) { return s > threshold; });
  masked.assign(count, 0.0f);
  cut = count;
  for (int64_t i = 0, equal = keep - above; i < count; ++i) {
    bool kept = score[i] > threshold;
    if (score[i] == threshold && equal > 0) {
      kept = true;
      if (--equal == 0)
        cut = i + 1;
    }
    if (kept)
      masked[i] = weight[i];
  }
}

std::vector<std::vector<double>> VirtualLayer::gradients(const float *g) const {
  std::vector<double> du(rows * rank), dv(rank * columns), da(rows * rank),
      db(rank * columns), dr(rows), dc(columns);
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j) {
      int64_t at = i * columns + j;
      bool kept = score[at] > threshold || (score[at] == threshold && at < cut);
      double sign = weight[at] > 0 ? 1 : weight[at] < 0 ? -1 : 0;
      double dScore = static_cast<double>(g[at]) * weight[at];
      double dWeight = (kept ? g[at] : 0.0) + sign * dScore;
      for (int64_t k = 0; k < rank; ++k) {
        du[i * rank + k] += dWeight * v[k * columns + j];
        dv[k * columns + j] += dWeight * u[i * rank + k];
        da[i * rank + k] += dScore * b[k * columns + j];
        db[k * columns + j] += dScore * a[i * rank + k];
      }
      dr[i] += dScore;
      dc[j] += dScore;
    }
  return {du, dv, da, db, dr, dc};
}
