//===- LowRankFoldRegisters.cpp - Folds a tile where it is ----------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// G stays in the accumulators of the warpgroups that computed it. A warp has 16
// rows of the tile, of which its lanes keep in registers what the criterion
// needs; columns go by in bands of 32, whose share of the factors lies in
// shared memory:
//
//   for each 32 columns of the tile, a band:
//     begin to load what the next band needs
//     for each 16 columns, a step, a warp:
//       element by element: evaluate the criterion, mask, and take
//         dWeight = G * M and dScore = G * W' back to the factors
//       dense: result = dF, or result += dF
//       for each dF that others need:
//         lowrank, row: dP += dF Q^T, in registers; a row's Q is ones
//         lowrank, col: dQ = P^T dF of the warp's rows, to shared memory; a
//                       column's P is ones
//     the factors of the next band to shared memory
//     dQ: the warps' sums, in ascending order, to partials[tile of rows]
//   dP to partials[tile of columns]
//
// Products are those of SplitMatrix.h: what a lane has of dF is what it must
// have as left operand of dF Q^T; for dF^T P a warp transposes it.

#include "FoldFactors.h"
#include "WgmmaTile.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

using namespace mlir;
using namespace pst;
using namespace pst::cuda;

/// Bands that are written out: the others' accumulators move up to their place.
static constexpr int64_t kWrittenOut = 2;
/// Accumulators of a step.
static constexpr int64_t kStepSums = kBlocks * kMmaSums;
static constexpr int64_t kWarps = kWgmmaConsumers * kWarpgroup / kWarp;
/// Words from one row of the warps' sums to the next: eight lanes' words and
/// those two rows below lie in different banks.
static constexpr int64_t kSumsLength = kFoldBand + 4;
/// The most that lanes keep of their rows, and the longest sum that is written
/// out (emitRankSums).
static constexpr int64_t kMostRanks = 16;

namespace {

/// What a wanted sum takes from dF.
struct Contraction {
  WantedGradient gradient;
  Value target;
  int64_t blocks = 0; ///< of 8 ranks
  int64_t place = 0;  ///< Over rows: the first row of the warps' sums; else
                      ///< the first of the lane's sums.
  /// For each block: P's; of rows and columns the ones.
  SmallVector<SplitFragments> right;
};

class RegisterFold {
public:
  RegisterFold(ThreadBuilder &b, const FoldedTile &folded);
  void fold();

private:
  /// A dF of a step, by block of columns and half: pairs of neighbours.
  using Pairs = SmallVector<Value>;
  /// Adjoints of the factors, by block of columns, half and factor.
  using StepAdjoints = SmallVector<std::array<SmallVector<Value>, kHalves>>;

  bool isFirstWanted(unsigned factor) const;
  SplitFragments ones();

  /// The columns from `first + step` on; `first` is the band's.
  StepAdjoints evaluate(Value first, int64_t step, ArrayRef<Value> tileSums,
                        ArrayRef<Value> dense);
  void foldStep(int64_t step, const StepAdjoints &adjoints,
                MutableArrayRef<Value> laneSums);
  /// Adjoints of each factor, of two columns of each half.
  std::array<SmallVector<Value>, kHalves> adjointsOf(Value first, int64_t step,
                                                     int64_t block,
                                                     ArrayRef<Value> tileSums,
                                                     ArrayRef<Value> dense);
  void storeDense(Value column, Value row, unsigned factor, Value adjoint);
  void contract(int64_t step, const Pairs &pairs,
                ArrayRef<const Contraction *> wanted,
                MutableArrayRef<Value> laneSums);
  void storeOverRows(Value first);
  void storeLaneSums(ArrayRef<Value> laneSums);

  void ifInside(Value inside, function_ref<void()> body) {
    if (inside)
      b.ifThen(inside, body);
    else
      body();
  }

  ThreadBuilder &b;
  const FoldedTile &folded;
  const GemmPlan &plan;
  const GemmTile &tile;
  const VirtualWeight &weight;
  FoldFactors factors;
  std::optional<WarpTranspose> transpose;
  Value warpSums; ///< [warp][row][column, as it is transposed]
  SmallVector<Contraction> contractions;
  int64_t laneSumCount = 0;
};
} // namespace

/// Whether a gradient is of the factor's first tensor.
bool RegisterFold::isFirstWanted(unsigned factor) const {
  return llvm::any_of(folded.gradients, [&](const WantedGradient &gradient) {
    return gradient.factor == factor && !gradient.second;
  });
}

