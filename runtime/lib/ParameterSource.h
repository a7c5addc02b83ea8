//===- ParameterSource.h - A parameter as its files have it -----*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_RUNTIME_LIB_PARAMETERSOURCE_H
#define PST_RUNTIME_LIB_PARAMETERSOURCE_H

#include "pst/Bundle/Manifest.h"
#include "pst/Runtime/CompressedWeight.h"

namespace pst::runtime {

/// The values of a parameter in its files, as the program is to read them. Of a
/// weight that is larger than the processor's caches, and of its file's pages,
/// little need be in memory at once.
class ParameterSource {
public:
  /// `files` must outlive it. Throws Error if the tensor is missing, has
  /// another shape or type, or its parts disagree.
  ParameterSource(const Parameter &parameter, const ModelFiles &files);

  const Parameter &of() const { return parameter; }
  /// All dimensions but the last, which is the columns; 1 of a vector.
  int64_t rows() const { return numRows; }
  int64_t rowBytes() const;
  /// Where the file has the values as the program reads them; else null.
  const std::byte *inPlace() const;
  /// Whether the file has the parameter's elements, all of its columns and no
  /// others: those of a compressed weight that is expanded are it.
  bool isWhole() const { return isSameType() && !parameter.sourceColumns; }
  /// Whether values are rounded to bf16.
  bool isRounded() const {
    return parameter.type.element == ElementType::bf16 && !isSameType();
  }
  /// Writes `count` rows from `first` on, and gives back the pages of the file
  /// in which they lie. Throws Error where one is no finite number.
  void read(int64_t first, int64_t count, std::byte *target);
  /// Throws Error if `values`, the rows from `first` on as the program reads
  /// them, hold what is no finite number.
  void requireFinite(int64_t first, int64_t count, const void *values) const;
  /// Gives back the pages of the file in which these rows lie.
  void forget(int64_t first, int64_t count) const;

private:
  bool isSameType() const;
  void readPiece(int64_t first, int64_t count, std::byte *target);

  const Parameter &parameter;
  const ModelFiles &files;
  const TensorView *tensor; ///< Without values if there are `parts`.
  const CompressedWeight *parts;
  int64_t numRows, numColumns, sourceRowBytes;
  bool partsAreFinite = false;
  std::vector<std::byte> expanded, columns;
};

} // namespace pst::runtime

#endif // PST_RUNTIME_LIB_PARAMETERSOURCE_H
