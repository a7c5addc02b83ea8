//===- Embedding.cpp - What moving rows of tokens shares ------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Embedding.h"

using namespace mlir;
using namespace pst::kernel;

std::string pst::kernel::firstName(int64_t first) {
  return first ? "_first" + std::to_string(first) : "";
}

std::string pst::kernel::selectionName(std::optional<int64_t> index) {
  return index ? "_index" + std::to_string(*index) : "_last";
}

Value pst::kernel::selectedToken(CodeBuilder &b, std::optional<int64_t> index,
                                 Value mask, Value row, int64_t length) {
  Value first = b.muli(row, length);
  if (index)
    return b.addi(first, *index);
  Value last = b.loop(b.index(0), b.index(length), 1, {b.index(0)},
                      [&](Value t, ValueRange carried) -> SmallVector<Value> {
                        Value isToken =
                            b.cmpi(arith::CmpIPredicate::ne,
                                   b.load(mask, {row, t}), b.i32(0));
                        return {b.select(isToken, t, carried[0])};
                      })[0];
  return b.addi(first, last);
}
