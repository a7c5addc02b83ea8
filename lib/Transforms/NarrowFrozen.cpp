//===- NarrowFrozen.cpp - -pst-narrow-frozen ------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinOps.h"
#include "pst/Dialect/Interfaces/OpInterfaces.h"
#include "pst/Dialect/PST/PSTOps.h"
#include "pst/Transforms/Passes.h"
#include "llvm/ADT/StringMap.h"

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

/// Whether the op widens the operand as it reads it.
static bool mayBeNarrow(OpOperand &use) {
  auto reader = dyn_cast<WideningOpInterface>(use.getOwner());
  return reader && reader.widensOperand(use.getOperandNumber());
}

void NarrowFrozen::runOnOperation() {
  ModuleOp module = getOperation();
  if (type != FrozenType::BF16)
    return;
  llvm::StringMap<SmallVector<LoadOp>> loads;
  module.walk([&](LoadOp load) { loads[load.getParameter()].push_back(load); });
  for (auto parameter : module.getOps<ParameterOp>()) {
    auto wide = cast<RankedTensorType>(parameter.getType());
    if (parameter.getRole() != ParameterRole::Frozen || wide.getRank() != 2 ||
        !wide.getElementType().isF32())
      continue;
    ArrayRef<LoadOp> readers = loads[parameter.getSymName()];
    if (!llvm::all_of(readers, [&](LoadOp load) {
          return llvm::all_of(load->getUses(), mayBeNarrow);
        }))
      continue;
    RankedTensorType narrow =
        wide.clone(BFloat16Type::get(module.getContext()));
    parameter.setType(narrow);
    for (LoadOp load : readers)
      load.getResult().setType(narrow);
  }
}
