//===- ByteDigits.h - Rows of X in fixed point ------------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// Products of bytes by bytes are summed four at a time, in integers. To have
// them for weights of 8 bits, a row of X is a whole number of 24 bits for each
// element, 65536 d2 + 256 d1 + d0 with digits from -128 to 127, times one
// scale: its largest magnitude / kLargest. So an element is off by 2^-24 of the
// row's largest, and what is summed of them is exact.

#ifndef PST_LIB_CODEGEN_CPU_BYTEDIGITS_H
#define PST_LIB_CODEGEN_CPU_BYTEDIGITS_H

#include "KernelBuilder.h"

namespace pst::cpu {

/// Of an X of tokens x k, the digits by words of 64 columns, zero beyond k.
struct ByteDigits {
  int64_t tokens, k;
  Value digits; ///< i8 [tokens, words, kDigits, 64]
  /// i32 [tokens, kDigits, 16]: -128 times the sum of a lane's digits, with
  /// which its sum begins, as it takes 128 more than a weight for each. So no
  /// lane's sum is larger than what it adds up.
  Value begins;
  Value scales; ///< f32 [tokens]; of a row with what is no number it is none.

  static constexpr int64_t kDigits = 3, kWord = 64, kLanes = 16;
  static constexpr int64_t kLargest = 127 << 16;
  /// Columns whose products are summed in 32 bits, whatever they are.
  static constexpr int64_t kMostColumns = 1 << 19;

  /// The types of the three buffers.
  static llvm::SmallVector<mlir::RankedTensorType>
  types(mlir::MLIRContext *context, int64_t tokens, int64_t k);
  /// Writes the digits of X.
  void emit(KernelBuilder &b, Value input) const;

  /// With which the sums of a token begin.
  llvm::SmallVector<Value> begin(KernelBuilder &b, int64_t token) const;
  /// sum += weights * digits, for a word's weights, vector<64xi8>, to each of
  /// which 128 was added.
  void addWord(KernelBuilder &b, Value token, Value word, Value weights,
               llvm::MutableArrayRef<Value> sums) const;
  /// The sums as f32.
  Value end(KernelBuilder &b, int64_t token, llvm::ArrayRef<Value> sums) const;
};

} // namespace pst::cpu

#endif // PST_LIB_CODEGEN_CPU_BYTEDIGITS_H
