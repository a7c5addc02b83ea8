//===- SelectEarly.cpp - -pst-select-early --------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinOps.h"
#include "pst/Dialect/NN/NNOps.h"
#include "pst/Transforms/Passes.h"

namespace pst {
#define GEN_PASS_DEF_SELECTEARLY
#include "pst/Transforms/Passes.h.inc"
} // namespace pst

using namespace mlir;
using namespace pst;

/// Whether both take the same tokens of matrices of the same shape.
static bool isSameSelection(nn::SelectTokenOp a, nn::SelectTokenOp b) {
  return a.getMask() == b.getMask() && a.getIndexAttr() == b.getIndexAttr() &&
         a.getType() == b.getType();
}

/// The op that makes what `select` reads, if nobody reads more of it, and if it
/// can be computed for these rows alone; else null.
static Operation *findMovable(nn::SelectTokenOp select) {
  Operation *op = select.getInput().getDefiningOp();
  if (!op || !op->hasTrait<answers::Rowwise>() || op->getNumResults() != 1)
    return nullptr;
  // Of a dropout, whose elements are counted by their position, rows of the
  // same sequences, at a position that is known.
  auto dropout = dyn_cast<nn::DropoutOp>(op);
  int64_t length = select.getInput().getType().getDimSize(0) /
                   select.getType().getDimSize(0);
  if (dropout && (!select.getIndex() || dropout.getLength() != length))
    return nullptr;
  Operation *mask =
      select.getMask() ? select.getMask().getDefiningOp() : nullptr;
  if (mask &&
      (mask->getBlock() != op->getBlock() || !mask->isBeforeInBlock(op)))
    return nullptr;
  bool isAlone = llvm::all_of(op->getUsers(), [&](Operation *user) {
    auto other = dyn_cast<nn::SelectTokenOp>(user);
    return other && other->getBlock() == op->getBlock() &&
           isSameSelection(select, other);
  });
  return isAlone ? op : nullptr;
}

/// Puts `op` behind selections of what it reads, in the place of its users.
static void moveBehind(Operation *op, nn::SelectTokenOp select) {
  OpBuilder builder(op);
  int64_t rows = select.getType().getDimSize(0);
  auto selected = [&](Type type) {
    auto matrix = cast<RankedTensorType>(type);
    return RankedTensorType::get({rows, matrix.getDimSize(1)},
                                 matrix.getElementType());
  };
  // Of those operands only: what is a weight, too, is read whole.
  DenseMap<Value, Value> selections;
  for (OpOperand *read :
       cast<ActivationOpInterface>(op).getActivationOperands()) {
    Value &selection = selections[read->get()];
    if (!selection)
      selection = nn::SelectTokenOp::create(
          builder, select.getLoc(), selected(read->get().getType()),
          read->get(), select.getMask(), select.getIndexAttr());
  }
  Operation *moved = builder.clone(*op);
  for (OpOperand *read :
       cast<ActivationOpInterface>(moved).getActivationOperands())
    read->set(selections.lookup(read->get()));
  Value result = moved->getResult(0);
  if (auto dropout = dyn_cast<nn::DropoutOp>(moved)) {
    dropout.setTokenAttr(select.getIndexAttr());
    dropout.removeLengthAttr();
  }
  result.setType(selected(result.getType()));
  for (Operation *user : llvm::make_early_inc_range(op->getUsers())) {
    user->getResult(0).replaceAllUsesWith(result);
    user->erase();
  }
  op->erase();
}

namespace {
struct SelectEarly : pst::impl::SelectEarlyBase<SelectEarly> {
  using SelectEarlyBase::SelectEarlyBase;

  void runOnOperation() override {
    // What two ops read is movable once both are behind their selections.
    for (bool moved = true; moved;) {
      moved = false;
      SmallVector<nn::SelectTokenOp> all;
      getOperation().walk([&](nn::SelectTokenOp op) { all.push_back(op); });
      for (nn::SelectTokenOp select : llvm::reverse(all))
        if (Operation *op = findMovable(select)) {
          moveBehind(op, select);
          moved = true;
          break; // `all` may hold what is gone.
        }
    }
  }
};
} // namespace
