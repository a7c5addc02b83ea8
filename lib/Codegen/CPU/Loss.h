//===- Loss.h - Softmax and loss of a row of logits -------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_LIB_CODEGEN_CPU_LOSS_H
#define PST_LIB_CODEGEN_CPU_LOSS_H

#include "../Kernel/ClassTarget.h"
#include "../Kernel/RowLabel.h"
#include "KernelBuilder.h"

namespace pst::cpu {

/// A row of logits, reduced: its largest element, and the sum of
/// e^(logit - maximum).
class RowSoftmax {
public:
  RowSoftmax(KernelBuilder &b, Value logits, Value row, int64_t classes,
             int64_t lanes);

  /// log(sum e^logits) - logits[label], or with a target
  /// sum_c target[c] (log sum e^logits - logits[c])
  Value loss(KernelBuilder &b, Value label,
             const std::optional<ClassTarget> &target) const;
  /// result[row, c] = factor * (softmax[c] - [c = label]), or with a target
  /// factor * (softmax[c] sum target - target[c]); the result may be the logits
  /// themselves.
  void storeGradient(KernelBuilder &b, Value label,
                     const std::optional<ClassTarget> &target, Value factor,
                     Value result) const;
  /// The gradient of a row that is no example.
  static void storeZeros(KernelBuilder &b, Value row, int64_t classes,
                         int64_t lanes, Value result);

private:
  Value exponential(KernelBuilder &b, Value c, int64_t lanes) const;
  /// The sum of element(c, lanes) over the classes, block by block: one sum
  /// over a vocabulary would lose three digits.
  Value sumOver(KernelBuilder &b,
                llvm::function_ref<Value(Value, int64_t)> element) const;

  Value logits, row;
  int64_t classes, lanes;
  Value maximum, sum;
};

} // namespace pst::cpu

#endif // PST_LIB_CODEGEN_CPU_LOSS_H
