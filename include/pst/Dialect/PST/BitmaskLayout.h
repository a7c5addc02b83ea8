//===- BitmaskLayout.h - A matrix by a bit for each element -----*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// How a matrix lies in memory whose zeros are left out, and which a bit for
// each element tells apart. The tensors are
//
//   values:  f32[room]      the elements that are not zero, row by row, by
//                           ascending column; or bf16, rounded to nearest
//                           even; or i8, which are to be multiplied by their
//                           row's scale
//   bits:    i8[bytes]      a row after the other, each of whole words of 64
//                           bits, lowest bit first: set where the element is
//                           not zero, 0 beyond the columns
//   starts:  i32[rows, blocks]
//                           the slot of the first element of each row's blocks
//                           of 128 columns
//   used:    i32            the slots that all elements take, and kSlack; more
//                           than there is room for, if the matrix could not be
//                           stored
//   scales:  f32[rows]      of values of i8 alone
//
// Against CompressedLayout.h: a bit for each element instead of a byte for each
// that is kept, so less from an eighth of kept ones on; and vectors of X that
// are read where they lie instead of element by element.

#ifndef PST_DIALECT_PST_BITMASKLAYOUT_H
#define PST_DIALECT_PST_BITMASKLAYOUT_H

#include "mlir/IR/BuiltinTypes.h"
#include "llvm/Support/MathExtras.h"

namespace pst {

struct BitmaskLayout {
  int64_t rows, columns; ///< Of the matrix.

  static constexpr int64_t kWord = 64, kBlock = 128;
  /// Slots behind the last element, so that a vector may be loaded there.
  static constexpr int64_t kSlack = 64;
  /// The most slots that there may be: they are counted in i32.
  static constexpr int64_t kMostRoom = INT32_MAX - 1;

  int64_t words() const { return llvm::divideCeil(columns, kWord); }
  int64_t blocks() const { return llvm::divideCeil(columns, kBlock); }
  int64_t rowBytes() const { return words() * (kWord / 8); }
  /// With what may be loaded behind the last row's.
  int64_t bytes() const { return rows * rowBytes() + kWord / 8; }
  int64_t roomFor(int64_t kept) const { return kept + kSlack; }
  int64_t wholeRoom() const { return roomFor(rows * columns); }

  /// The types of the tensors; null: values are f32.
  llvm::SmallVector<mlir::Type> types(mlir::MLIRContext *context, int64_t room,
                                      mlir::Type value = {}) const {
    auto i8 = mlir::IntegerType::get(context, 8);
    auto i32 = mlir::IntegerType::get(context, 32);
    auto f32 = mlir::Float32Type::get(context);
    auto tensor = [](llvm::ArrayRef<int64_t> shape, mlir::Type element) {
      return mlir::RankedTensorType::get(shape, element);
    };
    llvm::SmallVector<mlir::Type> types{
        tensor({room}, value ? value : f32), tensor({bytes()}, i8),
        tensor({rows, blocks()}, i32), tensor({}, i32)};
    if (value == i8)
      types.push_back(tensor({rows}, f32));
    return types;
  }
};

} // namespace pst

#endif // PST_DIALECT_PST_BITMASKLAYOUT_H
