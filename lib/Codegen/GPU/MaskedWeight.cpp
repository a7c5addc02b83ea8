//===- MaskedWeight.cpp - Writes out a virtual weight ---------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "MaskedWeight.h"
#include "NoteWork.h"

using namespace mlir;
using namespace pst;
using namespace pst::cuda;

// A thread computes 4 rows of 4 adjacent columns, which it loads and stores by
// 8 bytes (bf16) or 16 (f32). What an element costs, with low-rank factors of
// ranks r and s: r + s fused multiply-adds, 16 for both of rank 8, which is the
// floor of any way that keeps scores in f32; beside them some ten instructions
// for the mask and the conversions, and 2 for the factors' loads, as one of P
// (4 ranks of a row) serves 4 columns and one of Q (4 columns of a rank) 4
// rows; 8 rows would need 1.5, but more registers than let enough threads wait
// for memory. Of a 4096 x 4096 weight the multiply-adds alone are 9 us of an
// H200's, where reading and writing it in bf16 takes 15.6 us.

static constexpr int64_t kRows = 4;
static constexpr int64_t kColumns = 4;
static constexpr int64_t kThreads = 128;

/// for groups of 4 rows and groups of 4 columns, a thread:
///   result[i, j] = M[i, j] * W'[i, j]
///
/// The last rows are a group of their own, which overlaps the one before: what
/// two threads write has the same bits. Rows that are not made of whole groups
/// of columns are computed column by column.
void pst::cuda::launchMaskedWeight(KernelContext &context, CodeBuilder &host,
                                   CriterionOp criterion,
                                   SelectionAttr selection, ValueRange operands,
                                   Value result) {
  auto type = cast<MemRefType>(result.getType());
  int64_t rows = type.getDimSize(0), columns = type.getDimSize(1);
  int64_t height = std::min(rows, kRows);
  int64_t width = columns % kColumns == 0 ? kColumns : 1;
  int64_t groups = columns / width;
  int64_t count = (rows + height - 1) / height * groups;
  SmallVector<Value> arguments(operands);
  arguments.push_back(result);
  gpu::LaunchFuncOp launch = context.launch(
      host,
      KernelIdentity("masked_weight")
          .add(ValueRange(arguments).getTypes())
          .add(criterion.getSymName())
          .distinguish(selection),
      (count + kThreads - 1) / kThreads, kThreads, arguments,
      [&](ThreadBuilder &b, ValueRange values) {
        VirtualWeight weight(b, criterion, selection, values.drop_back());
        Value i = b.addi(b.muli(b.block(), kThreads), b.thread());
        auto emit = [&] {
          Value row = b.muli(b.divi(i, groups), height);
          if (rows % height != 0)
            row = b.mini(row, b.index(rows - height));
          Value column = b.muli(b.remi(i, groups), width);
          SmallVector<Value> elements =
              weight.maskedWeights(b, row, height, column, width, height);
          for (auto [r, element] : llvm::enumerate(elements))
            b.store(element, values.back(), {b.addi(row, r), column});
        };
        if (count % kThreads == 0)
          emit();
        else
          b.ifThen(b.cmpi(arith::CmpIPredicate::slt, i, b.index(count)), emit);
      });
  int64_t bytes = 0;
  for (Type type : ValueRange(arguments).getTypes())
    bytes += bytesOf(type);
  setWork(launch, MaskedWeightOp::getOperationName(), {0, bytes});
}

namespace {
/// Of a weight that is materialized, the dense form is this kernel too.
template <typename OpT> struct MaskedWeightPattern : KernelPattern<OpT> {
  using KernelPattern<OpT>::KernelPattern;
  LogicalResult matchAndRewrite(OpT op,
                                PatternRewriter &rewriter) const override {
    if constexpr (std::is_same_v<OpT, MaterializeOp>)
      if (op.getStorage() != Storage::Dense)
        return failure();
    KernelContext &context = this->context;
    CriterionOp criterion = context.getCriterion(op.getCriterionAttr());
    context.replaceByLaunch(
        rewriter, op, weightOperands(op), /*workspaces=*/{},
        [&](CodeBuilder &host, ValueRange arguments) {
          launchMaskedWeight(context, host, criterion, op.getSelectionAttr(),
                             arguments.drop_back(), arguments.back());
        });
    return success();
  }
};
} // namespace

void pst::cuda::populateMaskedWeightKernels(RewritePatternSet &patterns,
                                            KernelContext &context) {
  patterns.add<MaskedWeightPattern<MaskedWeightOp>,
               MaskedWeightPattern<MaterializeOp>>(patterns.getContext(),
                                                   context);
}
