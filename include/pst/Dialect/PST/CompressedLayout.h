//===- CompressedLayout.h - A matrix by its elements ------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// How a compressed matrix lies in memory, the same for every target. It is cut
// into cells of 64 rows x 128 columns (fewer at the edges): cell g * blocks + b
// has the rows from 64 g and the columns from 128 b on. The tensors are
//
//   values:  f32[room]      the elements that are not zero, cell by cell, in
//                           each row by row, in each by ascending column; or
//                           bf16, rounded to nearest even; or i8, which are
//                           to be multiplied by their row's scale
//   columns: i8[room]       their columns, counted from the cell's first one
//   cells:   i32[cells, 65] the slot of the cell's first element, and of each
//                           of its rows 256 times its number in the cell plus
//                           how many elements it has; rows with more elements
//                           come first, of equal ones those with the smaller
//                           number
//   used:    i32            the slots that all cells take; more than there is
//                           room for, if the matrix could not be stored
//   scales:  f32[rows]      of values of i8 alone
//
// So one row is as long as the next, and a processor foresees where it ends.
//
// A cell takes kSlack slots more than it has elements, so that a vector may be
// stored behind the last one.

#ifndef PST_DIALECT_PST_COMPRESSEDLAYOUT_H
#define PST_DIALECT_PST_COMPRESSEDLAYOUT_H

#include "mlir/IR/BuiltinTypes.h"
#include "llvm/Support/MathExtras.h"

namespace pst {

struct CompressedLayout {
  int64_t rows, columns; ///< Of the matrix.

  static constexpr int64_t kRows = 64, kColumns = 128, kSlack = 16;
  /// A row's entry is its number shifted so far, and its elements.
  static constexpr int64_t kCountBits = 8;
  /// What `used` is where nothing was stored, and the most slots that there may
  /// be: they are counted in i32.
  static constexpr int64_t kNothing = INT32_MAX, kMostRoom = INT32_MAX - 1;

  int64_t groups() const { return llvm::divideCeil(rows, kRows); }
  int64_t blocks() const { return llvm::divideCeil(columns, kColumns); }
  int64_t cells() const { return groups() * blocks(); }
  /// The room that `kept` elements need, wherever they are; and the elements
  /// for which a room suffices.
  int64_t roomFor(int64_t kept) const { return kept + cells() * kSlack; }
  int64_t keptIn(int64_t room) const { return room - cells() * kSlack; }
  int64_t wholeRoom() const { return roomFor(rows * columns); }

  /// The types of the tensors; null: values are f32.
  llvm::SmallVector<mlir::Type> types(mlir::MLIRContext *context, int64_t room,
                                      mlir::Type value = {}) const {
    auto i8 = mlir::IntegerType::get(context, 8);
    auto i32 = mlir::IntegerType::get(context, 32);
    if (!value)
      value = mlir::Float32Type::get(context);
    auto tensor = [](llvm::ArrayRef<int64_t> shape, mlir::Type element) {
      return mlir::RankedTensorType::get(shape, element);
    };
    llvm::SmallVector<mlir::Type> types{
        tensor({room}, value), tensor({room}, i8),
        tensor({cells(), 1 + kRows}, i32), tensor({}, i32)};
    if (value == i8)
      types.push_back(tensor({rows}, mlir::Float32Type::get(context)));
    return types;
  }
};

} // namespace pst

#endif // PST_DIALECT_PST_COMPRESSEDLAYOUT_H
