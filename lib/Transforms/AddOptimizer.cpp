//===- AddOptimizer.cpp - -pst-add-optimizer ------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"
#include "pst/Dialect/PST/PSTOps.h"
#include "pst/Dialect/PST/StageAttributes.h"
#include "pst/Transforms/Passes.h"
#include "llvm/Support/MathExtras.h"

namespace pst {
#define GEN_PASS_DEF_ADDOPTIMIZER
#include "pst/Transforms/Passes.h.inc"
} // namespace pst

using namespace mlir;
using namespace pst;

/// Parameters start at cache lines.
static constexpr int64_t kAlignment = 64;

/// Places `parameters` one after the other from `offset` on; returns the end.
static int64_t layOut(ArrayRef<ParameterOp> parameters, int64_t offset) {
  for (ParameterOp parameter : parameters) {
    parameter.setOffset(offset);
    auto type = cast<RankedTensorType>(parameter.getType());
    offset += llvm::alignTo(
        type.getNumElements() * type.getElementTypeBitWidth() / 8, kAlignment);
  }
  return offset;
}

namespace {
struct AddOptimizer : pst::impl::AddOptimizerBase<AddOptimizer> {
  void runOnOperation() override;
};
} // namespace

void AddOptimizer::runOnOperation() {
  ModuleOp module = getOperation();
  SmallVector<ParameterOp> decayed, others, state;
  for (auto parameter : module.getOps<ParameterOp>())
    if (parameter.getRole() == ParameterRole::State)
      state.push_back(parameter);
    else if (parameter.getRole() == ParameterRole::Trainable)
      (parameter.getDecay() ? decayed : others).push_back(parameter);
  int64_t decayedBytes = layOut(decayed, 0);
  int64_t bytes = layOut(others, decayedBytes);
  layOut(state, 0);
  if (bytes == 0 || module.lookupSymbol("apply"))
    return;

  Builder types(&getContext());
  static const char *const names[] = {
      "learning_rate",    "beta1",        "beta2",
      "epsilon",          "weight_decay", "bias_correction1",
      "bias_correction2", "max_grad_norm"};
  SmallVector<Type> arguments(std::size(names), types.getF32Type());
  Type norm = RankedTensorType::get({}, types.getF32Type());
  auto apply = func::FuncOp::create(module.getLoc(), "apply",
                                    types.getFunctionType(arguments, norm));
  module.push_back(apply);
  for (auto [i, name] : llvm::enumerate(names))
    apply.setArgAttr(i, kNameAttribute, types.getStringAttr(name));
  apply.setResultAttr(0, kNameAttribute, types.getStringAttr("grad_norm"));
  OpBuilder builder = OpBuilder::atBlockEnd(apply.addEntryBlock());
  SmallVector<Value> operands(apply.getArguments());
  auto adamw = AdamWOp::create(builder, apply.getLoc(), norm, bytes / 4,
                               decayedBytes / 4, operands[0], operands[1],
                               operands[2], operands[3], operands[4],
                               operands[5], operands[6], operands[7]);
  func::ReturnOp::create(builder, apply.getLoc(), adamw.getGradNorm());
}
