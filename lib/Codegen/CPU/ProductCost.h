//===- ProductCost.h - What a product with a weight takes -------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// The one cost model of products with weights that have zeros: by it training
// offers compressed weights to products (-pst-choose-products), and a program
// that only evaluates stores them so (-pst-store-weights).

#ifndef PST_LIB_CODEGEN_CPU_PRODUCTCOST_H
#define PST_LIB_CODEGEN_CPU_PRODUCTCOST_H

#include <cstdint>

namespace pst::cpu {

/// Times of Y = X S^T, X: tokens x k, S: n x k, in nanoseconds of one thread.
struct ProductCost {
  int64_t tokens, n, k;
  /// Whether the dense weight is read where it lies (FewRows.h).
  bool readsInPlace = false;
  /// Bits of a value.
  int64_t valueBits = 32;
  /// Of the machine that only evaluates (Target.h): those of the elements that
  /// it moves to the lanes of a mask, and whether its gathers are fast.
  int64_t expandBits = 0;
  bool hasFastGather = false;

  /// Of the dense product.
  double dense() const;
  /// Of the product with a bit for each element of S, of which `kept` are not
  /// zero.
  double bitmask(int64_t kept) const;
  /// Of the product with S compressed, of which `kept` elements are not zero.
  double compressed(int64_t kept) const;
  /// Of compressing S, all of whose elements are visited.
  double compressing() const;

  /// The percentage of kept elements up to which compressing S for one product
  /// takes less time than the dense one; 0 where it never does.
  int64_t profitableDensity() const;
};

} // namespace pst::cpu

#endif // PST_LIB_CODEGEN_CPU_PRODUCTCOST_H
