//===- SharedLayout.h - Index maps of the tensor core's kernels -*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// Where things lie: tiles of operands in shared memory and what tells wgmma of
// them, elements of an accumulator among a warpgroup's threads, tiles of a
// result among blocks. Each map is one function, of integers or of anything
// that adds and multiplies like them: the generator calls it with code
// (IndexCode.h), the tests with numbers.
//
// Sources: PTX ISA 8.7, "Asynchronous Warpgroup Level Matrix Instructions"
// (shared memory layout, matrix descriptor, register fragments), and the CUDA
// driver's cuTensorMapEncodeTiled.

#ifndef PST_LIB_CODEGEN_GPU_SHAREDLAYOUT_H
#define PST_LIB_CODEGEN_GPU_SHAREDLAYOUT_H

#include <cstdint>

namespace pst::cuda {

/// Of the tensor cores' products of 16-bit elements.
inline constexpr int64_t kWarpgroup = 128;      ///< threads
inline constexpr int64_t kWgmmaRows = 64;       ///< of a wgmma's result
inline constexpr int64_t kWgmmaDepth = 16;      ///< of k
inline constexpr int64_t kElementBytes = 2;     ///< bf16
inline constexpr int64_t kSwizzleElements = 64; ///< 128 bytes, a row of a box

/// A tile of an operand in shared memory: `extent` rows of A (or columns of
/// B), `kSwizzleElements` deep, in boxes that TMA loads with 128-byte swizzle.
struct OperandTile {
  /// Whether k is the inner dimension in memory, or rows (columns) are.
  bool depthIsInner;
  int64_t extent; ///< a multiple of 64

  static constexpr int64_t kDepth = kSwizzleElements;

  constexpr int64_t bytes() const { return extent * kDepth * kElementBytes; }
  /// One box holds the tile if k is inner; else one for every 64 of `extent`.
  constexpr int64_t boxes() const {
    return depthIsInner ? 1 : extent / kSwizzleElements;
  }
  /// Rows of 128 bytes of a box.
  constexpr int64_t boxRows() const { return depthIsInner ? extent : kDepth; }
  constexpr int64_t boxBytes() const { return bytes() / boxes(); }

  /// Bytes that wgmma's matrix descriptor calls the leading and the stride
  /// dimension's. Of a tile with k inside, the first has no meaning; 8 rows
  /// lie together. Otherwise the first leads to the next 64 of `extent`, the
  /// second to the next 8 of k.
  constexpr int64_t leadingBytes() const {
    return depthIsInner ? 16 : boxBytes();
  }
  constexpr int64_t strideBytes() const { return 8 * 128; }

  /// Bytes from the tile's start to where a wgmma's operand starts: the
  /// `step`-th 16 of k, from row (column) `first` on, a multiple of 64.
  template <typename Int> constexpr Int start(Int first, int64_t step) const {
    int64_t ofStep = depthIsInner ? step * kWgmmaDepth * kElementBytes
                                  : step * kWgmmaDepth * 128;
    // 64 rows of 128 bytes, or a box: either way as many bytes.
    return first * int64_t(128) + ofStep;
  }
};

/// The bits of a matrix descriptor that do not depend on where the tile is:
/// leading and stride dimension in units of 16 bytes, 128-byte swizzle.
constexpr uint64_t descriptorBits(const OperandTile &tile) {
  return uint64_t(tile.leadingBytes() >> 4) << 16 |
         uint64_t(tile.strideBytes() >> 4) << 32 | uint64_t(1) << 62;
}

/// The bits that do: those of an address in shared memory (18 of them).
template <typename Int> constexpr Int descriptorAddress(Int address) {
  return address % (int64_t(1) << 18) / 16;
}

/// An element's place in a matrix.
template <typename Int> struct Place {
  Int row, column;
};

/// Of the `element`-th accumulator of a thread of a warpgroup (m64nNk16). Two
/// neighbours (2i, 2i + 1) lie beside each other in a row.
template <typename Int>
constexpr Place<Int> accumulatorPlace(Int thread, int64_t element) {
  Int row = thread / int64_t(32) * int64_t(16) + thread % int64_t(32) / 4;
  Int column = thread % int64_t(4) * int64_t(2);
  return {row + element / 2 % 2 * 8, column + (element / 4 * 8 + element % 2)};
}

constexpr int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/// What of a tile a warpgroup stores at a time: 64 rows of 128 bytes, which lie
/// in shared memory with 128-byte swizzle until TMA has read them.
struct ResultBox {
  int64_t elementBytes; ///< 2 or 4

  static constexpr int64_t kBytes = kWgmmaRows * 128;

  constexpr int64_t columns() const { return 128 / elementBytes; }

  /// Where an element is, in bytes from the box's start, which is a multiple of
  /// 1024.
  template <typename Int> constexpr Int offset(Int row, Int column) const {
    int64_t perChunk = 16 / elementBytes;
    Int chunk = column / perChunk ^ row % int64_t(8);
    return row * int64_t(128) +
           (chunk * int64_t(16) + column % perChunk * elementBytes);
  }

  /// Of two neighbouring words, which a thread writes one after the other, the
  /// one that is `part`-th: not the same in all rows, so that a warp's words
  /// lie in different banks.
  template <typename Int> static constexpr Int word(Int row, int64_t part) {
    return (row + part) % int64_t(2);
  }
};

/// What tilePlace says of bands of which the last may be lower; `rows` may be
/// an index.
template <typename Int, typename Rows>
constexpr Place<Int> placeInBands(Int number, Rows rows, int64_t columns,
                                  int64_t band) {
  Int first = number / (band * columns) * band;
  Int within = number % (band * columns);
  Int height = smaller(band, rows - first);
  return {first + within % height, within / height};
}

/// Of the `number`-th tile of a result of rows x columns tiles. Tiles go down
/// the columns of a band of `band` rows, so that blocks that run together read
/// few rows of either operand: from the second-level cache.
template <typename Int>
constexpr Place<Int> tilePlace(Int number, int64_t rows, int64_t columns,
                               int64_t band) {
  if (rows <= band)
    return {number % rows, number / rows};
  Int first = number / (band * columns) * band;
  Int within = number % (band * columns);
  if (rows % band == 0)
    return {first + within % band, within / band};
  return placeInBands(number, rows, columns, band);
}

/// The `number`-th of the tiles that a pipeline of `stages` buffers carries:
/// its buffer, and the parity of the phase in which it fills it.
template <typename Int>
constexpr Int pipelineStage(Int number, int64_t stages) {
  return number % stages;
}
template <typename Int>
constexpr Int pipelineParity(Int number, int64_t stages) {
  return number / stages % int64_t(2);
}

} // namespace pst::cuda

#endif // PST_LIB_CODEGEN_GPU_SHAREDLAYOUT_H
