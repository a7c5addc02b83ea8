//===- Checked.h - Arithmetic on sizes from files ---------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_BUNDLE_CHECKED_H
#define PST_BUNDLE_CHECKED_H

#include <cstdint>
#include <optional>
#include <string>

namespace pst {

/// A size made of numbers that a file, or a user, gives. A sum or product
/// beyond 64 bits is no size any more, and stays none.
class Checked {
public:
  Checked(int64_t size) : size(size) {}

  Checked operator+(Checked other) const {
    return combine(other, [](int64_t a, int64_t b, int64_t *sum) {
      return __builtin_add_overflow(a, b, sum);
    });
  }
  Checked operator*(Checked other) const {
    return combine(other, [](int64_t a, int64_t b, int64_t *product) {
      return __builtin_mul_overflow(a, b, product);
    });
  }

  /// The size, unless it went beyond 64 bits.
  std::optional<int64_t> get() const { return size; }
  /// Whether it is a size, and no larger than `limit`.
  bool isAtMost(int64_t limit) const { return size && *size <= limit; }
  /// "96", or "2^63 or more".
  std::string text() const {
    return size ? std::to_string(*size) : "2^63 or more";
  }

private:
  template <typename Operation>
  Checked combine(Checked other, Operation overflows) const {
    Checked result(0);
    if (!size || !other.size || overflows(*size, *other.size, &*result.size))
      result.size.reset();
    return result;
  }

  std::optional<int64_t> size;
};

} // namespace pst

#endif // PST_BUNDLE_CHECKED_H
