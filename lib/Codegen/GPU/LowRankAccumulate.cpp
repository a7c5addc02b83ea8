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
//     element by element: evaluate the criterion, mask, and take
//       dWeight = G * M and dScore = G * W' back to the factors
//     for each factor that is wanted:
//       dense:   result = dF
//       lowrank: dF to shared memory; the tile's share of dP = dF Q^T goes to
//                partials[tile of columns], of dQ = P^T dF to
//                partials[tile of rows]
//       row, col: likewise, the sums over the tile's columns or rows
//   for each element of a result: sum of its partials, in ascending order

#include "Gemm.h"
#include "MaskedWeight.h"

using namespace mlir;
using namespace pst;
using namespace pst::cuda;

namespace {
/// A result, and where the tiles leave their share of it.
struct WantedGradient {
  unsigned factor, tensor; ///< Positions of the factor and of its tensor.
  FactorKind kind;
  bool second;          ///< lowrank: of Q, not of P.
  int64_t rank = 1;     ///< lowrank only
  unsigned result;      ///< Position among the results.
  int64_t partials = 0; ///< Their number; 0: dense, none.
};

/// The end of a block's work on its tile of G.
class TileFold {
public:
  TileFold(ThreadBuilder &b, const GemmPlan &plan, const GemmTile &tile,
           const cpu::VirtualWeight &weight)
      : b(b), plan(plan), tile(tile), weight(weight) {
    shared = b.sharedBuffer({plan.tileM, plan.tileN + 1});
    tile.forElements(b, [&](Value i, Value j, Value g) {
      adjoints.push_back(adjointsOf(i, j, g));
    });
  }

  /// `gradients` are of one factor; `targets` are where each goes.
  void fold(ArrayRef<const WantedGradient *> gradients, ValueRange targets) {
    const WantedGradient &first = *gradients.front();
    unsigned next = 0;
    auto adjoint = [&] {
      Value value = adjoints[next++][first.factor];
      return value ? value : b.f32(0.0);
    };
    if (first.kind == FactorKind::Dense)
      return tile.forElements(b, [&](Value i, Value j, Value) {
        Value value = adjoint();
        ifInside(tile.isElement(b, i, j), [&] {
          b.store(value, targets[0],
                  {b.addi(tile.row, i), b.addi(tile.column, j)});
        });
      });
    tile.forElements(b, [&](Value i, Value j, Value) {
      Value value = adjoint();
      if (Value inside = tile.isElement(b, i, j))
        value = b.select(inside, value, b.f32(0.0));
      b.store(value, shared, {i, j});
    });
    tile.barrier(b);
    for (auto [gradient, target] : llvm::zip(gradients, targets))
      foldShared(*gradient, target);
    tile.barrier(b); // the next factor writes to the shared tile
  }

private:
  void ifInside(Value inside, function_ref<void()> body) {
    if (inside)
      b.ifThen(inside, body);
    else
      body();
  }

  Value clampRow(Value i) {
    Value row = b.addi(tile.row, i);
    return plan.m % plan.tileM ? b.mini(row, b.index(plan.m - 1)) : row;
  }
  Value clampColumn(Value j) {
    Value column = b.addi(tile.column, j);
    return plan.n % plan.tileN ? b.mini(column, b.index(plan.n - 1)) : column;
  }

  /// dF of all factors (null: zero) at an element of the tile; outside of G,
  /// of some element within.
  SmallVector<Value> adjointsOf(Value i, Value j, Value g) {
    Value row = clampRow(i), column = clampColumn(j);
    EmittedCriterion element = weight.evaluate(b, row, column, 1);
    Value mask = weight.mask(b, element, row, column);
    Value scoreAdjoint;
    if (element.getScore())
      scoreAdjoint = b.mulf(g, element.getWeight());
    return element.emitBackward(cpu::VirtualWeight::underMask(b, mask, g),
                                scoreAdjoint);
  }

  /// sum over s ascending in [0, size) of term(s)
  Value sumOverTile(int64_t size, function_ref<Value(Value)> term) {
    return b.loop(b.index(0), b.index(size), 1, {b.f32(0.0)},
                  [&](Value s, ValueRange carried) -> SmallVector<Value> {
                    return {b.addf(carried[0], term(s))};
                  })[0];
  }
  Value dotOverTile(int64_t size, function_ref<Value(Value)> left,
                    function_ref<Value(Value)> right) {
    return b.loop(b.index(0), b.index(size), 1, {b.f32(0.0)},
                  [&](Value s, ValueRange carried) -> SmallVector<Value> {
                    return {b.fma(left(s), right(s), carried[0])};
                  })[0];
  }