RegisterFold::RegisterFold(ThreadBuilder &b, const FoldedTile &folded)
    : b(b), folded(folded), plan(folded.plan), tile(folded.tile),
      weight(folded.weight),
      factors(b, folded, [&](unsigned f) { return isFirstWanted(f); }) {
  int64_t sumRows = 0;
  for (auto [gradient, target] : llvm::zip(folded.gradients, folded.targets)) {
    if (gradient.kind == FactorKind::Dense)
      continue;
    Contraction &contraction = contractions.emplace_back();
    contraction.gradient = gradient;
    contraction.target = target;
    contraction.blocks = blocksOf(gradient.rank);
    bool isLowRank = gradient.kind == FactorKind::LowRank;
    if (gradient.isOverRows()) {
      contraction.place = sumRows;
      sumRows += isLowRank ? contraction.blocks * kMmaColumns : 1;
    } else {
      contraction.place = laneSumCount;
      laneSumCount += contraction.blocks * kMmaSums;
    }
    for (int64_t block = 0; block < contraction.blocks; ++block)
      if (!isLowRank)
        contraction.right.push_back(ones());
      else if (gradient.second)
        contraction.right.push_back(
            factors.ofRows(gradient.tensor - 1, gradient.rank, block));
  }
  if (sumRows) {
    transpose.emplace(b, kWarps);
    warpSums = b.sharedBuffer({kWarps, sumRows, kSumsLength});
  }
}

/// Of a right operand whose first column is ones, the others zeros.
SplitFragments RegisterFold::ones() {
  Value isFirst =
      b.cmpi(arith::CmpIPredicate::eq, b.divi(b.lane(), 4), b.index(0));
  Value pair = b.select(isFirst, b.i32(0x3f803f80), b.i32(0));
  return {{pair, pair}, {}};
}

void RegisterFold::fold() {
  factors.loadRows();
  SmallVector<Value> carried;
  tile.forGroups(b, [&](Value, Value, ValueRange values) {
    llvm::append_range(carried, values);
  });
  int64_t tileSums = carried.size();
  llvm::append_range(carried, factors.loadDense(b.index(0)));
  int64_t denseCount = carried.size() - tileSums;
  carried.append(laneSumCount, b.f32(0.0));
  factors.share(factors.load(b.index(0)));
  tile.barrier(b);
  int64_t bands = std::min(kWrittenOut, plan.tileN / kFoldBand);
  Value none = LLVM::PoisonOp::create(b, b.getF32Type());
  SmallVector<Value> sums = b.loop(
      b.index(0), b.index(plan.tileN), bands * kFoldBand, carried,
      [&](Value first, ValueRange carried) {
        SmallVector<Value> accumulators(carried.take_front(tileSums));
        SmallVector<Value> dense(
            carried.drop_front(tileSums).take_front(denseCount));
        SmallVector<Value> laneSums(carried.take_back(laneSumCount));
        for (int64_t number = 0; number < bands; ++number) {
          // After the last band it is loaded again, and not used.
          Value next = b.addi(first, kFoldBand);
          Value loaded = b.mini(next, b.index(plan.tileN - kFoldBand));
          SmallVector<Value> nextFactors;
          for (int64_t step = 0; step < kFoldBand; step += kFoldStep) {
            bool isLast = step + kFoldStep == kFoldBand;
            StepAdjoints adjoints =
                evaluate(first, step,
                         ArrayRef(accumulators).take_front(kStepSums), dense);
            accumulators.erase(accumulators.begin(),
                               accumulators.begin() + kStepSums);
            // When registers are free: while sums are taken, it comes.
            dense = factors.loadDense(isLast ? loaded
                                             : b.addi(first, step + kFoldStep));
            if (isLast)
              nextFactors = factors.load(loaded);
            foldStep(step, adjoints, laneSums);
          }
          tile.barrier(b); // all have read the factors and left their sums
          factors.share(nextFactors);
          storeOverRows(first);
          tile.barrier(b);
          first = next;
        }
        // What was folded is there no more.
        accumulators.resize(tileSums, none);
        SmallVector<Value> result(accumulators);
        llvm::append_range(result, dense);
        llvm::append_range(result, laneSums);
        return result;
      });
  storeLaneSums(ArrayRef(sums).take_back(laneSumCount));
}

RegisterFold::StepAdjoints RegisterFold::evaluate(Value first, int64_t step,
                                                  ArrayRef<Value> tileSums,
                                                  ArrayRef<Value> dense) {
  StepAdjoints adjoints;
  for (int64_t block = 0; block < kBlocks; ++block)
    adjoints.push_back(adjointsOf(first, step, block, tileSums, dense));
  return adjoints;
}

