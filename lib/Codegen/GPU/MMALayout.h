//===- MMALayout.h - Index maps of mma.sync's products ----------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// Where the tiles of op(A) and op(B) lie in shared memory, and which part of
// them each lane reads for an mma.sync: m16n8k16 of bf16, or m16n8k8 of tf32,
// which has 32 bits. Either way an instruction takes 32 bytes of k. As in
// SharedLayout.h, each map is one function of integers or of code. An
// accumulator's map is accumulatorPlace there, with a lane for the thread and
// its first four elements.
//
// Sources: PTX ISA 8.7, "ldmatrix", "Matrix Fragments for mma.m16n8k16 with
// floating point type" and "Matrix Fragments for mma.m16n8k8".

#ifndef PST_LIB_CODEGEN_GPU_MMALAYOUT_H
#define PST_LIB_CODEGEN_GPU_MMALAYOUT_H

#include "SharedLayout.h"

namespace pst::cuda {

/// What ldmatrix reads as one row of a matrix, and cp.async copies at most; so
/// many elements of 16 bits.
inline constexpr int64_t kChunkBytes = 16;
inline constexpr int64_t kChunk = kChunkBytes / kElementBytes;
/// Bytes of elements that tf32 are.
inline constexpr int64_t kWordBytes = 4;
/// m and n of one instruction, the bytes of k, and k of bf16.
inline constexpr int64_t kMmaRows = 16, kMmaColumns = 8, kMmaDepthBytes = 32;
inline constexpr int64_t kMmaDepth = kMmaDepthBytes / kElementBytes;

/// A tile of an operand in shared memory: `extent` rows of op(A), or columns of
/// op(B), and 64 bytes of k (32 or 16 elements), row by row of what is inside
/// in memory. Chunks change places within a row, so that what a warp reads at a
/// time, eight of them or 32 words, lies in different banks.
struct MmaTile {
  bool depthIsInner;
  int64_t extent;       ///< 64 or 128
  int64_t elementBytes; ///< 2, or 4: tf32

  static constexpr int64_t kDepthBytes = 64;

  /// Of k.
  constexpr int64_t depth() const { return kDepthBytes / elementBytes; }
  constexpr int64_t mmaDepth() const { return kMmaDepthBytes / elementBytes; }
  /// Elements of a chunk.
  constexpr int64_t chunk() const { return kChunkBytes / elementBytes; }
  constexpr int64_t rows() const { return depthIsInner ? extent : depth(); }
  constexpr int64_t chunks() const {
    return (depthIsInner ? depth() : extent) / chunk();
  }
  constexpr int64_t bytes() const { return extent * kDepthBytes; }
  /// Whether lanes read matrices of 8 rows by ldmatrix: it does not transpose
  /// words, which they read one by one (fragmentElement).
  constexpr bool hasMatrices() const {
    return depthIsInner || elementBytes == kElementBytes;
  }

  /// Where a chunk begins, in bytes from the tile's start, which is a multiple
  /// of 128.
  template <typename Int> constexpr Int offset(Int row, Int chunk) const {
    int64_t rowsOf128Bytes = chunks() < 8 ? 8 / chunks() : 1;
    int64_t places = chunks() < 8 ? chunks() : 8;
    // Of words, two neighbouring chunks of four rows are read at a time.
    int64_t step = hasMatrices() ? 1 : 2;
    Int place = chunk ^ row / rowsOf128Bytes * step % places;
    return row * (chunks() * kChunkBytes) + place * kChunkBytes;
  }
};

/// The row and chunk of a matrix in shared memory (its rows those of op(A) or
/// columns of op(B) if the depth is inside, else k) whose address a lane gives
/// to ldmatrix.x4 for its share of op(A)'s 16 x 16 elements from row `first`,
/// or of op(B)'s from column `first`, at the `step`-th 32 bytes of k. Lanes 8 j
/// to 8 j + 7 name the rows of the matrix that becomes register j. Of A,
/// registers 0 and 1 are rows 0 to 7 and 8 to 15, then come the next 8 of k; of
/// B, registers 0 and 1 are k 0 to 7 and 8 to 15, for 8 columns, then come the
/// next 8 columns. ldmatrix transposes if the depth is not inside.
template <typename Int>
constexpr Place<Int> fragmentChunk(bool depthIsInner, bool isLeft, Int lane,
                                   Int first, int64_t step) {
  Int fast = lane / kChunk % int64_t(2), slow = lane / (2 * kChunk);
  Int extentHalf = isLeft ? fast : slow, depthHalf = isLeft ? slow : fast;
  Int within = lane % kChunk;
  if (depthIsInner)
    return {first + (extentHalf * kChunk + within),
            depthHalf + step * (kMmaDepth / kChunk)};
  return {depthHalf * kChunk + within + step * kMmaDepth,
          first / kChunk + extentHalf};
}

/// The element, by row and column of a tile of words with the depth outside,
/// that is a lane's register `number` (0 to 3) of the same.
template <typename Int>
constexpr Place<Int> fragmentElement(bool isLeft, Int lane, Int first,
                                     int64_t step, int64_t number) {
  int64_t fast = number % 2, slow = number / 2;
  int64_t extentHalf = isLeft ? fast : slow, depthHalf = isLeft ? slow : fast;
  return {lane % int64_t(4) + (step * 8 + depthHalf * 4),
          first + (lane / int64_t(4) + extentHalf * 8)};
}

/// The `part`-th chunk that a thread copies to a tile, of `threads` that share
/// the work: neighbouring threads take neighbouring chunks.
template <typename Int>
constexpr Place<Int> copiedChunk(const MmaTile &tile, Int thread,
                                 int64_t threads, int64_t part) {
  Int number = thread + part * threads;
  return {number / tile.chunks(), number % tile.chunks()};
}

/// How the warps of a block share its tile: side by side, each `rows` x
/// `columns` of it.
struct WarpGrid {
  int64_t tileM, tileN;

  static constexpr int64_t kSide = 2;
  static constexpr int64_t kThreads = kSide * kSide * 32;

  constexpr int64_t rows() const { return tileM / kSide; }
  constexpr int64_t columns() const { return tileN / kSide; }
  /// The first row and column of a warp.
  template <typename Int> constexpr Place<Int> first(Int thread) const {
    Int warp = thread / int64_t(32);
    return {warp / kSide * rows(), warp % kSide * columns()};
  }
};

} // namespace pst::cuda

#endif // PST_LIB_CODEGEN_GPU_MMALAYOUT_H
