//===- LowRankAccumulate.cpp - Gradients of a virtual weight's factors ----===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// G = dY^T X exists only as tiles in the registers of blocks:
//
//   for each tile, a block:
//     G = dY(:, rows)^T X(:, columns)
//     fold it with the factors (LowRankFold.h); the tile's share of each
//     gradient, a sum over its columns or its rows, goes to partials
//   for each element of a result: sum of its partials, in ascending order;
//   where the result is but added to a gradient, that is added to instead

#include "LowRankFold.h"

using namespace mlir;
using namespace pst;
using namespace pst::cuda;

/// What folding a tile takes, in steps of its products: by way of shared
/// memory, some 75 us for 128 columns; in registers 6.
static constexpr int64_t kSharedSteps = 200, kRegisterSteps = 16;

/// Each rank of a gradient is a register of a thread, and its own code.
static constexpr int64_t kHighestRank = 256;

Value FoldedTile::partial(ThreadBuilder &b, Value tiles) const {
  return tile.split ? b.addi(b.muli(tiles, plan.splits), tile.split) : tiles;
}

Value FoldedTile::clampRow(ThreadBuilder &b, Value i) const {
  Value row = b.addi(tile.row, i);
  return plan.m % plan.tileM ? b.mini(row, b.index(plan.m - 1)) : row;
}

Value FoldedTile::clampColumn(ThreadBuilder &b, Value j) const {
  Value column = b.addi(tile.column, j);
  return plan.n % plan.tileN ? b.mini(column, b.index(plan.n - 1)) : column;
}

namespace {
struct LowRankAccumulatePattern : KernelPattern<LowRankAccumulateOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(LowRankAccumulateOp op,
                                PatternRewriter &rewriter) const override {
    CriterionOp criterion = context.getCriterion(op.getCriterionAttr());
    auto [plan, inRegisters] = choosePlan(op, criterion);
    SmallVector<WantedGradient> gradients =
        wantedGradients(op, criterion, plan);
    for (const WantedGradient &gradient : gradients)
      if (gradient.rank > kHighestRank)
        return op.emitOpError("has factors of rank ")
               << gradient.rank << ", but a thread of a GPU sums at most "
               << kHighestRank << " ranks; use a smaller one, or a CPU";
    SmallVector<RankedTensorType> workspaces;
    for (const WantedGradient &gradient : gradients)
      if (gradient.partials) {
        auto result = cast<RankedTensorType>(
            op.getGradients()[gradient.result].getType());
        SmallVector<int64_t> sizes{gradient.partials};
        llvm::append_range(sizes, result.getShape());
        workspaces.push_back(
            RankedTensorType::get(sizes, rewriter.getF32Type()));
      }
    SmallVector<Value> inputs{op.getOutputGradient(), op.getInput()};
    llvm::append_range(inputs, weightOperands(op));
    context.replaceByLaunch(
        rewriter, op, inputs, workspaces,
        [&](CodeBuilder &host, ValueRange arguments) {
          size_t inputCount = inputs.size();
          SmallVector<Value> operands(
              arguments.take_front(inputCount).drop_front(2));
          size_t first = operands.size();
          ValueRange results = arguments.slice(inputCount, op.getNumResults());
          ValueRange scratch =
              arguments.drop_front(inputCount + op.getNumResults());
          for (const WantedGradient &gradient : gradients) {
            if (!gradient.partials) {
              operands.push_back(results[gradient.result]);
              continue;
            }
            operands.push_back(scratch.front());
            scratch = scratch.drop_front();
          }
          launchTiles(
              context, host, "tiles", plan, arguments[0], arguments[1],
              operands,
              [&](ThreadBuilder &b, const GemmTile &tile, ValueRange values) {
                VirtualWeight weight(b, criterion, op.getSelectionAttr(),
                                     values.take_front(first));
                FoldedTile folded{plan,   tile,      criterion,
                                  weight, gradients, values.drop_front(first)};
                if (inRegisters)
                  foldInRegisters(b, folded);
                else
                  foldInShared(b, folded);
              });
          SmallVector<PartialSum> sums;
          for (auto [gradient, partials] :
               llvm::zip(gradients, ArrayRef(operands).drop_front(first)))
            if (gradient.partials)
              sums.push_back(
                  {partials, results[gradient.result], gradient.added});
          if (!sums.empty())
            context.launchSums(host, sums);
        });
    return success();
  }

private:
  /// The products, and whether tiles are folded where they are.
  std::pair<GemmPlan, bool> choosePlan(LowRankAccumulateOp op,
                                       CriterionOp criterion) const {
    auto shape = GemmShape::of({op.getOutputGradient(), /*transposed=*/true},
                               {op.getInput()});
    SplitK split = isDenseWanted(op, criterion) ? SplitK::No : SplitK::Free;
    GemmPlan plan =
        chooseGemm(context, shape, split,
                   {/*maxColumns=*/64, /*scratch=*/true, kSharedSteps});
    if (plan.method != GemmMethod::Wgmma ||
        !foldsInRegisters(criterion, op.getSelectionAttr(), op.getFactors()))
      return {plan, false};
    // Registers are what limits a tile: of 192 columns ptxas spills some.
    return {chooseGemm(context, shape, split,
                       {/*maxColumns=*/128, /*scratch=*/false, kRegisterSteps}),
            true};
  }

  /// Whether a result is dF itself, which takes all of k at once; the others
  /// are sums of partials, to which parts of k are as good as tiles.
  static bool isDenseWanted(LowRankAccumulateOp op, CriterionOp criterion) {
    return llvm::any_of(op.getWrt(), [&](int64_t tensor) {
      for (unsigned factor = 0; factor < criterion.getNumFactors(); ++factor)
        if (criterion.getFirstTensor(factor) == tensor &&
            criterion.getKind(factor) == FactorKind::Dense)
          return true;
      return false;
    });
  }

  /// In the order of the results.
  SmallVector<WantedGradient> wantedGradients(LowRankAccumulateOp op,
                                              CriterionOp criterion,
                                              const GemmPlan &plan) const {
    SmallVector<WantedGradient> gradients;
    for (auto [result, tensor] : llvm::enumerate(op.getWrt())) {
      WantedGradient gradient;
      gradient.result = result;
      gradient.added = context.isAdded(op->getResult(result));
      gradient.tensor = tensor;
      gradient.factor = 0;
      while (gradient.factor + 1 < criterion.getNumFactors() &&
             criterion.getFirstTensor(gradient.factor + 1) <= tensor)
        ++gradient.factor;
      unsigned first = criterion.getFirstTensor(gradient.factor);
      gradient.kind = criterion.getKind(gradient.factor);
      gradient.second = tensor != int64_t(first);
      if (gradient.kind == FactorKind::LowRank)
        gradient.rank =
            cast<ShapedType>(op.getFactors()[first].getType()).getDimSize(1);
      if (gradient.kind != FactorKind::Dense)
        gradient.partials =
            (gradient.isOverRows() ? plan.tilesOfM() : plan.tilesOfN()) *
            plan.splits;
      gradients.push_back(gradient);
    }
    return gradients;
  }
};
} // namespace

void pst::cuda::populateLowRankAccumulateKernels(RewritePatternSet &patterns,
                                                 KernelContext &context) {
  patterns.add<LowRankAccumulatePattern>(patterns.getContext(), context);
}
