//===- LowerGPUMath.cpp - -pst-lower-gpu-math -----------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
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

namespace {
struct LowerGPUMath : pst::impl::LowerGPUMathBase<LowerGPUMath> {
  void runOnOperation() override {
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
