//===- CompressedWeight.h - Weights stored small ----------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The layout that the library compressed-tensors calls "sparse-bitmask". Of a
// weight "M.weight" of rows x columns elements a file holds
//
//   M.bitmask       U8  [rows, ceil(columns / 8)]  the lowest bit is the first
//                                                  column; bits past the last
//                                                  column are 0
//   M.compressed    F32, F16, BF16 or I8 [kept]    the elements whose bit is
//                                                  set, row after row
//   M.row_offsets   I64 or I32 [rows]              how many come before a row
//   M.shape         I64 or I32 [2] or [2, 1]       rows, columns
//   M.weight_scale  [rows, 1]                      of I8: the weight is the
//                                                  element times its row's
//
// and in "sparse-24-bitmask", where two of each four neighbours of a row are
// kept, M.compressed has [rows, columns / 2] and there are no M.row_offsets.
//
// With "int-quantized" a weight may also lie as "M.weight" of I8 whole, beside
// its M.weight_scale.
//
//===----------------------------------------------------------------------===//

#ifndef PST_RUNTIME_COMPRESSEDWEIGHT_H
#define PST_RUNTIME_COMPRESSEDWEIGHT_H

#include "pst/Runtime/SafeTensors.h"

#include <set>

namespace pst::runtime {

/// The parts of one weight, in a mapped file.
struct CompressedWeight {
  std::string name; ///< "M.weight"
  int64_t rows = 0, columns = 0;
  const TensorView *values = nullptr;     ///< M.compressed, or M.weight of I8
  const TensorView *bitmask = nullptr;    ///< null: every element is stored
  const TensorView *rowOffsets = nullptr; ///< null: two of each four are kept
  const TensorView *scale = nullptr;      ///< of I8 only

  /// Of the weight's elements: those of the values, and f32 for I8.
  DType dtype() const;
  int64_t numBytes() const;
  /// Throws Error where mask, offsets and values disagree. The other functions
  /// may be called then.
  void check(const std::string &path) const;
  /// Writes the elements of `count` rows from `first` on, of `dtype()`, to
  /// memory that is all zero if `isZero`.
  void expand(int64_t first, int64_t count, bool isZero,
              std::byte *target) const;
  /// False if an element is NaN or infinite; true only if none is.
  bool isFinite() const;
  /// Gives back the pages of the file in which these rows lie.
  void forgetPages(int64_t first, int64_t count) const;
  /// How many of the elements in columns `first` to `first + count - 1` are not
  /// zero, of either sign. Throws as `check`.
  int64_t countNonZero(const std::string &path, int64_t first,
                       int64_t count) const;
};

using TensorMap = std::map<std::string, const TensorView *, std::less<>>;

/// The weights of `tensors` that are stored in parts; `parts` gets the names of
/// these. Checks all that headers tell, and reads the shapes; `path` is for the
/// errors. Throws Error for parts that are missing, do not fit together, or lie
/// beside the weight itself.
std::vector<CompressedWeight>
findCompressedWeights(const TensorMap &tensors, const std::string &path,
                      std::set<std::string> &parts);

} // namespace pst::runtime

#endif // PST_RUNTIME_COMPRESSEDWEIGHT_H
