//===- ChooseProducts.cpp - -pst-choose-products --------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ProductCost.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "pst/Codegen/Passes.h"
#include "pst/Dialect/NN/NNPacking.h"
#include "pst/Dialect/PST/CompressedLayout.h"
#include "pst/Dialect/PST/PSTOps.h"

namespace pst {
#define GEN_PASS_DEF_CHOOSEPRODUCTS
#include "pst/Codegen/Passes.h.inc"
} // namespace pst

using namespace mlir;
using namespace pst;

namespace {
struct ChooseProducts : pst::impl::ChooseProductsBase<ChooseProducts> {
  using ChooseProductsBase::ChooseProductsBase;

  void runOnOperation() override {
    last = nullptr;
    if (products == ProductChoice::Packed)
      return;
    SmallVector<MaskedMatmulOp> ops;
    getOperation().walk([&](MaskedMatmulOp op) {
      if (op.getSelection() && op.getStored().empty() && !op.isForGPUs())
        ops.push_back(op);
    });
    for (MaskedMatmulOp op : ops) {
      if (products == ProductChoice::Buffer)
        multiplyBuffer(op);
      else if (products == ProductChoice::Compressed)
        multiplyCompressed(op);
      else
        offerCompressed(op);
    }
  }

private:
  /// The matrix S of the product Y = X S^T.
  static CompressedLayout layoutOf(MaskedMatmulOp op) {
    return {op.getType().getDimSize(1), op.getInput().getType().getDimSize(1)};
  }

  /// Stores the weight before its product, unless the weight that was stored
  /// last, of the same block, is this one. No other lives longer than until its
  /// product, and so never more than one.
  ValueRange compress(MaskedMatmulOp op, int64_t room) {
    OpBuilder builder(op);
    auto stored = MaterializeOp::create(
        builder, op.getLoc(), layoutOf(op).types(&getContext(), room),
        op.getCriterion(), op.getFactors(), op.getSelectionAttr(),
        op.getState(),
        products == ProductChoice::Auto ? op.getPruned() : Value(),
        op.getTransposed(), Storage::Compressed, /*unordered=*/true);
    if (last && last->getBlock() == stored->getBlock() &&
        OperationEquivalence::isEquivalentTo(
            last, stored, OperationEquivalence::IgnoreLocations))
      stored.erase();
    else
      last = stored;
    return last.getStored();
  }

  /// A weight that the product takes if it is sparse enough by then.
  void offerCompressed(MaskedMatmulOp op) {
    CompressedLayout layout = layoutOf(op);
    int64_t tokens = nn::storedRows(op.getType());
    cpu::ProductCost cost{tokens, layout.rows, layout.columns};
    int64_t density = cost.profitableDensity();
    if (!op.getPruned() || density == 0 ||
        layout.wholeRoom() > CompressedLayout::kMostRoom)
      return;
    int64_t kept =
        llvm::divideCeil(layout.rows * layout.columns * density, 100);
    op.getStoredMutable().assign(compress(op, layout.roomFor(kept)));
  }

  void multiplyCompressed(MaskedMatmulOp op) {
    OpBuilder builder(op);
    ValueRange stored = compress(op, layoutOf(op).wholeRoom());
    auto product = StoredMatmulOp::create(
        builder, op.getLoc(), op.getType(), op.getInput(), Storage::Compressed,
        stored, op.getBias(), op.getAddend(), op.getActivationAttr());
    op.getResult().replaceAllUsesWith(product.getResult());
    op.erase();
  }

  /// Writes the masked weight to a buffer, for a product of plain matrices.
  void multiplyBuffer(MaskedMatmulOp op) {
    OpBuilder builder(op);
    Location loc = op.getLoc();
    CompressedLayout s = layoutOf(op);
    SmallVector<int64_t> shape{s.rows, s.columns};
    if (op.getTransposed())
      std::swap(shape[0], shape[1]);
    Type type = RankedTensorType::get(shape, builder.getF32Type());
    auto weight = MaterializeOp::create(
        builder, loc, type, op.getCriterion(), op.getFactors(),
        op.getSelectionAttr(), op.getState(), /*pruned=*/Value(),
        /*transposed=*/false, Storage::Dense, /*unordered=*/false);
    Value result = nn::LinearOp::create(
        builder, loc, op.getType(), op.getInput(), weight.getStored().front(),
        op.getBias(), op.getTransposed());
    if (op.getAddend())
      result = nn::AddOp::create(builder, loc, result, op.getAddend());
    if (op.getActivation())
      result =
          nn::ActivationOp::create(builder, loc, *op.getActivation(), result);
    op.getResult().replaceAllUsesWith(result);
    op.erase();
  }

  MaterializeOp last; ///< The weight that was stored last.
};
} // namespace
