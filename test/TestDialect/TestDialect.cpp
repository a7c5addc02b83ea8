//===- TestDialect.cpp - Ops that only tests need -------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// A plugin for pst-opt (--load-dialect-plugin): what a pass does with an op
// that no model has yet.

#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/DialectRegistry.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/Tools/Plugins/DialectPlugin.h"
#include "pst/Dialect/Interfaces/OpInterfaces.h"

using namespace mlir;

namespace {

/// An op of any operands and results, whose backward is one op "test.backward"
/// of those gradients that are there and `present`, which says of which results
/// they are. Its last operand never gets a gradient.
class DifferentiableOp
    : public Op<DifferentiableOp, mlir::OpTrait::VariadicOperands,
                mlir::OpTrait::VariadicResults,
                pst::DifferentiableOpInterface::Trait> {
public:
  using Op::Op;
  static StringRef getOperationName() { return "test.differentiable"; }
  static ArrayRef<StringRef> getAttributeNames() { return {}; }

  void buildBackward(OpBuilder &builder, ValueRange resultGradients,
                     const llvm::BitVector &needed,
                     SmallVectorImpl<Value> &operandGradients) {
    OperationState state(getLoc(), "test.backward");
    SmallVector<bool> present;
    for (Value gradient : resultGradients) {
      present.push_back(static_cast<bool>(gradient));
      if (gradient)
        state.addOperands(gradient);
    }
    state.addAttribute("present", builder.getDenseBoolArrayAttr(present));
    SmallVector<unsigned> wanted;
    for (unsigned i : needed.set_bits())
      if (i + 1 < getOperation()->getNumOperands()) {
        wanted.push_back(i);
        state.addTypes(getOperand(i).getType());
      }
    Operation *backward = builder.create(state);
    for (auto [result, i] : llvm::zip(backward->getResults(), wanted))
      operandGradients[i] = result;
  }
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(DifferentiableOp)
};

class BackwardOp : public Op<BackwardOp, mlir::OpTrait::VariadicOperands,
                             mlir::OpTrait::VariadicResults> {
public:
  using Op::Op;
  static StringRef getOperationName() { return "test.backward"; }
  static ArrayRef<StringRef> getAttributeNames() { return {}; }
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(BackwardOp)
};

class TestDialect : public Dialect {
public:
  explicit TestDialect(MLIRContext *context)
      : Dialect(getDialectNamespace(), context, TypeID::get<TestDialect>()) {
    addOperations<DifferentiableOp, BackwardOp>();
  }
  static StringRef getDialectNamespace() { return "test"; }
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(TestDialect)
};

} // namespace

extern "C" LLVM_ATTRIBUTE_WEAK DialectPluginLibraryInfo
mlirGetDialectPluginInfo() {
  return {MLIR_PLUGIN_API_VERSION, "PSTTestDialect", "1",
          [](DialectRegistry *registry) { registry->insert<TestDialect>(); }};
}
