//===- MaskedWeight.cpp - Writes out a virtual weight ---------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "MaskedWeight.h"
#include "../Kernel/PlainWeight.h"
#include "NoteWork.h"
#include "WeightTiles.h"

using namespace mlir;
using namespace pst;
using namespace pst::cuda;

/// Two blocks for each multiprocessor of an H200.
static constexpr int64_t kTiles = 264;

RankedTensorType pst::cuda::multipliedWeight(CriterionOp criterion,
                                             MaskedMatmulOp op) {
  return getWeightType(criterion, op.getFactors())
      .clone(op.getInput().getType().getElementType());
}

bool pst::cuda::isFactor(CriterionOp criterion, MaskedMatmulOp op) {
  return isPlainWeight(criterion) && !op.getSelection() &&
         op.getFactors().getTypes().front() == multipliedWeight(criterion, op);
}

/// for rows of a tile, a thread for 4 columns:
///   result[i, j] = M[i, j] * W'[i, j]
void pst::cuda::launchMaskedWeight(KernelContext &context, CodeBuilder &host,
                                   CriterionOp criterion,
                                   SelectionAttr selection, ValueRange operands,
                                   Value result) {
  auto type = cast<MemRefType>(result.getType());
  WeightTiles tiles(type, kTiles);
  SmallVector<Value> arguments(operands);
  arguments.push_back(result);
  gpu::LaunchFuncOp launch = context.launch(
      host,
      KernelIdentity("masked_weight")
          .add(ValueRange(arguments).getTypes())
          .add(criterion.getSymName())
          .distinguish(selection),
      tiles.count(), WeightTiles::kThreads, arguments,
      [&](ThreadBuilder &b, ValueRange values) {
        b.setBlocksPerMultiprocessor(2);
        VirtualWeight weight(b, criterion, selection, values.drop_back());
        forTile(
            b, weight, tiles, b.block(), /*carried=*/{},
            [&](const WeightChunk &chunk, ValueRange) -> SmallVector<Value> {
              for (auto [r, element] : llvm::enumerate(chunk.elements)) {
                Value row = b.addi(chunk.row, r);
                Value mask = weight.mask(b, element, row, chunk.column);
                b.store(VirtualWeight::underMask(b, mask, element.getWeight()),
                        values.back(), {row, chunk.column});
              }
              return {};
            });
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

/// a thread for each word k of row i:
///   result[i, k] = the masks of columns 32 k, 32 k + 1, ...
struct MaskBitsPattern : KernelPattern<MaskBitsOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(MaskBitsOp op,
                                PatternRewriter &rewriter) const override {
    CriterionOp criterion = context.getCriterion(op.getCriterionAttr());
    int64_t words = op.getType().getDimSize(1);
    context.replaceByLaunch(
        rewriter, op, weightOperands(op), /*workspaces=*/{},
        [&](CodeBuilder &host, ValueRange arguments) {
          context.launchElements(
              host, "", op.getType().getNumElements(), arguments,
              [&](ThreadBuilder &b, ValueRange values, Value i) {
                constexpr int64_t kBits = SelectionAttr::kWordBits;
                VirtualWeight weight(b, criterion, op.getSelectionAttr(),
                                     values.drop_back());
                Value row = b.divi(i, words), word = b.remi(i, words);
                Value first = b.muli(word, kBits);
                Value left = b.subi(b.index(weight.getColumns()), first);
                int64_t lanes = weight.getColumns() % 4 == 0 ? 4 : 1;
                b.store(weight.maskBits(b, row, first,
                                        b.mini(left, b.index(kBits)), lanes),
                        values.back(), {row, word});
              });
        });
    return success();
  }
};
} // namespace

void pst::cuda::populateMaskedWeightKernels(RewritePatternSet &patterns,
                                            KernelContext &context) {
  patterns.add<MaskedWeightPattern<MaskedWeightOp>,
               MaskedWeightPattern<MaterializeOp>, MaskBitsPattern>(
      patterns.getContext(), context);
}
