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

#ifndef PST_CODEGEN_CRITERION_H
#define PST_CODEGEN_CRITERION_H

#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "pst/Dialect/PST/PSTOps.h"

namespace pst {

/// sum_k left(k) * right(k) for k in [0, rank): fused multiply-adds in
/// ascending k from zero. `type` is f32 or a vector of f32, as are what `left`
/// and `right` return; they are given k as an `index`.
mlir::Value emitRankSum(mlir::ImplicitLocOpBuilder &builder, int64_t rank,
                        mlir::Type type,
                        llvm::function_ref<mlir::Value(mlir::Value k)> left,
                        llvm::function_ref<mlir::Value(mlir::Value k)> right);

/// The same for `count` sums that share the right-hand side, as rows of a
/// product do: sum_k left(i, k) * right(k) for i in [0, count). Each is
/// computed as emitRankSum computes it; right(k) is asked for once.
llvm::SmallVector<mlir::Value>
emitRankSums(mlir::ImplicitLocOpBuilder &builder, int64_t rank, mlir::Type type,
             int64_t count,
             llvm::function_ref<mlir::Value(int64_t i, mlir::Value k)> left,
             llvm::function_ref<mlir::Value(mlir::Value k)> right);

/// i1, or a vector of it: whether an element stays. It does if its score is
/// above the threshold, or equal to it at a position below `cut`. `threshold`
/// is an f32, `cut` an i64, `position` that of the (first) element, an `index`:
/// both counted from the same element, and `position` below 2^31. Counted from
/// the row's first element, what the mask computes of the cut is the same for
/// all of a row.
mlir::Value emitMask(mlir::ImplicitLocOpBuilder &builder, mlir::Value score,
                     mlir::Value threshold, mlir::Value cut,
                     mlir::Value position);

/// One evaluation of a criterion, and its derivative.
class EmittedCriterion {
public:
  /// Emits the region of `criterion` for the values of its factors: one for
  /// each, all of one type.
  EmittedCriterion(mlir::ImplicitLocOpBuilder &builder, CriterionOp criterion,
                   mlir::ValueRange factors);

  mlir::Value getWeight() const { return weight; }
  /// Null if the criterion yields none.
  mlir::Value getScore() const { return score; }

  /// Takes the adjoints of weight and score (null: zero) back through the
  /// region, in reverse mode; returns one adjoint for each factor, null where
  /// it is zero everywhere. The derivative of `math.absf` at 0 is 0.
  llvm::SmallVector<mlir::Value> emitBackward(mlir::Value weightAdjoint,
                                              mlir::Value scoreAdjoint);

private:
  mlir::Value valueOf(mlir::Value inRegion) { return values.lookup(inRegion); }

  mlir::ImplicitLocOpBuilder *builder;
  CriterionOp criterion;
  mlir::Type type;
  llvm::DenseMap<mlir::Value, mlir::Value> values;
  mlir::Value weight, score;
};

} // namespace pst

#endif // PST_CODEGEN_CRITERION_H
