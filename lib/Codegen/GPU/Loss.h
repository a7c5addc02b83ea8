//===- Loss.h - What losses over classes share ------------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_LIB_CODEGEN_GPU_LOSS_H
#define PST_LIB_CODEGEN_GPU_LOSS_H

#include "../Kernel/ClassTarget.h"
#include "../Kernel/RowLabel.h"
#include "KernelContext.h"
#include <optional>

namespace pst::cuda {

/// A row of logits, reduced by its block: its largest element and the sum of
/// e^(logit - maximum).
struct RowSoftmax {
  RowSoftmax(ThreadBuilder &b, Value logits, Value row, int64_t classes);
  Value exponential(ThreadBuilder &b, Value c) const;

  Value logits, row;
  int64_t classes;
  Value maximum, sum;
};

/// losses[at] = log(sum e^logits) - logits[label], or with a target
/// sum_c target[c] (log(sum e^logits) - logits[c]); 0 if the row is no example
void storeRowLoss(ThreadBuilder &b, const RowSoftmax &softmax,
                  const RowLabel &label, Value losses, Value at,
                  const std::optional<ClassTarget> &target = {});
/// result[row, c] = factor * (softmax[c] - [c = label]), or with a target
/// factor * (softmax[c] sum target - target[c]); 0 if the row is no example.
/// The result may be the logits.
void storeRowGradient(ThreadBuilder &b, const RowSoftmax &softmax,
                      const RowLabel &label, Value factor, Value result,
                      const std::optional<ClassTarget> &target = {});

} // namespace pst::cuda

#endif // PST_LIB_CODEGEN_GPU_LOSS_H
