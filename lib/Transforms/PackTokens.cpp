//===- PackTokens.cpp - -pst-pack-tokens ----------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinOps.h"
#include "pst/Dialect/NN/NNPacking.h"
#include "pst/Dialect/PST/PSTDialect.h"
#include "pst/Dialect/PST/StageAttributes.h"
#include "pst/Transforms/Passes.h"

namespace pst {
#define GEN_PASS_DEF_PACKTOKENS
#include "pst/Transforms/Passes.h.inc"
} // namespace pst

using namespace mlir;
using namespace pst;

/// The argument of that name; null if there is none.
static Value findArgument(func::FuncOp function, StringRef name) {
  for (BlockArgument argument : function.getArguments()) {
    auto own = function.getArgAttrOfType<StringAttr>(argument.getArgNumber(),
                                                     kNameAttribute);
    if (own && own.getValue() == name)
      return argument;
  }
  return nullptr;
}

namespace {
/// Packs one function.
class Packing {
public:
  Packing(func::FuncOp function, Value mask, int64_t capacity)
      : function(function), mask(cast<TypedValue<RankedTensorType>>(mask)),
        encoding(nn::PackedAttr::get(function.getContext(), capacity)) {}

  LogicalResult run() {
    OpBuilder builder = OpBuilder::atBlockBegin(&function.getBody().front());
    auto vector = [&](int64_t size) {
      return RankedTensorType::get(size, builder.getI32Type());
    };
    nn::TokenPlacesOp::create(builder, mask.getLoc(),
                              vector(encoding.getCapacity()),
                              vector(mask.getType().getDimSize(0) + 1), mask);
    for (Operation &op : function.getBody().front())
      if (failed(pack(&op)))
        return failure();
    return success();
  }

private:
  LogicalResult pack(Operation *op) {
    bool reads = llvm::any_of(op->getOperandTypes(), nn::getPacked);
    if (isa<func::ReturnOp>(op)) {
      if (reads)
        unpackOperands(op);
      return success();
    }
    if (auto embedding = dyn_cast<nn::EmbeddingOp>(op))
      reads = embedding.getIndices().getType() == mask.getType();
    if (!reads)
      return success();
    if (!isa_and_nonnull<nn::NNDialect, PSTDialect>(op->getDialect()))
      return op->emitOpError("reads tokens, but only ops of nn and pst do so "
                             "without padding (leave --token_capacity out)");
    for (Value result : op->getResults())
      if (hasTokens(result.getType()))
        result.setType(packed(result.getType()));
    return success();
  }

  void unpackOperands(Operation *op) {
    OpBuilder builder(op);
    for (OpOperand &operand : op->getOpOperands()) {
      auto type = dyn_cast<RankedTensorType>(operand.get().getType());
      if (type && nn::getPacked(type))
        operand.set(nn::UnpackTokensOp::create(
            builder, op->getLoc(), type.dropEncoding(), operand.get()));
    }
  }

  /// Whether a matrix has a row for each token.
  bool hasTokens(Type type) const {
    auto matrix = dyn_cast<RankedTensorType>(type);
    return matrix && matrix.getRank() == 2 &&
           matrix.getDimSize(0) == mask.getType().getNumElements();
  }

  Type packed(Type type) const {
    auto matrix = cast<RankedTensorType>(type);
    return RankedTensorType::get(matrix.getShape(), matrix.getElementType(),
                                 encoding);
  }

  func::FuncOp function;
  TypedValue<RankedTensorType> mask;
  nn::PackedAttr encoding;
};

struct PackTokens : pst::impl::PackTokensBase<PackTokens> {
  using PackTokensBase::PackTokensBase;

  void runOnOperation() override {
    if (capacity == 0)
      return;
    for (auto function : getOperation().getOps<func::FuncOp>()) {
      Value mask = findArgument(function, "attention_mask");
      auto type = mask ? dyn_cast<RankedTensorType>(mask.getType()) : nullptr;
      if (!type || type.getRank() != 2)
        continue;
      int64_t length = type.getDimSize(1);
      if (capacity < length) {
        function.emitError("a batch must have room for the ")
            << length << " tokens of one sequence, but has room for "
            << capacity.getValue() << " (--token_capacity)";
        return signalPassFailure();
      }
      // Of sequences of one token, there is no padding.
      if (length == 1 || capacity > type.getNumElements())
        continue;
      if (failed(Packing(function, mask, capacity).run()))
        return signalPassFailure();
      getOperation()->setAttr(
          kTokenCapacityAttribute,
          OpBuilder(&getContext()).getI64IntegerAttr(capacity));
    }
  }
};
} // namespace
