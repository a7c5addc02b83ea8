//===- MaskedWeight.cpp - Writes out a virtual weight ---------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "MaskedWeight.h"

using namespace mlir;
using namespace pst;
using namespace pst::cuda;

/// Rows of a thread, which reads what belongs to its column once for all.
static constexpr int64_t kRows = 4;

cpu::VirtualWeight pst::cuda::virtualWeight(ThreadBuilder &b,
                                            CriterionOp criterion,
                                            ValueRange operands) {
  size_t factors = criterion.getNumTensors();
  Value threshold, cut;
  if (operands.size() > factors) {
    threshold = b.load(operands[factors], {});
    cut = b.load(operands[factors + 1], {});
  }
  return cpu::VirtualWeight(criterion, operands.take_front(factors), threshold,
                            cut);
}

/// for each column j and group of rows: result[i, j] = M[i, j] * W'[i, j]
void pst::cuda::launchMaskedWeight(KernelContext &context,
                                   cpu::KernelBuilder &host,
                                   CriterionOp criterion, StringRef name,
                                   ValueRange operands, Value result) {
  auto type = cast<MemRefType>(result.getType());
  int64_t rows = type.getDimSize(0), columns = type.getDimSize(1);
  bool masked = operands.size() > criterion.getNumTensors();
  SmallVector<Value> arguments(operands);
  arguments.push_back(result);
  context.launchElements(
      host,
      ("masked_weight" + elementsName(result) + "_" + name +
       (masked ? "_threshold" : ""))
          .str(),
      (rows + kRows - 1) / kRows * columns, arguments,
      [&](ThreadBuilder &b, ValueRange values, Value i) {
        cpu::VirtualWeight weight =
            virtualWeight(b, criterion, values.drop_back());
        Value first = b.muli(b.divi(i, columns), kRows);
        Value column = b.remi(i, columns);
        SmallVector<Value> elements;
        for (int64_t r = 0; r < kRows; ++r) {
          Value row = b.addi(first, r);
          if (rows % kRows)
            row = b.mini(row, b.index(rows - 1));
          elements.push_back(weight.maskedWeight(b, row, column, 1));
        }
        for (int64_t r = 0; r < kRows; ++r) {
          Value row = b.addi(first, r);
          auto write = [&] {
            b.store(elements[r], values.back(), {row, column});
          };
          if (rows % kRows)
            b.ifThen(b.cmpi(arith::CmpIPredicate::slt, row, b.index(rows)),
                     write);
          else
            write();
        }
      });
}

namespace {
struct MaskedWeightPattern : KernelPattern<MaskedWeightOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(MaskedWeightOp op,
                                PatternRewriter &rewriter) const override {
    CriterionOp criterion = context.getCriterion(op.getCriterionAttr());
    std::string name = cpu::criterionName(criterion, op.getFactors());
    context.replaceByLaunch(
        rewriter, op,
        "masked_weight" + elementsName(op.getResult()) + "_" + name +
            (op.getThreshold() ? "_threshold" : ""),
        weightOperands(op), /*workspaces=*/{},
        [&](cpu::KernelBuilder &host, ValueRange arguments) {
          launchMaskedWeight(context, host, criterion, name,
                             arguments.drop_back(), arguments.back());
        });
    return success();
  }
};
} // namespace

void pst::cuda::populateMaskedWeightKernels(RewritePatternSet &patterns,
                                            KernelContext &context) {
  patterns.add<MaskedWeightPattern>(patterns.getContext(), context);
}
