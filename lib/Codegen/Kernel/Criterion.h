//===- Criterion.h - The arithmetic of a criterion, emitted -----*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// The one place that emits the weight and the score of an element. Selection,
// packing, accumulation and export must agree in every bit of the score, or
// elements at the threshold fall on different sides of it; so they all come
// here, and what comes out has a fixed order of operations: no fast-math
// flags, every operation rounded once, to nearest.
//
// Values are f32 for one element, or vector<lanes x f32> for `lanes` elements
// that are adjacent in a row; each lane is computed as a single element is.

#ifndef PST_LIB_CODEGEN_KERNEL_CRITERION_H
#define PST_LIB_CODEGEN_KERNEL_CRITERION_H

#include "CodeBuilder.h"
#include "pst/Dialect/PST/PSTOps.h"

namespace pst::kernel {

/// Up to this rank the sum is written out, so that the loads of neighbouring
/// rows are shared; beyond, code would grow without gain.
inline constexpr int64_t kUnrolledRank = 16;

/// `count` sums that share the right-hand side, as rows of a product do:
/// sum_k left(i, k) * right(k) for k in [0, rank), i in [0, count). Fused
/// multiply-adds in ascending k from zero; right(k) is asked for once. `type`
/// is f32 or a vector of f32, as are what `left` and `right` return; they are
/// given k as an `index`, a constant up to kUnrolledRank.
llvm::SmallVector<Value>
emitRankSums(CodeBuilder &builder, int64_t rank, mlir::Type type, int64_t count,
             llvm::function_ref<Value(int64_t i, Value k)> left,
             llvm::function_ref<Value(Value k)> right);

/// i1, or a vector of it: whether an element stays. It does if its score is
/// above the threshold, or equal to it at a position below `cut`. `threshold`
/// is an f32, `cut` an i64, `position` that of the (first) element, an `index`:
/// both counted from the same element, and `position` below 2^31. Counted from
/// the weight's first element, all that is computed of the cut alone is the
/// same for all elements.
Value emitMask(CodeBuilder &builder, Value score, Value threshold, Value cut,
               Value position);

/// One evaluation of a criterion, and its derivative.
class EmittedCriterion {
public:
  /// Emits the region of `criterion` for the values of its factors: one for
  /// each, all of one type.
  EmittedCriterion(CodeBuilder &builder, CriterionOp criterion,
                   ValueRange factors);

  Value getWeight() const { return weight; }
  /// Null if the criterion yields none.
  Value getScore() const { return score; }

  /// Takes the adjoints of weight and score (null: zero) back through the
  /// region, in reverse mode; returns one adjoint for each factor, null where
  /// it is zero everywhere. Where a function has no derivative, that is which
  /// `pst.criterion` says.
  llvm::SmallVector<Value> emitBackward(Value weightAdjoint,
                                        Value scoreAdjoint);

private:
  Value valueOf(Value inRegion) { return values.lookup(inRegion); }
  Value emit(mlir::Operation &op);
  Value emitConstant(mlir::Attribute value);
  void emitBackward(mlir::Operation &op, Value adjoint);
  void add(Value to, Value adjoint);

  CodeBuilder *builder;
  CriterionOp criterion;
  mlir::Type type;
  /// Of the region's values: what was emitted for them, and their adjoints.
  llvm::DenseMap<Value, Value> values, adjoints;
  Value weight, score;
};

} // namespace pst::kernel

#endif // PST_LIB_CODEGEN_KERNEL_CRITERION_H
