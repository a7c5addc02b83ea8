//===- BitmaskWeight.h - A matrix by a bit for each element -----*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// A matrix S whose zeros are left out, with a bit for each element
// (BitmaskLayout.h says how it lies), and how its elements are read: kept ones
// lie side by side, and one instruction moves them to the lanes whose bits are
// set. Vectors of f32 have 16 lanes here, whatever the machine's have.

#ifndef PST_LIB_CODEGEN_CPU_BITMASKWEIGHT_H
#define PST_LIB_CODEGEN_CPU_BITMASKWEIGHT_H

#include "Gemm.h"
#include "pst/Dialect/PST/BitmaskLayout.h"

namespace pst::cpu {

/// The buffers of a matrix.
struct BitmaskMatrix {
  BitmaskLayout layout;
  Value values, bits, starts, used;
  Value scales; ///< Of values of i8, or null.

  static constexpr int64_t kLanes = 16;

  static BitmaskMatrix of(const BitmaskLayout &layout, ValueRange stored) {
    return {layout,    stored[0], stored[1],
            stored[2], stored[3], stored.size() > 4 ? stored[4] : Value()};
  }
  int64_t room() const {
    return llvm::cast<mlir::MemRefType>(values.getType()).getDimSize(0);
  }
  /// Whether all elements of the matrix are there.
  Value isWhole(KernelBuilder &b) const;

  /// The slot of the first element of a row's block.
  Value start(KernelBuilder &b, Value row, Value block) const;
  /// The elements of a word's columns as vectors of kLanes f32, the first of
  /// them at `slot`, which becomes that of the next word's.
  llvm::SmallVector<Value> readWord(KernelBuilder &b, const Target &target,
                                    Value row, Value word, Value &slot) const;
  /// The bytes of a word's columns, on a machine that expands bytes.
  Value readBytes(KernelBuilder &b, const Target &target, Value row, Value word,
                  Value &slot) const;
  /// A word of a row's bits, i64.
  Value loadWord(KernelBuilder &b, Value row, Value word) const;

private:
  void prefetch(KernelBuilder &b, Value row, Value word, Value slot) const;
  Value loadExpanded(KernelBuilder &b, const Target &target, Value slot,
                     Value mask) const;
};

} // namespace pst::cpu

#endif // PST_LIB_CODEGEN_CPU_BITMASKWEIGHT_H
