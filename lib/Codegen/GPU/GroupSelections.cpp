//===- GroupSelections.cpp - -pst-group-selections ------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "LayerTables.h"
#include "TopKThreshold.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "pst/Codegen/GPUPasses.h"
#include "llvm/ADT/MapVector.h"

namespace pst {
#define GEN_PASS_DEF_GROUPSELECTIONS
#include "pst/Codegen/GPUPasses.h.inc"
} // namespace pst

using namespace mlir;
using namespace pst;
using namespace pst::cuda;

/// i32 that the layers' workspaces may take together.
static constexpr int64_t kWorkspace = int64_t(64) << 18;

namespace {
/// A selection of one layer.
struct Member {
  TopKThresholdOp op;
  RankedTensorType weight;

  /// Kernels of layers that differ in this share no memory.
  auto kind() {
    SelectionSizes sizes(weight, /*layers=*/1);
    return std::tuple(op.getCriterionAttr(), op.getPrevious().empty(),
                      sizes.isSampled, sizes.tiles.lanes, sizes.tiles.chunk);
  }
};
} // namespace

/// Whether the selection's results may be stored as late as `end`: nothing in
/// between has to do with where they go.
static bool canStoreLater(TopKThresholdOp op, Operation *end) {
  SmallVector<StringRef> targets;
  for (Operation *user : op->getUsers()) {
    auto store = dyn_cast<StoreOp>(user);
    if (!store || store->getBlock() != op->getBlock())
      return false;
    targets.push_back(store.getParameter());
  }
  for (Operation *next = op; next != end; next = next->getNextNode()) {
    if (auto store = dyn_cast<StoreOp>(next)) {
      bool isOwn = llvm::is_contained(op->getResults(), store.getValue());
      if (!isOwn && llvm::is_contained(targets, store.getParameter()))
        return false;
    } else if (auto load = dyn_cast<LoadOp>(next)) {
      if (llvm::is_contained(targets, load.getParameter()))
        return false;
    } else if (!isMemoryEffectFree(next)) {
      return false;
    }
  }
  return true;
}

/// One op, where the last of the members was, and the stores behind it.
static void group(MutableArrayRef<Member> members) {
  Operation *last = members.front().op;
  for (Member &member : members)
    if (last->isBeforeInBlock(member.op))
      last = member.op;
  OpBuilder builder(last);
  SmallVector<Value> factors, sparsities, previous;
  SmallVector<Location> locations;
  for (Member &member : members) {
    llvm::append_range(factors, member.op.getFactors());
    llvm::append_range(sparsities, member.op.getSparsities());
    llvm::append_range(previous, member.op.getPrevious());
    locations.push_back(member.op.getLoc());
  }
  auto grouped = TopKThresholdOp::create(
      builder, builder.getFusedLoc(locations),
      members.front().op.getCriterion(), factors, sparsities, previous);
  Operation *end = last->getNextNode();
  for (auto [i, member] : llvm::enumerate(members)) {
    SmallVector<Operation *> stores(member.op->getUsers());
    llvm::sort(stores, [](Operation *a, Operation *b) {
      return a->isBeforeInBlock(b);
    });
    for (Operation *store : stores)
      if (store->isBeforeInBlock(end))
        store->moveBefore(end);
    member.op.getThresholds().front().replaceAllUsesWith(
        grouped.getThresholds()[i]);
    member.op.getCuts().front().replaceAllUsesWith(grouped.getCuts()[i]);
    member.op.getPruned().front().replaceAllUsesWith(grouped.getPruned()[i]);
  }
  for (Member &member : members)
    member.op->erase();
}

/// Whether one launch has room for the layers.
static bool fit(MutableArrayRef<Member> members) {
  int64_t buffers = 1, workspace = 0; // the workspace itself is a buffer
  llvm::SmallPtrSet<Value, 4> sparsities;
  for (Member &member : members) {
    if (member.kind() != members.front().kind())
      return false;
    auto layers = static_cast<int64_t>(members.size());
    buffers += member.op->getNumResults() + member.op.getFactors().size();
    sparsities.insert(member.op.getSparsities().front());
    workspace += SelectionSizes(member.weight, layers).workspaceSize();
  }
  buffers += sparsities.size();
  return buffers * kPointerBytes <= kParameterBytes && workspace <= kWorkspace;
}

/// Takes those of `members` that fit together, the first among them.
static SmallVector<Member> takeGroup(SmallVectorImpl<Member> &members) {
  SmallVector<Member> taken, left;
  for (Member &member : members) {
    taken.push_back(member);
    if (taken.size() > 1 && !fit(taken))
      left.push_back(taken.pop_back_val());
  }
  members = std::move(left);
  return taken;
}

namespace {
struct GroupSelections : pst::impl::GroupSelectionsBase<GroupSelections> {
  void runOnOperation() override {
    SymbolTable symbols(getOperation());
    for (auto function : getOperation().getOps<func::FuncOp>())
      for (Block &block : function.getBody())
        groupBlock(block, symbols);
  }

private:
  static void groupBlock(Block &block, const SymbolTable &symbols) {
    SmallVector<Member> members;
    SmallVector<TopKThresholdOp> ops(block.getOps<TopKThresholdOp>());
    for (TopKThresholdOp op : ops) {
      auto criterion = symbols.lookup<CriterionOp>(op.getCriterion());
      if (op.getSparsities().size() == 1 && canStoreLater(op, ops.back()))
        members.push_back({op, getWeightType(criterion, op.getFactors())});
    }
    // Equal types side by side, in the order in which they come first.
    llvm::MapVector<Type, SmallVector<Member>> byType;
    for (Member &member : members) {
      SmallVector<Type> types(member.op.getFactors().getTypes());
      byType[TupleType::get(block.getParentOp()->getContext(), types)]
          .push_back(member);
    }
    members.clear();
    for (auto &[type, same] : byType)
      llvm::append_range(members, same);
    while (!members.empty())
      if (SmallVector<Member> taken = takeGroup(members); taken.size() > 1)
        group(taken);
  }
};
} // namespace
