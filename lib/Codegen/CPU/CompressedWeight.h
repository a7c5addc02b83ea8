//===- CompressedWeight.h - Compresses a matrix to its elements -*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// A matrix S most of whose elements are zero is compressed to the others
// (CompressedLayout.h says how they lie). S is read by elements, as the packing
// of a dense product reads its matrix: a masked weight exists as its kept
// elements only.

#ifndef PST_LIB_CODEGEN_CPU_COMPRESSEDWEIGHT_H
#define PST_LIB_CODEGEN_CPU_COMPRESSEDWEIGHT_H

#include "Gemm.h"
#include "pst/Dialect/PST/CompressedLayout.h"

namespace pst::cpu {

/// The buffers of a compressed matrix.
struct CompressedMatrix {
  Value values, columns, cells, used;
  Value scales; ///< Of values of i8, or null.

  static CompressedMatrix of(ValueRange stored) {
    return {stored[0], stored[1], stored[2], stored[3],
            stored.size() > 4 ? stored[4] : Value()};
  }
  int64_t room() const {
    return llvm::cast<mlir::MemRefType>(values.getType()).getDimSize(0);
  }
  /// The `i`-th of a cell's rows as they are stored, and its elements (both
  /// index).
  struct Row {
    Value number, count;
  };
  Row rowAt(KernelBuilder &b, Value cell, Value i) const;
  /// Whether all elements of the matrix are there. This depends on the matrix
  /// alone, not on threads.
  Value isWhole(KernelBuilder &b) const;
};

/// Compresses S, which is `matrix` or, if `transposed`, its transpose. Never
/// writes beyond the room, however many elements there are; then it is not
/// whole. Cells lie in the order of their numbers and unused slots are zero, or
/// if `unordered` they lie as threads finish them.
void emitCompress(KernelBuilder &b, const CompressedLayout &layout,
                  int64_t lanes, const MatrixReader &matrix, bool transposed,
                  bool unordered, const CompressedMatrix &compressed);

/// Marks S as not whole, in place of compressing it.
void emitNothing(KernelBuilder &b, const CompressedMatrix &compressed);

} // namespace pst::cpu

#endif // PST_LIB_CODEGEN_CPU_COMPRESSEDWEIGHT_H
