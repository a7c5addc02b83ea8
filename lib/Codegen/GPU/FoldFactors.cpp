//===- FoldFactors.cpp - What a warp has of the factors -------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "FoldFactors.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace pst;
using namespace pst::cuda;

FoldBand::FoldBand(CriterionOp criterion, ValueRange factors,
                   function_ref<bool(unsigned)> isSplit) {
  for (FactorKind kind : {FactorKind::LowRank, FactorKind::Col})
    for (unsigned f = 0; f < criterion.getNumFactors(); ++f) {
      if (criterion.getKind(f) != kind)
        continue;
      unsigned tensor = criterion.getFirstTensor(f);
      Entry entry{tensor, 1, rows, -1};
      ++rows;
      if (kind == FactorKind::LowRank) {
        entry.rank = cast<ShapedType>(factors[tensor].getType()).getDimSize(1);
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

Value pst::cuda::pairOf(ThreadBuilder &b, ValueRange values) {
  return vector::FromElementsOp::create(b, b.lanesType(2), values);
}

FoldFactors::FoldFactors(ThreadBuilder &b, const FoldedTile &folded,
                         function_ref<bool(unsigned)> isSplit)
    : b(b), folded(folded), plan(folded.plan), weight(folded.weight),
      layout(folded.criterion, weight.getFactors(), isSplit) {
  Value lane = b.lane();
  warp = b.divi(folded.tile.thread(b), kWarp);
  quad = b.remi(lane, 4);
  firstRow = b.addi(b.muli(warp, kMmaRows), b.divi(lane, 4));
  if (layout.rows)
    band = b.sharedBuffer({kFoldBand / 2, layout.length()});
  if (layout.fragmentRows)
    fragments.emplace(b, layout.fragmentRows, kFoldBand);
}

Value FoldFactors::row(int64_t half) { return b.addi(firstRow, half * 8); }

/// Two elements are inside, or none: rows of G are multiples of 8.
Value FoldFactors::clampPair(Value j) {
  Value column = b.addi(folded.tile.column, j);
  return plan.n % plan.tileN ? b.mini(column, b.index(plan.n - 2)) : column;
}

const FoldBand::Entry &FoldFactors::find(unsigned tensor) const {
  return *llvm::find_if(layout.entries, [&](const FoldBand::Entry &entry) {
    return entry.tensor == tensor;
  });
}

/// A warp has a row of each eight, a lane a column.
SmallVector<Value> FoldFactors::load(Value first) {
  Value column = folded.clampColumn(b, b.addi(first, b.lane()));
  SmallVector<Value> values;
  for (const FoldBand::Entry &entry : layout.entries) {
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

void FoldFactors::share(ArrayRef<Value> values) {
  Value lane = b.lane(), pair = b.divi(lane, 2), second = b.remi(lane, 2);
  for (const FoldBand::Entry &entry : layout.entries) {
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

SmallVector<Value> FoldFactors::loadDense(Value first) {
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
        values.push_back(vector::LoadOp::create(
            b, type, factor,
            ValueRange{folded.clampRow(b, row(half)), clampPair(j)},
            /*nontemporal=*/false, alignment));
      }
  }
  return values;
}

void FoldFactors::loadRows() {
  rows.clear();
  CriterionOp criterion = folded.criterion;
  for (unsigned f = 0; f < criterion.getNumFactors(); ++f) {
    std::array<SmallVector<Value>, kHalves> &values = rows.emplace_back();
    Value factor = weight.getFactor(criterion.getFirstTensor(f));
    for (int64_t half = 0; half < kHalves; ++half) {
      Value place = folded.clampRow(b, row(half));
      if (criterion.getKind(f) == FactorKind::Row)
        values[half].push_back(b.load(factor, place));
      if (criterion.getKind(f) != FactorKind::LowRank)
        continue;
      int64_t rank = cast<MemRefType>(factor.getType()).getDimSize(1);
      int64_t step = rank % 4 == 0 ? 4 : 1;
      for (int64_t k = 0; k < rank; k += step)
        llvm::append_range(values[half],
                           b.loadGroup(factor, {place, b.index(k)}, step));
    }
  }
}

SmallVector<Value> FoldFactors::shared(int64_t row, Value column,
                                       int64_t count) {
  return b.loadGroup(band, {b.divi(column, 2), b.index(2 * row)}, count);
}

std::array<SmallVector<Value>, kHalves>
FoldFactors::values(Value inBand, int64_t block, ArrayRef<Value> dense) {
  CriterionOp criterion = folded.criterion;
  std::array<SmallVector<Value>, kHalves> values;
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
        values[half].push_back(b.splat(rows[f][half][0], 2));
      break;
    case FactorKind::Col: {
      Value pair = pairOf(b, shared(find(tensor).row, inBand, 2));
      for (int64_t half = 0; half < kHalves; ++half)
        values[half].push_back(pair);
      break;
    }
    case FactorKind::LowRank: {
      const FoldBand::Entry &entry = find(tensor + 1);
      SmallVector<Value> together; // of two ranks
      SmallVector<Value> sums = emitRankSums(
          b, entry.rank, b.lanesType(2), kHalves,
          [&](int64_t half, Value k) {
            return b.splat(rows[f][half][*getConstantIntValue(k)], 2);
          },
          [&](Value k) {
            int64_t number = *getConstantIntValue(k);
            if (number % 2 == 0)
              together = shared(entry.row + number, inBand, 4);
            return pairOf(b, ArrayRef(together).slice(number % 2 * 2, 2));
          });
      for (int64_t half = 0; half < kHalves; ++half)
        values[half].push_back(sums[half]);
      break;
    }
    }
  }
  return values;
}

/// Of a right operand that has the warp's rows of P, ranks from 8 `block` on.
SplitFragments FoldFactors::ofRows(unsigned tensor, int64_t rank,
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
    SplitValue parts = split(b, pairOf(b, {load(offset), load(offset + 1)}));
    result.high.push_back(parts.high);
    result.low.push_back(parts.low);
  }
  return result;
}

SplitFragments FoldFactors::ofColumns(unsigned tensor, int64_t block,
                                      int64_t step) {
  SmallVector<Value> parts = fragments->rightTransposed(
      b, find(tensor).fragment + block * kMmaRows, step / kFoldStep);
  ArrayRef<Value> all(parts);
  return {SmallVector<Value>(all.take_front(2)),
          SmallVector<Value>(all.drop_front(2))};
}
