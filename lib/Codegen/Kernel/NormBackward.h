//===- NormBackward.h - Gradients of norms, of each row ---------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_LIB_CODEGEN_KERNEL_NORMBACKWARD_H
#define PST_LIB_CODEGEN_KERNEL_NORMBACKWARD_H

#include "Dropout.h"
#include "LaunchContext.h"

namespace pst::kernel {

/// What is done with the gradient of a norm's input before it is stored: the
/// op's addend and its dropout, whose operands `values` begin with.
template <typename OpT>
RowGradient finishGradient(const LaunchContext &context, OpT op, Row &row,
                           ValueRange values, RowGradient gradient) {
  if (op.getAddend()) {
    gradient.elements = [&row, own = gradient.elements,
                         addend = values.front()](Value column, int64_t size) {
      Group sums = own(column, size);
      for (auto [sum, term] : llvm::zip(sums, row.load(addend, column, size)))
        sum = row.b.addf(sum, term);
      return sums;
    };
    values = values.drop_front();
  }
  if (op.getSeed()) {
    DropoutMask mask(row.b, values[0], values[1],
                     op.getProbability()->convertToDouble());
    auto first = DropoutPlace::ofRow(row.b, context.placeOf(row.b, row.index),
                                     op.getLengthAttr(), row.columns);
    gradient.beside = [&row, mask, first](Value column, const Group &elements) {
      return mask.drop(row.b, elements, first.plus(row.b, column));
    };
  }
  return gradient;
}

/// Replaces the backward of a norm, `op`, by its kernel: its results are the
/// gradient of its input, sums over the rows, and what is dropped out.
/// `gradient` and `accumulate` get the op's input, scale and gradient first.
template <typename OpT>
void replaceNormBackward(
    LaunchContext &context, mlir::PatternRewriter &rewriter, OpT op,
    int64_t statistics,
    llvm::function_ref<RowGradient(Row &, ValueRange arguments)> gradient,
    Driver::AccumulateFunction accumulate) {
  constexpr unsigned kInputs = 3;
  auto sumsOf =
      op->getResults().drop_front().drop_back(op.getDropped() ? 1 : 0);
  llvm::SmallVector<bool> added;
  bool wantsSums = false;
  for (mlir::OpResult sum : sumsOf) {
    added.push_back(context.isAdded(sum));
    wantsSums |= context.isWanted(sum);
  }
  llvm::SmallVector<mlir::RankedTensorType> workspaces;
  if (wantsSums)
    workspaces = context.columnSumWorkspaces(op.getInput().getType(),
                                             statistics, added.size());
  llvm::SmallVector<Value> inputs{op.getInput(), op.getScale(),
                                  op.getGradient()};
  if (op.getAddend())
    inputs.push_back(op.getAddend());
  if (op.getSeed()) {
    // The site is an argument, so that norms of a shape share a kernel.
    Value site = mlir::arith::ConstantOp::create(rewriter, op.getLoc(),
                                                 op.getSiteAttr());
    llvm::append_values(inputs, op.getSeed(), site);
  }
  context.replaceByLaunch(
      rewriter, op, inputs, workspaces,
      [&](CodeBuilder &host, ValueRange arguments) {
        ValueRange outputs = arguments.drop_front(inputs.size());
        llvm::SmallVector<Value> results{outputs[0]};
        if (op.getDropped())
          results.push_back(outputs[1 + added.size()]);
        Driver::ColumnSums sums{outputs.slice(1, added.size()), added,
                                outputs.drop_front(op->getNumResults())};
        context.rowGradients(
            host, arguments.take_front(inputs.size()), results,
            wantsSums ? &sums : nullptr,
            [&](Row &row, ValueRange values) {
              return finishGradient(context, op, row,
                                    values.drop_front(kInputs),
                                    gradient(row, values));
            },
            accumulate);
      });
}

} // namespace pst::kernel

#endif // PST_LIB_CODEGEN_KERNEL_NORMBACKWARD_H
