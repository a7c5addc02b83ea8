//===- Calibrate.cpp - -pst-calibrate ------------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ChooseLayers.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "pst/Dialect/NN/NNOps.h"
#include "pst/Dialect/PST/PSTOps.h"
#include "pst/Dialect/PST/StageAttributes.h"
#include "pst/Transforms/Passes.h"

namespace pst {
#define GEN_PASS_DEF_CALIBRATE
#include "pst/Transforms/Passes.h.inc"
} // namespace pst

using namespace mlir;
using namespace pst;

/// Removes what nothing reads, and arguments that nothing reads any more.
static void dropUnread(func::FuncOp function) {
  for (Operation &op :
       llvm::make_early_inc_range(llvm::reverse(function.getBody().front())))
    if (isOpTriviallyDead(&op))
      op.erase();
  llvm::BitVector unread(function.getNumArguments());
  for (BlockArgument argument : function.getArguments())
    unread[argument.getArgNumber()] = argument.use_empty();
  (void)function.eraseArguments(unread);
}

namespace {
struct Calibrate : pst::impl::CalibrateBase<Calibrate> {
  using CalibrateBase::CalibrateBase;

  void runOnOperation() override {
    if (failed(chooseLayers(getOperation(), targetModules, excludeModules)))
      return signalPassFailure();
    SymbolTable symbols(getOperation());
    auto function = symbols.lookup<func::FuncOp>("forward");
    if (!function)
      return;
    SmallVector<Value> squares;
    SmallVector<Attribute> names;
    Builder types(&getContext());
    function.walk([&](nn::LinearOp linear) {
      auto load = linear.getWeight().getDefiningOp<LoadOp>();
      if (!load ||
          !symbols.lookup(load.getParameter())->hasAttr(kSparsifyAttribute))
        return;
      OpBuilder builder(linear);
      auto input = cast<RankedTensorType>(linear.getInput().getType());
      squares.push_back(nn::ColumnSumOp::create(
          builder, linear.getLoc(),
          RankedTensorType::get(input.getDimSize(1), builder.getF32Type()),
          linear.getInput(), /*squared=*/true));
      names.push_back(types.getDictionaryAttr(types.getNamedAttr(
          kNameAttribute, load.getParameterAttr().getAttr())));
    });
    if (squares.empty()) {
      function.emitOpError(
          "has no linear layer whose inputs could be measured");
      return signalPassFailure();
    }
    function.setSymName("calibrate");
    function.getBody().front().getTerminator()->setOperands(squares);
    function.removeResAttrsAttr();
    function.setType(types.getFunctionType(function.getArgumentTypes(),
                                           ValueRange(squares).getTypes()));
    function.setResAttrsAttr(types.getArrayAttr(names));
    dropUnread(function);
  }
};
} // namespace
