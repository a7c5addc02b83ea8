//===- OpInterfaces.cpp - What passes ask of an op ------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Dialect/Interfaces/OpInterfaces.h"
#include "mlir/IR/BuiltinTypes.h"
#include "pst/Bundle/Checked.h"
#include "pst/Dialect/Interfaces/Work.h"
#include "llvm/ADT/SmallPtrSet.h"

#include <limits>

using namespace mlir;
using namespace pst;

#include "pst/Dialect/Interfaces/OpInterfaces.cpp.inc"

bool pst::hasSizes(ShapedType type) {
  constexpr int64_t mostElements = int64_t(1) << 40;
  Checked count = 1;
  for (int64_t size : type.getShape()) {
    count = count * size;
    if (size < 1 || size > std::numeric_limits<int32_t>::max() ||
        !count.isAtMost(mostElements))
      return false;
  }
  return true;
}

int64_t pst::bytesOf(Type type) {
  auto shaped = dyn_cast<ShapedType>(type);
  return shaped ? shaped.getNumElements() * shaped.getElementTypeBitWidth() / 8
                : 0;
}

int64_t pst::bytesOfTensors(Operation *op) {
  int64_t bytes = 0;
  llvm::SmallPtrSet<Value, 8> seen;
  for (Value operand : op->getOperands())
    if (seen.insert(operand).second)
      bytes += bytesOf(operand.getType());
  for (Type type : op->getResultTypes())
    bytes += bytesOf(type);
  return bytes;
}

Work pst::countWork(Operation *op) {
  auto worker = dyn_cast<WorkOpInterface>(op);
  return worker ? Work{worker.countFlops(), worker.countBytes()} : Work();
}
