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

#include "LowRankFold.h"
#include "SplitMatrix.h"
#include "WgmmaTile.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

using namespace mlir;
using namespace pst;
using namespace pst::cuda;

/// Columns that are evaluated at a time, those of a band, and the bands that
/// are written out: the others' accumulators move up to their place.
static constexpr int64_t kStep = 16, kBand = 32, kWrittenOut = 2;
/// Rows, of which a lane has two, and blocks of columns of a step.
static constexpr int64_t kHalves = 2, kBlocks = kStep / kMmaColumns;
/// Accumulators of a step.
static constexpr int64_t kStepSums = kBlocks * kMmaSums;
static constexpr int64_t kWarps = kWgmmaConsumers * kWarpgroup / kWarp;
/// Words from one row of the warps' sums to the next: eight lanes' words and
/// those two rows below lie in different banks.
static constexpr int64_t kSumsLength = kBand + 4;
/// The most that lanes keep of their rows, and the longest sum that is written
/// out (emitRankSums).
static constexpr int64_t kMostRanks = 16;

/// Ranks come by eight, the columns of a product's result.
static int64_t blocksOf(int64_t rank) {
  return llvm::divideCeil(rank, kMmaColumns);
}

namespace {

/// Where the factors of a band lie in shared memory.
struct BandLayout {
  struct Entry {
    unsigned tensor;
    int64_t rank;     ///< 1: of a column
    int64_t row;      ///< The first of the tensor's in the band.
    int64_t fragment; ///< Its first row among the fragments; -1: none.
  };
  llvm::SmallVector<Entry> entries;
  int64_t rows = 0, fragmentRows = 0;

  /// `isSplit` says of which low-rank factors gradients of P are wanted.
  BandLayout(CriterionOp criterion, ValueRange factors,
             function_ref<bool(unsigned)> isSplit) {
    for (FactorKind kind : {FactorKind::LowRank, FactorKind::Col})
      for (unsigned f = 0; f < criterion.getNumFactors(); ++f) {
        if (criterion.getKind(f) != kind)
          continue;
        unsigned tensor = criterion.getFirstTensor(f);
        Entry entry{tensor, 1, rows, -1};
        ++rows;
        if (kind == FactorKind::LowRank) {
          entry.rank =
              cast<ShapedType>(factors[tensor].getType()).getDimSize(1);
          ++entry.tensor;
          rows += blocksOf(entry.rank) * kMmaColumns - 1;
          if (isSplit(f)) {
            entry.fragment = fragmentRows;
            fragmentRows += blocksOf(entry.rank) * kMmaRows;
          }
        }
        entries.push_back(entry);
      }
  }

  /// Words that a lane reads of two columns, one row after the other, by 16
  /// bytes: those of a warp's four, `length` apart, lie in different banks.
  int64_t length() const {
    int64_t words = llvm::alignTo(2 * rows, 4);
    return words % 16 == 0 ? words + 4 : words;
  }
  int64_t bytes() const {
    return kBand / 2 * length() * 4 + SharedMatrix::bytes(fragmentRows, kBand);
  }
};

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

  bool isWanted(unsigned factor, bool second) const;
  SplitFragments ones();
  SplitFragments leftFragments(unsigned tensor, int64_t rank, int64_t block);

  /// The factors of the band at `first`: in registers, and to shared memory.
  SmallVector<Value> loadFactors(Value first);
  void shareFactors(ArrayRef<Value> values);
  /// The lane's elements of dense factors in a step.
  SmallVector<Value> loadDense(Value first);
  void loadRows();

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

  Value rowInTile(int64_t half) { return b.addi(ownRow, half * 8); }
  SmallVector<Value> shared(int64_t row, Value column, int64_t count) {
    return b.loadGroup(band, {b.divi(column, 2), b.index(2 * row)}, count);
  }
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
  BandLayout layout;
  Value warp, ownRow, quad; ///< The lane's first row and, of four, its place.
  Value band;               ///< Factors, [pair of columns][row, column].
  std::optional<SharedMatrix> fragments;
  std::optional<WarpTranspose> transpose;
  Value warpSums; ///< [warp][row][column, as it is transposed]
  SmallVector<Contraction> contractions;
  int64_t laneSumCount = 0;
  /// By factor and half: of a row, or of P.
  SmallVector<std::array<SmallVector<Value>, kHalves>> ofRows;
};
} // namespace

/// Whether a gradient is of the factor's first or second tensor.
bool RegisterFold::isWanted(unsigned factor, bool second) const {
  return llvm::any_of(folded.gradients, [&](const WantedGradient &gradient) {
    return gradient.factor == factor && gradient.second == second;
  });
}

