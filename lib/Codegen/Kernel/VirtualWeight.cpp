//===- VirtualWeight.cpp - Reads elements of a virtual weight -------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "VirtualWeight.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace pst;
using namespace pst::kernel;

/// Tensor (among all factor tensors) that has the weight's shape.
static unsigned denseTensor(CriterionOp criterion) {
  for (unsigned i = 0; i < criterion.getNumFactors(); ++i)
    if (criterion.getKind(i) == FactorKind::Dense)
      return criterion.getFirstTensor(i);
  llvm_unreachable("a criterion has a dense factor");
}

VirtualWeight::VirtualWeight(CriterionOp criterion, ValueRange factors)
    : criterion(criterion), factors(factors) {
  auto type = cast<ShapedType>(factors[denseTensor(criterion)].getType());
  rows = type.getDimSize(0);
  columns = type.getDimSize(1);
}

/// By one address and constants, so that rows need no registers of their own.
Value VirtualWeight::rowsFrom(CodeBuilder &b, unsigned tensor, Value row,
                              int64_t count, int64_t rowSize) const {
  Value factor = factors[tensor];
  return memref::ReinterpretCastOp::create(
      b,
      MemRefType::get(
          {count * rowSize},
          cast<MemRefType>(factor.getType()).getElementType(),
          StridedLayoutAttr::get(b.getContext(), ShapedType::kDynamic, 1)),
      factor, /*offset=*/OpFoldResult(b.muli(row, rowSize)),
      ArrayRef<OpFoldResult>{b.getIndexAttr(count * rowSize)},
      ArrayRef<OpFoldResult>{b.getIndexAttr(1)});
}

int64_t VirtualWeight::rankOf(unsigned factor) const {
  CriterionOp criterion = this->criterion;
  Value left = factors[criterion.getFirstTensor(factor)];
  return cast<MemRefType>(left.getType()).getDimSize(1);
}

std::optional<int64_t> VirtualWeight::numColumnValues() const {
  CriterionOp criterion = this->criterion;
  int64_t number = 0;
  for (unsigned f = 0; f < criterion.getNumFactors(); ++f) {
    FactorKind kind = criterion.getKind(f);
    if (kind == FactorKind::LowRank && rankOf(f) > kUnrolledRank)
      return std::nullopt;
    number += kind == FactorKind::LowRank ? rankOf(f) : kind == FactorKind::Col;
  }
  return number;
}

SmallVector<SmallVector<Value>>
VirtualWeight::loadColumns(CodeBuilder &b, Value column, int64_t lanes) const {
  CriterionOp criterion = this->criterion;
  SmallVector<SmallVector<Value>> values(criterion.getNumFactors());
  for (unsigned f = 0; f < criterion.getNumFactors(); ++f) {
    unsigned first = criterion.getFirstTensor(f);
    if (criterion.getKind(f) == FactorKind::Col)
      values[f].push_back(b.load(factors[first], column, lanes));
    if (criterion.getKind(f) == FactorKind::LowRank)
      for (int64_t k = 0; k < rankOf(f); ++k)
        values[f].push_back(
            b.load(factors[first + 1], {b.index(k), column}, lanes));
  }
  return values;
}

SmallVector<Value> VirtualWeight::loadDense(CodeBuilder &b, unsigned tensor,
                                            Value row, int64_t count,
                                            Value column, int64_t lanes) const {
  Value rows = rowsFrom(b, tensor, row, count, columns);
  SmallVector<Value> values;
  for (int64_t i = 0; i < count; ++i)
    values.push_back(b.loadAsStored(rows, b.addi(column, i * columns), lanes));
  return values;
}

SmallVector<Value> VirtualWeight::loadDense(CodeBuilder &b, Value row,
                                            int64_t count, Value column,
                                            int64_t lanes) const {
  CriterionOp criterion = this->criterion;
  SmallVector<Value> values;
  for (unsigned f = 0; f < criterion.getNumFactors(); ++f)
    if (criterion.getKind(f) == FactorKind::Dense)
      llvm::append_range(values, loadDense(b, criterion.getFirstTensor(f), row,
                                           count, column, lanes));
  return values;
}

void VirtualWeight::prefetchNextRows(CodeBuilder &b, Value row, int64_t count,
                                     Value column) const {
  if (rows < count)
    return;
  CriterionOp criterion = this->criterion;
  Value next = b.mini(b.addi(row, count), b.index(rows - count));
  for (unsigned f = 0; f < criterion.getNumFactors(); ++f)
    if (criterion.getKind(f) == FactorKind::Dense)
      for (int64_t i = 0; i < count; ++i)
        memref::PrefetchOp::create(b, factors[criterion.getFirstTensor(f)],
                                   ValueRange{b.addi(next, i), column},
                                   /*isWrite=*/false,
                                   /*localityHint=*/3, /*isDataCache=*/true);
}

