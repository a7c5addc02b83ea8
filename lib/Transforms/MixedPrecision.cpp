//===- MixedPrecision.cpp - -pst-mixed-precision --------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"
#include "pst/Dialect/Interfaces/OpInterfaces.h"
#include "pst/Transforms/Passes.h"

namespace pst {
#define GEN_PASS_DEF_MIXEDPRECISION
#include "pst/Transforms/Passes.h.inc"
} // namespace pst

using namespace mlir;
using namespace pst;

namespace {
struct MixedPrecision : pst::impl::MixedPrecisionBase<MixedPrecision> {
  using MixedPrecisionBase::MixedPrecisionBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    if (type != FrozenType::BF16)
      return;
    auto forward = module.lookupSymbol<func::FuncOp>("forward");
    if (!forward || forward.isExternal())
      return;
    if (module.lookupSymbol("forward_backward")) {
      forward.emitOpError("has a backward already, whose gradients would keep "
                          "their type: run -pst-mixed-precision before "
                          "-pst-autodiff");
      return signalPassFailure();
    }
    for (Operation &op : llvm::make_early_inc_range(forward.getBody().front()))
      if (failed(narrow(&op)))
        return signalPassFailure();
  }

private:
  LogicalResult narrow(Operation *op);
};
} // namespace

/// Whether nothing reads the result as an activation: then it is what the model
/// says (logits), of few numbers.
static bool isLeftToLosses(OpResult result) {
  return llvm::none_of(result.getUses(), [](OpOperand &use) {
    auto reader = dyn_cast<ActivationOpInterface>(use.getOwner());
    return reader && llvm::is_contained(reader.getActivationOperands(), &use);
  });
}

static bool hasFloatTensors(Operation *op) {
  auto isOne = [](Type type) {
    auto tensor = dyn_cast<TensorType>(type);
    return tensor && isa<FloatType>(tensor.getElementType());
  };
  return llvm::any_of(op->getOperandTypes(), isOne) ||
         llvm::any_of(op->getResultTypes(), isOne);
}

/// Sums of losses are no activations.
static bool isScalar(Value value) {
  auto tensor = dyn_cast<RankedTensorType>(value.getType());
  return tensor && tensor.getRank() == 0;
}

static Type withElements(Value value, Type element) {
  return cast<RankedTensorType>(value.getType()).clone(element);
}

LogicalResult MixedPrecision::narrow(Operation *op) {
  OpBuilder builder(op);
  Type bf16 = builder.getBF16Type(), f32 = builder.getF32Type();
  auto isOf = [](Value value, Type element) {
    auto tensor = dyn_cast<RankedTensorType>(value.getType());
    return tensor && tensor.getElementType() == element;
  };
  if (isa<func::ReturnOp>(op)) { // callers get what they got
    for (OpOperand &operand : op->getOpOperands())
      if (isOf(operand.get(), bf16))
        operand.set(arith::ExtFOp::create(builder, op->getLoc(),
                                          withElements(operand.get(), f32),
                                          operand.get()));
    return success();
  }
  auto layer = dyn_cast<ActivationOpInterface>(op);
  if (!layer) {
    if (op->hasTrait<mlir::OpTrait::ConstantLike>() || !hasFloatTensors(op))
      return success();
    return op->emitOpError("does not say which of its operands and results are "
                           "activations (ActivationOpInterface), so these "
                           "cannot be made bf16");
  }
  for (OpOperand *operand : layer.getActivationOperands())
    if (isOf(operand->get(), f32) && !isScalar(operand->get()))
      operand->set(arith::TruncFOp::create(builder, op->getLoc(),
                                           withElements(operand->get(), bf16),
                                           operand->get()));
  for (OpResult result : layer.getActivationResults())
    if (!isScalar(result) &&
        (!layer.canWidenResults() || !isLeftToLosses(result)))
      result.setType(withElements(result, bf16));
  return success();
}
