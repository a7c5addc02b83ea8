//===- NNBackward.cpp - Backward of the nn ops ----------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// Each op's backward, in the order of NNOps.td. `-pst-autodiff` calls them.

#include "mlir/IR/Builders.h"
#include "pst/Dialect/NN/NNOps.h"

using namespace mlir;
using namespace pst::nn;

void EmbeddingOp::buildBackward(OpBuilder &builder, ValueRange resultGradients,
                                const llvm::BitVector &needed,
                                SmallVectorImpl<Value> &operandGradients) {
  if (needed[1])
    operandGradients[1] =
        EmbeddingBackwardOp::create(builder, getLoc(), getTable().getType(),
                                    getIndices(), resultGradients[0]);
}

void AddPositionsOp::buildBackward(OpBuilder &builder,
                                   ValueRange resultGradients,
                                   const llvm::BitVector &needed,
                                   SmallVectorImpl<Value> &operandGradients) {
  if (needed[0])
    operandGradients[0] = resultGradients[0];
  if (needed[1])
    operandGradients[1] = PositionSumOp::create(
        builder, getLoc(), getTable().getType(), resultGradients[0], getIds(),
        getLengthAttr(), getFirstAttr());
}

void LinearOp::buildBackward(OpBuilder &builder, ValueRange resultGradients,
                             const llvm::BitVector &needed,
                             SmallVectorImpl<Value> &operandGradients) {
  Value dy = resultGradients[0];
  if (needed[0]) // dX = dY W, or dY W^T
    operandGradients[0] = MatmulOp::create(
        builder, getLoc(), getInput().getType(), dy, getWeight(),
        /*transpose_lhs=*/false, /*transpose_rhs=*/getTransposed());
  if (needed[1]) // dW = dY^T X, or X^T dY
    operandGradients[1] =
        MatmulOp::create(builder, getLoc(), getWeight().getType(),
                         getTransposed() ? Value(getInput()) : dy,
                         getTransposed() ? dy : Value(getInput()),
                         /*transpose_lhs=*/true, /*transpose_rhs=*/false);
  if (getBias() && needed[2])
    operandGradients[2] =
        ColumnSumOp::create(builder, getLoc(), getBias().getType(), dy);
}

void AddOp::buildBackward(OpBuilder &, ValueRange resultGradients,
                          const llvm::BitVector &needed,
                          SmallVectorImpl<Value> &operandGradients) {
  for (unsigned i : needed.set_bits())
    operandGradients[i] = resultGradients[0];
}

void ActivationOp::buildBackward(OpBuilder &builder, ValueRange resultGradients,
                                 const llvm::BitVector &,
                                 SmallVectorImpl<Value> &operandGradients) {
  operandGradients[0] = ActivationBackwardOp::create(
      builder, getLoc(), getKind(), getInput(), resultGradients[0]);
}

void GatedActivationOp::buildBackward(
    OpBuilder &builder, ValueRange resultGradients,
    const llvm::BitVector &needed, SmallVectorImpl<Value> &operandGradients) {
  Value dy = resultGradients[0];
  if (needed[0])
    operandGradients[0] = GatedActivationBackwardOp::create(
        builder, getLoc(), getKind(), getGate(), getValue(), dy);
  if (needed[1])
    operandGradients[1] =
        GatedActivationOp::create(builder, getLoc(), getKind(), getGate(), dy);
}

void DropoutOp::buildBackward(OpBuilder &builder, ValueRange resultGradients,
                              const llvm::BitVector &needed,
                              SmallVectorImpl<Value> &operandGradients) {
  if (needed[0])
    operandGradients[0] = DropoutOp::create(
        builder, getLoc(), getType(), resultGradients[0], getSeed(),
        getProbabilityAttr(), getSiteAttr(), getTokenAttr(), getLengthAttr());
}

void LayerNormOp::buildBackward(OpBuilder &builder, ValueRange resultGradients,
                                const llvm::BitVector &,
                                SmallVectorImpl<Value> &operandGradients) {
  auto backward = LayerNormBackwardOp::create(
      builder, getLoc(),
      TypeRange{getInput().getType(), getScale().getType(),
                getShift().getType()},
      getInput(), getScale(), resultGradients[0], getEpsilonAttr());
  llvm::copy(backward.getResults(), operandGradients.begin());
}

