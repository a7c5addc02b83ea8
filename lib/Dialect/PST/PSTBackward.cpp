//===- PSTBackward.cpp - Backward of the pst ops --------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "mlir/IR/Builders.h"
#include "pst/Dialect/NN/NNOps.h"
#include "pst/Dialect/PST/PSTOps.h"

using namespace mlir;
using namespace pst;

void MaskedMatmulOp::buildBackward(OpBuilder &builder,
                                   ValueRange resultGradients,
                                   const llvm::BitVector &needed,
                                   SmallVectorImpl<Value> &operandGradients) {
  // They are for what comes after the gradients.
  if (getKept() || getPreactivation())
    return;
  Location loc = getLoc();
  Value dy = resultGradients[0];
  if (getActivation()) {
    // The gradient of the sum, which is computed again.
    auto sum = cast<MaskedMatmulOp>(builder.clone(*getOperation()));
    sum.removeActivationAttr();
    dy = nn::ActivationBackwardOp::create(builder, loc, *getActivation(),
                                          sum.getResult(), dy);
  }
  if (getAddend()) {
    unsigned addend = getAddendMutable().begin()->getOperandNumber();
    if (needed[addend])
      operandGradients[addend] = dy;
  }
  if (getSeed())
    dy =
        nn::DropoutOp::create(builder, loc, dy, getSeed(), getProbabilityAttr(),
                              getSiteAttr(), getLengthAttr());
  unsigned input = getInputMutable().getOperandNumber();
  if (needed[input])
    operandGradients[input] =
        MaskedMatmulOp::create(builder, loc, getInput().getType(), dy,
                               getCriterion(), getFactors(), getSelectionAttr(),
                               getState(), getPruned(), /*bias=*/Value(),
                               /*transposed=*/!getTransposed())
            .getResult();

  // G = dY^T X; where the product was already transposed, Y = X W', the roles
  // of the two are exchanged.
  unsigned first = getFactorsMutable().begin()->getOperandNumber();
  SmallVector<int64_t> wrt;
  SmallVector<Type> types;
  for (auto [i, factor] : llvm::enumerate(getFactors()))
    if (needed[first + i]) {
      wrt.push_back(i);
      types.push_back(factor.getType());
    }
  if (!wrt.empty()) {
    Value outputGradient = getTransposed() ? Value(getInput()) : dy;
    Value layerInput = getTransposed() ? dy : Value(getInput());
    auto accumulate = LowRankAccumulateOp::create(
        builder, loc, types, outputGradient, layerInput, getCriterion(),
        getFactors(), getSelectionAttr(), getState(), wrt);
    for (auto [i, tensor] : llvm::enumerate(wrt))
      operandGradients[first + tensor] = accumulate.getGradients()[i];
  }

  if (getBias()) {
    unsigned bias = getBiasMutable().begin()->getOperandNumber();
    if (needed[bias])
      operandGradients[bias] =
          nn::ColumnSumOp::create(builder, loc, getBias().getType(), dy);
  }
}
