//===- ByteDigits.cpp - Rows of X in fixed point --------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ByteDigits.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace pst;
using namespace pst::cpu;

SmallVector<RankedTensorType> ByteDigits::types(MLIRContext *context,
                                                int64_t tokens, int64_t k) {
  int64_t words = llvm::divideCeil(k, kWord);
  return {RankedTensorType::get({tokens, words, kDigits, kWord},
                                IntegerType::get(context, 8)),
          RankedTensorType::get({tokens, kDigits, kLanes},
                                IntegerType::get(context, 32)),
          RankedTensorType::get({tokens}, Float32Type::get(context))};
}

// for tokens, in parallel:
//   scale = the largest magnitude / kLargest
//   for vectors: the whole numbers x / scale, their digits
//   for words: begins -= 128 * digits
void ByteDigits::emit(KernelBuilder &b, Value input) const {
  Type i32s = b.lanesType(kLanes, b.getI32Type());
  auto shift = [&](Value value, int64_t by, bool left) -> Value {
    Value bits = b.splat(b.i32(by), kLanes);
    if (left)
      return arith::ShLIOp::create(b, value, bits);
    return arith::ShRSIOp::create(b, value, bits);
  };
  b.parallel(tokens, [&](Value token) {
    int64_t whole = k / kLanes * kLanes;
    auto larger = [&](Value largest, Value elements) -> Value {
      // Not maxf: what is no number stays so.
      return arith::MaximumFOp::create(b, largest, b.absf(elements));
    };
    Value largest =
        b.loop(b.index(0), b.index(whole), kLanes, {b.f32(0.0, kLanes)},
               [&](Value column, ValueRange carried) -> SmallVector<Value> {
                 return {larger(carried[0], b.loadFirst(input, {token, column},
                                                        kLanes, kLanes))};
               })[0];
    if (whole < k)
      largest = larger(largest, b.loadFirst(input, {token, b.index(whole)},
                                            kLanes, k - whole));
    // Below that, what is lost has no part in any sum.
    Value bound =
        arith::MaximumFOp::create(b, b.maxLanes(largest), b.f32(1e-30));
    b.store(b.divf(bound, b.f32(kLargest)), scales, token);
    Value factor = b.splat(b.divf(b.f32(kLargest), bound), kLanes);

    auto storeDigits = [&](Value column, int64_t there) {
      Value whole = math::RoundEvenOp::create(
          b,
          b.mulf(b.loadFirst(input, {token, column}, kLanes, there), factor));
      // Others come of what is no number.
      Value isNumber = b.cmpf(arith::CmpFPredicate::OLE, b.absf(whole),
                              b.f32(kLargest, kLanes));
      whole = b.select(isNumber, whole, b.f32(0.0, kLanes));
      Value rest = arith::FPToSIOp::create(b, i32s, whole);
      for (int64_t i = 0; i < kDigits; ++i) {
        Value digit = shift(shift(rest, 24, true), 24, false);
        rest = shift(arith::SubIOp::create(b, rest, digit), 8, false);
        Value bytes = arith::TruncIOp::create(
            b, b.lanesType(kLanes, b.getI8Type()), digit);
        b.store(
            bytes, digits,
            {token, b.divi(column, kWord), b.index(i), b.remi(column, kWord)});
      }
    };
    b.loop(0, whole, kLanes,
           [&](Value column) { storeDigits(column, kLanes); });
    if (whole < k)
      storeDigits(b.index(whole), k - whole);
    Value none =
        b.splat(arith::ConstantOp::create(b, b.getI8IntegerAttr(0)), kLanes);
    for (int64_t column = llvm::alignTo(k, kLanes);
         column < int64_t(llvm::alignTo(k, kWord)); column += kLanes)
      for (int64_t i = 0; i < kDigits; ++i)
        b.store(none, digits,
                {token, b.index(column / kWord), b.index(i),
                 b.index(column % kWord)});
    // 128, without a sign.
    Value more =
        b.splat(arith::ConstantOp::create(b, b.getI8IntegerAttr(-128)), kWord);
    Value zeros = b.splat(b.i32(0), kLanes);
    SmallVector<Value> sums =
        b.loop(b.index(0), b.index(llvm::divideCeil(k, kWord)), 1,
               SmallVector<Value>(kDigits, zeros),
               [&](Value word, ValueRange carried) {
                 SmallVector<Value> next(carried);
                 addWord(b, token, word, more, next);
                 return next;
               });
    for (auto [i, sum] : llvm::enumerate(sums))
      b.store(arith::SubIOp::create(b, zeros, sum), begins,
              {token, b.index(i), b.index(0)});
  });
}

SmallVector<Value> ByteDigits::begin(KernelBuilder &b, int64_t token) const {
  SmallVector<Value> sums;
  for (int64_t i = 0; i < kDigits; ++i)
    sums.push_back(b.loadAsStored(
        begins, {b.index(token), b.index(i), b.index(0)}, kLanes));
  return sums;
}

void ByteDigits::addWord(KernelBuilder &b, Value token, Value word,
                         Value weights, MutableArrayRef<Value> sums) const {
  for (auto [i, sum] : llvm::enumerate(sums)) {
    Value x =
        b.loadAsStored(digits, {token, word, b.index(i), b.index(0)}, kWord);
    sum = LLVM::CallIntrinsicOp::create(
              b, sum.getType(), b.getStringAttr("llvm.x86.avx512.vpdpbusd.512"),
              ValueRange{sum, weights, x})
              .getResult(0);
  }
}

Value ByteDigits::end(KernelBuilder &b, int64_t token,
                      ArrayRef<Value> sums) const {
  auto toF32 = [&](Value sum) -> Value {
    return arith::SIToFPOp::create(b, b.lanesType(kLanes), sum);
  };
  Value all = toF32(sums.back());
  for (Value sum : llvm::reverse(sums.drop_back()))
    all = b.fma(all, b.f32(256.0, kLanes), toF32(sum));
  return b.mulf(all, b.loadSplat(scales, b.index(token), kLanes));
}
