//===- LowerGPUMath.cpp - -pst-lower-gpu-math -----------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "mlir/IR/TypeUtilities.h"
#include "pst/Codegen/GPUPasses.h"
#include "llvm/ADT/TypeSwitch.h"

namespace pst {
#define GEN_PASS_DEF_LOWERGPUMATH
#include "pst/Codegen/GPUPasses.h.inc"
} // namespace pst

using namespace mlir;

/// The intrinsic that rounds as IEEE 754 says; empty for other ops.
static StringRef intrinsicOf(Operation *op) {
  return llvm::TypeSwitch<Operation *, StringRef>(op)
      .Case([](math::FmaOp) { return "llvm.fma"; })
      .Case([](math::AbsFOp) { return "llvm.fabs"; })
      .Case([](math::SqrtOp sqrt) {
        return sqrt.getType().isF64() ? "llvm.nvvm.sqrt.rn.d"
                                      : "llvm.nvvm.sqrt.rn.f";
      })
      .Default([](Operation *) { return ""; });
}

/// Rounds pairs of f32 by one instruction each. LLVM would take one for each
/// number, and would move selections behind it, where they are of 16 bits.
static void lowerRounding(arith::TruncFOp op) {
  auto type = dyn_cast<VectorType>(op.getType());
  if (!type || !type.getElementType().isBF16() || type.getRank() != 1 ||
      type.getNumElements() % 2 != 0 ||
      !getElementTypeOrSelf(op.getIn()).isF32())
    return;
  ImplicitLocOpBuilder b(op.getLoc(), op);
  int64_t pairs = type.getNumElements() / 2;
  auto words = VectorType::get(pairs, b.getI32Type());
  auto place = [&](int64_t i) -> Value {
    return LLVM::ConstantOp::create(b, b.getI64IntegerAttr(i));
  };
  auto element = [&](int64_t i) -> Value {
    return LLVM::ExtractElementOp::create(b, op.getIn(), place(i));
  };
  Value result = LLVM::PoisonOp::create(b, words);
  for (int64_t pair = 0; pair < pairs; ++pair) {
    // The first operand becomes the upper half.
    Value rounded = LLVM::CallIntrinsicOp::create(
                        b, VectorType::get(2, type.getElementType()),
                        b.getStringAttr("llvm.nvvm.ff2bf16x2.rn"),
                        ValueRange{element(2 * pair + 1), element(2 * pair)})
                        .getResult(0);
    Value word = LLVM::BitcastOp::create(b, b.getI32Type(), rounded);
    result = LLVM::InsertElementOp::create(b, result, word, place(pair));
  }
  op.replaceAllUsesWith(LLVM::BitcastOp::create(b, type, result).getResult());
  op.erase();
}

/// The intrinsic of a root takes a single number.
static void lowerRoots(math::SqrtOp op) {
  auto type = dyn_cast<VectorType>(op.getType());
  if (!type)
    return;
  ImplicitLocOpBuilder b(op.getLoc(), op);
  Value result = LLVM::PoisonOp::create(b, type);
  for (int64_t i = 0; i < type.getNumElements(); ++i) {
    Value place = LLVM::ConstantOp::create(b, b.getI64IntegerAttr(i));
    Value element = LLVM::ExtractElementOp::create(b, op.getOperand(), place);
    result = LLVM::InsertElementOp::create(
        b, result, math::SqrtOp::create(b, element), place);
  }
  op.replaceAllUsesWith(result);
  op.erase();
}

namespace {
struct LowerGPUMath : pst::impl::LowerGPUMathBase<LowerGPUMath> {
  void runOnOperation() override {
    getOperation().walk([](arith::TruncFOp op) { lowerRounding(op); });
    getOperation().walk([](math::SqrtOp op) { lowerRoots(op); });
    getOperation().walk([](Operation *op) {
      StringRef name = intrinsicOf(op);
      if (name.empty())
        return;
      OpBuilder builder(op);
      auto call = LLVM::CallIntrinsicOp::create(
          builder, op->getLoc(), op->getResultTypes().front(),
          builder.getStringAttr(name), op->getOperands());
      op->replaceAllUsesWith(call->getResults());
      op->erase();
    });
  }
};
} // namespace
