//===- KeepWeights.cpp - -pst-keep-weights --------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "../Kernel/PlainWeight.h"
#include "MaskedWeight.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "pst/Codegen/GPUPasses.h"
#include "pst/Dialect/PST/StageAttributes.h"

namespace pst {
#define GEN_PASS_DEF_KEEPWEIGHTS
#include "pst/Codegen/GPUPasses.h.inc"
} // namespace pst

using namespace mlir;
using namespace pst;

namespace {
/// A masked weight as it is multiplied, and the products by it, in their order.
struct Weight {
  RankedTensorType type;
  SmallVector<MaskedMatmulOp> products;

  int64_t bytes() const {
    return type.getNumElements() * type.getElementTypeBitWidth() / 8;
  }
  bool isOf(MaskedMatmulOp op) const {
    MaskedMatmulOp first = products.front();
    return op.getCriterionAttr() == first.getCriterionAttr() &&
           op.getSelectionAttr() == first.getSelectionAttr() &&
           op.getFactors() == first.getFactors() &&
           op.getState() == first.getState() &&
           op.getInput().getType().getElementType() == type.getElementType();
  }
};

struct KeepWeights : pst::impl::KeepWeightsBase<KeepWeights> {
  using KeepWeightsBase::KeepWeightsBase;

  void runOnOperation() override {
    auto function =
        getOperation().lookupSymbol<func::FuncOp>("forward_backward");
    if (!function || function.isExternal())
      return;
    SmallVector<Weight> weights = collect(function);
    // Small ones first, for each saves a launch; of equal ones the earlier.
    SmallVector<const Weight *> order(llvm::make_pointer_range(weights));
    llvm::sort(order, [](const Weight *a, const Weight *b) {
      return std::pair(a->bytes(), a) < std::pair(b->bytes(), b);
    });
    int64_t kept = 0, bytes = 0;
    for (const Weight *weight : order) {
      if (bytes + weight->bytes() > room << 20)
        break;
      keep(*weight);
      ++kept;
      bytes += weight->bytes();
    }
    if (weights.empty())
      return;
    Builder builder(&getContext());
    auto number = [&](StringRef name, int64_t value) {
      return builder.getNamedAttr(name, builder.getI64IntegerAttr(value));
    };
    getOperation()->setAttr(
        kKeptWeightsAttribute,
        builder.getDictionaryAttr(
            {number("kept", kept),
             number("weights", static_cast<int64_t>(weights.size())),
             number("bytes", bytes)}));
  }

private:
  /// The weights that several products are by.
  SmallVector<Weight> collect(func::FuncOp function) {
    SymbolTable symbols(getOperation());
    SmallVector<Weight> weights;
    for (auto op : function.getBody().front().getOps<MaskedMatmulOp>()) {
      auto criterion = symbols.lookup<CriterionOp>(op.getCriterion());
      if (cuda::isFactor(criterion, op))
        continue;
      auto *known = llvm::find_if(
          weights, [&](const Weight &weight) { return weight.isOf(op); });
      if (known == weights.end())
        weights.push_back({cuda::multipliedWeight(criterion, op), {op}});
      else
        known->products.push_back(op);
    }
    llvm::erase_if(weights, [](const Weight &weight) {
      return weight.products.size() == 1;
    });
    return weights;
  }

  void keep(const Weight &weight) {
    MaskedMatmulOp first = weight.products.front();
    OpBuilder builder(first);
    Value evaluated = MaskedWeightOp::create(
        builder, first.getLoc(), weight.type, first.getCriterion(),
        first.getFactors(), first.getSelectionAttr(), first.getState());
    CriterionOp plain = kernel::declarePlainWeight(getOperation());
    for (MaskedMatmulOp op : weight.products) {
      op.setCriterion(plain.getSymName());
      op.getFactorsMutable().assign(evaluated);
      op.removeSelectionAttr();
      op.getStateMutable().clear();
      op.getPrunedMutable().clear();
    }
  }
};
} // namespace
