//===- StoreInPlace.cpp - -pst-store-in-place -----------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/IR/Builders.h"
#include "pst/Dialect/PST/PSTOps.h"
#include "pst/Transforms/OpOrder.h"
#include "pst/Transforms/Passes.h"

namespace pst {
#define GEN_PASS_DEF_STOREINPLACE
#include "pst/Transforms/Passes.h.inc"
} // namespace pst

using namespace mlir;
using namespace pst;

/// The launch that writes all that is copied, if nothing else touches it.
static LaunchOp findWriter(memref::CopyOp copy, const OpOrder &order) {
  auto alloc = copy.getSource().getDefiningOp<memref::AllocOp>();
  if (!alloc || alloc.getType() != copy.getTarget().getType())
    return nullptr;
  LaunchOp writer;
  for (OpOperand &use : alloc->getUses()) {
    if (use.getOwner() == copy)
      continue;
    auto launch = dyn_cast<LaunchOp>(use.getOwner());
    if (!launch || writer || use.getOperandNumber() < launch.getInputs().size())
      return nullptr;
    writer = launch;
  }
  if (!writer || writer->getBlock() != copy->getBlock() ||
      !order.isBefore(writer, copy))
    return nullptr;
  return writer;
}

/// Whether anything from `first` to before `last` may touch the parameter, by
/// its buffer or by the space in which it lies.
static bool isTouched(BufferOp parameter, Operation *first, Operation *last) {
  for (Operation *op = first; op != last; op = op->getNextNode()) {
    if (op->getNumRegions())
      return true;
    for (Value operand : op->getOperands()) {
      Operation *source = operand.getDefiningOp();
      if (isa_and_present<SpaceOp>(source))
        return true;
      if (auto buffer = dyn_cast_if_present<BufferOp>(source);
          buffer && buffer.getParameter() == parameter.getParameter() &&
          buffer.getPart() == parameter.getPart())
        return true;
    }
  }
  return false;
}

namespace {
struct StoreInPlace : pst::impl::StoreInPlaceBase<StoreInPlace> {
  void runOnOperation() override {
    SmallVector<memref::CopyOp> copies;
    getOperation()->walk([&](memref::CopyOp copy) { copies.push_back(copy); });
    OpOrder order(getOperation());
    for (memref::CopyOp copy : copies) {
      auto target = copy.getTarget().getDefiningOp<BufferOp>();
      LaunchOp writer = target ? findWriter(copy, order) : nullptr;
      if (!writer || isTouched(target, writer, copy))
        continue;
      Value alloc = copy.getSource();
      OpBuilder builder(writer);
      Value place = builder.clone(*target)->getResult(0);
      alloc.replaceAllUsesWith(place);
      copy->erase();
      alloc.getDefiningOp()->erase();
      if (target->use_empty())
        target->erase();
    }
  }
};
} // namespace