SmallVector<EmittedCriterion>
VirtualWeight::evaluateRows(CodeBuilder &b, Value row, int64_t count,
                            Value column, int64_t lanes,
                            const Loaded &loaded) const {
  CriterionOp criterion = this->criterion;
  SmallVector<SmallVector<Value>> values(count);
  ArrayRef<Value> dense(loaded.dense);
  for (unsigned f = 0; f < criterion.getNumFactors(); ++f) {
    unsigned first = criterion.getFirstTensor(f);
    ArrayRef<Value> shared;
    if (!loaded.columns.empty())
      shared = loaded.columns[f];
    auto push = [&](function_ref<Value(int64_t)> ofRow) {
      for (int64_t i = 0; i < count; ++i)
        values[i].push_back(ofRow(i));
    };
    switch (criterion.getKind(f)) {
    case FactorKind::Dense: {
      SmallVector<Value> own(
          dense.take_front(loaded.dense.empty() ? 0 : count));
      dense = dense.drop_front(own.size());
      if (own.empty())
        own = loadDense(b, first, row, count, column, lanes);
      push([&](int64_t i) { return b.widen(own[i]); });
      break;
    }
    case FactorKind::Row: {
      Value rows = rowsFrom(b, first, row, count, 1);
      push([&](int64_t i) { return b.loadSplat(rows, b.index(i), lanes); });
      break;
    }
    case FactorKind::Col: {
      Value value = shared.empty() ? b.load(factors[first], column, lanes)
                                   : shared.front();
      push([&](int64_t) { return value; });
      break;
    }
    case FactorKind::LowRank: {
      int64_t rank = rankOf(f);
      Value rows = rowsFrom(b, first, row, count, rank);
      // Of each row, several k by one load where they are aligned to it. All
      // rows' for the same k, for they are needed one after the other.
      int64_t most = b.splatsPerLoad();
      SmallVector<Value> together(count);
      auto left = [&](int64_t i, Value k) -> Value {
        std::optional<int64_t> constant = getConstantIntValue(k);
        if (!constant || lanes == 1 || most == 1 || rank % most != 0)
          return b.loadSplat(rows, b.addi(k, i * rank), lanes);
        if (*constant % most == 0)
          together[i] = b.load(rows, b.addi(k, i * rank), most);
        return b.splat(
            vector::ExtractOp::create(b, together[i], *constant % most), lanes);
      };
      SmallVector<Value> sums =
          emitRankSums(b, rank, b.lanesType(lanes), count, left, [&](Value k) {
            if (!shared.empty())
              return shared[*getConstantIntValue(k)];
            return b.load(factors[first + 1], {k, column}, lanes);
          });
      push([&](int64_t i) { return sums[i]; });
      break;
    }
    }
  }
  SmallVector<EmittedCriterion> elements;
  for (int64_t i = 0; i < count; ++i)
    elements.emplace_back(b, criterion, values[i]);
  return elements;
}

EmittedCriterion VirtualWeight::evaluate(CodeBuilder &b, Value row,
                                         Value column, int64_t lanes) const {
  return evaluateRows(b, row, /*count=*/1, column, lanes)[0];
}

Value VirtualWeight::underMask(CodeBuilder &b, Value mask, Value value) {
  if (!mask)
    return value;
  auto vector = dyn_cast<VectorType>(value.getType());
  return b.select(mask, value,
                  b.f32(0.0, vector ? vector.getNumElements() : 1));
}

Value VirtualWeight::maskedWeight(CodeBuilder &b, Value row, Value column,
                                  int64_t lanes) const {
  return maskedWeights(b, row, /*count=*/1, column, lanes, /*most=*/1)[0];
}

SmallVector<Value> VirtualWeight::maskedWeights(CodeBuilder &b, Value row,
                                                int64_t count, Value column,
                                                int64_t lanes,
                                                int64_t most) const {
  SmallVector<Value> weights;
  for (int64_t from = 0; from < count; from += most) {
    Value first = b.addi(row, from);
    SmallVector<EmittedCriterion> elements =
        evaluateRows(b, first, std::min(most, count - from), column, lanes);
    for (auto [i, element] : llvm::enumerate(elements))
      weights.push_back(underMask(b, mask(b, element, b.addi(first, i), column),
                                  element.getWeight()));
  }
  return weights;
}

CompressedLayout pst::kernel::compressedLayout(MaterializeOp op,
                                               CriterionOp criterion) {
  RankedTensorType weight = getWeightType(criterion, op.getFactors());
  CompressedLayout layout{weight.getDimSize(0), weight.getDimSize(1)};
  if (op.getTransposed())
    std::swap(layout.rows, layout.columns);
  return layout;
}
