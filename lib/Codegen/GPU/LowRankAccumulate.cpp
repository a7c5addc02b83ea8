//===- LowRankAccumulate.cpp - Gradients of a virtual weight's factors ----===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// G = dY^T X exists only as tiles in the registers of blocks:
//
//   for each tile, a block:
//     G = dY(:, rows)^T X(:, columns), to shared memory
//     for each 16 of the tile's rows, a band:
//       element by element: evaluate the criterion, mask, and take
//         dWeight = G * M and dScore = G * W' back to the factors
//       for each factor that is wanted:
//         dense:   result = dF, or result += dF
//         lowrank: dF to shared memory; the band's rows of dP = dF Q^T go to
//                  partials[tile of columns], the tile's share of dQ = P^T dF
//                  is summed over the bands, in registers
//         row, col: likewise, the sums over the tile's columns or rows
//     dQ, and sums over rows, go to partials[tile of rows]
//   for each element of a result: sum of its partials, in ascending order;
//   where the result is but added to a gradient, that is added to instead

#include "Gemm.h"
#include "MaskedWeight.h"

using namespace mlir;
using namespace pst;
using namespace pst::cuda;

/// Ranks whose sums leave registers for several blocks on a multiprocessor.
static constexpr int64_t kFewRanks = 8;

namespace {
/// A result, and where the tiles leave their share of it.
struct WantedGradient {
  unsigned factor, tensor; ///< Positions of the factor and of its tensor.
  FactorKind kind;
  bool second;          ///< lowrank: of Q, not of P.
  int64_t rank = 1;     ///< lowrank only
  unsigned result;      ///< Position among the results.
  int64_t partials = 0; ///< Their number; 0: dense, none.
  bool added = false;   ///< To what the result holds.

  /// Whether an element is a sum over rows of dF, of a column.
  bool isOverRows() const { return kind == FactorKind::Col || second; }
};

/// The end of a block's work on its tile of G.
class TileFold {
public:
  TileFold(ThreadBuilder &b, const GemmPlan &plan, const GemmTile &tile,
           const VirtualWeight &weight)
      : b(b), plan(plan), tile(tile), weight(weight) {
    sharedG = tile.scratch(b, plan.tileN + kPadding);
    shared = b.sharedBuffer({kBand, plan.tileN + kPadding});
    tile.forElements(b, [&](Value i, Value j, Value value) {
      b.store(value, sharedG, {i, j});
    });
    tile.barrier(b);
  }

  /// `targets` are where each gradient goes.
  void fold(ArrayRef<WantedGradient> gradients, ValueRange targets) {
    SmallVector<Value> zeros; // what is summed over the tile's rows
    for (const WantedGradient &gradient : gradients)
      if (gradient.isOverRows())
        zeros.append(gradient.rank, b.f32(0.0));
    if (zeros.empty())
      return b.loop(0, plan.tileM, kBand, [&](Value first) {
        foldBand(first, gradients, targets, {});
      });
    SmallVector<Value> sums =
        b.loop(b.index(0), b.index(plan.tileM), kBand, zeros,
               [&](Value first, ValueRange carried) {
                 return foldBand(first, gradients, targets, carried);
               });
    ArrayRef<Value> rest = sums;
    for (auto [gradient, target] : llvm::zip(gradients, targets))
      if (gradient.isOverRows()) {
        storeColumns(gradient, rest.take_front(gradient.rank), target);
        rest = rest.drop_front(gradient.rank);
      }
  }

private:
  /// Rows that are folded at a time.
  static constexpr int64_t kBand = 16;
  /// What rows of shared memory are longer by, against bank conflicts.
  static constexpr int64_t kPadding = 8;

  /// Of the thread, in a band.
  struct Element {
    Value place, i, j; ///< Row in the band, row and column in the tile.
    SmallVector<Value> adjoints; ///< dF of each factor; null: zero.
  };

  /// The sums over rows, with those of the band that begins at row `first`.
  SmallVector<Value> foldBand(Value first, ArrayRef<WantedGradient> gradients,
                              ValueRange targets, ValueRange carried) {
    SmallVector<Element> elements = evaluate(first);
    SmallVector<Value> sums;
    for (size_t i = 0; i < gradients.size();) {
      unsigned factor = gradients[i].factor;
      if (gradients[i].kind == FactorKind::Dense) {
        storeDense(elements, gradients[i], targets[i]);
        ++i;
        continue;
      }
      share(elements, factor);
      tile.barrier(b);
      for (; i < gradients.size() && gradients[i].factor == factor; ++i) {
        if (!gradients[i].isOverRows()) {
          foldRows(first, gradients[i], targets[i]);
          continue;
        }
        int64_t rank = gradients[i].rank;
        llvm::append_range(
            sums, addRows(first, gradients[i],
                          SmallVector<Value>(carried.take_front(rank))));
        carried = carried.drop_front(rank);
      }
      tile.barrier(b); // the next factor writes to the shared band
    }
    return sums;
  }

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

