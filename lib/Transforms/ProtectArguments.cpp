//===- ProtectArguments.cpp - -pst-protect-arguments ----------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "pst/Transforms/Passes.h"

namespace pst {
#define GEN_PASS_DEF_PROTECTARGUMENTS
#include "pst/Transforms/Passes.h.inc"
} // namespace pst

using namespace mlir;
using namespace pst;

namespace {
struct ProtectArguments : pst::impl::ProtectArgumentsBase<ProtectArguments> {
  void runOnOperation() override {
    Builder builder(&getContext());
    for (auto function : getOperation().getOps<func::FuncOp>())
      if (function.isPublic() && !function.isExternal())
        for (unsigned i = 0; i < function.getNumArguments(); ++i)
          function.setArgAttr(
              i, bufferization::BufferizationDialect::kWritableAttrName,
              builder.getBoolAttr(false));
  }
};
} // namespace
