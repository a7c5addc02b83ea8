//===- CountWork.cpp - What launches are for, and how much of it ----------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "CountWork.h"
#include "mlir/IR/TypeUtilities.h"
#include "pst/Codegen/GPUPasses.h"
#include "pst/Dialect/NN/NNOps.h"
#include "pst/Dialect/PST/PSTOps.h"
#include "llvm/ADT/SmallPtrSet.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace pst;
using namespace pst::cuda;

static int64_t elementsOf(Value value) {
  return cast<ShapedType>(value.getType()).getNumElements();
}

static int64_t dim(Value value, unsigned i) {
  return cast<ShapedType>(value.getType()).getDimSize(i);
}

int64_t pst::cuda::bytesOf(Type type) {
  auto shaped = dyn_cast<ShapedType>(type);
  return shaped ? shaped.getNumElements() *
                      shaped.getElementType().getIntOrFloatBitWidth() / 8
                : 0;
}

/// One product of an attention, over all heads: for each query and each key
/// that it may see, a multiply-add for each column of the head.
template <typename OpT> static int64_t attentionFlops(OpT op) {
  int64_t batch = dim(op.getMask(), 0), length = dim(op.getMask(), 1);
  int64_t pairs = op.getCausal() ? length * (length + 1) / 2 : length * length;
  return 2 * batch * pairs * dim(op.getQuery(), 1);
}

static int64_t flopsOf(Operation *op) {
  return llvm::TypeSwitch<Operation *, int64_t>(op)
      .Case([](nn::LinearOp op) {
        return 2 * dim(op.getInput(), 0) * elementsOf(op.getWeight());
      })
      .Case([](nn::MatmulOp op) {
        int64_t depth = dim(op.getLhs(), op.getTransposeLhs() ? 0 : 1);
        return 2 * elementsOf(op.getResult()) * depth;
      })
      .Case([](MaskedMatmulOp op) {
        return 2 * elementsOf(op.getInput()) * dim(op.getResult(), 1);
      })
      .Case([](LowRankAccumulateOp op) {
        return 2 * elementsOf(op.getOutputGradient()) * dim(op.getInput(), 1);
      })
      // Scores and their product with the values; backward the scores again,
      // and the gradients of queries, keys, values and probabilities.
      .Case([](nn::AttentionOp op) { return 2 * attentionFlops(op); })
      .Case([](nn::AttentionBackwardOp op) { return 5 * attentionFlops(op); })
      // The logits, which backward are computed again.
      .Case([](nn::LinearCrossEntropyOp op) {
        return 2 * dim(op.getInput(), 0) * elementsOf(op.getWeight());
      })
      .Case([](nn::LinearCrossEntropyBackwardOp op) {
        int64_t products = op.getWeightGradient() ? 3 : 2;
        return products * 2 * dim(op.getInput(), 0) *
               elementsOf(op.getWeight());
      })
      .Default(int64_t(0));
}

/// Of an operand, as far as the op reads it.
static int64_t readBytes(Operation *op, Value operand) {
  int64_t whole = bytesOf(operand.getType());
  if (auto embedding = dyn_cast<nn::EmbeddingOp>(op))
    if (operand == embedding.getTable()) {
      int64_t row = whole / dim(operand, 0);
      return std::min(whole, row * dim(embedding.getResult(), 0));
    }
  if (auto select = dyn_cast<nn::SelectTokenOp>(op))
    if (operand == select.getInput())
      return bytesOf(select.getResult().getType());
  return whole;
}

static int64_t bytesOfOp(Operation *op) {
  // Four buffers of f32, each read and written.
  if (auto adamw = dyn_cast<AdamWOp>(op))
    return adamw.getSize() * 4 * 4 * 2;
  // The product's weight is there, written by a launch that counts for itself.
  if (auto product = dyn_cast<MaskedMatmulOp>(op)) {
    int64_t width =
        bytesOf(product.getInput().getType()) / elementsOf(product.getInput());
    int64_t bytes =
        dim(product.getInput(), 1) * dim(product.getResult(), 1) * width;
    for (Value value : {product.getInput(), product.getBias(),
                        product.getAddend(), product.getResult()})
      bytes += value ? bytesOf(value.getType()) : 0;
    return bytes;
  }
  int64_t bytes = 0;
  llvm::SmallPtrSet<Value, 8> seen;
  for (Value operand : op->getOperands())
    if (seen.insert(operand).second)
      bytes += readBytes(op, operand);
  for (Type type : op->getResultTypes())
    bytes += bytesOf(type);
  // The gradient that a value is added to is no operand.
  if (auto accumulate = dyn_cast<AccumulateOp>(op))
    bytes += 2 * bytesOf(accumulate.getValue().getType());
  return bytes;
}

Work pst::cuda::countWork(Operation *op) {
  return {flopsOf(op), bytesOfOp(op)};
}

void pst::cuda::setWork(gpu::LaunchFuncOp launch, StringRef op, Work work) {
  Builder builder(launch.getContext());
  launch->setAttr(kOpAttribute, builder.getStringAttr(op));
  launch->setAttr(kFlopsAttribute, builder.getI64IntegerAttr(work.flops));
  launch->setAttr(kBytesAttribute, builder.getI64IntegerAttr(work.bytes));
}

void pst::cuda::noteWork(func::FuncOp kernel, Operation *op) {
  for (auto launch : kernel.getOps<gpu::LaunchFuncOp>())
    if (!launch->hasAttr(kOpAttribute))
      return setWork(launch, op->getName().getStringRef(), countWork(op));
}