  /// Neighbouring threads have neighbouring columns, and some rows of theirs.
  SmallVector<Element> evaluate(Value first) {
    int64_t rows = kBand * plan.tileN / tile.threads();
    Value thread = tile.thread(b), j = b.remi(thread, plan.tileN);
    Value group = b.muli(b.divi(thread, plan.tileN), rows);
    SmallVector<Element> elements;
    for (int64_t r = 0; r < rows; ++r) {
      Value place = b.addi(group, r), i = b.addi(first, place);
      Value g = b.load(sharedG, {i, j});
      elements.push_back({place, i, j, adjointsOf(i, j, g)});
    }
    return elements;
  }

  /// dF of all factors at an element of the tile; outside of G, of some element
  /// within.
  SmallVector<Value> adjointsOf(Value i, Value j, Value g) {
    Value row = clampRow(i), column = clampColumn(j);
    EmittedCriterion element = weight.evaluate(b, row, column, 1);
    Value mask = weight.mask(b, element, row, column);
    Value scoreAdjoint;
    if (element.getScore())
      scoreAdjoint = b.mulf(g, element.getWeight());
    return element.emitBackward(VirtualWeight::underMask(b, mask, g),
                                scoreAdjoint);
  }

  Value adjointOf(const Element &element, unsigned factor) {
    Value value = element.adjoints[factor];
    return value ? value : b.f32(0.0);
  }

  void storeDense(ArrayRef<Element> elements, const WantedGradient &gradient,
                  Value target) {
    for (const Element &element : elements)
      ifInside(tile.isElement(b, element.i, element.j), [&] {
        SmallVector<Value> place{b.addi(tile.row, element.i),
                                 b.addi(tile.column, element.j)};
        Value value = adjointOf(element, gradient.factor);
        if (gradient.added)
          value = b.addf(b.load(target, place), value);
        b.store(value, target, place);
      });
  }

  /// shared = dF of the band, zero outside of G.
  void share(ArrayRef<Element> elements, unsigned factor) {
    for (const Element &element : elements) {
      Value value = adjointOf(element, factor);
      if (Value inside = tile.isElement(b, element.i, element.j))
        value = b.select(inside, value, b.f32(0.0));
      b.store(value, shared, {element.place, element.j});
    }
  }

  /// A line (a row of the band, a column of the tile) is `parts` neighbouring
  /// threads' work, of which each takes every parts-th element.
  struct Work {
    int64_t parts;
    Value line, part;
  };
  Work divide(int64_t lines) {
    int64_t parts = tile.threads() / lines;
    assert(parts * lines == tile.threads() && parts <= kWarp);
    Value thread = tile.thread(b);
    return {parts, b.divi(thread, parts), b.remi(thread, parts)};
  }

  /// sums[k] + the terms of a thread's share of `count` elements, where
  /// term(s, k) has `factor(s)` for factor and the shared dF.
  SmallVector<Value> addTerms(const Work &work, int64_t count,
                              const WantedGradient &gradient,
                              ArrayRef<Value> sums,
                              function_ref<Value(Value)> adjoint,
                              function_ref<SmallVector<Value>(Value)> factors) {
    return b.loop(b.index(0), b.index(count / work.parts), 1, sums,
                  [&](Value s, ValueRange carried) -> SmallVector<Value> {
                    Value at = b.addi(b.muli(s, work.parts), work.part);
                    Value value = adjoint(at);
                    if (gradient.kind != FactorKind::LowRank)
                      return {b.addf(carried[0], value)};
                    SmallVector<Value> next;
                    for (auto [sum, factor] : llvm::zip(carried, factors(at)))
                      next.push_back(b.fma(value, factor, sum));
                    return next;
                  });
  }

  /// The sums of the threads that share a line; its k-th is stored by one.
  void storeLine(const Work &work, ArrayRef<Value> sums, Value inside,
                 function_ref<void(Value, int64_t)> store) {
    for (auto [k, sum] : llvm::enumerate(sums)) {
      Value total = sum;
      for (int64_t mask = 1; mask < work.parts; mask *= 2)
        total = b.addf(total, b.shuffleXor(total, mask));
      Value mine =
          b.cmpi(arith::CmpIPredicate::eq, work.part, b.index(k % work.parts));
      b.ifThen(inside ? allOf(b, mine, inside) : mine,
               [&] { store(total, k); });
    }
  }

