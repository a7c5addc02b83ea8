//===- WarpModel.h - Fragments of mma.sync and ldmatrix ---------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// Written from the tables of the PTX ISA (8.7), not from what the kernels'
// generator does: "Matrix Fragments for mma.m16n8k16 with floating point type",
// "Matrix Fragments for mma.m16n8k8" and "ldmatrix". A register has 32 bits:
// two elements, or one of tf32.

#ifndef PST_LIB_EMULATOR_WARPMODEL_H
#define PST_LIB_EMULATOR_WARPMODEL_H

#include <cstdint>

namespace pst::emulator {

struct FragmentPlace {
  int64_t row, column;
};

/// groupID and threadID_in_group of the tables.
constexpr int64_t groupOf(int64_t lane) { return lane >> 2; }
constexpr int64_t threadInGroup(int64_t lane) { return lane % 4; }

/// Of a_i in A (16 x 16), i in [0, 8): row = groupID for 0 <= i < 2 and 4 <= i
/// < 6, else groupID + 8; column = threadID_in_group * 2 + (i & 1), + 8 for i
/// >= 4.
constexpr FragmentPlace fragmentOfA(int64_t lane, int64_t i) {
  bool upper = (0 <= i && i < 2) || (4 <= i && i < 6);
  return {upper ? groupOf(lane) : groupOf(lane) + 8,
          threadInGroup(lane) * 2 + (i & 1) + (i >= 4 ? 8 : 0)};
}

/// Of b_i in B (16 x 8), i in [0, 4): row = threadID_in_group * 2 + (i & 1), +
/// 8 for i >= 2; column = groupID.
constexpr FragmentPlace fragmentOfB(int64_t lane, int64_t i) {
  return {threadInGroup(lane) * 2 + (i & 1) + (i >= 2 ? 8 : 0), groupOf(lane)};
}

/// The same for tf32, A of 16 x 8, i in [0, 4): row = groupID for a0 and a2,
/// groupID + 8 for a1 and a3; column = threadID_in_group for a0 and a1, + 4 for
/// a2 and a3.
constexpr FragmentPlace fragmentOfWordsA(int64_t lane, int64_t i) {
  bool upper = i == 0 || i == 2;
  return {upper ? groupOf(lane) : groupOf(lane) + 8,
          threadInGroup(lane) + (i >= 2 ? 4 : 0)};
}

/// B of 8 x 8, i in {0, 1}: row = threadID_in_group, + 4 for b1; column =
/// groupID.
constexpr FragmentPlace fragmentOfWordsB(int64_t lane, int64_t i) {
  return {threadInGroup(lane) + (i == 1 ? 4 : 0), groupOf(lane)};
}

/// Of c_i in C and D (16 x 8), i in [0, 4): row = groupID, + 8 for i >= 2;
/// column = threadID_in_group * 2 + (i & 1).
constexpr FragmentPlace fragmentOfC(int64_t lane, int64_t i) {
  return {i < 2 ? groupOf(lane) : groupOf(lane) + 8,
          threadInGroup(lane) * 2 + (i & 1)};
}

/// The lane whose address is that of a row of the j-th matrix of an ldmatrix.
constexpr int64_t laneOfRow(int64_t matrix, int64_t row) {
  return 8 * matrix + row;
}

/// Of the i-th element, 0 or 1, that a lane gets of a matrix: it has two
/// neighbours of row lane / 4; of the columns' elements with .trans.
constexpr FragmentPlace loadedElement(int64_t lane, int64_t i, bool trans) {
  FragmentPlace place{lane / 4, lane % 4 * 2 + i};
  return trans ? FragmentPlace{place.column, place.row} : place;
}

} // namespace pst::emulator

#endif // PST_LIB_EMULATOR_WARPMODEL_H
