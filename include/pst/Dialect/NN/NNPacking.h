//===- NNPacking.h - Batches without padding --------------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_DIALECT_NN_NNPACKING_H
#define PST_DIALECT_NN_NNPACKING_H

#include "pst/Dialect/NN/NNOps.h"

namespace pst::nn {

/// The encoding of a packed matrix; null of any other type.
PackedAttr getPacked(mlir::Type type);

/// The rows that a matrix has room for: the capacity if it is packed.
int64_t storedRows(mlir::RankedTensorType matrix);

} // namespace pst::nn

#endif // PST_DIALECT_NN_NNPACKING_H
