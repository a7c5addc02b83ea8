//===- Predictions.cpp - Logits as what they say --------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Predictions.h"
#include "../ModelConfig.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <span>

using namespace pst;
using namespace pst::runtime;
using OrderedJson = nlohmann::ordered_json;

Predictions::Predictions(const Model &model)
    : task(model.task()),
      names(configLabels(model.manifest(), model.numLabels())) {}

/// The best of the logits, and its probability.
static std::pair<size_t, double> bestOf(std::span<const float> logits) {
  size_t best = static_cast<size_t>(
      std::distance(logits.begin(), std::ranges::max_element(logits)));
  double sum = 0;
  for (float logit : logits)
    sum += std::exp(static_cast<double>(logit) - logits[best]);
  return {best, 1 / sum};
}

std::string Predictions::describe(const Evaluation &evaluation, int64_t row,
                                  int64_t tokens) const {
  int64_t width = evaluation.numLabels;
  const float *begin =
      evaluation.logits.data() + row * evaluation.numTokens * width;
  auto logits = [&](int64_t token) {
    return std::span(begin + token * width, static_cast<size_t>(width));
  };
  OrderedJson result;
  if (task == ModelTask::regression) {
    result["value"] = logits(0)[0];
  } else if (task == ModelTask::multiLabel) {
    result["classes"] = OrderedJson::array();
    for (size_t i = 0; i < names.size(); ++i) {
      double logit = logits(0)[i];
      if (logit > 0)
        result["classes"].push_back(names[i]);
      // tanh does not overflow.
      result["probabilities"][names[i]] = (std::tanh(logit / 2) + 1) / 2;
    }
  } else if (task == ModelTask::tokenClasses) {
    for (int64_t token = 0; token < tokens; ++token) {
      auto [best, probability] = bestOf(logits(token));
      result["tags"].push_back(names[best]);
      result["probabilities"].push_back(probability);
    }
  } else {
    auto [best, probability] = bestOf(logits(0));
    result["class"] = names[best];
    result["probability"] = probability;
  }
  return result.dump();
}