void RegisterFold::foldStep(int64_t step, const StepAdjoints &adjoints,
                            MutableArrayRef<Value> laneSums) {
  // Factors that share an adjoint share its fragments.
  SmallVector<bool> done(contractions.size());
  for (size_t i = 0; i < contractions.size(); ++i) {
    if (done[i])
      continue;
    unsigned factor = contractions[i].gradient.factor;
    Value adjoint = adjoints[0][0][factor];
    SmallVector<const Contraction *> wanted;
    for (size_t other = i; other < contractions.size(); ++other)
      if (adjoints[0][0][contractions[other].gradient.factor] == adjoint) {
        done[other] = true;
        wanted.push_back(&contractions[other]);
      }
    Pairs pairs;
    for (int64_t block = 0; block < kBlocks; ++block)
      for (int64_t half = 0; half < kHalves; ++half) {
        Value pair = adjoints[block][half][factor];
        pairs.push_back(pair ? pair : b.f32(0.0, /*lanes=*/2));
      }
    contract(step, pairs, wanted, laneSums);
  }
}

std::array<SmallVector<Value>, kHalves>
RegisterFold::adjointsOf(Value first, int64_t step, int64_t block,
                         ArrayRef<Value> tileSums, ArrayRef<Value> dense) {
  CriterionOp criterion = folded.criterion;
  Value inBand = b.addi(b.muli(factors.quad, 2), step + block * kMmaColumns);
  Value j = b.addi(first, inBand), column = factors.clampPair(j);
  auto values = factors.values(inBand, block, dense);
  std::array<SmallVector<Value>, kHalves> adjoints;
  for (int64_t half = 0; half < kHalves; ++half) {
    Value i = factors.row(half), row = folded.clampRow(b, i);
    Value g = pairOf(b, tileSums.slice(block * kMmaSums + 2 * half, 2));
    EmittedCriterion element(b, criterion, values[half]);
    Value mask = weight.mask(b, element, row, column);
    adjoints[half] = element.emitBackward(VirtualWeight::underMask(b, mask, g),
                                          weight.scoreAdjoint(b, element, g));
    Value inside = tile.isElement(b, i, j);
    for (const WantedGradient &gradient : folded.gradients)
      if (gradient.kind == FactorKind::Dense)
        ifInside(inside, [&] {
          storeDense(column, row, gradient.factor,
                     adjoints[half][gradient.factor]);
        });
    // Those of factors that share one are the same after it, too.
    llvm::SmallDenseMap<Value, Value> masked;
    if (inside)
      for (Value &adjoint : adjoints[half])
        if (adjoint) {
          Value &value = masked[adjoint];
          if (!value)
            value = b.select(inside, adjoint, b.f32(0.0, /*lanes=*/2));
          adjoint = value;
        }
  }
  return adjoints;
}

/// Two elements of the gradient of a dense factor.
void RegisterFold::storeDense(Value column, Value row, unsigned factor,
                              Value adjoint) {
  for (auto [gradient, target] : llvm::zip(folded.gradients, folded.targets)) {
    if (gradient.factor != factor)
      continue;
    if (!adjoint)
      adjoint = b.f32(0.0, /*lanes=*/2);
    if (gradient.added)
      adjoint = b.addf(b.load(target, {row, column}, /*lanes=*/2), adjoint);
    b.store(adjoint, target, {row, column});
  }
}

/// Adds to the lane's sums over columns; leaves the warp's sums over rows.
void RegisterFold::contract(int64_t step, const Pairs &pairs,
                            ArrayRef<const Contraction *> wanted,
                            MutableArrayRef<Value> laneSums) {
  SplitFragments left = splitLeft(b, pairs);
  for (const Contraction *contraction : wanted) {
    const WantedGradient &gradient = contraction->gradient;
    if (gradient.isOverRows())
      continue;
    for (int64_t block = 0; block < contraction->blocks; ++block) {
      auto sums =
          laneSums.slice(contraction->place + block * kMmaSums, kMmaSums);
      if (gradient.kind == FactorKind::Row) {
        multiply(b, sums, left, contraction->right[block]);
        continue;
      }
      multiply(b, sums, left,
               factors.ofColumns(gradient.tensor + 1, block, step));
    }
  }
  if (llvm::none_of(wanted, [](const Contraction *contraction) {
        return contraction->gradient.isOverRows();
      }))
    return;
  left = (*transpose)(b, left);
  Value group = b.divi(b.lane(), 4);
  for (const Contraction *contraction : wanted) {
    if (!contraction->gradient.isOverRows())
      continue;
    for (int64_t block = 0; block < contraction->blocks; ++block) {
      SmallVector<Value> sums(kMmaSums, b.f32(0.0));
      multiply(b, sums, left, contraction->right[block]);
      auto store = [&](int64_t e, Value row) {
        Value column = b.addi(group, step + e / 2 * kMmaColumns);
        b.store(sums[e], warpSums, {factors.warp, row, column});
      };
      if (contraction->gradient.kind == FactorKind::Col) {
        Value isFirst =
            b.cmpi(arith::CmpIPredicate::eq, factors.quad, b.index(0));
        b.ifThen(isFirst, [&] {
          for (int64_t e : {0, 2})
            store(e, b.index(contraction->place));
        });
        continue;
      }
      Value row = b.addi(b.muli(factors.quad, 2),
                         contraction->place + block * kMmaColumns);
      for (int64_t e = 0; e < kMmaSums; ++e)
        store(e, b.addi(row, e % 2));
    }
  }
}