RegisterFold::RegisterFold(ThreadBuilder &b, const FoldedTile &folded)
    : b(b), folded(folded), plan(folded.plan), tile(folded.tile),
      weight(folded.weight),
      layout(folded.criterion, folded.weight.getFactors(),
             [&](unsigned f) { return isWanted(f, /*second=*/false); }) {
  Value thread = tile.thread(b), lane = b.lane();
  warp = b.divi(thread, kWarp);
  quad = b.remi(lane, 4);
  ownRow = b.addi(b.muli(warp, kMmaRows), b.divi(lane, 4));
  if (layout.rows)
    band = b.sharedBuffer({kBand / 2, layout.length()});
  if (layout.fragmentRows)
    fragments.emplace(b, layout.fragmentRows, kBand);
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
            leftFragments(gradient.tensor - 1, gradient.rank, block));
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

/// Of a right operand that has the warp's rows of P, ranks from 8 `block` on.
SplitFragments RegisterFold::leftFragments(unsigned tensor, int64_t rank,
                                           int64_t block) {
  Value k = b.addi(b.divi(b.lane(), 4), block * kMmaColumns);
  Value inside;
  if (rank % kMmaColumns) {
    inside = b.cmpi(arith::CmpIPredicate::slt, k, b.index(rank));
    k = b.mini(k, b.index(rank - 1));
  }
  Value first = b.addi(b.muli(warp, kMmaRows), b.muli(quad, 2));
  auto load = [&](int64_t offset) {
    Value row = folded.clampRow(b, b.addi(first, offset));
    Value value = b.load(weight.getFactor(tensor), {row, k});
    return inside ? b.select(inside, value, b.f32(0.0)) : value;
  };
  SplitFragments result;
  for (int64_t offset : {0, 8}) {
    Value pair = vector::FromElementsOp::create(
        b, b.lanesType(2), ValueRange{load(offset), load(offset + 1)});
    SplitValue parts = split(b, pair);
    result.high.push_back(parts.high);
    result.low.push_back(parts.low);
  }
  return result;
}

/// A warp has a row of each eight, a lane a column.
SmallVector<Value> RegisterFold::loadFactors(Value first) {
  Value column = folded.clampColumn(b, b.addi(first, b.lane()));
  SmallVector<Value> values;
  for (const BandLayout::Entry &entry : layout.entries) {
    Value factor = weight.getFactor(entry.tensor);
    if (cast<MemRefType>(factor.getType()).getRank() == 1) {
      values.push_back(b.load(factor, column));
      continue;
    }
    for (int64_t block = 0; block < blocksOf(entry.rank); ++block) {
      Value k = b.addi(warp, block * kMmaColumns);
      Value last = b.index(entry.rank - 1);
      bool isWhole = (block + 1) * kMmaColumns <= entry.rank;
      Value value = b.load(factor, {isWhole ? k : b.mini(k, last), column});
      if (!isWhole)
        value = b.select(b.cmpi(arith::CmpIPredicate::sle, k, last), value,
                         b.f32(0.0));
      values.push_back(value);
    }
  }
  return values;
}

void RegisterFold::shareFactors(ArrayRef<Value> values) {
  Value lane = b.lane(), pair = b.divi(lane, 2), second = b.remi(lane, 2);
  for (const BandLayout::Entry &entry : layout.entries) {
    bool isColumn =
        cast<MemRefType>(weight.getFactor(entry.tensor).getType()).getRank() ==
        1;
    for (int64_t block = 0; block < blocksOf(entry.rank); ++block) {
      Value value = values.front();
      values = values.drop_front();
      Value k = isColumn ? b.index(entry.row)
                         : b.addi(warp, entry.row + block * kMmaColumns);
      // Of a column, all warps store the same.
      b.store(value, band, {pair, b.addi(b.muli(k, 2), second)});
      if (entry.fragment < 0)
        continue;
      SplitValue parts = split(b, value);
      Value row = b.addi(warp, entry.fragment + block * kMmaRows);
      fragments->store(b, row, lane, parts.high);
      fragments->store(b, b.addi(row, kMmaColumns), lane, parts.low);
    }
  }
}

SmallVector<Value> RegisterFold::loadDense(Value first) {
  SmallVector<Value> values;
  CriterionOp criterion = folded.criterion;
  for (unsigned f = 0; f < criterion.getNumFactors(); ++f) {
    if (criterion.getKind(f) != FactorKind::Dense)
      continue;
    Value factor = weight.getFactor(criterion.getFirstTensor(f));
    Type element = cast<MemRefType>(factor.getType()).getElementType();
    auto type = cast<VectorType>(b.lanesType(2, element));
    llvm::MaybeAlign alignment(2 * element.getIntOrFloatBitWidth() / 8);
    for (int64_t block = 0; block < kBlocks; ++block)
      for (int64_t half = 0; half < kHalves; ++half) {
        Value j = b.addi(b.addi(first, b.muli(quad, 2)), block * kMmaColumns);
        // Two elements are inside, or none: rows of G are multiples of 8.
        Value column = b.addi(tile.column, j);
        if (plan.n % plan.tileN)
          column = b.mini(column, b.index(plan.n - 2));
        values.push_back(vector::LoadOp::create(
            b, type, factor,
            ValueRange{folded.clampRow(b, rowInTile(half)), column},
            /*nontemporal=*/false, alignment));
      }
  }
  return values;
}

