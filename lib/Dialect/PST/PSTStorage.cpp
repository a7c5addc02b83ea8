//===- PSTStorage.cpp - Verifiers of stored weights -----------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Selection.h"
#include "pst/Dialect/PST/BitmaskLayout.h"
#include "pst/Dialect/PST/CompressedLayout.h"

using namespace mlir;
using namespace pst;

static LogicalResult verifyDense(Operation *op, TypeRange stored, int64_t rows,
                                 int64_t columns) {
  if (stored.size() == 1) {
    auto type = cast<RankedTensorType>(stored.front());
    Type element = type.getElementType();
    if (type.getShape() == ArrayRef<int64_t>{rows, columns} &&
        (element.isF32() || element.isBF16()))
      return success();
  }
  return op->emitOpError("stores the weight dense, which takes one tensor of ")
         << rows << "x" << columns << " elements, f32 or bf16, but got "
         << stored;
}

static LogicalResult verifyQuantized(Operation *op, TypeRange stored,
                                     int64_t rows, int64_t columns) {
  Builder builder(op->getContext());
  SmallVector<Type> expected{
      RankedTensorType::get({rows, columns}, builder.getI8Type()),
      RankedTensorType::get({rows}, builder.getF32Type())};
  if (stored == TypeRange(expected))
    return success();
  return op->emitOpError("has a quantized weight of ")
         << rows << "x" << columns << " elements, which takes "
         << TypeRange(expected) << ", but got " << stored;
}

/// That zeros are left out as the layout has it; `how` names it.
template <typename Layout>
static LogicalResult verifySkipping(Operation *op, StringRef how,
                                    TypeRange stored, const Layout &layout) {
  auto fail = [&]() {
    return op->emitOpError("has a ") << how << " of " << layout.rows << "x"
                                     << layout.columns << " elements, which ";
  };
  if (layout.wholeRoom() > Layout::kMostRoom)
    return fail() << "are counted in 32 bits: store it dense";
  // The room is free, but for the slack.
  auto values = stored.empty() ? RankedTensorType()
                               : cast<RankedTensorType>(stored.front());
  int64_t room = values && values.getRank() == 1 ? values.getDimSize(0) : 0;
  int64_t least = layout.roomFor(0);
  bool isNarrow = values && (values.getElementType().isBF16() ||
                             values.getElementType().isInteger(8));
  SmallVector<Type> expected =
      layout.types(op->getContext(), std::max(room, least),
                   isNarrow ? values.getElementType() : Type());
  if (room <= Layout::kMostRoom && llvm::equal(stored, expected))
    return success();
  return fail() << "takes " << TypeRange(expected) << ", with room for "
                << least << " to " << layout.wholeRoom() << ", but got "
                << stored;
}

LogicalResult pst::verifyStored(Operation *op, Storage storage,
                                TypeRange stored, int64_t rows,
                                int64_t columns) {
  switch (storage) {
  case Storage::Dense:
    return verifyDense(op, stored, rows, columns);
  case Storage::Quantized:
    return verifyQuantized(op, stored, rows, columns);
  case Storage::Compressed:
    return verifySkipping(op, "compressed weight", stored,
                          CompressedLayout{rows, columns});
  case Storage::Bitmask:
    return verifySkipping(op, "bitmask", stored, BitmaskLayout{rows, columns});
  }
  llvm_unreachable("all storages are covered");
}

LogicalResult MaterializeOp::verifySymbolUses(SymbolTableCollection &table) {
  int64_t rows, columns;
  FailureOr<CriterionOp> criterion = verifyCriterionUse(
      *this, getCriterionAttr(), getFactors(), table, rows, columns); // (C1)
  if (failed(criterion) ||
      failed(verifyMask(*this, *criterion, getSelectionAttr(),
                        getState().getTypes(), rows, columns,
                        /*required=*/false)) ||
      failed(verifyPruned(*this))) // (C2)
    return failure();
  if (getStorage() == Storage::Dense &&
      (getTransposed() || getPruned() || getUnordered())) // (C4)
    return emitOpError("stores the weight dense, as its factors lie: that is "
                       "never 'transposed', 'pruned' or 'unordered'");
  if (getStorage() != Storage::Compressed &&
      (getPruned() || getUnordered())) // (C4)
    return emitOpError("stores the weight as ")
           << stringifyStorage(getStorage())
           << ": only a compressed one is 'pruned' or 'unordered'";
  if (getTransposed())
    std::swap(rows, columns);
  return verifyStored(*this, getStorage(), getStored().getTypes(), rows,
                      columns); // (C3)
}

LogicalResult StoredMatmulOp::verify() {
  RankedTensorType input = getInput().getType(), result = getType();
  if (getStorage() == Storage::Dense) // (C1)
    return emitOpError("multiplies by what is not dense: 'nn.linear' does");
  if (input.getDimSize(0) != result.getDimSize(0) ||
      input.getEncoding() != result.getEncoding())
    return emitOpError("must have the rows of the input in the result, but "
                       "got ")
           << result << " from " << input;
  if (failed(verifyStored(*this, getStorage(), getStored().getTypes(),
                          result.getDimSize(1), input.getDimSize(1)))) // (C1)
    return failure();
  if (getBias() &&
      getBias().getType().getDimSize(0) != result.getDimSize(1)) // (C2)
    return emitOpError("must have a bias of ")
           << result.getDimSize(1) << " elements, but got "
           << getBias().getType();
  return verifyAddend(*this); // (C2)
}
