//===- RadixSelect.h - The key of a rank, by one block ----------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_LIB_CODEGEN_GPU_RADIXSELECT_H
#define PST_LIB_CODEGEN_GPU_RADIXSELECT_H

#include "ThreadBuilder.h"

namespace pst::cuda {

/// What a search for a rank has come to. Keys, counts and ranks are i32, taken
/// as unsigned.
struct RankedKey {
  Value key;
  /// How many of the elements of that key, from the first on, it takes to reach
  /// the rank; 0 if there are fewer elements than the rank asks for.
  Value wanted;
};

/// Bits that it takes to write an unsigned i32: 0 for 0, 32 for 2^31.
Value bitWidth(ThreadBuilder &b, Value value);

/// The shift that leaves `binBits` of a key of `bits` bits (i32), at least 0.
Value shiftToBins(ThreadBuilder &b, Value bits, int64_t binBits = 11);

/// Selects by counting keys in equal parts of their range, and going on in the
/// part where the count from above reaches the rank. All threads of the block
/// must come by, and all of them have the results.
class RadixSelect {
public:
  static constexpr int64_t kBinBits = 11;
  static constexpr int64_t kBins = int64_t(1) << kBinBits;

  /// Counts in 2^binBits parts. Takes shared memory of the block, whose threads
  /// must divide that number.
  explicit RadixSelect(ThreadBuilder &b, int64_t binBits = kBinBits);

  /// The counts (i32 for each bin, shared), which the caller may use as well.
  Value getCounts() const { return counts; }
  int64_t getNumBins() const { return int64_t(1) << binBits; }

  /// A key, and whether the element counts (i1; null: yes).
  struct Element {
    Value key, counts = nullptr;
  };
  using ElementOf = llvm::function_ref<Element(Value)>;

  /// The key of the `wanted`-th largest (from 1) of `size` elements (index),
  /// whose keys lie in [low, low + 2^bits), with bits (i32) at most 32.
  RankedKey largest(ThreadBuilder &b, Value size, Value low, Value bits,
                    Value wanted, ElementOf elementOf);

  /// The bin in which the count of the bins from the last one down reaches
  /// `wanted`, as its key; `countOf` tells an i32 for a bin (index).
  RankedKey binFromAbove(ThreadBuilder &b, Value wanted,
                         llvm::function_ref<Value(Value)> countOf);

private:
  int64_t binBits;
  Value counts; ///< i32 for each bin, shared
  Value totals; ///< i32 for each warp, shared
  Value found;  ///< i32: bin, wanted of it; shared
};

} // namespace pst::cuda

#endif // PST_LIB_CODEGEN_GPU_RADIXSELECT_H
