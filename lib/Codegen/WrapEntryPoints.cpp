//===- WrapEntryPoints.cpp - -pst-wrap-entry-points -----------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "pst/Codegen/Passes.h"

namespace pst {
#define GEN_PASS_DEF_WRAPENTRYPOINTS
#include "pst/Codegen/Passes.h.inc"
} // namespace pst

using namespace mlir;

/// void pst_<name>(void *const *arguments): passes arguments[i] on, or what it
/// points to where the function takes a scalar.
static void wrap(LLVM::LLVMFuncOp function) {
  ImplicitLocOpBuilder builder(function.getLoc(), function);
  Type pointer = LLVM::LLVMPointerType::get(builder.getContext());
  auto wrapper = LLVM::LLVMFuncOp::create(
      builder, ("pst_" + function.getSymName()).str(),
      LLVM::LLVMFunctionType::get(LLVM::LLVMVoidType::get(builder.getContext()),
                                  {pointer}));
  Block *block = wrapper.addEntryBlock(builder);
  builder.setInsertionPointToStart(block);
  SmallVector<Value> arguments;
  for (auto [i, type] :
       llvm::enumerate(function.getFunctionType().getParams())) {
    Value slot =
        LLVM::GEPOp::create(builder, pointer, pointer, block->getArgument(0),
                            ArrayRef<LLVM::GEPArg>{static_cast<int32_t>(i)});
    Value address = LLVM::LoadOp::create(builder, pointer, slot);
    arguments.push_back(
        type == pointer ? address
                        : Value(LLVM::LoadOp::create(builder, type, address)));
  }
  LLVM::CallOp::create(builder, function, arguments);
  LLVM::ReturnOp::create(builder, ValueRange{});
}

namespace {
struct WrapEntryPoints : pst::impl::WrapEntryPointsBase<WrapEntryPoints> {
  void runOnOperation() override {
    SmallVector<LLVM::LLVMFuncOp> functions(
        getOperation().getOps<LLVM::LLVMFuncOp>());
    for (LLVM::LLVMFuncOp function : functions) {
      if (function.isExternal())
        continue;
      if (function.isPrivate()) {
        function.setVisibility_(LLVM::Visibility::Hidden);
      } else if (function.getLinkage() == LLVM::Linkage::External) {
        wrap(function);
        function.setLinkage(LLVM::Linkage::Internal);
      }
      function.removeArgAttrsAttr(); // kinds and names are in the manifest
    }
    for (NamedAttribute attribute :
         llvm::to_vector(getOperation()->getDiscardableAttrs()))
      if (attribute.getName().strref().starts_with("pst."))
        getOperation()->removeAttr(attribute.getName());
  }
};
} // namespace
