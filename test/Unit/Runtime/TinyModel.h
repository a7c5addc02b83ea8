//===- TinyModel.h - A sparse classifier of a hundred weights ---*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The smallest model that has everything a training run has: frozen weights, a
// masked layer with low-rank and row factors, a head, dropout, classes or
// regression. Written in double, from the formulas; templates over the type in
// which parameters are kept, so that a test can train it without rounding.
//
//   x = mean of the embeddings of the tokens, with dropout
//   W' = W + U V,  S = |W'| + R 1^T,  h = tanh((M * W') x + b)
//   logits = Cw h + cb
//
//===----------------------------------------------------------------------===//

#ifndef PST_TEST_UNIT_RUNTIME_TINYMODEL_H
#define PST_TEST_UNIT_RUNTIME_TINYMODEL_H

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

namespace tiny {

constexpr int kVocabulary = 11, kLength = 5, kWidth = 6, kHidden = 7, kRank = 2;
constexpr int kElements = kHidden * kWidth;

/// Places of the parameters in the trainable space, in elements.
constexpr int kU = 0, kV = kU + kHidden * kRank, kR = kV + kRank * kWidth,
              kHeadWeight = kR + kHidden;
constexpr int headBias(int classes) { return kHeadWeight + classes * kHidden; }
constexpr int numTrainable(int classes) { return headBias(classes) + classes; }

struct Frozen {
  const float *embeddings, *weight, *bias;
};

struct Rows {
  int count;
  const int32_t *ids, *mask;
  const int32_t *classes; ///< null for regression
  const float *values;    ///< null for classification
};

/// W' of one element.
template <typename T>
double merged(const Frozen &frozen, const T *p, int i, int j) {
  double sum = frozen.weight[i * kWidth + j];
  for (int k = 0; k < kRank; ++k)
    sum += double(p[kU + i * kRank + k]) * double(p[kV + k * kWidth + j]);
  return sum;
}

/// Which elements are kept at `sparsity`; of equal scores, the first ones.
template <typename T>
std::vector<bool> makeMask(const Frozen &frozen, const T *p, double sparsity,
                           float &threshold, int64_t &cut) {
  std::array<double, kElements> scores;
  bool nan = false;
  for (int e = 0; e < kElements; ++e) {
    scores[e] = std::abs(merged(frozen, p, e / kWidth, e % kWidth)) +
                double(p[kR + e / kWidth]);
    nan |= std::isnan(scores[e]);
  }
  int keep = kElements - static_cast<int>(kElements * sparsity);
  std::vector<bool> mask(kElements, false);
  if (nan) {
    threshold = NAN;
    return mask;
  }
  std::array<int, kElements> order;
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](int a, int b) {
    return scores[a] != scores[b] ? scores[a] > scores[b] : a < b;
  });
  for (int e = 0; e < keep; ++e)
    mask[order[e]] = true;
  threshold = static_cast<float>(scores[order[keep - 1]]);
  cut = order[keep - 1] + 1;
  return mask;
}

/// Dropout of one element of x: kept with probability 0.8.
inline double dropout(int64_t seed, int row, int column) {
  uint64_t bits = static_cast<uint64_t>(seed) ^ (row * 1009u + column * 31u);
  bits = (bits ^ (bits >> 31)) * 0x9E3779B97F4A7C15;
  bits = (bits ^ (bits >> 29)) * 0xBF58476D1CE4E5B9;
  return (bits >> 40) % 5 == 0 ? 0.0 : 1.25;
}

