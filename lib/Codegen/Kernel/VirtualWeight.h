//===- VirtualWeight.h - Reads elements of a virtual weight -----*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_LIB_CODEGEN_KERNEL_VIRTUALWEIGHT_H
#define PST_LIB_CODEGEN_KERNEL_VIRTUALWEIGHT_H

#include "CodeBuilder.h"
#include "pst/Codegen/Criterion.h"

namespace pst::kernel {

/// An n x m weight that exists only as a criterion and its factors' buffers;
/// with a threshold (f32) and a cut (i64), under their mask.
class VirtualWeight {
public:
  /// `factors` are the memrefs of the criterion's factor tensors, in order.
  VirtualWeight(CriterionOp criterion, ValueRange factors,
                Value threshold = nullptr, Value cut = nullptr);

  int64_t getRows() const { return rows; }
  int64_t getColumns() const { return columns; }
  /// The buffer of factor tensor `i`.
  Value getFactor(unsigned i) const { return factors[i]; }

  /// Evaluates the criterion at (row, column .. column + lanes - 1).
  EmittedCriterion evaluate(CodeBuilder &b, Value row, Value column,
                            int64_t lanes) const;
  /// The same for `count` rows from `row` on, one result each, which share what
  /// they read of the columns.
  llvm::SmallVector<EmittedCriterion> evaluateRows(CodeBuilder &b, Value row,
                                                   int64_t count, Value column,
                                                   int64_t lanes) const;
  /// Whether those elements stay; null if there is no threshold, so all do.
  Value mask(CodeBuilder &b, const EmittedCriterion &element, Value row,
             Value column) const;
  /// `value` where the mask is set (null: everywhere), else zero.
  static Value underMask(CodeBuilder &b, Value mask, Value value);
  /// The weights there, zero where the mask is.
  Value maskedWeight(CodeBuilder &b, Value row, Value column,
                     int64_t lanes) const;
  /// The same for `count` rows from `row` on; `most` of them are evaluated at
  /// once: as many as the registers hold.
  llvm::SmallVector<Value> maskedWeights(CodeBuilder &b, Value row,
                                         int64_t count, Value column,
                                         int64_t lanes, int64_t most) const;

private:
  CriterionOp criterion;
  llvm::SmallVector<Value> factors;
  Value threshold, cut;
  int64_t rows, columns;
};

} // namespace pst::kernel

#endif // PST_LIB_CODEGEN_KERNEL_VIRTUALWEIGHT_H
