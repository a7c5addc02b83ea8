//===- RadixSelect.h - The key of a rank, from counts of keys ---*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_LIB_CODEGEN_CPU_RADIXSELECT_H
#define PST_LIB_CODEGEN_CPU_RADIXSELECT_H

#include "KernelBuilder.h"

namespace pst::cpu {

// Signed comparison of integers, and logic of conditions.
inline Value isLess(KernelBuilder &b, Value lhs, Value rhs) {
  return b.cmpi(mlir::arith::CmpIPredicate::slt, lhs, rhs);
}
inline Value isAtMost(KernelBuilder &b, Value lhs, Value rhs) {
  return b.cmpi(mlir::arith::CmpIPredicate::sle, lhs, rhs);
}
inline Value both(KernelBuilder &b, Value lhs, Value rhs) {
  return mlir::arith::AndIOp::create(b, lhs, rhs);
}
inline Value either(KernelBuilder &b, Value lhs, Value rhs) {
  return mlir::arith::OrIOp::create(b, lhs, rhs);
}

/// Selects by counting keys in equal parts of their range, and going on in the
/// part where the count from above reaches the rank.
class RadixSelect {
public:
  /// Parts of a range of keys, and the bits of a part's number.
  static constexpr int64_t kBins = 2048, kBinBits = 11;

  /// `totals` are the counts, i64 of kBins + 1: the last is of other keys.
  RadixSelect(KernelBuilder &b, Value totals) : b(b), totals(totals) {}

  struct Found {
    Value key;    ///< i32
    Value wanted; ///< i64: how many of that key, from the first on, are kept.
    Value bin;    ///< index: where the last count has the key.
  };
  /// The `wanted`-th largest of the keys in [low, high], which `count(low,
  /// range, shift)` adds to the totals: the key low + d, for d <= range, at
  /// d >> shift.
  Found select(Value low, Value high, Value wanted,
               llvm::function_ref<void(Value, Value, Value)> count);

  /// Within `count`, if the range is of all keys: stores to `nan` (i64) how
  /// many keys are NaNs' in the first of the counts, the only one with such a
  /// range.
  void noteNaNs(Value range, Value nan);

  /// Calls `increment` with the bin of each lane's key; that of those out of
  /// range is kBins. `bins` is scratch of as many i32.
  static void countKeys(KernelBuilder &b, Value key, Value low, Value range,
                        Value shift, Value bins,
                        llvm::function_ref<void(Value bin)> increment);

private:
  std::pair<Value, Value> findFromAbove(Value wanted);

  KernelBuilder &b;
  Value totals;
};

/// Whether a mask is set in any lane.
Value anyLane(KernelBuilder &b, Value mask);
/// memref[at] += one
void increment(KernelBuilder &b, Value memref, ValueRange at, Value one);

} // namespace pst::cpu

#endif // PST_LIB_CODEGEN_CPU_RADIXSELECT_H
