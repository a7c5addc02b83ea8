//===- Evaluation.cpp - Running a model over a data set -------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Runtime/Evaluation.h"
#include "pst/Runtime/Error.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <numeric>

using namespace pst;
using namespace pst::runtime;

/// What is reported of logits and loss, beside the loss.
static Metrics metricsOf(ModelTask task, const Evaluation &evaluation,
                         const DataArray &labels) {
  size_t count = static_cast<size_t>(labels.type.numElements());
  auto numbers = [&]() -> std::span<const float> {
    return {static_cast<const float *>(labels.data), count};
  };
  switch (task) {
  case ModelTask::lm:
    return {{"perplexity", std::exp(evaluation.loss)}};
  case ModelTask::regression:
    return regressionMetrics(evaluation.logits, numbers());
  case ModelTask::multiLabel:
    return multiLabelMetrics(evaluation.logits, numbers(),
                             evaluation.numLabels);
  case ModelTask::classification:
    return classificationMetrics(
        evaluation.logits, {static_cast<const int32_t *>(labels.data), count},
        static_cast<int32_t>(evaluation.numLabels));
  case ModelTask::tokenClasses:
    return tokenMetrics(evaluation.logits,
                        {static_cast<const int32_t *>(labels.data), count},
                        evaluation.numLabels);
  case ModelTask::none:
    break;
  }
  return {};
}

Evaluation pst::runtime::evaluate(Model &model, const Dataset &data,
                                  double sparsity, const Peers &peers) {
  auto start = std::chrono::steady_clock::now();
  data.check(model.manifest(), "forward", /*needLabels=*/false);
  model.select(sparsity);

  Evaluation result;
  result.numExamples = data.size();
  bool predictsTokens = model.predictsTokens();
  result.numLabels = predictsTokens ? 0 : model.numLabels();
  result.numTokens = model.rowsOfExample();
  result.sparsity = sparsity;
  Batch batch(model.program().entryPoint("forward"),
              model.manifest().tokenCapacity);
  std::vector<int64_t> rows(batch.capacity());
  int64_t width = result.numTokens * result.numLabels;
  std::vector<float> logits(batch.capacity() * width);
  // Batch b is rank (b modulo ranks)'s; of each, the loss and the logits are
  // exchanged. Every rank sends as much, whether it had a batch or not.
  int64_t batches = (data.size() + batch.capacity() - 1) / batch.capacity();
  int64_t turns = (batches + peers.count() - 1) / peers.count();
  size_t recordSize = 1 + logits.size();
  std::vector<double> own(turns * recordSize);
  for (int64_t turn = 0; turn < turns; ++turn) {
    int64_t begin = (turn * peers.count() + peers.rank()) * batch.capacity();
    if (begin >= data.size())
      break;
    int64_t count = std::min(batch.capacity(), data.size() - begin);
    std::iota(rows.begin(), rows.end(), begin);
    std::span<const int64_t> here(rows.data(), static_cast<size_t>(count));
    for (int64_t done = 0, part; done < count; done += part) {
      part = batch.countFitting(data, here.subspan(done));
      batch.gather(data, here.subspan(done, part), done);
      own[turn * recordSize] +=
          model.forward(batch, 1.0f, predictsTokens ? nullptr : logits.data());
      std::copy_n(logits.begin() + done * width, part * width,
                  own.begin() + turn * recordSize + 1 + done * width);
    }
  }
  std::vector<double> all = peers.gather(own);
  double lossSum = 0;
  for (int64_t index = 0; index < batches; ++index) {
    int64_t rank = index % peers.count(), turn = index / peers.count();
    const double *record = all.data() + (rank * turns + turn) * recordSize;
    int64_t count =
        std::min(batch.capacity(), data.size() - index * batch.capacity());
    lossSum += record[0];
    for (int64_t i = 1; i <= count * width; ++i)
      result.logits.push_back(static_cast<float>(record[i]));
  }
  int64_t bad = findNonFinite(result.logits.data(),
                              static_cast<int64_t>(result.logits.size()));
  if (bad >= 0)
    throw Error(data.description() + ": the model gives " +
                std::to_string(result.logits[bad]) + " for example " +
                std::to_string(bad / width) +
                ": its parameters have diverged; lower the learning rate");

  const DataArray *labels = data.find("labels");
  rows.resize(data.size());
  std::iota(rows.begin(), rows.end(), 0);
  double targets = model.sumOfWeights(data, rows);
  if (targets == 0)
    throw Error(data.description() +
                ": there is nothing to predict: every label is -100 or of a "
                "class of weight 0, or every example has one token only");
  result.loss =
      labels ? lossSum / targets : std::numeric_limits<double>::quiet_NaN();
  if (labels)
    result.metrics = metricsOf(model.task(), result, *labels);
  result.seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
          .count();
  return result;
}
