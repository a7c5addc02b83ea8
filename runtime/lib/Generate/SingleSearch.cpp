//===- SingleSearch.cpp - One token after the other -----------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Search.h"
#include "pst/Runtime/Philox.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

using namespace pst;
using namespace pst::runtime;

static constexpr float kNever = -std::numeric_limits<float>::infinity();

bool SearchTask::ends(int32_t token) const {
  return std::ranges::find(options.eosTokenId, token) !=
         options.eosTokenId.end();
}

void pst::runtime::banRepeated(std::span<float> scores,
                               std::span<const int32_t> tokens, int64_t size) {
  size_t before = static_cast<size_t>(size) - 1;
  if (size == 0 || tokens.size() < before)
    return;
  std::span<const int32_t> last = tokens.last(before);
  for (size_t i = 0; i + before < tokens.size(); ++i)
    if (std::ranges::equal(tokens.subspan(i, before), last))
      scores[static_cast<size_t>(tokens[i + before])] = kNever;
}

/// In [0, 1), with 53 bits.
static double draw(uint64_t seed, uint64_t prompt, uint64_t index) {
  auto low = [](uint64_t value) { return static_cast<uint32_t>(value); };
  auto words =
      philox({low(index), low(index >> 32), low(prompt), low(prompt >> 32)},
             {low(seed), low(seed >> 32)});
  uint64_t bits = (uint64_t{words[0]} << 32 | words[1]) >> 11;
  return static_cast<double>(bits) * 0x1p-53;
}

/// Sets to -inf all scores but the `count` largest, and those that equal the
/// least of them.
static void keepLargest(std::span<float> scores, size_t count) {
  if (count == 0 || count >= scores.size())
    return;
  std::vector<float> sorted(scores.begin(), scores.end());
  auto least = sorted.begin() + static_cast<std::ptrdiff_t>(count - 1);
  std::nth_element(sorted.begin(), least, sorted.end(), std::greater<>());
  for (float &score : scores)
    if (score < *least)
      score = kNever;
}

/// e^(score - largest), in f64.
static std::vector<double> exponentials(std::span<const float> scores) {
  double largest = *std::ranges::max_element(scores);
  std::vector<double> result;
  for (float score : scores)
    result.push_back(std::exp(double{score} - largest));
  return result;
}

/// Sets to -inf the least probable scores, which have `1 - share` together, but
/// never the largest.
static void keepShare(std::span<float> scores, double share) {
  if (share >= 1)
    return;
  std::vector<double> weights = exponentials(scores);
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::sort(order, {},
                    [&](size_t i) { return std::pair(weights[i], i); });
  double all = 0, sum = 0;
  for (size_t i : order)
    all += weights[i];
  order.pop_back();
  for (size_t i : order) {
    sum += weights[i];
    if (sum > (1 - share) * all)
      break;
    scores[i] = kNever;
  }
}

namespace {
class SingleSearch final : public Search {
public:
  explicit SingleSearch(const SearchTask &task)
      : task(task), all(task.prompt.begin(), task.prompt.end()),
        scores(static_cast<size_t>(task.words)) {
    rowParents = {0};
    rowTokens = {all.back()};
  }

  void advance(const float *logits) override {
    const GenerationOptions &options = task.options;
    std::copy_n(logits, scores.size(), scores.begin());
    banRepeated(scores, all, options.noRepeatNgramSize);
    int32_t token = options.doSample ? drawn() : likeliest();
    all.push_back(token);
    rowTokens = {token};
    ended = task.ends(token);
    done = ended || static_cast<int64_t>(all.size() - task.prompt.size()) ==
                        options.maxNewTokens;
  }

  Continuation result() const override {
    auto begin = all.begin() + static_cast<std::ptrdiff_t>(task.prompt.size());
    return {{begin, all.end()}, ended, 0};
  }

private:
  int32_t likeliest() const {
    return static_cast<int32_t>(std::ranges::max_element(scores) -
                                scores.begin());
  }

  int32_t drawn() {
    const GenerationOptions &options = task.options;
    for (float &score : scores)
      score /= static_cast<float>(options.temperature);
    keepLargest(scores, static_cast<size_t>(options.topK));
    keepShare(scores, options.topP);
    std::vector<double> weights = exponentials(scores);
    double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
    double left =
        sum * draw(options.seed, task.number, all.size() - task.prompt.size());
    // Rounding may leave some after the last.
    int32_t last = likeliest();
    for (size_t i = 0; i < weights.size(); ++i) {
      if (weights[i] == 0)
        continue;
      last = static_cast<int32_t>(i);
      left -= weights[i];
      if (left < 0)
        break;
    }
    return last;
  }

  SearchTask task;
  std::vector<int32_t> all; ///< The prompt, and what follows.
  std::vector<float> scores;
  bool ended = false;
};
} // namespace

std::unique_ptr<Search> pst::runtime::makeSingleSearch(const SearchTask &task) {
  return std::make_unique<SingleSearch>(task);
}
