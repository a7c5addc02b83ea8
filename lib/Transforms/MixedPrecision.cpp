//===- MixedPrecision.cpp - -pst-mixed-precision --------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"
#include "pst/Dialect/NN/NNOps.h"
#include "pst/Dialect/PST/PSTOps.h"
#include "pst/Transforms/Passes.h"
#include "llvm/ADT/TypeSwitch.h"

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
    if (type == "f32")
      return;
    if (type != "bf16") {
      module.emitError() << "activations cannot be '" << type
                         << "': f32 and bf16 are known";
      return signalPassFailure();
    }
    auto forward = module.lookupSymbol<func::FuncOp>("forward");
    if (!forward)
      return;
    if (module.lookupSymbol("forward_backward")) {
      forward.emitOpError("has a backward already, whose gradients would keep "
                          "their type: run -pst-mixed-precision before "
                          "-pst-autodiff");
      return signalPassFailure();
    }
    for (Operation &op : llvm::make_early_inc_range(forward.getBody().front()))
      narrow(&op);
  }

private:
  void narrow(Operation *op);
};
} // namespace

/// The activations among the operands; nothing if the op is no part of the
/// forward of a model.
static std::optional<SmallVector<OpOperand *>> activationsOf(Operation *op) {
  auto operands = [&](ArrayRef<unsigned> numbers) {
    SmallVector<OpOperand *> found;
    for (unsigned number : numbers)
      found.push_back(&op->getOpOperand(number));
    return found;
  };
  using Result = std::optional<SmallVector<OpOperand *>>;
  return TypeSwitch<Operation *, Result>(op)
      .Case<nn::EmbeddingOp>([&](auto) { return operands({}); })
      .Case<nn::ActivationOp, nn::AddPositionsOp, nn::DropoutOp,
            nn::LayerNormOp, nn::LinearOp, nn::SelectTokenOp>(
          [&](auto) { return operands({0}); })
      .Case<nn::AddOp>([&](auto) { return operands({0, 1}); })
      .Case<nn::AttentionOp>([&](auto) { return operands({0, 1, 2}); })
      .Case<MaskedMatmulOp>([&](MaskedMatmulOp product) {
        SmallVector<OpOperand *> found{&product.getInputMutable()};
        for (OpOperand &addend : product.getAddendMutable())
          found.push_back(&addend);
        return found;
      })
      .Default(std::nullopt);
}

/// Whether the result is what the model says, not what a next layer reads: such
/// numbers are few, and kept as they were summed.
static bool isLogits(Operation *op) {
  return isa<nn::LinearOp, MaskedMatmulOp>(op) &&
         llvm::all_of(op->getUsers(), [](Operation *user) {
           return isa<func::ReturnOp, nn::CrossEntropyOp, nn::SquaredErrorOp>(
               user);
         });
}

static Type withElements(Value value, Type element) {
  return cast<RankedTensorType>(value.getType()).clone(element);
}

void MixedPrecision::narrow(Operation *op) {
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
    return;
  }
  std::optional<SmallVector<OpOperand *>> activations = activationsOf(op);
  if (!activations)
    return;
  for (OpOperand *operand : *activations)
    if (isOf(operand->get(), f32))
      operand->set(arith::TruncFOp::create(builder, op->getLoc(),
                                           withElements(operand->get(), bf16),
                                           operand->get()));
  Value result = op->getResult(0);
  if (!isLogits(op))
    result.setType(withElements(result, bf16));
}
