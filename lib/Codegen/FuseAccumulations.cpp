//===- FuseAccumulations.cpp - Lets kernels add to gradients themselves ---===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "pst/Codegen/Passes.h"
#include "pst/Dialect/Interfaces/OpInterfaces.h"
#include "pst/Dialect/PST/PSTOps.h"

namespace pst {
#define GEN_PASS_DEF_FUSEACCUMULATIONS
#include "pst/Codegen/Passes.h.inc"
} // namespace pst

using namespace mlir;
using namespace pst;

/// Whether an op may look at the gradient of `parameter`, or change it.
static bool touchesGradient(Operation &op, FlatSymbolRefAttr parameter) {
  if (auto load = dyn_cast<LoadOp>(op))
    return load.getPart() == Part::Gradient &&
           load.getParameterAttr() == parameter;
  if (auto accumulate = dyn_cast<AccumulateOp>(op))
    return accumulate.getParameterAttr() == parameter;
  return !isMemoryEffectFree(&op);
}

/// Whether the op that makes the value may add it, where it stands.
static bool canFuse(AccumulateOp op) {
  Operation *producer = op.getValue().getDefiningOp();
  if (!producer || !producer->hasTrait<pst::answers::AddsToGradients>() ||
      !op.getValue().hasOneUse() || producer->getBlock() != op->getBlock())
    return false;
  return llvm::none_of(
      llvm::make_range(std::next(producer->getIterator()), op->getIterator()),
      [&](Operation &between) {
        return touchesGradient(between, op.getParameterAttr());
      });
}

namespace {
struct FuseAccumulations : pst::impl::FuseAccumulationsBase<FuseAccumulations> {
  void runOnOperation() override {
    getOperation().walk([](AccumulateOp op) {
      if (canFuse(op))
        op.setFused(true);
    });
  }
};
} // namespace
