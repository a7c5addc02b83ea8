//===- Dropout.h - The random mask of dropout -------------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// Whether element `index` of sequence `sequence` in dropout `site` is kept is a
// function of those and of the step's seed alone, so the backward, a resumed
// run, any number of threads and batches with and without padding see the same
// mask without storing it. All arithmetic is modulo 2^64 (key) or 2^32 (the
// rest):
//
//   mix64(z):  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9
//              z = (z ^ z >> 27) * 0x94d049bb133111eb
//              return z ^ z >> 31
//   mix32(x):  x = (x ^ x >> 16) * 0x7feb352d
//              x = (x ^ x >> 15) * 0x846ca68b
//              return x ^ x >> 16
//   key  = mix64(mix64(seed) + (site + 1) * 0x9e3779b97f4a7c15)
//   hash = mix32(mix32(index ^ low(key)) ^ (high(key) + 0x9e3779b9 * sequence))
//   kept = hash >= floor(probability * 2^32)
//
// where low and high are the halves of 64 bits. mix64 is the finalizer of
// SplitMix64 (Steele, Lea and Flood 2014), mix32 Wellons' "lowbias32".

#ifndef PST_LIB_CODEGEN_KERNEL_DROPOUT_H
#define PST_LIB_CODEGEN_KERNEL_DROPOUT_H

#include "CodeBuilder.h"

namespace pst::kernel {

/// An element of what is dropped out, by two indices below 2^32.
struct DropoutPlace {
  Value sequence; ///< Of attention: its head, numbered through all sequences.
  Value index;

  /// The first element of a row of a matrix of `columns`, whose rows are the
  /// positions of sequences of `length` (null: of one). `row` is the row among
  /// all B*L, whether or not matrices are packed.
  static DropoutPlace ofRow(CodeBuilder &b, Value row, mlir::IntegerAttr length,
                            int64_t columns);
  /// Probability (i, j) of attention's head `task`.
  static DropoutPlace ofProbability(CodeBuilder &b, Value task, Value i,
                                    Value j);
  DropoutPlace plus(CodeBuilder &b, Value more) const;
};

/// The mask of one dropout.
class DropoutMask {
public:
  /// Computes the key; `seed` and `site` are i64.
  DropoutMask(CodeBuilder &b, Value seed, Value site, double probability);

  /// For the elements from `first` on: an i1 in each of `lanes` lanes, true
  /// where the element is kept.
  Value kept(CodeBuilder &b, DropoutPlace first, int64_t lanes) const;

  /// `element` (of some lanes), scaled, if it is kept, else 0.
  Value drop(CodeBuilder &b, Value element, DropoutPlace first) const;

  /// The elements from `first` on, likewise.
  Group drop(CodeBuilder &b, Group elements, DropoutPlace first) const;

  /// What a kept element is multiplied by: 1 / (1 - probability).
  double scale() const { return 1.0 / (1.0 - probability); }

private:
  double probability;
  Value low, high;
};

} // namespace pst::kernel

#endif // PST_LIB_CODEGEN_KERNEL_DROPOUT_H
