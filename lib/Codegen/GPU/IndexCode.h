//===- IndexCode.h - Code that reads like index arithmetic ------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// Index maps (SharedLayout.h) are templates over what they compute with. Called
// with a Code, they emit what they would compute with an int64_t. Values are of
// type index and never negative.

#ifndef PST_LIB_CODEGEN_GPU_INDEXCODE_H
#define PST_LIB_CODEGEN_GPU_INDEXCODE_H

#include "ThreadBuilder.h"

namespace pst::cuda {

class Code {
public:
  Code(ThreadBuilder &b, Value value) : b(&b), value(value) {}
  operator Value() const { return value; }

  friend Code operator+(Code lhs, Code rhs) {
    return {*lhs.b, lhs.b->addi(lhs.value, rhs.value)};
  }
  friend Code operator-(Code lhs, Code rhs) {
    return {*lhs.b, lhs.b->subi(lhs.value, rhs.value)};
  }
  friend Code operator/(Code lhs, Code rhs) {
    return {*lhs.b, mlir::arith::DivUIOp::create(*lhs.b, lhs.value, rhs.value)};
  }
  friend Code operator%(Code lhs, Code rhs) {
    return {*lhs.b, mlir::arith::RemUIOp::create(*lhs.b, lhs.value, rhs.value)};
  }
  friend Code operator^(Code lhs, Code rhs) {
    return {*lhs.b, mlir::arith::XOrIOp::create(*lhs.b, lhs.value, rhs.value)};
  }
  friend Code operator+(Code lhs, int64_t rhs) {
    return {*lhs.b, lhs.b->addi(lhs.value, rhs)};
  }
  friend Code operator-(int64_t lhs, Code rhs) {
    return rhs.constant(lhs) - rhs;
  }
  friend Code operator*(Code lhs, int64_t rhs) {
    return {*lhs.b, lhs.b->muli(lhs.value, rhs)};
  }
  friend Code operator/(Code lhs, int64_t rhs) {
    return {*lhs.b, lhs.b->divi(lhs.value, rhs)};
  }
  friend Code operator%(Code lhs, int64_t rhs) {
    return {*lhs.b, lhs.b->remi(lhs.value, rhs)};
  }
  friend Code smaller(int64_t lhs, Code rhs) {
    return {*rhs.b, rhs.b->mini(rhs.constant(lhs), rhs.value)};
  }

private:
  Code constant(int64_t number) const { return {*b, b->index(number)}; }

  ThreadBuilder *b;
  Value value;
};

} // namespace pst::cuda

#endif // PST_LIB_CODEGEN_GPU_INDEXCODE_H
