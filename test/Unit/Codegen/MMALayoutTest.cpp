//===- MMALayoutTest.cpp - Index maps of mma.sync's products --------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// The generator's maps against the emulator's model, which is written from the
// PTX ISA's tables.

#include "Codegen/GPU/MMALayout.h"
#include "Emulator/WarpModel.h"

#include <gtest/gtest.h>
#include <map>
#include <set>

using namespace pst::cuda;

namespace {

using Element = std::pair<int64_t, int64_t>; // row of op(A) or column, k

struct MmaTileTest : testing::TestWithParam<MmaTile> {};
} // namespace

namespace pst::cuda {
static void PrintTo(const MmaTile &tile, std::ostream *out) {
  *out << (tile.depthIsInner ? "k inside, " : "k outside, ") << tile.extent
       << (tile.elementBytes == 4 ? ", tf32" : ", bf16");
}
} // namespace pst::cuda

namespace {

/// Which element lies at each byte offset of a tile, as copies leave it.
std::map<int64_t, Element> copied(const MmaTile &tile) {
  std::map<int64_t, Element> at;
  int64_t threads = WarpGrid::kThreads;
  int64_t parts = tile.rows() * tile.chunks() / threads;
  for (int64_t thread = 0; thread < threads; ++thread)
    for (int64_t part = 0; part < parts; ++part) {
      Place<int64_t> place = copiedChunk(tile, thread, threads, part);
      int64_t offset = tile.offset(place.row, place.column);
      EXPECT_EQ(offset % 16, 0);
      for (int64_t i = 0; i < 16 / tile.elementBytes; ++i) {
        int64_t inner = place.column * (16 / tile.elementBytes) + i;
        Element element = tile.depthIsInner ? Element{place.row, inner}
                                            : Element{inner, place.row};
        EXPECT_TRUE(at.emplace(offset + tile.elementBytes * i, element).second);
      }
    }
  return at;
}

TEST_P(MmaTileTest, CopiesFillTheTile) {
  std::map<int64_t, Element> elements = copied(GetParam());
  int64_t each = GetParam().elementBytes;
  EXPECT_EQ(int64_t(elements.size()) * each, GetParam().bytes());
  EXPECT_EQ(elements.rbegin()->first + each, GetParam().bytes());
  std::set<Element> seen;
  for (auto &[offset, element] : elements)
    seen.insert(element);
  EXPECT_EQ(seen.size(), elements.size());
}

/// What a lane has of op(A) or op(B) as the i-th of its elements, from row
/// (column) `first` and the `step`-th part of k on.
Element wanted(const MmaTile &tile, bool isLeft, int64_t lane, int64_t i,
               int64_t first, int64_t step) {
  bool isTF32 = tile.elementBytes == 4;
  if (isLeft) {
    auto place = isTF32 ? pst::emulator::fragmentOfWordsA(lane, i)
                        : pst::emulator::fragmentOfA(lane, i);
    return {first + place.row, step * (isTF32 ? 8 : 16) + place.column};
  }
  // Two instructions' worth, of 8 columns each.
  int64_t each = isTF32 ? 2 : 4;
  auto place = isTF32 ? pst::emulator::fragmentOfWordsB(lane, i % each)
                      : pst::emulator::fragmentOfB(lane, i % each);
  return {first + i / each * 8 + place.column,
          step * (isTF32 ? 8 : 16) + place.row};
}

/// The lanes' registers after ldmatrix, or after reads of words, are the
/// fragments of the tables.
TEST_P(MmaTileTest, LanesReadFragments) {
  const MmaTile &tile = GetParam();
  std::map<int64_t, Element> elements = copied(tile);
  int64_t perRegister = 4 / tile.elementBytes;
  auto offsetOf = [&](bool isLeft, int64_t lane, int64_t i, int64_t first,
                      int64_t step) {
    if (!tile.hasMatrices()) {
      Place<int64_t> place = fragmentElement(isLeft, lane, first, step, i);
      return tile.offset(place.row, place.column / 4) + place.column % 4 * 4;
    }
    // Of the two halves of a register, a word is where the first is.
    auto [row, column] =
        pst::emulator::loadedElement(lane, perRegister == 2 ? i % 2 : 0,
                                     /*trans=*/!tile.depthIsInner);
    Place<int64_t> chunk = fragmentChunk(
        tile.depthIsInner, isLeft,
        pst::emulator::laneOfRow(i / perRegister, row), first, step);
    return tile.offset(chunk.row, chunk.column) + 2 * column;
  };
  for (bool isLeft : {true, false})
    for (int64_t first = 0; first < tile.extent; first += 16)
      for (int64_t step = 0; step < 2; ++step)
        for (int64_t lane = 0; lane < 32; ++lane)
          for (int64_t i = 0; i < 4 * perRegister; ++i)
            ASSERT_EQ(elements.at(offsetOf(isLeft, lane, i, first, step)),
                      wanted(tile, isLeft, lane, i, first, step));
}

/// Words that a warp reads one by one.
TEST_P(MmaTileTest, WordsLieInDifferentBanks) {
  const MmaTile &tile = GetParam();
  if (tile.hasMatrices())
    return;
  for (bool isLeft : {true, false})
    for (int64_t first = 0; first < tile.extent; first += 16)
      for (int64_t step = 0; step < 2; ++step)
        for (int64_t number = 0; number < 4; ++number) {
          std::set<int64_t> banks;
          for (int64_t lane = 0; lane < 32; ++lane) {
            Place<int64_t> place =
                fragmentElement(isLeft, lane, first, step, number);
            banks.insert(tile.offset(place.row, place.column / 4) % 128 / 4 +
                         place.column % 4);
          }
          ASSERT_EQ(banks.size(), 32u);
        }
}

TEST_P(MmaTileTest, EightRowsLieInDifferentBanks) {
  const MmaTile &tile = GetParam();
  if (!tile.hasMatrices())
    return;
  for (bool isLeft : {true, false})
    for (int64_t first = 0; first < tile.extent; first += 16)
      for (int64_t step = 0; step < 2; ++step)
        for (int64_t matrix = 0; matrix < 4; ++matrix) {
          std::set<int64_t> banks;
          for (int64_t row = 0; row < 8; ++row) {
            Place<int64_t> chunk = fragmentChunk(
                tile.depthIsInner, isLeft,
                pst::emulator::laneOfRow(matrix, row), first, step);
            banks.insert(tile.offset(chunk.row, chunk.column) % 128 / 16);
          }
          ASSERT_EQ(banks.size(), 8u);
        }
}

/// The threads of a quarter of a warp, whose 16 bytes go together.
TEST_P(MmaTileTest, CopiesLieInDifferentBanks) {
  const MmaTile &tile = GetParam();
  for (int64_t first = 0; first < WarpGrid::kThreads; first += 8) {
    std::set<int64_t> banks;
    for (int64_t thread = first; thread < first + 8; ++thread) {
      Place<int64_t> place =
          copiedChunk(tile, thread, WarpGrid::kThreads, /*part=*/1);
      banks.insert(tile.offset(place.row, place.column) % 128 / 16);
    }
    ASSERT_EQ(banks.size(), 8u);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Tiles, MmaTileTest,
    testing::Values(MmaTile{true, 64, 2}, MmaTile{true, 128, 2},
                    MmaTile{false, 64, 2}, MmaTile{false, 128, 2},
                    MmaTile{true, 64, 4}, MmaTile{true, 128, 4},
                    MmaTile{false, 64, 4}, MmaTile{false, 128, 4}));

TEST(MMALayoutTest, AccumulatorsAreTheResult) {
  for (int64_t lane = 0; lane < 32; ++lane)
    for (int64_t i = 0; i < 4; ++i) {
      Place<int64_t> ours = accumulatorPlace(lane, i);
      auto wanted = pst::emulator::fragmentOfC(lane, i);
      ASSERT_EQ(ours.row, wanted.row);
      ASSERT_EQ(ours.column, wanted.column);
    }
}

TEST(MMALayoutTest, WarpsShareTheTile) {
  for (int64_t size : {64, 128}) {
    WarpGrid grid{size, size};
    std::set<Element> seen;
    for (int64_t thread = 0; thread < WarpGrid::kThreads; thread += 32) {
      Place<int64_t> first = grid.first(thread);
      for (int64_t lane = 1; lane < 32; ++lane)
        ASSERT_EQ(grid.first(thread + lane).column, first.column);
      for (int64_t i = 0; i < grid.rows(); ++i)
        for (int64_t j = 0; j < grid.columns(); ++j)
          ASSERT_TRUE(seen.emplace(first.row + i, first.column + j).second);
    }
    ASSERT_EQ(int64_t(seen.size()), size * size);
  }
}

} // namespace
