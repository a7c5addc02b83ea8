//===- RowLabel.cpp - Which class a row of logits should be ---------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "RowLabel.h"

using namespace mlir;
using namespace pst::kernel;

static Value labelOf(CodeBuilder &b, Value labels, Value row, LabelOf of) {
  auto type = cast<MemRefType>(labels.getType());
  if (type.getRank() == 1)
    return b.load(labels, row);
  int64_t length = type.getDimSize(1);
  if (of == LabelOf::Row)
    return b.load(labels, {b.divi(row, length), b.remi(row, length)});
  Value next = b.addi(b.remi(row, length), 1), last = b.index(length - 1);
  Value found = b.load(labels, {b.divi(row, length), b.mini(next, last)});
  return b.select(b.cmpi(arith::CmpIPredicate::sle, next, last), found,
                  b.i32(-1));
}

RowLabel::RowLabel(CodeBuilder &b, Value labels, Value row, int64_t classes,
                   LabelOf of, const PackedRows *packed) {
  Value place = row;
  if (packed)
    place = arith::IndexCastOp::create(b, b.getIndexType(),
                                       b.load(packed->places, row));
  Value found = labelOf(b, labels, place, of);
  isExample = b.cmpi(arith::CmpIPredicate::ult, found, b.i32(classes));
  if (packed)
    isExample = arith::AndIOp::create(
        b, isExample, b.cmpi(arith::CmpIPredicate::slt, row, packed->count));
  label = arith::IndexCastOp::create(b, b.getIndexType(),
                                     b.select(isExample, found, b.i32(0)));
}
