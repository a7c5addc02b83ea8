//===- ClassTarget.h - What a row of logits is to predict -------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_LIB_CODEGEN_KERNEL_CLASSTARGET_H
#define PST_LIB_CODEGEN_KERNEL_CLASSTARGET_H

#include "CodeBuilder.h"
#include <optional>

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
  /// Of what an op has: weights, an f32 for each of the classes, and smoothing,
  /// an f32; smoothing alone, so that all weights are 1; or nothing, which is
  /// no such target.
  static std::optional<ClassTarget> of(CodeBuilder &b, ValueRange given,
                                       int64_t classes);
  Value own(CodeBuilder &b, Value label) const;
  Value even(CodeBuilder &b, Value c, int64_t lanes = 1) const;
  /// sum t, where `sumOfEven` emits that of even[c]: without weights it is 1.
  Value sum(CodeBuilder &b, Value own,
            llvm::function_ref<Value()> sumOfEven) const;

private:
  ClassTarget(CodeBuilder &b, Value weights, Value smoothing, int64_t classes);

  Value weights, ownFactor, evenFactor;
};

} // namespace pst::kernel

#endif // PST_LIB_CODEGEN_KERNEL_CLASSTARGET_H
