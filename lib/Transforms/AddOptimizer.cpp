//===- AddOptimizer.cpp - -pst-add-optimizer ------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"
#include "pst/Bundle/Manifest.h"
#include "pst/Dialect/PST/PSTOps.h"
#include "pst/Dialect/PST/StageAttributes.h"
#include "pst/Transforms/Passes.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/MathExtras.h"
#include <array>

namespace pst {
#define GEN_PASS_DEF_ADDOPTIMIZER
#include "pst/Transforms/Passes.h.inc"
} // namespace pst

using namespace mlir;
using namespace pst;

/// Parameters start at cache lines.
static constexpr int64_t kAlignment = 64;

/// Groups of parameters that have a learning rate each, and the argument of
/// `apply` that it is.
static constexpr size_t kGroups = 3;
static constexpr StringLiteral kRateNames[kGroups] = {
    "learning_rate", "mask_learning_rate", "head_learning_rate"};

static size_t groupOf(ParameterOp parameter) {
  std::optional<RateGroup> group = parameter.getGroup();
  return !group ? 0 : *group == RateGroup::Mask ? 1 : 2;
}

/// Places `parameters` one after the other from `offset` on; returns the end.
static int64_t layOut(ArrayRef<ParameterOp> parameters, int64_t offset) {
  for (ParameterOp parameter : parameters) {
    parameter.setOffset(offset);
    auto type = cast<RankedTensorType>(parameter.getType());
    offset += llvm::alignTo(
        type.getNumElements() * type.getElementTypeBitWidth() / 8, kAlignment);
  }
  return offset;
}

/// The names of the parameters that a function "pack.N" fills.
static void forEachStored(func::FuncOp pack,
                          llvm::function_ref<void(StringRef)> visit) {
  pack.walk([&](StoreOp store) { visit(store.getParameter()); });
  for (unsigned i = 0; i < pack.getNumResults(); ++i)
    if (auto name = pack.getResultAttrOfType<StringAttr>(i, kNameAttribute))
      visit(name);
}

namespace {
struct AddOptimizer : pst::impl::AddOptimizerBase<AddOptimizer> {
  void runOnOperation() override;
};
} // namespace

void AddOptimizer::runOnOperation() {
  ModuleOp module = getOperation();
  using Parameters = SmallVector<ParameterOp>;
  // Those that decay and the others; of each those with the rate of weights,
  // of the mask, of the head.
  std::array<std::array<Parameters, kGroups>, 2> trained;
  // Weights as a program stores them, which each call reads whole, lie side by
  // side and before other state.
  Parameters stored, state, caches;
  llvm::StringSet<> packed;
  for (auto function : module.getOps<func::FuncOp>())
    if (isPackEntry(function.getSymName()))
      forEachStored(function, [&](StringRef name) { packed.insert(name); });
  for (auto parameter : module.getOps<ParameterOp>())
    if (parameter.getRole() == ParameterRole::State)
      (packed.contains(parameter.getSymName()) ? stored : state)
          .push_back(parameter);
    else if (parameter.getRole() == ParameterRole::Cache)
      caches.push_back(parameter);
    else if (parameter.getRole() == ParameterRole::Trainable)
      trained[!parameter.getDecay()][groupOf(parameter)].push_back(parameter);
  int64_t bytes = 0, decayedBytes = 0;
  SmallVector<int64_t> ranges; // in elements
  SmallVector<size_t> groups;  // of each range
  for (const auto &kinds : trained) {
    for (auto [group, parameters] : llvm::enumerate(kinds)) {
      int64_t begin = bytes;
      bytes = layOut(parameters, begin);
      if (group == 0 || bytes == begin)
        continue;
      ranges.append({begin / 4, bytes / 4});
      groups.push_back(group);
    }
    if (&kinds == &trained.front())
      decayedBytes = bytes;
  }
  layOut(state, layOut(stored, 0));
  layOut(caches, 0);
  if (bytes == 0 || module.lookupSymbol("apply"))
    return;

  Builder types(&getContext());
  SmallVector<StringRef> names{
      "learning_rate",    "beta1",        "beta2",
      "epsilon",          "weight_decay", "bias_correction1",
      "bias_correction2", "max_grad_norm"};
  std::array<size_t, kGroups> rateArguments{};
  for (size_t group = 1; group < kGroups; ++group)
    if (llvm::is_contained(groups, group)) {
      rateArguments[group] = names.size();
      names.push_back(kRateNames[group]);
    }
  SmallVector<Type> arguments(names.size(), types.getF32Type());
  Type norm = RankedTensorType::get({}, types.getF32Type());
  auto apply = func::FuncOp::create(module.getLoc(), "apply",
                                    types.getFunctionType(arguments, norm));
  module.push_back(apply);
  for (auto [i, name] : llvm::enumerate(names))
    apply.setArgAttr(i, kNameAttribute, types.getStringAttr(name));
  apply.setResultAttr(0, kNameAttribute, types.getStringAttr("grad_norm"));
  OpBuilder builder = OpBuilder::atBlockEnd(apply.addEntryBlock());
  SmallVector<Value> operands(apply.getArguments()), rates;
  for (size_t group : groups)
    rates.push_back(operands[rateArguments[group]]);
  auto adamw = AdamWOp::create(
      builder, apply.getLoc(), norm, bytes / 4, decayedBytes / 4, operands[0],
      operands[1], operands[2], operands[3], operands[4], operands[5],
      operands[6], operands[7], rates,
      ranges.empty() ? nullptr : builder.getDenseI64ArrayAttr(ranges));
  func::ReturnOp::create(builder, apply.getLoc(), adamw.getGradNorm());
}