/// The sums of all warps: a warp has a row of each eight, a lane a column.
void RegisterFold::storeOverRows(Value first) {
  Code lane(b, b.lane());
  Value j = b.addi(first, lane / kFoldStep * kFoldStep +
                              WarpTranspose::column(lane % kFoldStep));
  Value column = b.addi(tile.column, j), inColumns = tile.isColumn(b, j);
  for (const Contraction &contraction : contractions) {
    if (!contraction.gradient.isOverRows())
      continue;
    int64_t rank = contraction.gradient.rank;
    for (int64_t block = 0; block < contraction.blocks; ++block) {
      Value k = b.addi(factors.warp, block * kMmaColumns), inside = inColumns;
      if ((block + 1) * kMmaColumns > rank)
        inside = allOf(b, b.cmpi(arith::CmpIPredicate::slt, k, b.index(rank)),
                       inside);
      ifInside(inside, [&] {
        Value row = b.addi(k, contraction.place);
        Value sum = b.load(warpSums, {b.index(0), row, lane});
        for (int64_t other = 1; other < kWarps; ++other)
          sum = b.addf(sum, b.load(warpSums, {b.index(other), row, lane}));
        SmallVector<Value> place{folded.partial(b, tile.tileOfM)};
        if (contraction.gradient.kind == FactorKind::LowRank)
          place.push_back(k);
        place.push_back(column);
        b.store(sum, contraction.target, place);
      });
    }
  }
}

void RegisterFold::storeLaneSums(ArrayRef<Value> laneSums) {
  for (const Contraction &contraction : contractions) {
    const WantedGradient &gradient = contraction.gradient;
    if (gradient.isOverRows())
      continue;
    for (int64_t i = 0; i < contraction.blocks * kMmaSums; ++i) {
      int64_t half = i % kMmaSums / 2;
      Value k =
          b.addi(b.muli(factors.quad, 2), i / kMmaSums * kMmaColumns + i % 2);
      Value inside =
          allOf(b, tile.isRow(b, factors.row(half)),
                isBelow(b, b.index(0), k, gradient.rank, kMmaColumns));
      ifInside(inside, [&] {
        SmallVector<Value> place{folded.partial(b, tile.tileOfN),
                                 b.addi(tile.row, factors.row(half))};
        if (gradient.kind == FactorKind::LowRank)
          place.push_back(k);
        b.store(laneSums[contraction.place + i], contraction.target, place);
      });
    }
  }
}

void pst::cuda::foldInRegisters(ThreadBuilder &b, const FoldedTile &folded) {
  RegisterFold(b, folded).fold();
}

bool pst::cuda::foldsInRegisters(CriterionOp criterion, SelectionAttr selection,
                                 ValueRange factors) {
  if (selection && selection.getKind() != SelectionKind::Layer &&
      selection.getKind() != SelectionKind::Global &&
      selection.getKind() != SelectionKind::Row &&
      selection.getKind() != SelectionKind::Held)
    return false;
  FoldBand layout(criterion, factors, [](unsigned) { return true; });
  int64_t ranks = 0, sumRows = 0;
  for (const FoldBand::Entry &entry : layout.entries) {
    if (entry.fragment >= 0)
      ranks += entry.rank;
    sumRows += entry.fragment >= 0 ? blocksOf(entry.rank) * kMmaColumns : 1;
  }
  int64_t bytes = layout.bytes() + WarpTranspose::bytes(kWarps) +
                  kWarps * sumRows * kSumsLength * 4;
  return ranks <= kMostRanks && bytes <= WgmmaBuffers::kStaticBytes;
}
