//===- SplitMatrix.cpp - Products of f32 by the tensor cores --------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "SplitMatrix.h"
#include "IndexCode.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

using namespace mlir;
using namespace pst::cuda;

SplitValue pst::cuda::split(ThreadBuilder &b, Value value) {
  int64_t lanes = ThreadBuilder::lanesOf(value);
  Type narrow = b.lanesType(lanes, b.getBF16Type());
  Value high = arith::TruncFOp::create(b, narrow, value);
  Value rest = b.subf(value, b.widen(high));
  Value low = arith::TruncFOp::create(b, narrow, rest);
  if (lanes == 1)
    return {high, low};
  // By way of 16 bits: a CPU knows how to choose between those, not bf16.
  Type bits = b.lanesType(lanes, b.getI16Type());
  auto asRegister = [&](Value pair) -> Value {
    return LLVM::BitcastOp::create(b, b.getI32Type(),
                                   arith::BitcastOp::create(b, bits, pair));
  };
  return {asRegister(high), asRegister(low)};
}

void pst::cuda::multiply(ThreadBuilder &b, MutableArrayRef<Value> sums,
                         const SplitFragments &left,
                         const SplitFragments &right) {
  multiply(b, sums, left.high, right.high);
  if (!right.low.empty())
    multiply(b, sums, left.high, right.low);
  if (!left.low.empty())
    multiply(b, sums, left.low, right.high);
}

SplitFragments pst::cuda::splitLeft(ThreadBuilder &b, ValueRange pairs) {
  SplitFragments fragments;
  for (Value pair : pairs) {
    SplitValue parts = split(b, pair);
    fragments.high.push_back(parts.high);
    fragments.low.push_back(parts.low);
  }
  return fragments;
}

// Of each part, a row of 16 has 32 bytes: what its four lanes have, 8 bytes
// each, one after the other. The 16 bytes of two lanes are a row of an 8 x 8
// matrix for ldmatrix; those of four of each eight rows change places, so that
// eight that are read at a time lie in different banks.

static constexpr int64_t kRowBytes = 32;

/// Where 16 bytes of a row begin.
static Code unitOffset(Code row, Code unit) {
  return row * kRowBytes + (unit ^ row / int64_t(4) % int64_t(2)) * 16;
}

static Value shifted(ThreadBuilder &b, Value pointer, Value bytes) {
  return advance(b, pointer, b.getI8Type(), bytes);
}

WarpTranspose::WarpTranspose(ThreadBuilder &b, int64_t warps) {
  Value buffer =
      b.sharedBuffer({bytes(warps) / kElementBytes}, b.getBF16Type());
  start = shifted(b, b.pointer(buffer),
                  b.muli(b.divi(b.thread(), kWarp), 2 * kPartBytes));
}

SplitFragments WarpTranspose::operator()(ThreadBuilder &b,
                                         const SplitFragments &left) const {
  Code lane(b, b.lane());
  Code group = lane / int64_t(4), quad = lane % int64_t(4);
  // The two registers of a row, 8 columns apart, of each half of the rows.
  auto store = [&](ArrayRef<Value> part, int64_t first) {
    for (int64_t half : {0, 1}) {
      auto type = VectorType::get(2, b.getI32Type());
      Value both = LLVM::PoisonOp::create(b, type);
      for (int64_t i : {0, 1})
        both = LLVM::InsertElementOp::create(b, both, part[2 * i + half],
                                             b.i64(i));
      Code at = unitOffset(group + 8 * half, quad / int64_t(2)) +
                quad % int64_t(2) * 8 + first;
      LLVM::StoreOp::create(b, both, shifted(b, start, at), /*alignment=*/8);
    }
  };
  // Lanes 8 j to 8 j + 7 name the rows of the j-th matrix: first the two of
  // rows 0 to 7, then those below.
  Code row = lane / int64_t(16) * 8 + lane % int64_t(8);
  Code from = unitOffset(row, lane / int64_t(8) % int64_t(2));
  auto load = [&](int64_t first) {
    return loadMatrices(b, shifted(b, start, from + first),
                        /*transposed=*/true);
  };
  warpBarrier(b); // others may still read what was here
  store(left.high, 0);
  store(left.low, kPartBytes);
  warpBarrier(b);
  return {load(0), load(kPartBytes)};
}
