//===- VectorMath.cpp - Elementary functions of f32 lanes -----------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "VectorMath.h"

#include <cmath>

using namespace mlir;
using namespace pst::kernel;

namespace {
/// Constants and bit operations of as many lanes as a given value has.
struct Lanes {
  Lanes(CodeBuilder &b, Value like) : b(b), count(CodeBuilder::lanesOf(like)) {}

  Value constant(double value) { return b.f32(value, count); }
  Value integer(int64_t value) { return b.splat(b.i32(value), count); }
  Value bits(Value value) {
    return arith::BitcastOp::create(b, b.lanesType(count, b.getI32Type()),
                                    value);
  }
  Value fromBits(Value value) {
    return arith::BitcastOp::create(b, b.lanesType(count), value);
  }
  /// c[0] + c[1] x + c[2] x^2 + ...
  Value polynomial(Value x, ArrayRef<double> c) {
    Value sum = constant(c.back());
    for (double coefficient : llvm::reverse(c.drop_back()))
      sum = b.fma(sum, x, constant(coefficient));
    return sum;
  }
  Value less(Value lhs, double rhs) {
    return b.cmpf(arith::CmpFPredicate::OLT, lhs, constant(rhs));
  }

  CodeBuilder &b;
  int64_t count;
};
} // namespace

/// e^x = p 2^n: p, and a float whose low bits are n.
static std::pair<Value, Value> splitExponential(CodeBuilder &b, Value x) {
  Lanes l(b, x);
  // n = round(x / ln 2) sits in the low bits of x / ln 2 + 1.5 * 2^23, so no
  // conversion can meet a number that does not fit an integer.
  Value magic = l.constant(12582912.0);
  Value shifted = b.fma(x, l.constant(1.44269504088896341), magic);
  Value n = b.subf(shifted, magic);
  // ln 2 in two parts, the first one of few bits, so that n times it is exact.
  Value r = b.fma(n, l.constant(-0.693359375), x);
  r = b.fma(n, l.constant(2.12194440e-4), r);
  // e^r on [-ln 2 / 2, ln 2 / 2]; coefficients of Moshier's Cephes, expf.
  Value p =
      l.polynomial(r, {5.0000001201e-1, 1.6666665459e-1, 4.1665795894e-2,
                       8.3334519073e-3, 1.3981999507e-3, 1.9875691500e-4});
  p = b.addf(b.fma(p, b.mulf(r, r), r), l.constant(1.0));
  return {p, shifted};
}

Value pst::kernel::expNonPositive(CodeBuilder &b, Value x) {
  Lanes l(b, x);
  auto [p, shifted] = splitExponential(b, x);
  // 2^n: the low bits of `shifted`, moved into the exponent.
  Value exponent = arith::ShLIOp::create(b, l.bits(shifted), l.integer(23));
  exponent = arith::AddIOp::create(b, exponent, l.integer(0x3f800000));
  Value result = b.mulf(p, l.fromBits(exponent));
  return b.select(l.less(x, -87.33), l.constant(0.0), result);
}

Value pst::kernel::exp(CodeBuilder &b, Value x) {
  Lanes l(b, x);
  auto [p, shifted] = splitExponential(b, x);
  // 2^n as a product of two powers, as 2^128 is none: n = n1 + n2.
  Value n = arith::SubIOp::create(b, l.bits(shifted), l.integer(0x4b400000));
  Value n1 = arith::ShRSIOp::create(b, n, l.integer(1));
  Value n2 = arith::SubIOp::create(b, n, n1);
  Value result = p;
  for (Value power : {n1, n2}) {
    Value exponent = arith::ShLIOp::create(b, power, l.integer(23));
    exponent = arith::AddIOp::create(b, exponent, l.integer(0x3f800000));
    result = b.mulf(result, l.fromBits(exponent));
  }
  result = b.select(l.less(x, -87.33), l.constant(0.0), result);
  Value large = b.cmpf(arith::CmpFPredicate::OGT, x, l.constant(88.7228391));
  return b.select(large, l.constant(INFINITY), result);
}

/// The logarithm of a positive, normal, finite x times 2^-scale (null: 1).
static Value logScaled(CodeBuilder &b, Value x, Value scale) {
  Lanes l(b, x);
  // x = m 2^e with m in [sqrt(1/2), sqrt(2)).
  Value offset = l.integer(0x3f3504f3);
  Value above = arith::SubIOp::create(b, l.bits(x), offset);
  Value e = arith::SIToFPOp::create(
      b, b.lanesType(l.count), arith::ShRSIOp::create(b, above, l.integer(23)));
  if (scale)
    e = b.subf(e, scale);
  Value mantissa = arith::AddIOp::create(
      b, arith::AndIOp::create(b, above, l.integer(0x007fffff)), offset);
  Value r = b.subf(l.fromBits(mantissa), l.constant(1.0));
  // log(1 + r) = r - r^2 / 2 + r^3 P(r); coefficients of Cephes, logf.
  Value square = b.mulf(r, r);
  Value p =
      l.polynomial(r, {3.3333331174e-1, -2.4999993993e-1, 2.0000714765e-1,
                       -1.6668057665e-1, 1.4249322787e-1, -1.2420140846e-1,
                       1.1676998740e-1, -1.1514610310e-1, 7.0376836292e-2});
  p = b.mulf(p, b.mulf(r, square));
  p = b.fma(e, l.constant(-2.12194440e-4), p);
  p = b.fma(square, l.constant(-0.5), p);
  return b.fma(e, l.constant(0.693359375), b.addf(r, p));
}

