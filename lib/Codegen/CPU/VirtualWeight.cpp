//===- VirtualWeight.cpp - Reads elements of a virtual weight -------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "VirtualWeight.h"

using namespace mlir;
using namespace pst;
using namespace pst::cpu;

/// Tensor (among all factor tensors) that has the weight's shape.
static unsigned denseTensor(CriterionOp criterion) {
  for (unsigned i = 0; i < criterion.getNumFactors(); ++i)
    if (criterion.getKind(i) == FactorKind::Dense)
      return criterion.getFirstTensor(i);
  llvm_unreachable("a criterion has a dense factor");
}

VirtualWeight::VirtualWeight(CriterionOp criterion, ValueRange factors,
                             Value threshold, Value cut)
    : criterion(criterion), factors(factors), threshold(threshold), cut(cut) {
  auto type = cast<ShapedType>(factors[denseTensor(criterion)].getType());
  rows = type.getDimSize(0);
  columns = type.getDimSize(1);
}

SmallVector<EmittedCriterion>
VirtualWeight::evaluateRows(KernelBuilder &b, Value row, int64_t count,
                            Value column, int64_t lanes) const {
  CriterionOp criterion = this->criterion;
  SmallVector<Value> rowIndices;
  for (int64_t i = 0; i < count; ++i)
    rowIndices.push_back(b.addi(row, i));
  SmallVector<SmallVector<Value>> values(count);
  for (unsigned f = 0; f < criterion.getNumFactors(); ++f) {
    unsigned first = criterion.getFirstTensor(f);
    Value factor = factors[first];
    auto push = [&](function_ref<Value(Value)> ofRow) {
      for (int64_t i = 0; i < count; ++i)
        values[i].push_back(ofRow(rowIndices[i]));
    };
    switch (criterion.getKind(f)) {
    case FactorKind::Dense:
      push([&](Value i) { return b.load(factor, {i, column}, lanes); });
      break;
    case FactorKind::Row:
      push([&](Value i) { return b.loadSplat(factor, i, lanes); });
      break;
    case FactorKind::Col: {
      Value shared = b.load(factor, column, lanes);
      push([&](Value) { return shared; });
      break;
    }
    case FactorKind::LowRank: {
      SmallVector<Value> sums = emitRankSums(
          b, cast<ShapedType>(factor.getType()).getDimSize(1),
          b.lanesType(lanes), count,
          [&](int64_t i, Value k) {
            return b.loadSplat(factor, {rowIndices[i], k}, lanes);
          },
          [&](Value k) {
            return b.load(factors[first + 1], {k, column}, lanes);
          });
      for (int64_t i = 0; i < count; ++i)
        values[i].push_back(sums[i]);
      break;
    }
    }
  }
  SmallVector<EmittedCriterion> elements;
  for (int64_t i = 0; i < count; ++i)
    elements.emplace_back(b, criterion, values[i]);
  return elements;
}

EmittedCriterion VirtualWeight::evaluate(KernelBuilder &b, Value row,
                                         Value column, int64_t lanes) const {
  return evaluateRows(b, row, /*count=*/1, column, lanes)[0];
}

Value VirtualWeight::mask(KernelBuilder &b, const EmittedCriterion &element,
                          Value row, Value column) const {
  if (!threshold)
    return nullptr;
  Value position = b.addi(b.muli(row, columns), column);
  return emitMask(b, element.getScore(), threshold, cut, position);
}

Value VirtualWeight::underMask(KernelBuilder &b, Value mask, Value value) {
  if (!mask)
    return value;
  auto vector = dyn_cast<VectorType>(value.getType());
  return b.select(mask, value,
                  b.f32(0.0, vector ? vector.getNumElements() : 1));
}

Value VirtualWeight::maskedWeight(KernelBuilder &b, Value row, Value column,
                                  int64_t lanes) const {
  EmittedCriterion element = evaluate(b, row, column, lanes);
  return underMask(b, mask(b, element, row, column), element.getWeight());
}

std::string pst::cpu::criterionName(CriterionOp criterion, ValueRange factors) {
  auto weight =
      cast<ShapedType>(factors[denseTensor(criterion)].getType()).getShape();
  std::string name = criterion.getSymName().str() + "_" +
                     std::to_string(weight[0]) + "x" +
                     std::to_string(weight[1]);
  for (unsigned i = 0; i < criterion.getNumFactors(); ++i)
    if (criterion.getKind(i) == FactorKind::LowRank) {
      auto left =
          cast<ShapedType>(factors[criterion.getFirstTensor(i)].getType());
      name += "_r" + std::to_string(left.getDimSize(1));
    }
  return name;
}
