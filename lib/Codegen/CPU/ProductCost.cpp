//===- ProductCost.cpp - What a product with a weight takes ---------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ProductCost.h"
#include "BitmaskMatmul.h"
#include "SparseFewRows.h"
#include "WordProduct.h"
#include <algorithm>

using namespace pst::cpu;

// Measured on Zen 4, in ns (docs/Benchmarks.md).
static constexpr double kDenseToken = 0.021, kDensePacking = 0.5,
                        kKeptToken = 0.03, kCompressing = 1.1,
                        kTransposed = 0.5;
// The same of few rows, measured by generating with GPT-2's shape.
static constexpr double kStreamedToken = 0.11, kStreaming = 0.17,
                        kStreamingBytes = 0.05, kKeptVector = 1.4,
                        kGathered = 0.65;

// Of few rows by words of 64 columns: with a bit for each element of f32, bf16
// and i8, where bytes are expanded, and of narrow ones where they are not; and
// with all elements of i8, by bytes. Measured beside those on Sapphire Rapids,
// and brought to their scale; on Zen 4, whose gathers are not fast, they take
// 0.6 as much in it.
static constexpr double kExpandedF32 = 0.051, kExpandedBF16 = 0.11,
                        kExpandedI8 = 0.037, kExpandedWidened = 0.13,
                        kBytes = 0.07, kWordToken = 0.03, kKeptByte = 0.12,
                        kSlowGather = 0.6, kFindingColumns = 1.25;

/// Whether bytes are multiplied by bytes where they lie (WordProduct.h).
static bool multipliesBytes(const ProductCost &cost) {
  return BytesProduct::isPossible(cost.expandBits, cost.valueBits, cost.k) &&
         QuantizedFewRows::pays(cost.tokens, cost.n, cost.k);
}

double ProductCost::dense() const {
  if (multipliesBytes(*this))
    return n * k * (kBytes + kWordToken * tokens) *
           (hasFastGather ? 1 : kSlowGather);
  if (!readsInPlace)
    return n * k * (kDenseToken * tokens + kDensePacking);
  return n * k *
         (kStreamedToken * tokens +
          (valueBits == 8 ? kStreamingBytes : kStreaming));
}

double ProductCost::compressed(int64_t kept) const {
  // A vector of tokens takes as long for one.
  double each = kKeptToken * tokens;
  if (tokens <= SparseFewRows::kMost)
    each = kGathered * tokens;
  else if (readsInPlace)
    each = std::max(each, kKeptVector);
  // Elements of X and of Y are transposed.
  return kept * each + kTransposed * tokens * (n + k);
}

double ProductCost::bitmask(int64_t kept) const {
  if (!BitmaskFewRows::pays(tokens))
    return kFindingColumns * compressed(kept);
  double expanded = valueBits == 32          ? kExpandedF32
                    : valueBits < expandBits ? kExpandedWidened
                    : valueBits == 16        ? kExpandedBF16
                                             : kExpandedI8;
  return (n * k * (expanded + kWordToken * (tokens - 1)) +
          kept * kKeptByte * valueBits / 8) *
         (hasFastGather ? 1 : kSlowGather);
}

double ProductCost::compressing() const { return kCompressing * n * k; }

int64_t ProductCost::profitableDensity() const {
  double gain = dense() - compressed(0) - compressing();
  double wholly = compressed(n * k) - compressed(0);
  // Room is kept for half of that, since it costs memory.
  return std::clamp<int64_t>(50.0 * gain / wholly, 0, 40);
}