  void foldShared(const WantedGradient &gradient, Value target) {
    auto at = [&](Value i, Value j) { return b.load(shared, {i, j}); };
    int64_t rank = gradient.rank;
    bool overRows = gradient.kind == FactorKind::Col || gradient.second;
    int64_t places = (overRows ? plan.tileN : plan.tileM) * rank;
    tile.strided(b, places, [&](Value place) {
      if (gradient.kind == FactorKind::Row)
        return ifInside(tile.isRow(b, place), [&] {
          b.store(
              sumOverTile(plan.tileN, [&](Value j) { return at(place, j); }),
              target, {tile.tileOfN, b.addi(tile.row, place)});
        });
      if (gradient.kind == FactorKind::Col)
        return ifInside(tile.isColumn(b, place), [&] {
          b.store(
              sumOverTile(plan.tileM, [&](Value i) { return at(i, place); }),
              target, {tile.tileOfM, b.addi(tile.column, place)});
        });
      if (!gradient.second) { // dP[i, k] = sum over j of dF[i, j] Q[k, j]
        Value i = b.divi(place, rank), k = b.remi(place, rank);
        Value factor = weight.getFactor(gradient.tensor + 1);
        return ifInside(tile.isRow(b, i), [&] {
          Value sum = dotOverTile(
              plan.tileN, [&](Value j) { return at(i, j); },
              [&](Value j) { return b.load(factor, {k, clampColumn(j)}); });
          b.store(sum, target, {tile.tileOfN, b.addi(tile.row, i), k});
        });
      }
      // dQ[k, j] = sum over i of P[i, k] dF[i, j]
      Value k = b.divi(place, plan.tileN), j = b.remi(place, plan.tileN);
      Value factor = weight.getFactor(gradient.tensor - 1);
      ifInside(tile.isColumn(b, j), [&] {
        Value sum = dotOverTile(
            plan.tileM,
            [&](Value i) { return b.load(factor, {clampRow(i), k}); },
            [&](Value i) { return at(i, j); });
        b.store(sum, target, {tile.tileOfM, k, b.addi(tile.column, j)});
      });
    });
  }

  ThreadBuilder &b;
  const GemmPlan &plan;
  const GemmTile &tile;
  const cpu::VirtualWeight &weight;
  Value shared; ///< dF of the tile
  /// Of each of the thread's elements, for each factor.
  SmallVector<SmallVector<Value>> adjoints;
};

struct LowRankAccumulatePattern : KernelPattern<LowRankAccumulateOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(LowRankAccumulateOp op,
                                PatternRewriter &rewriter) const override {
    CriterionOp criterion = context.getCriterion(op.getCriterionAttr());
    // The block needs room for a tile of dF.
    GemmPlan plan =
        chooseGemm(context,
                   GemmShape::of({op.getOutputGradient(), /*transposed=*/true},
                                 {op.getInput()}),
                   /*maxTile=*/64);
    SmallVector<WantedGradient> gradients =
        wantedGradients(op, criterion, plan);
    std::string name = "lowrank_accumulate" +
                       elementsName({op.getOutputGradient(), op.getInput()}) +
                       "_" + std::to_string(plan.k) + "_" +
                       cpu::criterionName(criterion, op.getFactors()) + "_wrt";
    for (int64_t tensor : op.getWrt())
      name += "_" + std::to_string(tensor);
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
        rewriter, op, name, inputs, workspaces,
        [&](cpu::KernelBuilder &host, ValueRange arguments) {
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
              context, host, name, plan, arguments[0], arguments[1], operands,
              [&](ThreadBuilder &b, const GemmTile &tile, ValueRange values) {
                foldTile(b, criterion, plan, tile, gradients,
                         values.take_front(first), values.drop_front(first));
              });
          for (auto [gradient, partials] :
               llvm::zip(gradients, ArrayRef(operands).drop_front(first)))
            if (gradient.partials)
              context.launchSum(host, partials, results[gradient.result]);
        });
    return success();
  }

private:
  static void foldTile(ThreadBuilder &b, CriterionOp criterion,
                       const GemmPlan &plan, const GemmTile &tile,
                       ArrayRef<WantedGradient> gradients, ValueRange operands,
                       ValueRange targets) {
    cpu::VirtualWeight weight = virtualWeight(b, criterion, operands);
    TileFold fold(b, plan, tile, weight);
    for (size_t begin = 0; begin < gradients.size();) {
      SmallVector<const WantedGradient *> ofFactor;
      size_t end = begin;
      for (; end < gradients.size() &&
             gradients[end].factor == gradients[begin].factor;
           ++end)
        ofFactor.push_back(&gradients[end]);
      fold.fold(ofFactor, targets.slice(begin, end - begin));
      begin = end;
    }
  }

  /// In the order of the results.
  static SmallVector<WantedGradient> wantedGradients(LowRankAccumulateOp op,
                                                     CriterionOp criterion,
                                                     const GemmPlan &plan) {
    SmallVector<WantedGradient> gradients;
    for (auto [result, tensor] : llvm::enumerate(op.getWrt())) {
      WantedGradient gradient;
      gradient.result = result;
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
      bool overRows = gradient.kind == FactorKind::Col || gradient.second;
      if (gradient.kind != FactorKind::Dense)
        gradient.partials = overRows ? plan.tilesOfM() : plan.tilesOfN();
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
