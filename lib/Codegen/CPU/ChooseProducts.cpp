//===- ChooseProducts.cpp - -pst-choose-products --------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "SparseMatmul.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "pst/Codegen/Passes.h"
#include "pst/Dialect/NN/NNOps.h"
#include "pst/Dialect/PST/PSTOps.h"

namespace pst {
#define GEN_PASS_DEF_CHOOSEPRODUCTS
#include "pst/Codegen/Passes.h.inc"
} // namespace pst

using namespace mlir;
using namespace pst;

/// Writes the masked weight to a buffer, for a product of plain matrices.
static void multiplyBuffer(MaskedMatmulOp op) {
  OpBuilder builder(op);
  Location loc = op.getLoc();
  int64_t rows = op.getType().getDimSize(1);
  int64_t columns = op.getInput().getType().getDimSize(1);
  if (op.getTransposed())
    std::swap(rows, columns);
  auto type = RankedTensorType::get({rows, columns}, builder.getF32Type());
  Value weight = MaskedWeightOp::create(builder, loc, type, op.getCriterion(),
                                        op.getFactors(), op.getSelectionAttr(),
                                        op.getState());
  auto result = nn::LinearOp::create(builder, loc, op.getType(), op.getInput(),
                                     weight, op.getBias(), op.getTransposed());
  op.replaceAllUsesWith(result.getResult());
  op.erase();
}

namespace {
struct ChooseProducts : pst::impl::ChooseProductsBase<ChooseProducts> {
  using ChooseProductsBase::ChooseProductsBase;

  void runOnOperation() override {
    if (products == ProductChoice::Packed)
      return;
    SmallVector<MaskedMatmulOp> ops;
    getOperation().walk([&](MaskedMatmulOp op) {
      if (op.getSelection() && op.getForm() == ProductForm::Packed)
        ops.push_back(op);
    });
    for (MaskedMatmulOp op : ops) {
      if (products == ProductChoice::Buffer)
        multiplyBuffer(op);
      else if (products == ProductChoice::Compressed)
        op.setForm(ProductForm::Compressed);
      else if (op.getPruned() && isProfitable(op))
        op.setForm(ProductForm::Adaptive);
    }
  }

private:
  static bool isProfitable(MaskedMatmulOp op) {
    RankedTensorType input = op.getInput().getType();
    return cpu::SparseBlocking::profitableDensity(input.getDimSize(0),
                                                  op.getType().getDimSize(1),
                                                  input.getDimSize(1)) > 0;
  }
};
} // namespace
