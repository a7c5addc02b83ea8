//===- BoundIds.cpp - -pst-bound-ids --------------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinOps.h"
#include "pst/Dialect/NN/NNOps.h"
#include "pst/Dialect/PST/PSTDialect.h"
#include "pst/Dialect/PST/StageAttributes.h"
#include "pst/Transforms/Passes.h"

namespace pst {
#define GEN_PASS_DEF_BOUNDIDS
#include "pst/Transforms/Passes.h.inc"
} // namespace pst

using namespace mlir;
using namespace pst;

namespace {
struct BoundIds : pst::impl::BoundIdsBase<BoundIds> {
  using BoundIdsBase::BoundIdsBase;

  void runOnOperation() override {
    Builder builder(&getContext());
    SymbolTableCollection symbols;
    for (auto function : getOperation().getOps<func::FuncOp>())
      for (BlockArgument argument : function.getArguments())
        if (int64_t ids = countIds(argument, symbols))
          function.setArgAttr(argument.getArgNumber(), kIdsAttribute,
                              builder.getI64IntegerAttr(ids));
  }

private:
  /// The rows of the smallest table of which `value` holds rows' numbers; 0 if
  /// there is none. A function that calls itself adds nothing the second time.
  int64_t countIds(Value value, SymbolTableCollection &symbols) {
    auto type = dyn_cast<RankedTensorType>(value.getType());
    if (!type || !type.getElementType().isInteger(32) ||
        !visiting.insert(value).second)
      return 0;
    int64_t least = 0;
    for (OpOperand &use : value.getUses())
      if (int64_t ids = countIds(use, symbols))
        least = least ? std::min(least, ids) : ids;
    visiting.erase(value);
    return least;
  }

  int64_t countIds(OpOperand &use, SymbolTableCollection &symbols) {
    Operation *op = use.getOwner();
    if (auto embedding = dyn_cast<nn::EmbeddingOp>(op))
      return embedding.getTable().getType().getDimSize(0);
    if (auto backward = dyn_cast<nn::EmbeddingBackwardOp>(op))
      return backward.getResult().getType().getDimSize(0);
    // What names a sequence, a position or a slot of a cache.
    auto countCached = [&](auto cached, Value cache) -> int64_t {
      ArrayRef<int64_t> slots = cached.getSlots().getType().getShape();
      if (&use == &cached.getSequencesMutable())
        return slots[0];
      if (&use == &cached.getPositionsMutable())
        return slots[1];
      return cast<RankedTensorType>(cache.getType()).getDimSize(0);
    };
    if (auto rows = dyn_cast<nn::CacheRowsOp>(op))
      return countCached(rows, rows.getCache());
    if (auto attention = dyn_cast<nn::CachedAttentionOp>(op))
      return countCached(attention, attention.getKeys());
    // The same elements, in another shape.
    if (isa<tensor::ReshapeOp, tensor::ExpandShapeOp, tensor::CollapseShapeOp,
            tensor::CastOp>(op) &&
        use.getOperandNumber() == 0)
      return countIds(op->getResult(0), symbols);
    if (auto call = dyn_cast<func::CallOp>(op))
      if (auto callee = symbols.lookupNearestSymbolFrom<func::FuncOp>(
              op, call.getCalleeAttr());
          callee && !callee.isExternal())
        return countIds(callee.getArgument(use.getOperandNumber()), symbols);
    return 0;
  }

  SmallPtrSet<Value, 8> visiting;
};
} // namespace
