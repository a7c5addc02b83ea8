//===- BeamSearch.cpp - The best of several continuations -----------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// As GenerationMixin._beam_search of transformers 5 has it, with its arithmetic
// in f32: among the continuations of all beams the best (1 + number of tokens
// that end a text, at least 2) times as many as there are beams are candidates;
// those among the first that have ended are kept if they are better than others
// that have, and the best that have not are the next beams.

#include "Search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

using namespace pst;
using namespace pst::runtime;

/// Of what is none: below every sum of log-probabilities.
static constexpr float kNone = -1e9F;

/// Indices of the `count` largest of `scores`, in descending order; of equals
/// the first.
static std::vector<size_t> largest(std::span<const float> scores,
                                   size_t count) {
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  count = std::min(count, order.size());
  auto end = order.begin() + static_cast<std::ptrdiff_t>(count);
  std::partial_sort(order.begin(), end, order.end(), [&](size_t a, size_t b) {
    return scores[a] > scores[b] || (scores[a] == scores[b] && a < b);
  });
  order.erase(end, order.end());
  return order;
}

/// logits - log sum e^logits
static void logSoftmax(std::span<const float> logits, float *result) {
  float most = *std::ranges::max_element(logits);
  double sum = 0;
  for (float logit : logits)
    sum += std::exp(double{logit} - double{most});
  float shift = static_cast<float>(std::log(sum));
  std::ranges::transform(logits, result,
                         [&](float logit) { return logit - most - shift; });
}

namespace {
struct Beam {
  std::vector<int32_t> tokens; ///< With the prompt.
  float score = 0;
  bool finished = false, ended = false;
  int64_t parent = 0;
};

class BeamSearch final : public Search {
public:
  explicit BeamSearch(const SearchTask &task)
      : task(task), words(static_cast<size_t>(task.words)),
        scores(words * static_cast<size_t>(task.options.numBeams)) {
    size_t count = static_cast<size_t>(task.options.numBeams);
    Beam start;
    start.tokens.assign(task.prompt.begin(), task.prompt.end());
    running.assign(count, start);
    // All begin alike, so only one is to be continued.
    for (Beam &beam : std::span(running).subspan(1))
      beam.score = kNone;
    start.score = kNone;
    best.assign(count, start);
    rowParents.assign(count, 0);
    rowTokens.assign(count, start.tokens.back());
  }

  void advance(const float *logits) override {
    std::vector<Beam> candidates = findCandidates(logits);
    bool allFinished = std::ranges::all_of(candidates, &Beam::finished);
    keepBest(candidates);
    goOn(candidates);
    int64_t length = newTokens(running.front());
    canImprove = canImprove && mayImprove(length);
    done = !canImprove || allFinished ||
           (early() == EarlyStopping::yes && areFull());
  }

  Continuation result() const override {
    const Beam &found = best.front();
    auto begin =
        found.tokens.begin() + static_cast<std::ptrdiff_t>(task.prompt.size());
    return {{begin, found.tokens.end()}, found.ended, found.score};
  }

private:
  EarlyStopping early() const { return task.options.earlyStopping; }
  int64_t newTokens(const Beam &beam) const {
    return static_cast<int64_t>(beam.tokens.size() - task.prompt.size());
  }
  bool areFull() const { return std::ranges::all_of(best, &Beam::finished); }
  float penalty(int64_t length) const {
    return static_cast<float>(
        std::pow(static_cast<double>(length), task.options.lengthPenalty));
  }

  std::vector<Beam> findCandidates(const float *logits) {
    const GenerationOptions &options = task.options;
    for (size_t i = 0; i < running.size(); ++i) {
      std::span<float> row = std::span(scores).subspan(i * words, words);
      logSoftmax({logits + i * words, words}, row.data());
      banRepeated(row, running[i].tokens, options.noRepeatNgramSize);
      for (float &score : row)
        score += running[i].score;
    }
    size_t kept = std::max<size_t>(2, 1 + options.eosTokenId.size());
    std::vector<Beam> candidates;
    for (size_t place : largest(scores, kept * running.size())) {
      Beam beam = running[place / words];
      auto token = static_cast<int32_t>(place % words);
      beam.tokens.push_back(token);
      beam.score = scores[place];
      beam.parent = static_cast<int64_t>(place / words);
      beam.ended = task.ends(token);
      beam.finished = beam.ended || newTokens(beam) == options.maxNewTokens;
      candidates.push_back(std::move(beam));
    }
    return candidates;
  }

  /// The best of those that were finished before and now.
  void keepBest(const std::vector<Beam> &candidates) {
    float divisor = penalty(newTokens(candidates.front()));
    bool isClosed = !canImprove || (early() == EarlyStopping::yes && areFull());
    std::vector<Beam> all = best;
    for (size_t i = 0; i < running.size(); ++i) {
      Beam beam = candidates[i];
      beam.score = beam.score / divisor;
      if (!beam.finished || isClosed) {
        beam.finished = false;
        beam.score += kNone;
      }
      all.push_back(std::move(beam));
    }
    std::vector<float> order;
    for (const Beam &beam : all)
      order.push_back(beam.score);
    size_t place = 0;
    for (size_t i : largest(order, best.size()))
      best[place++] = all[i];
  }

  void goOn(const std::vector<Beam> &candidates) {
    std::vector<float> order;
    for (const Beam &beam : candidates)
      order.push_back(beam.score + (beam.finished ? kNone : 0));
    size_t place = 0;
    for (size_t i : largest(order, running.size())) {
      running[place] = candidates[i];
      running[place].score = order[i];
      rowParents[place] = candidates[i].parent;
      rowTokens[place] = candidates[i].tokens.back();
      ++place;
    }
  }

  /// Whether the best beam, were it to end with a length as good as it can
  /// have, would be better than the worst that has.
  bool mayImprove(int64_t length) const {
    if (early() == EarlyStopping::never && task.options.lengthPenalty > 0)
      length = task.options.maxNewTokens;
    float worst = std::ranges::min(best, {}, &Beam::score).score;
    float possible = running.front().score / penalty(length);
    return std::ranges::any_of(best, [&](const Beam &beam) {
      return possible > (beam.finished ? worst : kNone);
    });
  }

  SearchTask task;
  size_t words;
  std::vector<Beam> running, best;
  std::vector<float> scores; ///< beams x words
  bool canImprove = true;
};
} // namespace

std::unique_ptr<Search> pst::runtime::makeBeamSearch(const SearchTask &task) {
  return std::make_unique<BeamSearch>(task);
}
