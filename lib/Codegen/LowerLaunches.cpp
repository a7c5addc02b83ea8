//===- LowerLaunches.cpp - -pst-lower-launches ----------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "pst/Codegen/Passes.h"
#include "pst/Dialect/PST/PSTOps.h"

namespace pst {
#define GEN_PASS_DEF_LOWERLAUNCHES
#include "pst/Codegen/Passes.h.inc"
} // namespace pst

using namespace mlir;
using namespace pst;

namespace {
struct LowerLaunches : pst::impl::LowerLaunchesBase<LowerLaunches> {
  void runOnOperation() override {
    WalkResult result = getOperation().walk([](LaunchOp launch) {
      if (launch.getNumResults() != 0) {
        launch.emitOpError("still works on tensors: bufferize before "
                           "-pst-lower-launches");
        return WalkResult::interrupt();
      }
      OpBuilder builder(launch);
      func::CallOp::create(builder, launch.getLoc(), launch.getKernelAttr(),
                           TypeRange{}, launch.getOperands());
      launch.erase();
      return WalkResult::advance();
    });
    if (result.wasInterrupted())
      return signalPassFailure();
    for (Operation &op : llvm::make_early_inc_range(*getOperation().getBody()))
      if (isa<ParameterOp, CriterionOp>(op))
        op.erase();
  }
};
} // namespace