void RegisterFold::loadRows() {
  ofRows.clear();
  CriterionOp criterion = folded.criterion;
  for (unsigned f = 0; f < criterion.getNumFactors(); ++f) {
    std::array<SmallVector<Value>, kHalves> &values = ofRows.emplace_back();
    Value factor = weight.getFactor(criterion.getFirstTensor(f));
    for (int64_t half = 0; half < kHalves; ++half) {
      Value row = folded.clampRow(b, rowInTile(half));
      if (criterion.getKind(f) == FactorKind::Row)
        values[half].push_back(b.load(factor, row));
      if (criterion.getKind(f) != FactorKind::LowRank)
        continue;
      int64_t rank = cast<MemRefType>(factor.getType()).getDimSize(1);
      int64_t step = rank % 4 == 0 ? 4 : 1;
      for (int64_t k = 0; k < rank; k += step)
        llvm::append_range(values[half],
                           b.loadGroup(factor, {row, b.index(k)}, step));
    }
  }
}

void RegisterFold::fold() {
  loadRows();
  SmallVector<Value> carried;
  tile.forGroups(b, [&](Value, Value, ValueRange values) {
    llvm::append_range(carried, values);
  });
  int64_t tileSums = carried.size();
  llvm::append_range(carried, loadDense(b.index(0)));
  int64_t denseCount = carried.size() - tileSums;
  carried.append(laneSumCount, b.f32(0.0));
  shareFactors(loadFactors(b.index(0)));
  tile.barrier(b);
  int64_t bands = std::min(kWrittenOut, plan.tileN / kBand);
  Value none = LLVM::PoisonOp::create(b, b.getF32Type());
  SmallVector<Value> sums = b.loop(
      b.index(0), b.index(plan.tileN), bands * kBand, carried,
      [&](Value first, ValueRange carried) {
        SmallVector<Value> accumulators(carried.take_front(tileSums));
        SmallVector<Value> dense(
            carried.drop_front(tileSums).take_front(denseCount));
        SmallVector<Value> laneSums(carried.take_back(laneSumCount));
        for (int64_t number = 0; number < bands; ++number) {
          // After the last band it is loaded again, and not used.
          Value next = b.addi(first, kBand);
          Value loaded = b.mini(next, b.index(plan.tileN - kBand));
          SmallVector<Value> nextFactors;
          for (int64_t step = 0; step < kBand; step += kStep) {
            bool isLast = step + kStep == kBand;
            StepAdjoints adjoints =
                evaluate(first, step,
                         ArrayRef(accumulators).take_front(kStepSums), dense);
            accumulators.erase(accumulators.begin(),
                               accumulators.begin() + kStepSums);
            // When registers are free: while sums are taken, it comes.
            dense = loadDense(isLast ? loaded : b.addi(first, step + kStep));
            if (isLast)
              nextFactors = loadFactors(loaded);
            foldStep(step, adjoints, laneSums);
          }
          tile.barrier(b); // all have read the factors and left their sums
          shareFactors(nextFactors);
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
  Value inBand = b.addi(b.muli(quad, 2), step + block * kMmaColumns);
  Value j = b.addi(first, inBand), column = b.addi(tile.column, j);
  if (plan.n % plan.tileN)
    column = b.mini(column, b.index(plan.n - 2));
  auto pairOf = [&](ValueRange values) -> Value {
    return vector::FromElementsOp::create(b, b.lanesType(2), values);
  };
  std::array<SmallVector<Value>, kHalves> values;
  const BandLayout::Entry *entry = nullptr;
  auto find = [&](unsigned tensor) {
    entry = llvm::find_if(layout.entries,
                          [&](auto &entry) { return entry.tensor == tensor; });
  };
  for (unsigned f = 0; f < criterion.getNumFactors(); ++f) {
    unsigned tensor = criterion.getFirstTensor(f);
    switch (criterion.getKind(f)) {
    case FactorKind::Dense:
      for (int64_t half = 0; half < kHalves; ++half) {
        Value pair = dense[block * kHalves + half];
        values[half].push_back(
            cast<VectorType>(pair.getType()).getElementType().isBF16()
                ? b.widen(pair)
                : pair);
      }
      dense = dense.drop_front(kBlocks * kHalves);
      break;
    case FactorKind::Row:
      for (int64_t half = 0; half < kHalves; ++half)
        values[half].push_back(b.splat(ofRows[f][half][0], 2));
      break;
    case FactorKind::Col: {
      find(tensor);
      Value pair = pairOf(shared(entry->row, inBand, 2));
      for (int64_t half = 0; half < kHalves; ++half)
        values[half].push_back(pair);
      break;
    }
    case FactorKind::LowRank: {
      find(tensor + 1);
      SmallVector<Value> together; // of two ranks
      SmallVector<Value> sums = emitRankSums(
          b, entry->rank, b.lanesType(2), kHalves,
          [&](int64_t half, Value k) {
            return b.splat(ofRows[f][half][*getConstantIntValue(k)], 2);
          },
          [&](Value k) {
            int64_t number = *getConstantIntValue(k);
            if (number % 2 == 0)
              together = shared(entry->row + number, inBand, 4);
            return pairOf(ArrayRef(together).slice(number % 2 * 2, 2));
          });
      for (int64_t half = 0; half < kHalves; ++half)
        values[half].push_back(sums[half]);
      break;
    }
    }
  }
  std::array<SmallVector<Value>, kHalves> adjoints;
  for (int64_t half = 0; half < kHalves; ++half) {
    Value i = rowInTile(half), row = folded.clampRow(b, i);
    Value g = pairOf(tileSums.slice(block * kMmaSums + 2 * half, 2));
    EmittedCriterion element(b, criterion, values[half]);
    Value mask = weight.mask(b, element, row, column), scoreAdjoint;
    if (element.getScore())
      scoreAdjoint = b.mulf(g, element.getWeight());
    adjoints[half] = element.emitBackward(VirtualWeight::underMask(b, mask, g),
                                          scoreAdjoint);
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
      auto *entry = llvm::find_if(layout.entries, [&](auto &entry) {
        return entry.tensor == gradient.tensor + 1;
      });
      SmallVector<Value> parts = fragments->rightTransposed(
          b, entry->fragment + block * kMmaRows, step / kStep);
      ArrayRef<Value> all(parts);
      multiply(b, sums, left,
               SplitFragments{SmallVector<Value>(all.take_front(2)),
                              SmallVector<Value>(all.drop_front(2))});
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
        b.store(sums[e], warpSums, {warp, row, column});
      };
      if (contraction->gradient.kind == FactorKind::Col) {
        Value isFirst = b.cmpi(arith::CmpIPredicate::eq, quad, b.index(0));
        b.ifThen(isFirst, [&] {
          for (int64_t e : {0, 2})
            store(e, b.index(contraction->place));
        });
        continue;
      }
      Value row =
          b.addi(b.muli(quad, 2), contraction->place + block * kMmaColumns);
      for (int64_t e = 0; e < kMmaSums; ++e)
        store(e, b.addi(row, e % 2));
    }
  }
}

/// The sums of all warps: a warp has a row of each eight, a lane a column.
void RegisterFold::storeOverRows(Value first) {
  Code lane(b, b.lane());
  Value j =
      b.addi(first, lane / kStep * kStep + WarpTranspose::column(lane % kStep));
  Value column = b.addi(tile.column, j), inColumns = tile.isColumn(b, j);
  for (const Contraction &contraction : contractions) {
    if (!contraction.gradient.isOverRows())
      continue;
    int64_t rank = contraction.gradient.rank;
    for (int64_t block = 0; block < contraction.blocks; ++block) {
      Value k = b.addi(warp, block * kMmaColumns), inside = inColumns;
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
      Value k = b.addi(b.muli(quad, 2), i / kMmaSums * kMmaColumns + i % 2);
      Value inside =
          allOf(b, tile.isRow(b, rowInTile(half)),
                isBelow(b, b.index(0), k, gradient.rank, kMmaColumns));
      ifInside(inside, [&] {
        SmallVector<Value> place{folded.partial(b, tile.tileOfN),
                                 b.addi(tile.row, rowInTile(half))};
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
      selection.getKind() != SelectionKind::Row)
    return false;
  BandLayout layout(criterion, factors, [](unsigned) { return true; });
  int64_t ranks = 0, sumRows = 0;
  for (const BandLayout::Entry &entry : layout.entries) {
    if (entry.fragment >= 0)
      ranks += entry.rank;
    sumRows += entry.fragment >= 0 ? blocksOf(entry.rank) * kMmaColumns : 1;
  }
  int64_t bytes = layout.bytes() + WarpTranspose::bytes(kWarps) +
                  kWarps * sumRows * kSumsLength * 4;
  return ranks <= kMostRanks && bytes <= WgmmaBuffers::kStaticBytes;
}
