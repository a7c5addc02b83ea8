//===- NarrowFrozen.cpp - -pst-narrow-frozen ------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/SymbolTable.h"
#include "pst/Dialect/NN/NNOps.h"
#include "pst/Dialect/PST/PSTOps.h"
#include "pst/Transforms/Passes.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/TypeSwitch.h"

namespace pst {
#define GEN_PASS_DEF_NARROWFROZEN
#include "pst/Transforms/Passes.h.inc"
} // namespace pst

using namespace mlir;
using namespace pst;

namespace {
struct NarrowFrozen : pst::impl::NarrowFrozenBase<NarrowFrozen> {
  using NarrowFrozenBase::NarrowFrozenBase;
  void runOnOperation() override;
};
} // namespace

/// Whether the use is a dense factor of a virtual weight.
template <typename OpT>
static bool isDenseFactor(OpT op, OpOperand &use,
                          SymbolTableCollection &symbols) {
  auto criterion =
      symbols.lookupNearestSymbolFrom<CriterionOp>(op, op.getCriterionAttr());
  unsigned first = op.getFactors().getBeginOperandIndex();
  for (unsigned i = 0; criterion && i < criterion.getNumFactors(); ++i)
    if (criterion.getKind(i) == FactorKind::Dense &&
        first + criterion.getFirstTensor(i) == use.getOperandNumber())
      return true;
  return false;
}

/// Whether the op reads the operand element by element, and so may widen it.
static bool mayBeNarrow(OpOperand &use, SymbolTableCollection &symbols) {
  return TypeSwitch<Operation *, bool>(use.getOwner())
      .Case<nn::EmbeddingOp, nn::AddPositionsOp, nn::LinearOp, nn::MatmulOp>(
          [&](auto) { return use.getOperandNumber() == 1; })
      .Case<MaskedMatmulOp, TopKThresholdOp, LowRankAccumulateOp,
            MaskedWeightOp>(
          [&](auto op) { return isDenseFactor(op, use, symbols); })
      .Default(false);
}

void NarrowFrozen::runOnOperation() {
  ModuleOp module = getOperation();
  if (type == "f32")
    return;
  if (type != "bf16") {
    module.emitError() << "frozen weights cannot be '" << type
                       << "': f32 and bf16 are known";
    return signalPassFailure();
  }
  SymbolTableCollection symbols;
  llvm::StringMap<SmallVector<LoadOp>> loads;
  module.walk([&](LoadOp load) { loads[load.getParameter()].push_back(load); });
  for (auto parameter : module.getOps<ParameterOp>()) {
    auto wide = cast<RankedTensorType>(parameter.getType());
    if (parameter.getRole() != ParameterRole::Frozen || wide.getRank() != 2 ||
        !wide.getElementType().isF32())
      continue;
    ArrayRef<LoadOp> readers = loads[parameter.getSymName()];
    if (!llvm::all_of(readers, [&](LoadOp load) {
          return llvm::all_of(load->getUses(), [&](OpOperand &use) {
            return mayBeNarrow(use, symbols);
          });
        }))
      continue;
    RankedTensorType narrow =
        wide.clone(BFloat16Type::get(module.getContext()));
    parameter.setType(narrow);
    for (LoadOp load : readers)
      load.getResult().setType(narrow);
  }
}
