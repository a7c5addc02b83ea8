//===- Evaluation.h - Running a model over a data set -----------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_RUNTIME_EVALUATION_H
#define PST_RUNTIME_EVALUATION_H

#include "pst/Runtime/Metrics.h"
#include "pst/Runtime/Model.h"
#include "pst/Runtime/Peers.h"

namespace pst::runtime {

struct Evaluation {
  int64_t numExamples = 0;
  /// Mean over the examples; NaN if the data have no labels.
  double loss = 0;
  /// Empty if the data have no labels.
  Metrics metrics;
  /// numExamples x numLabels, in the order of the data; where tokens have
  /// classes numExamples x numTokens x numLabels.
  std::vector<float> logits;
  int64_t numLabels = 0;
  int64_t numTokens = 1; ///< Rows of logits that an example has.
  double sparsity = 0;
  double seconds = 0;
};

/// Runs `forward` over `data`, in order, at `sparsity` (selecting first if the
/// parameters have changed). The batches are shared out among the ranks, and
/// each rank has the whole result, the same bits as one process. Throws Error
/// if the data do not fit the program.
Evaluation evaluate(Model &model, const Dataset &data, double sparsity,
                    const Peers &peers = {});

} // namespace pst::runtime

#endif // PST_RUNTIME_EVALUATION_H
