//===- ClassTarget.h - What a row of logits is to predict -------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_LIB_CODEGEN_KERNEL_CLASSTARGET_H
#define PST_LIB_CODEGEN_KERNEL_CLASSTARGET_H

#include "CodeBuilder.h"

namespace pst::kernel {

/// What a row of logits is to predict where classes have weights w and labels
/// are smoothed by s: class c with the share
///
///   t[c] = own [c = label] + even[c]
///   own = (1 - s) w[label],  even[c] = s / C w[c]
///
/// so that its loss is sum_c t[c] (log sum e^logits - logits[c]), of which the
/// gradient is softmax[c] sum t - t[c].
class ClassTarget {
public:
  /// `weights` has an f32 for each of the classes, `smoothing` is an f32.
  ClassTarget(CodeBuilder &b, Value weights, Value smoothing, int64_t classes);
  Value own(CodeBuilder &b, Value label) const;
  Value even(CodeBuilder &b, Value c, int64_t lanes = 1) const;

  const int64_t classes;

private:
  Value weights, ownFactor, evenFactor;
};

} // namespace pst::kernel

#endif // PST_LIB_CODEGEN_KERNEL_CLASSTARGET_H