  /// The band's rows of dP = dF Q^T, or of the sums over columns.
  void foldRows(Value first, const WantedGradient &gradient, Value target) {
    Work work = divide(kBand);
    SmallVector<Value> zeros(gradient.rank, b.f32(0.0));
    SmallVector<Value> sums = addTerms(
        work, plan.tileN, gradient, zeros,
        [&](Value j) { return b.load(shared, {work.line, j}); },
        [&](Value j) {
          Value factor = weight.getFactor(gradient.tensor + 1);
          Value column = clampColumn(j);
          SmallVector<Value> values;
          for (int64_t k = 0; k < gradient.rank; ++k)
            values.push_back(b.load(factor, {b.index(k), column}));
          return values;
        });
    Value i = b.addi(first, work.line);
    Value row = b.addi(tile.row, i);
    storeLine(work, sums, tile.isRow(b, i), [&](Value sum, int64_t k) {
      SmallVector<Value> place{partial(tile.tileOfN), row};
      if (gradient.kind == FactorKind::LowRank)
        place.push_back(b.index(k));
      b.store(sum, target, place);
    });
  }

  /// The sums of the thread's column with the band's share of dQ = P^T dF, or
  /// of the sums over rows.
  SmallVector<Value> addRows(Value first, const WantedGradient &gradient,
                             ArrayRef<Value> sums) {
    Work work = divide(plan.tileN);
    return addTerms(
        work, kBand, gradient, sums,
        [&](Value place) { return b.load(shared, {place, work.line}); },
        [&](Value place) {
          Value factor = weight.getFactor(gradient.tensor - 1);
          Value row = clampRow(b.addi(first, place));
          int64_t step = gradient.rank % 4 == 0 ? 4 : 1;
          SmallVector<Value> values;
          for (int64_t k = 0; k < gradient.rank; k += step)
            llvm::append_range(values,
                               b.loadGroup(factor, {row, b.index(k)}, step));
          return values;
        });
  }

  void storeColumns(const WantedGradient &gradient, ArrayRef<Value> sums,
                    Value target) {
    Work work = divide(plan.tileN);
    Value column = b.addi(tile.column, work.line);
    storeLine(work, sums, tile.isColumn(b, work.line),
              [&](Value sum, int64_t k) {
                SmallVector<Value> place{partial(tile.tileOfM)};
                if (gradient.kind == FactorKind::LowRank)
                  place.push_back(b.index(k));
                place.push_back(column);
                b.store(sum, target, place);
              });
  }

  /// Where the share of a tile's row or column of tiles goes.
  Value partial(Value tiles) {
    return tile.split ? b.addi(b.muli(tiles, plan.splits), tile.split) : tiles;
  }

  ThreadBuilder &b;
  const GemmPlan &plan;
  const GemmTile &tile;
  const VirtualWeight &weight;
  Value sharedG; ///< The tile.
  Value shared;  ///< dF of a band.
};

struct LowRankAccumulatePattern : KernelPattern<LowRankAccumulateOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(LowRankAccumulateOp op,
                                PatternRewriter &rewriter) const override {
    CriterionOp criterion = context.getCriterion(op.getCriterionAttr());
    // Beside the sums there must be room for what is folded.
    GemmPlan plan =
        chooseGemm(context,
                   GemmShape::of({op.getOutputGradient(), /*transposed=*/true},
                                 {op.getInput()}),
                   isDenseWanted(op, criterion) ? SplitK::No : SplitK::Free,
                   /*maxColumns=*/64);
    SmallVector<WantedGradient> gradients =
        wantedGradients(op, criterion, plan);
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
                foldTile(b, weight, plan, tile, gradients,
                         values.drop_front(first));
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
  static void foldTile(ThreadBuilder &b, const VirtualWeight &weight,
                       const GemmPlan &plan, const GemmTile &tile,
                       ArrayRef<WantedGradient> gradients, ValueRange targets) {
    // Each rank is a register. ptxas would rather have more blocks and spill.
    bool few = llvm::all_of(
        gradients, [](auto &gradient) { return gradient.rank <= kFewRanks; });
    if (!few)
      b.setBlocksPerMultiprocessor(1);
    else if (plan.method == GemmMethod::MMA)
      b.setBlocksPerMultiprocessor(3);
    TileFold(b, plan, tile, weight).fold(gradients, targets);
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
