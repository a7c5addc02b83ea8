//===- LowRankFoldShared.cpp - Folds a tile by way of shared memory -------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

//   the tile of G to shared memory
//   for each 16 of its rows, a band:
//     element by element: evaluate the criterion, mask, and take
//       dWeight = G * M and dScore = G * W' back to the factors
//     for each factor that is wanted:
//       dense:   result = dF, or result += dF
//       lowrank: dF to shared memory; the band's rows of dP = dF Q^T go to
//                partials[tile of columns], the tile's share of dQ = P^T dF is
//                summed over the bands, in registers
//       row, col: likewise, the sums over the tile's columns or rows
//   dQ, and sums over rows, go to partials[tile of rows]

#include "LowRankFold.h"

using namespace mlir;
using namespace pst;
using namespace pst::cuda;

/// Ranks whose sums leave registers for several blocks on a multiprocessor.
static constexpr int64_t kFewRanks = 8;

namespace {
/// The end of a block's work on its tile of G.
class TileFold {
public:
  TileFold(ThreadBuilder &b, const FoldedTile &folded)
      : b(b), folded(folded), plan(folded.plan), tile(folded.tile),
        weight(folded.weight) {
    sharedG = tile.scratch(b, plan.tileN + kPadding);
    shared = b.sharedBuffer({kBand, plan.tileN + kPadding});
    tile.forElements(b, [&](Value i, Value j, Value value) {
      b.store(value, sharedG, {i, j});
    });
    tile.barrier(b);
  }

  void fold() {
    ArrayRef<WantedGradient> gradients = folded.gradients;
    ValueRange targets = folded.targets;
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
    Value row = folded.clampRow(b, i), column = folded.clampColumn(b, j);
    EmittedCriterion element = weight.evaluate(b, row, column, 1);
    Value mask = weight.mask(b, element, row, column);
    return element.emitBackward(VirtualWeight::underMask(b, mask, g),
                                weight.scoreAdjoint(b, element, g));
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
          Value column = folded.clampColumn(b, j);
          SmallVector<Value> values;
          for (int64_t k = 0; k < gradient.rank; ++k)
            values.push_back(b.load(factor, {b.index(k), column}));
          return values;
        });
    Value i = b.addi(first, work.line);
    Value row = b.addi(tile.row, i);
    storeLine(work, sums, tile.isRow(b, i), [&](Value sum, int64_t k) {
      SmallVector<Value> place{folded.partial(b, tile.tileOfN), row};
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
          Value row = folded.clampRow(b, b.addi(first, place));
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
                SmallVector<Value> place{folded.partial(b, tile.tileOfM)};
                if (gradient.kind == FactorKind::LowRank)
                  place.push_back(b.index(k));
                place.push_back(column);
                b.store(sum, target, place);
              });
  }

  ThreadBuilder &b;
  const FoldedTile &folded;
  const GemmPlan &plan;
  const GemmTile &tile;
  const VirtualWeight &weight;
  Value sharedG; ///< The tile.
  Value shared;  ///< dF of a band.
};
} // namespace

void pst::cuda::foldInShared(ThreadBuilder &b, const FoldedTile &folded) {
  // Each rank is a register. ptxas would rather have more blocks and spill.
  bool few = llvm::all_of(folded.gradients, [](auto &gradient) {
    return gradient.rank <= kFewRanks;
  });
  if (!few)
    b.setBlocksPerMultiprocessor(1);
  else if (folded.plan.method == GemmMethod::MMA)
    b.setBlocksPerMultiprocessor(3);
  TileFold(b, folded).fold();
}
