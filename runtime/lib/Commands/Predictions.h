//===- Predictions.h - Logits as what they say ------------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_RUNTIME_LIB_COMMANDS_PREDICTIONS_H
#define PST_RUNTIME_LIB_COMMANDS_PREDICTIONS_H

#include "pst/Runtime/Evaluation.h"

namespace pst::runtime {

/// What a model's logits say, in the words of its labels: "id2label" of its
/// config.json, LABEL_0, LABEL_1, ... where there are none.
class Predictions {
public:
  explicit Predictions(const Model &model);

  /// One row of an evaluation as a JSON object, with the keys of
  /// pst.load(...).predict: "class" and "probability"; "value" of a regression;
  /// "classes" and "probabilities" where several may be; where tokens have
  /// classes, "tags" and "probabilities" of its first `tokens`.
  std::string describe(const Evaluation &evaluation, int64_t row,
                       int64_t tokens) const;

private:
  ModelTask task;
  std::vector<std::string> names;
};

} // namespace pst::runtime

#endif // PST_RUNTIME_LIB_COMMANDS_PREDICTIONS_H