/// Returns `scale` times the sum of the losses. Adds gradients, unless null;
/// writes logits, unless null; dropout if `seed` is not null.
template <typename T>
double run(const Frozen &frozen, const T *p, const std::vector<bool> &mask,
           const Rows &rows, int classes, double scale, const int64_t *seed,
           T *gradient, float *logitsOut) {
  double total = 0;
  std::array<double, kElements> dense{}; // G
  for (int row = 0; row < rows.count; ++row) {
    const int32_t *ids = rows.ids + row * kLength;
    const int32_t *attention = rows.mask + row * kLength;
    double x[kWidth] = {}, h[kHidden], tokens = 0;
    for (int t = 0; t < kLength; ++t) {
      tokens += attention[t];
      for (int j = 0; j < kWidth; ++j)
        x[j] += attention[t] * frozen.embeddings[ids[t] * kWidth + j];
    }
    for (int j = 0; j < kWidth; ++j)
      x[j] *= (seed ? dropout(*seed, row, j) : 1.0) / tokens;
    for (int i = 0; i < kHidden; ++i) {
      double sum = frozen.bias[i];
      for (int j = 0; j < kWidth; ++j)
        if (mask[i * kWidth + j])
          sum += merged(frozen, p, i, j) * x[j];
      h[i] = std::tanh(sum);
    }
    std::vector<double> logits(classes), delta(classes);
    for (int c = 0; c < classes; ++c) {
      logits[c] = p[headBias(classes) + c];
      for (int i = 0; i < kHidden; ++i)
        logits[c] += double(p[kHeadWeight + c * kHidden + i]) * h[i];
      if (logitsOut)
        logitsOut[row * classes + c] = static_cast<float>(logits[c]);
    }
    if (rows.classes ? rows.classes[row] == -100 : std::isnan(rows.values[row]))
      continue;
    if (rows.classes) {
      double top = *std::max_element(logits.begin(), logits.end()), sum = 0;
      for (double logit : logits)
        sum += std::exp(logit - top);
      total += top + std::log(sum) - logits[rows.classes[row]];
      for (int c = 0; c < classes; ++c)
        delta[c] = std::exp(logits[c] - top) / sum - (c == rows.classes[row]);
    } else {
      double error = logits[0] - rows.values[row];
      total += error * error;
      delta[0] = 2 * error;
    }
    if (!gradient)
      continue;
    for (int i = 0; i < kHidden; ++i) {
      double dh = 0;
      for (int c = 0; c < classes; ++c) {
        dh += delta[c] * double(p[kHeadWeight + c * kHidden + i]);
        gradient[kHeadWeight + c * kHidden + i] +=
            static_cast<T>(scale * delta[c] * h[i]);
      }
      for (int j = 0; j < kWidth; ++j)
        dense[i * kWidth + j] += scale * dh * (1 - h[i] * h[i]) * x[j];
    }
    for (int c = 0; c < classes; ++c)
      gradient[headBias(classes) + c] += static_cast<T>(scale * delta[c]);
  }
  if (gradient)
    for (int i = 0; i < kHidden; ++i)
      for (int j = 0; j < kWidth; ++j) {
        int e = i * kWidth + j;
        double w = merged(frozen, p, i, j), dS = dense[e] * w;
        double dW = (mask[e] ? dense[e] : 0) + (w > 0 ? dS : w < 0 ? -dS : 0);
        gradient[kR + i] += static_cast<T>(dS);
        for (int k = 0; k < kRank; ++k) {
          gradient[kU + i * kRank + k] +=
              static_cast<T>(dW * double(p[kV + k * kWidth + j]));
          gradient[kV + k * kWidth + j] +=
              static_cast<T>(dW * double(p[kU + i * kRank + k]));
        }
      }
  return scale * total;
}

struct AdamW {
  double learningRate, beta1, beta2, epsilon, weightDecay, correction1,
      correction2, maxGradNorm;
};

/// Returns the norm before clipping; sets the gradient to zero.
template <typename T>
double apply(const AdamW &o, T *p, T *gradient, T *m, T *v, int count) {
  double squares = 0;
  for (int i = 0; i < count; ++i)
    squares += double(gradient[i]) * double(gradient[i]);
  double norm = std::sqrt(squares);
  double clip =
      o.maxGradNorm > 0 ? std::min(1.0, o.maxGradNorm / (norm + 1e-6)) : 1.0;
  for (int i = 0; i < count; ++i) {
    double g = gradient[i] * clip;
    m[i] = static_cast<T>(o.beta1 * m[i] + (1 - o.beta1) * g);
    v[i] = static_cast<T>(o.beta2 * v[i] + (1 - o.beta2) * g * g);
    double step =
        (m[i] / o.correction1) / (std::sqrt(v[i] / o.correction2) + o.epsilon);
    p[i] =
        static_cast<T>(p[i] - o.learningRate * (step + o.weightDecay * p[i]));
    gradient[i] = 0;
  }
  return norm;
}

} // namespace tiny

#endif // PST_TEST_UNIT_RUNTIME_TINYMODEL_H
