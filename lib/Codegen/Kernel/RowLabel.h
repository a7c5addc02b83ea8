//===- RowLabel.h - Which class a row of logits should be -------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_LIB_CODEGEN_KERNEL_ROWLABEL_H
#define PST_LIB_CODEGEN_KERNEL_ROWLABEL_H

#include "LaunchContext.h"

namespace pst::kernel {

/// Which of the labels of B x L tokens is a row's: its own or, as those are the
/// tokens themselves, the one after it; then the last of a sequence has none.
enum class LabelOf { Row, NextToken };

/// The label of a row of logits as an index, 0 if it is none of the classes,
/// and whether it is one. `labels` (i32) are one for each row, or B x L. With
/// `packed`, the row is one of packed logits, and none beyond those.
struct RowLabel {
  RowLabel(CodeBuilder &b, Value labels, Value row, int64_t classes, LabelOf of,
           const PackedRows *packed = nullptr);
  Value label, isExample;
};

/// For Driver::scaledSum of the losses of rows, a vector after scale and loss.
inline Value loadRowLoss(CodeBuilder &b, ValueRange arguments, Value row) {
  return b.load(arguments[2], row);
}

} // namespace pst::kernel

#endif // PST_LIB_CODEGEN_KERNEL_ROWLABEL_H
