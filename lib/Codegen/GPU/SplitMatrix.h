//===- SplitMatrix.h - Products of f32 by the tensor cores ------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// An f32 is the sum of two bf16, high and low, but for 2^-18 of it. So the
// product of two matrices of f32 is that of their high parts and twice that of
// the one's high and the other's low part: three mma.sync, summed in f32, and
// an error of some 2^-17 of each term.

#ifndef PST_LIB_CODEGEN_GPU_SPLITMATRIX_H
#define PST_LIB_CODEGEN_GPU_SPLITMATRIX_H

#include "WarpMatrix.h"

namespace pst::cuda {

/// A value's high and low part. Of f32, or of a vector of two: a register of
/// two bf16.
struct SplitValue {
  Value high, low;
};
SplitValue split(ThreadBuilder &b, Value value);

/// Fragments of an operand: registers of the parts.
struct SplitFragments {
  llvm::SmallVector<Value> high;
  llvm::SmallVector<Value> low; ///< Empty: they are zero.
};

/// sums += left * right, of 16 x 8, with 16 of k.
void multiply(ThreadBuilder &b, llvm::MutableArrayRef<Value> sums,
              const SplitFragments &left, const SplitFragments &right);

/// Pairs of neighbours, vector<2xf32>, that a lane has of 16 x 16 elements as
/// accumulators lie: 8 columns after 8 columns, of row lane / 4 and of the row
/// 8 below. As left operand: the columns are k.
SplitFragments splitLeft(ThreadBuilder &b, ValueRange pairs);

/// A place in shared memory where each warp of a block transposes 16 x 16.
class WarpTranspose {
public:
  WarpTranspose(ThreadBuilder &b, int64_t warps);
  static int64_t bytes(int64_t warps) { return warps * 2 * kPartBytes; }

  /// The transposed matrix as left operand, whose rows are `column` of the
  /// given one. All of the warp's lanes must come by.
  SplitFragments operator()(ThreadBuilder &b, const SplitFragments &left) const;
  /// The column of the matrix that becomes a row (0 to 15): not the same, as
  /// each lane stores what it has of a row at once.
  template <typename Int> static constexpr Int column(Int row) {
    Int half = row / int64_t(8), within = row % int64_t(8);
    return (half * int64_t(4) + within / int64_t(4) * int64_t(2)) +
           (within % int64_t(4) / int64_t(2) * int64_t(8) +
            within % int64_t(2));
  }

private:
  static constexpr int64_t kPartBytes = 16 * 16 * kElementBytes;

  Value start; ///< Of the warp's place.
};

} // namespace pst::cuda

#endif // PST_LIB_CODEGEN_GPU_SPLITMATRIX_H
