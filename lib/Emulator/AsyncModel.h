//===- AsyncModel.h - How wgmma and TMA address memory ----------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// Written from the PTX ISA (8.7), not from what the kernels' generator does:
// "Asynchronous Warpgroup Level Matrix Shared Memory Layout", "Matrix
// Descriptor Format", "Register Fragments and Shared Memory Matrix Layouts",
// and, for tensor maps, "Tensor" (swizzling modes). Addresses are those of the
// shared window; elements have 16 bits.

#ifndef PST_LIB_EMULATOR_ASYNCMODEL_H
#define PST_LIB_EMULATOR_ASYNCMODEL_H

#include <cstdint>

namespace pst::emulator {

/// 128-byte swizzle: bits 4 to 6 of an address, the 16 bytes within 128, are
/// crossed with bits 7 to 9.
constexpr uint32_t swizzle128(uint32_t address) {
  return address ^ ((address >> 7 & 7) << 4);
}

/// The fields of a wgmma's matrix descriptor; sizes in bytes.
struct MatrixDescriptor {
  uint32_t start, leading, stride;
  unsigned baseOffset, swizzleMode;

  static constexpr unsigned kSwizzle128 = 1;

  static constexpr MatrixDescriptor decode(uint64_t bits) {
    auto field = [bits](unsigned low, unsigned width) {
      return uint32_t(bits >> low & ((uint64_t(1) << width) - 1));
    };
    return {field(0, 14) << 4, field(16, 14) << 4, field(32, 14) << 4,
            field(49, 3), field(62, 2)};
  }

  /// The address of an element of a matrix that is `depthMajor` (k inside) or
  /// not, with 128-byte swizzle. The layouts, in elements, T = 8 of 16 bytes:
  ///   K-major:  ((8, m), (T, 2k)) : ((8T, stride), (1, T))
  ///   MN-major: ((T, 8, m), (8, k)) : ((1, T, leading), (8T, stride))
  constexpr uint32_t address(bool depthMajor, uint32_t row,
                             uint32_t depth) const {
    constexpr uint32_t T = 8, kBytes = 2;
    uint32_t offset =
        depthMajor
            ? row % 8 * (8 * T * kBytes) + row / 8 * stride + depth * kBytes
            : row % (8 * T) * kBytes + row / (8 * T) * leading +
                  depth % 8 * (8 * T * kBytes) + depth / 8 * stride;
    return swizzle128(start + offset);
  }
};

/// Where D[row, column] of m64nNk16 is: thread 32 * warp + 4 * (row % 8) +
/// column % 8 / 2 holds it as d[4 * (column / 8) + 2 * (row % 16 / 8) +
/// column % 2], the warp being row / 16.
constexpr unsigned accumulatorThread(unsigned row, unsigned column) {
  return row / 16 * 32 + row % 8 * 4 + column % 8 / 2;
}
constexpr unsigned accumulatorRegister(unsigned row, unsigned column) {
  return column / 8 * 4 + row % 16 / 8 * 2 + column % 2;
}

/// The inverse: the element that a thread of the warpgroup holds as d[i].
struct AccumulatorPlace {
  unsigned row, column;
};
constexpr AccumulatorPlace accumulatorPlace(unsigned thread, unsigned i) {
  return {thread / 32 * 16 + i / 2 % 2 * 8 + thread % 32 / 4,
          i / 4 * 8 + thread % 4 * 2 + i % 2};
}
static_assert([] {
  for (unsigned row = 0; row < 64; ++row)
    for (unsigned column = 0; column < 32; ++column) {
      AccumulatorPlace place = accumulatorPlace(
          accumulatorThread(row, column), accumulatorRegister(row, column));
      if (place.row != row || place.column != column)
        return false;
    }
  return true;
}());

} // namespace pst::emulator

#endif // PST_LIB_EMULATOR_ASYNCMODEL_H