Value pst::kernel::logPositive(CodeBuilder &b, Value x) {
  Value result = logScaled(b, x, /*scale=*/nullptr);
  return b.select(b.cmpf(arith::CmpFPredicate::UNO, x, x), x, result);
}

Value pst::kernel::log(CodeBuilder &b, Value x) {
  Lanes l(b, x);
  // Denormal numbers become normal ones.
  Value tiny = l.less(x, 1.17549435e-38);
  Value scaled = b.select(tiny, b.mulf(x, l.constant(0x1p25)), x);
  Value result =
      logScaled(b, scaled, b.select(tiny, l.constant(25.0), l.constant(0.0)));
  Value infinity = l.constant(INFINITY);
  result = b.select(b.cmpf(arith::CmpFPredicate::OEQ, x, infinity), infinity,
                    result);
  // No number for 0, below it, and for no number.
  Value positive = b.cmpf(arith::CmpFPredicate::OGT, x, l.constant(0.0));
  return b.select(positive, result, l.constant(NAN));
}

Value pst::kernel::tanh(CodeBuilder &b, Value x) {
  Lanes l(b, x);
  Value magnitude = b.absf(x);
  // Large: (1 - e^-2|x|) / (1 + e^-2|x|), with the sign of x.
  Value e = expNonPositive(b, b.mulf(magnitude, l.constant(-2.0)));
  Value one = l.constant(1.0);
  Value large = b.divf(b.subf(one, e), b.addf(one, e));
  large = b.select(l.less(x, 0.0), b.subf(l.constant(0.0), large), large);
  // Small, where the difference would cancel: coefficients of Cephes, tanhf.
  Value square = b.mulf(x, x);
  Value p = l.polynomial(square, {-3.33332819422e-1, 1.33314422036e-1,
                                  -5.37397155531e-2, 2.06390887954e-2,
                                  -5.70498872745e-3});
  Value small = b.fma(b.mulf(p, square), x, x);
  return b.select(l.less(magnitude, 0.625), small, large);
}

Sigmoid pst::kernel::sigmoid(CodeBuilder &b, Value x) {
  Lanes l(b, x);
  Value one = l.constant(1.0);
  Value e = expNonPositive(b, b.subf(l.constant(0.0), b.absf(x)));
  Value reciprocal = b.divf(one, b.addf(one, e));
  Value complement = b.mulf(e, reciprocal);
  Value negative = l.less(x, 0.0);
  return {b.select(negative, complement, reciprocal),
          b.mulf(complement, reciprocal)};
}

Normal pst::kernel::normal(CodeBuilder &b, Value x) {
  Lanes l(b, x);
  // With t = |x|: e^(-t^2/2) R(t) is the integral from -infinity to -t, where
  // R(t) = erfcx(t / sqrt(2)) / 2 is a polynomial in s = 1 / (1 + 0.35 t), the
  // form of Abramowitz and Stegun 7.1.26. Fitted by weighted least squares
  // for the least relative error on [0, 14]: 3.2e-8.
  Value t = b.absf(x), one = l.constant(1.0);
  Value s = b.divf(one, b.fma(t, l.constant(0.35), one));
  Value gaussian = expNonPositive(b, b.mulf(b.mulf(t, t), l.constant(-0.5)));
  Value tail = l.polynomial(
      s, {0.13962140385192265, 0.13986187755826052, 0.11983280967345779,
          0.10550823609694804, -0.023110390145793053, 0.15917497551045268,
          -0.2557149749174879, 0.14397204950866505, -0.029146003082974322});
  tail = b.mulf(b.mulf(tail, s), gaussian);
  Value integral = b.select(l.less(x, 0.0), tail, b.subf(one, tail));
  return {integral, b.mulf(gaussian, l.constant(0.39894228040143268))};
}

CosSin pst::kernel::cosSin(CodeBuilder &b, Value x) {
  Lanes l(b, x);
  // n = round(x / (pi / 2)) sits in the low bits of x / (pi / 2) + 1.5 * 2^23.
  Value magic = l.constant(12582912.0);
  Value shifted = b.fma(x, l.constant(0.63661977236758134), magic);
  Value n = b.subf(shifted, magic);
  // pi / 2 in two parts. The first product is exact, as x and n times the first
  // part are near each other, and multiples of its last bit.
  Value r = b.fma(n, l.constant(-1.5707963705062866), x);
  r = b.fma(n, l.constant(4.371138828673793e-8), r);
  // On [-pi / 4, pi / 4]; coefficients of Cephes, sinf and cosf.
  Value square = b.mulf(r, r);
  Value p = l.polynomial(square,
                         {-1.6666654611e-1, 8.3321608736e-3, -1.9515295891e-4});
  Value sine = b.fma(b.mulf(p, square), r, r);
  Value cosine =
      l.polynomial(square, {1.0, -0.5, 4.166664568298827e-2,
                            -1.388731625493765e-3, 2.443315711809948e-5});
  // Each quarter of a turn takes the other function, two change the sign.
  Value quarters = l.bits(shifted), zero = l.constant(0.0);
  auto has = [&](Value number, int64_t bit) {
    return b.cmpi(arith::CmpIPredicate::ne,
                  arith::AndIOp::create(b, number, l.integer(bit)),
                  l.integer(0));
  };
  Value odd = has(quarters, 1);
  Value after = arith::AddIOp::create(b, quarters, l.integer(1));
  auto signedBy = [&](Value number, Value value) {
    return b.select(has(number, 2), b.subf(zero, value), value);
  };
  return {signedBy(after, b.select(odd, sine, cosine)),
          signedBy(quarters, b.select(odd, cosine, sine))};
}
