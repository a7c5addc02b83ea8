//===- HoistScratch.cpp - -pst-hoist-scratch ------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

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
    IRRewriter rewriter(&getContext());
    getOperation().walk([&](memref::AllocaScopeOp scope) {
      auto parallel = scope->getParentOfType<omp::ParallelOp>();
      if (!parallel || scope.getNumResults() != 0)
        return;
      Operation *entry = &parallel.getRegion().front().front();
      bool left = false;
      scope.walk([&](memref::AllocaOp scratch) {
        if (scratch->getNumOperands() == 0)
          scratch->moveBefore(entry);
        else
          left = true;
      });
      if (left)
        return;
      rewriter.eraseOp(scope.getBody()->getTerminator());
      rewriter.inlineBlockBefore(scope.getBody(), scope);
      rewriter.eraseOp(scope);
    });
  }
};
} // namespace
