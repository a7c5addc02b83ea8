//===- VirtualWeight.h - Reads elements of a virtual weight -----*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_LIB_CODEGEN_KERNEL_VIRTUALWEIGHT_H
#define PST_LIB_CODEGEN_KERNEL_VIRTUALWEIGHT_H

#include "Criterion.h"
#include "pst/Dialect/PST/CompressedLayout.h"

namespace pst::kernel {

/// An n x m weight that exists only as a criterion and its factors' buffers;
/// with a selection and its state's buffers, under their mask.
class VirtualWeight {
public:
  /// `factors` are the memrefs of the criterion's factor tensors, in order.
  VirtualWeight(CriterionOp criterion, ValueRange factors);
  /// The same under a mask, if `selection` is not null. `operands` are the
  /// factors, then the selection's state; scalars of it are loaded here.
  VirtualWeight(CodeBuilder &b, CriterionOp criterion, SelectionAttr selection,
                ValueRange operands);

  int64_t getRows() const { return rows; }
  int64_t getColumns() const { return columns; }
  /// The buffers of the factors' tensors, and of tensor `i`.
  ValueRange getFactors() const { return factors; }
  Value getFactor(unsigned i) const { return factors[i]; }

  /// Evaluates the criterion at (row, column .. column + lanes - 1), where
  /// `column` is a multiple of the lanes if the mask is asked for.
  EmittedCriterion evaluate(CodeBuilder &b, Value row, Value column,
                            int64_t lanes) const;
  /// What was read of the factors before they are asked for.
  struct Loaded {
    /// By factor, empty or what all rows share of it: one value of a vector of
    /// columns, one for each rank of low-rank factors.
    llvm::SmallVector<llvm::SmallVector<Value>> columns;
    /// As stored, empty or the elements of dense factors: all rows of the
    /// first, all of the next.
    llvm::SmallVector<Value> dense;
  };
  /// Values of `Loaded::columns`, and of `Loaded::dense` for `count` rows.
  llvm::SmallVector<llvm::SmallVector<Value>>
  loadColumns(CodeBuilder &b, Value column, int64_t lanes) const;
  llvm::SmallVector<Value> loadDense(CodeBuilder &b, Value row, int64_t count,
                                     Value column, int64_t lanes) const;
  /// Asks for the lines of dense factors that hold `column` of the `count` rows
  /// after those from `row` on, if there are so many rows: what is read of one
  /// is too little for the processor to see where that leads.
  void prefetchNextRows(CodeBuilder &b, Value row, int64_t count,
                        Value column) const;
  /// How many values loadColumns reads; null if ranks are too large for it.
  std::optional<int64_t> numColumnValues() const;

  /// The same for `count` rows from `row` on, one result each, which share what
  /// they read of the columns.
  llvm::SmallVector<EmittedCriterion>
  evaluateRows(CodeBuilder &b, Value row, int64_t count, Value column,
               int64_t lanes, const Loaded &loaded = {}) const;
  /// Whether those elements stay; null if there is no selection, so all do.
  Value mask(CodeBuilder &b, const EmittedCriterion &element, Value row,
             Value column) const;
  /// The masks of `count` columns of a row from `first` on, 32 at most, as bits
  /// of an i32 from the lowest up. `lanes` columns are evaluated at once, which
  /// divide `count` and `first`.
  Value maskBits(CodeBuilder &b, Value row, Value first, Value count,
                 int64_t lanes) const;
  /// The straight-through estimator's adjoint of the score, where `gradient` is
  /// that of the product's weight; null if there is no score.
  Value scoreAdjoint(CodeBuilder &b, const EmittedCriterion &element,
                     Value gradient) const;
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
  /// Rows from `row` on of a factor whose rows have `rowSize` elements, as one
  /// buffer.
  Value rowsFrom(CodeBuilder &b, unsigned tensor, Value row, int64_t count,
                 int64_t rowSize) const;
  int64_t rankOf(unsigned factor) const;
  llvm::SmallVector<Value> loadDense(CodeBuilder &b, unsigned tensor, Value row,
                                     int64_t count, Value column,
                                     int64_t lanes) const;
  Value maskOfGroups(CodeBuilder &b, Value score, Value row,
                     Value column) const;
  Value maskOfBlocks(CodeBuilder &b, int64_t lanes, Value row,
                     Value column) const;
  Value maskOfBits(CodeBuilder &b, int64_t lanes, Value row,
                   Value column) const;

  CriterionOp criterion;
  llvm::SmallVector<Value> factors;
  SelectionAttr selection; ///< null: there is no mask
  /// What the selection left, in the order of #pst.selection: numbers, and
  /// buffers of what is more than a number.
  llvm::SmallVector<Value> state;
  int64_t rows, columns;
};

/// The operands of an op that make its virtual weight: factors and state.
template <typename OpT> llvm::SmallVector<Value> weightOperands(OpT op) {
  llvm::SmallVector<Value> operands(op.getFactors());
  llvm::append_range(operands, op.getState());
  return operands;
}

/// The layout of a weight that `op` stores compressed.
CompressedLayout compressedLayout(MaterializeOp op, CriterionOp criterion);

} // namespace pst::kernel

#endif // PST_LIB_CODEGEN_KERNEL_VIRTUALWEIGHT_H
