//===- NNPacking.cpp - Batches without padding ----------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Dialect/NN/NNPacking.h"
#include "mlir/IR/Diagnostics.h"

using namespace mlir;
using namespace pst;
using namespace pst::nn;

LogicalResult
PackedAttr::verifyEncoding(ArrayRef<int64_t> shape, Type,
                           function_ref<InFlightDiagnostic()> emitError) const {
  if (shape.size() == 2 && getCapacity() >= 1 && getCapacity() <= shape[0])
    return success();
  return emitError() << "#nn.packed<" << getCapacity()
                     << "> is of matrices with at least as many rows, and has "
                        "room for one at least";
}

PackedAttr pst::nn::getPacked(Type type) {
  auto tensor = dyn_cast<RankedTensorType>(type);
  return tensor ? dyn_cast_if_present<PackedAttr>(tensor.getEncoding())
                : PackedAttr();
}

int64_t pst::nn::storedRows(RankedTensorType matrix) {
  PackedAttr packed = getPacked(matrix);
  return packed ? packed.getCapacity() : matrix.getDimSize(0);
}

LogicalResult TokenPlacesOp::verify() {
  auto mask = cast<RankedTensorType>(getMask().getType());
  int64_t places = cast<RankedTensorType>(getPlaces().getType()).getDimSize(0);
  int64_t starts = cast<RankedTensorType>(getStarts().getType()).getDimSize(0);
  if (starts != mask.getDimSize(0) + 1) // (C1)
    return emitOpError("must have ")
           << mask.getDimSize(0) + 1
           << " starts, one more than the mask has rows, but got " << starts;
  if (places > mask.getNumElements()) // (C2)
    return emitOpError("must have at most ")
           << mask.getNumElements()
           << " places, as many as the mask has elements, but got " << places;
  return success();
}

LogicalResult UnpackTokensOp::verify() {
  auto input = cast<RankedTensorType>(getInput().getType());
  auto result = cast<RankedTensorType>(getResult().getType());
  if (!getPacked(input) || result.getEncoding() ||
      result.getShape() != input.getShape() ||
      result.getElementType() != input.getElementType()) // (C1)
    return emitOpError("must make of a packed matrix the same one that is not "
                       "packed, but makes ")
           << result << " of " << input;
  return success();
}