void RMSNormOp::buildBackward(OpBuilder &builder, ValueRange resultGradients,
                              const llvm::BitVector &,
                              SmallVectorImpl<Value> &operandGradients) {
  auto backward = RMSNormBackwardOp::create(
      builder, getLoc(), TypeRange{getInput().getType(), getScale().getType()},
      getInput(), getScale(), resultGradients[0], getEpsilonAttr());
  llvm::copy(backward.getResults(), operandGradients.begin());
}

void RotaryOp::buildBackward(OpBuilder &builder, ValueRange resultGradients,
                             const llvm::BitVector &needed,
                             SmallVectorImpl<Value> &operandGradients) {
  if (needed[0])
    operandGradients[0] = RotaryOp::create(
        builder, getLoc(), resultGradients[0], getTable(), !getTransposed());
}

void AttentionOp::buildBackward(OpBuilder &builder, ValueRange resultGradients,
                                const llvm::BitVector &,
                                SmallVectorImpl<Value> &operandGradients) {
  Type query = getQuery().getType(), key = getKey().getType();
  auto backward = AttentionBackwardOp::create(
      builder, getLoc(), TypeRange{query, key, key}, getQuery(), getKey(),
      getValue(), getMask(), resultGradients[0], getSeed(), getHeadsAttr(),
      getCausalAttr(), getWindowAttr(), getProbabilityAttr(), getSiteAttr());
  llvm::copy(backward.getResults(), operandGradients.begin());
}

void SelectTokenOp::buildBackward(OpBuilder &builder,
                                  ValueRange resultGradients,
                                  const llvm::BitVector &,
                                  SmallVectorImpl<Value> &operandGradients) {
  operandGradients[0] = SelectTokenBackwardOp::create(
      builder, getLoc(), getInput().getType(), resultGradients[0], getMask(),
      getIndexAttr());
}

void CrossEntropyOp::buildBackward(OpBuilder &builder,
                                   ValueRange resultGradients,
                                   const llvm::BitVector &needed,
                                   SmallVectorImpl<Value> &operandGradients) {
  if (needed[0])
    operandGradients[0] = CrossEntropyBackwardOp::create(
        builder, getLoc(), getLogits(), getLabels(), getScale(),
        resultGradients[0], getWeights(), getSmoothing());
}

void LinearCrossEntropyOp::buildBackward(
    OpBuilder &builder, ValueRange resultGradients,
    const llvm::BitVector &needed, SmallVectorImpl<Value> &operandGradients) {
  if (!needed[0] && !needed[1])
    return;
  auto backward = LinearCrossEntropyBackwardOp::create(
      builder, getLoc(), getInput().getType(),
      needed[1] ? Type(getWeight().getType()) : Type(), getInput(), getWeight(),
      getLabels(), getScale(), resultGradients[0], getSmoothing());
  operandGradients[0] = backward.getInputGradient();
  operandGradients[1] = backward.getWeightGradient();
}

void BinaryCrossEntropyOp::buildBackward(
    OpBuilder &builder, ValueRange resultGradients,
    const llvm::BitVector &needed, SmallVectorImpl<Value> &operandGradients) {
  if (needed[0])
    operandGradients[0] = BinaryCrossEntropyBackwardOp::create(
        builder, getLoc(), getLogits(), getLabels(), getScale(),
        resultGradients[0], getWeights());
}

void SquaredErrorOp::buildBackward(OpBuilder &builder,
                                   ValueRange resultGradients,
                                   const llvm::BitVector &needed,
                                   SmallVectorImpl<Value> &operandGradients) {
  if (needed[0])
    operandGradients[0] = SquaredErrorBackwardOp::create(
        builder, getLoc(), getPredictions(), getLabels(), getScale(),
        resultGradients[0]);
}

void DistillationLossOp::buildBackward(
    OpBuilder &builder, ValueRange resultGradients,
    const llvm::BitVector &needed, SmallVectorImpl<Value> &operandGradients) {
  if (needed[0])
    operandGradients[0] = DistillationLossBackwardOp::create(
        builder, getLoc(), getLogits(), getTeacher(), getScale(),
        resultGradients[0], getTemperature(), getBinary());
}
