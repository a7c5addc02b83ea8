//===- HoistScratch.cpp - -pst-hoist-scratch ------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/OpenMP/OpenMPDialect.h"
#include "mlir/IR/PatternMatch.h"
#include "pst/Codegen/Passes.h"

namespace pst {
#define GEN_PASS_DEF_HOISTSCRATCH
#include "pst/Codegen/Passes.h.inc"
} // namespace pst

using namespace mlir;
using namespace pst;

namespace {
struct HoistScratch : pst::impl::HoistScratchBase<HoistScratch> {
  void runOnOperation() override {
    // Its size is static, so that one place serves every iteration.
    getOperation().walk([](memref::AllocaOp scratch) {
      Operation *owner = scratch->getParentOp();
      while (!isa<omp::ParallelOp, func::FuncOp>(owner))
        owner = owner->getParentOp();
      if (scratch->getNumOperands() == 0)
        scratch->moveBefore(&owner->getRegion(0).front().front());
    });
    IRRewriter rewriter(&getContext());
    getOperation().walk([&](memref::AllocaScopeOp scope) {
      bool holdsScratch =
          scope.walk([](memref::AllocaOp) { return WalkResult::interrupt(); })
              .wasInterrupted();
      if (holdsScratch || scope.getNumResults() != 0 ||
          !scope->getParentOfType<omp::ParallelOp>())
        return;
      rewriter.eraseOp(scope.getBody()->getTerminator());
      rewriter.inlineBlockBefore(scope.getBody(), scope);
      rewriter.eraseOp(scope);
    });
  }
};
} // namespace
