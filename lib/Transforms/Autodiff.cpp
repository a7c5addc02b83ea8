//===- Autodiff.cpp - -pst-autodiff ---------------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// Reverse mode over the straight-line forward function. Each op builds its own
// backward (DifferentiableOpInterface); this pass decides which gradients are
// needed, adds those of a value with several uses, and hands the gradients of
// trainable parameters to `pst.accumulate`.

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/IR/TypeUtilities.h"
#include "pst/Dialect/NN/NNOps.h"
#include "pst/Dialect/PST/PSTOps.h"
#include "pst/Dialect/PST/StageAttributes.h"
#include "pst/Transforms/Passes.h"

namespace pst {
#define GEN_PASS_DEF_AUTODIFF
#include "pst/Transforms/Passes.h.inc"
} // namespace pst

using namespace mlir;
using namespace pst;

/// Values of floats that a trainable parameter reaches; what an op makes
/// besides (indices) has no derivative.
static DenseSet<Value> findActiveValues(func::FuncOp function,
                                        SymbolTable &symbols) {
  DenseSet<Value> active;
  for (Operation &op : function.getBody().front()) {
    bool reaches = llvm::any_of(op.getOperands(), [&](Value operand) {
      return active.contains(operand);
    });
    if (auto load = dyn_cast<LoadOp>(op))
      reaches |= symbols.lookup<ParameterOp>(load.getParameter()).getRole() ==
                 ParameterRole::Trainable;
    if (!reaches)
      continue;
    for (Value result : op.getResults())
      if (isa<FloatType>(getElementTypeOrSelf(result)))
        active.insert(result);
  }
  return active;
}

/// Appends the backward of `function`, whose first result is the loss.
static LogicalResult appendBackward(func::FuncOp function,
                                    SymbolTable &symbols) {
  Block &block = function.getBody().front();
  auto ret = cast<func::ReturnOp>(block.getTerminator());
  Value loss = ret.getOperand(0);
  DenseSet<Value> active = findActiveValues(function, symbols);
  if (!active.contains(loss))
    return function.emitOpError(
        "has nothing to train: no trainable parameter reaches the loss");

  SmallVector<Operation *> forward;
  for (Operation &op : block.without_terminator())
    forward.push_back(&op);
  OpBuilder builder(ret);
  auto lossType = cast<RankedTensorType>(loss.getType());
  DenseMap<Value, Value> gradients;
  gradients[loss] = arith::ConstantOp::create(
      builder, loss.getLoc(),
      DenseElementsAttr::get(lossType, builder.getF32FloatAttr(1.0)));

  for (Operation *op : llvm::reverse(forward)) {
    SmallVector<Value> resultGradients;
    bool reached = false;
    for (Value result : op->getResults()) {
      Value gradient = gradients.lookup(result);
      reached |= static_cast<bool>(gradient);
      resultGradients.push_back(gradient);
    }
    if (!reached)
      continue;
    if (auto load = dyn_cast<LoadOp>(op)) {
      AccumulateOp::create(builder, op->getLoc(), resultGradients[0],
                           load.getParameterAttr());
      continue;
    }
    llvm::BitVector needed(op->getNumOperands());
    for (auto [i, operand] : llvm::enumerate(op->getOperands()))
      needed[i] = active.contains(operand);
    if (needed.none())
      continue;
    auto differentiable = dyn_cast<DifferentiableOpInterface>(op);
    if (!differentiable)
      return op->emitOpError("stands between a trainable parameter and the "
                             "loss, but has no backward");
    SmallVector<Value> operandGradients(op->getNumOperands());
    differentiable.buildBackward(builder, resultGradients, needed,
                                 operandGradients);
    for (unsigned i : needed.set_bits()) {
      Value &sum = gradients[op->getOperand(i)];
      if (!operandGradients[i])
        return op->emitOpError("stands between a trainable parameter and the "
                               "loss, but its backward has no gradient for "
                               "operand #")
               << i;
      sum = sum ? nn::AddOp::create(builder, op->getLoc(), sum.getType(), sum,
                                    operandGradients[i])
                      .getResult()
                : operandGradients[i];
    }
  }
  ret->setOperands({loss});
  function.setType(FunctionType::get(
      function.getContext(), function.getArgumentTypes(), {loss.getType()}));
  return success();
}

/// Evaluation drops nothing out, and needs no seed.
static void removeDropout(func::FuncOp function) {
  function.walk([](StochasticOpInterface op) { op.makeDeterministic(); });
  for (int i = function.getNumArguments() - 1; i >= 0; --i) {
    auto name = function.getArgAttrOfType<StringAttr>(i, kNameAttribute);
    if (name && name.getValue() == "seed" &&
        function.getArgument(i).use_empty())
      (void)function.eraseArgument(i);
  }
}

namespace {
struct Autodiff : pst::impl::AutodiffBase<Autodiff> {
  using AutodiffBase::AutodiffBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    SymbolTable symbols(module);
    auto forward = symbols.lookup<func::FuncOp>("forward");
    if (inference) {
      for (auto function : module.getOps<func::FuncOp>())
        removeDropout(function);
      return;
    }
    bool trains =
        llvm::any_of(module.getOps<ParameterOp>(), [](ParameterOp parameter) {
          return parameter.getRole() == ParameterRole::Trainable;
        });
    if (!forward || !trains || symbols.lookup("forward_backward"))
      return;
    if (!forward.getBody().hasOneBlock() || forward.getNumResults() == 0 ||
        forward.getResultTypes()[0] !=
            RankedTensorType::get({}, Float32Type::get(&getContext()))) {
      forward.emitOpError("must be one block whose first result is the loss, "
                          "of type 'tensor<f32>'");
      return signalPassFailure();
    }
    auto backward = cast<func::FuncOp>(forward->clone());
    backward.setSymName("forward_backward");
    symbols.insert(backward, std::next(Block::iterator(forward)));
    SmallVector<Attribute> resultAttributes;
    if (DictionaryAttr attributes = forward.getResultAttrDict(0))
      resultAttributes.push_back(attributes);
    backward.removeResAttrsAttr();
    if (failed(appendBackward(backward, symbols)))
      return signalPassFailure();
    if (!resultAttributes.empty())
      backward.setAllResultAttrs(resultAttributes);
    removeDropout(forward);
  }
};
} // namespace
