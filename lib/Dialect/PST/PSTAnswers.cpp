//===- PSTAnswers.cpp - What the pst ops answer passes --------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Dialect/Interfaces/Work.h"
#include "pst/Dialect/NN/NNPacking.h"
#include "pst/Dialect/PST/PSTOps.h"

using namespace mlir;
using namespace pst;

//===----------------------------------------------------------------------===//
// Activations, and weights of bf16
//===----------------------------------------------------------------------===//

SmallVector<OpOperand *> MaskedMatmulOp::getActivationOperands() {
  SmallVector<OpOperand *> found{&getInputMutable()};
  for (OpOperand &addend : getAddendMutable())
    found.push_back(&addend);
  return found;
}

SmallVector<OpResult> MaskedMatmulOp::getActivationResults() {
  return {cast<OpResult>(getResult())};
}

/// Whether the operand is a dense factor of a virtual weight.
template <typename OpT> static bool isDenseFactor(OpT op, unsigned number) {
  auto criterion = SymbolTable::lookupNearestSymbolFrom<CriterionOp>(
      op, op.getCriterionAttr());
  unsigned first = op.getFactors().getBeginOperandIndex();
  for (unsigned i = 0; criterion && i < criterion.getNumFactors(); ++i)
    if (criterion.getKind(i) == FactorKind::Dense &&
        first + criterion.getFirstTensor(i) == number)
      return true;
  return false;
}

/// The same for an op on several layers: the factors of one follow those of
/// another.
template <typename OpT>
static bool isDenseFactorOfLayers(OpT op, size_t layers, unsigned number) {
  size_t all = op.getFactors().size();
  return number < all && isDenseFactor(op, number % (all / layers));
}

bool TopKThresholdOp::widensOperand(unsigned number) {
  return isDenseFactorOfLayers(*this, getSparsities().size(), number);
}

bool MaskedMatmulOp::widensOperand(unsigned number) {
  return isDenseFactor(*this, number);
}

bool RowThresholdsOp::widensOperand(unsigned number) {
  return isDenseFactor(*this, number);
}

bool BlockScoresOp::widensOperand(unsigned number) {
  return isDenseFactor(*this, number);
}

bool CommonThresholdOp::widensOperand(unsigned number) {
  return isDenseFactorOfLayers(*this, getCuts().size(), number);
}

bool LowRankAccumulateOp::widensOperand(unsigned number) {
  return isDenseFactor(*this, number);
}

bool MaskedWeightOp::widensOperand(unsigned number) {
  return isDenseFactor(*this, number);
}

bool MaskBitsOp::widensOperand(unsigned number) {
  return isDenseFactor(*this, number);
}

bool MaterializeOp::widensOperand(unsigned number) {
  return isDenseFactor(*this, number);
}

//===----------------------------------------------------------------------===//
// Work
//===----------------------------------------------------------------------===//

int64_t MaskedMatmulOp::countFlops() {
  RankedTensorType input = getInput().getType();
  return 2 * nn::storedRows(input) * input.getDimSize(1) *
         getType().getDimSize(1);
}

// The weight that is multiplied is as large as the masked one, of the input's
// type; the factors are for what makes it.
int64_t MaskedMatmulOp::countBytes() {
  RankedTensorType input = getInput().getType();
  int64_t bytes = input.getDimSize(1) * getType().getDimSize(1) *
                  input.getElementTypeBitWidth() / 8;
  for (Value value :
       std::initializer_list<Value>{getInput(), getBias(), getAddend(),
                                    getPreactivation(), getResult(), getKept()})
    bytes += value ? bytesOf(value.getType()) : 0;
  return bytes;
}

int64_t LowRankAccumulateOp::countFlops() {
  RankedTensorType gradient = getOutputGradient().getType();
  return 2 * nn::storedRows(gradient) * gradient.getDimSize(1) *
         getInput().getType().getDimSize(1);
}

// The gradient that the value is added to is no operand, and is written too.
int64_t AccumulateOp::countBytes() { return 3 * bytesOf(getValue().getType()); }

// Four buffers of f32, each read and written.
int64_t AdamWOp::countBytes() { return getSize() * 4 * 4 * 2; }
