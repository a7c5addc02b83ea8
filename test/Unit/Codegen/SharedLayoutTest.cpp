//===- SharedLayoutTest.cpp - Index maps of the tensor core's kernels -----===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// The generator's maps against the emulator's model, which is written from the
// PTX ISA.

#include "Codegen/GPU/SharedLayout.h"
#include "Emulator/AsyncModel.h"

#include <gtest/gtest.h>
#include <map>
#include <set>

using namespace pst::cuda;
using pst::emulator::MatrixDescriptor;

namespace {

using Element = std::pair<int64_t, int64_t>; // row (of A) or column, k

/// Which element TMA leaves at each address of a tile that begins at `base`:
/// boxes one after the other, in each the rows of 128 bytes in order, swizzled.
std::map<uint32_t, Element> loaded(const OperandTile &tile, uint32_t base) {
  std::map<uint32_t, Element> at;
  uint32_t address = base;
  for (int64_t box = 0; box < tile.boxes(); ++box)
    for (int64_t row = 0; row < tile.boxRows(); ++row)
      for (int64_t i = 0; i < 64; ++i, address += 2)
        at[pst::emulator::swizzle128(address)] =
            tile.depthIsInner ? Element{row, i} : Element{64 * box + i, row};
  EXPECT_EQ(int64_t(address - base), tile.bytes());
  return at;
}

struct TileCase {
  bool depthIsInner;
  int64_t extent, rows; // of the tile, of one wgmma's operand
};
void PrintTo(const TileCase &c, std::ostream *out) {
  *out << (c.depthIsInner ? "K" : "MN") << "-major, " << c.rows << " of "
       << c.extent;
}

struct OperandTileTest : testing::TestWithParam<TileCase> {};

TEST_P(OperandTileTest, WgmmaReadsWhatTmaWrote) {
  OperandTile tile{GetParam().depthIsInner, GetParam().extent};
  uint32_t base = 3 * 1024;
  std::map<uint32_t, Element> elements = loaded(tile, base);
  for (int64_t first = 0; first < tile.extent; first += GetParam().rows)
    for (int64_t step = 0; step < 4; ++step) {
      uint64_t bits = descriptorBits(tile) +
                      uint64_t(descriptorAddress(int64_t(base))) +
                      uint64_t(tile.start(first, step) / 16);
      MatrixDescriptor descriptor = MatrixDescriptor::decode(bits);
      ASSERT_EQ(descriptor.swizzleMode, MatrixDescriptor::kSwizzle128);
      ASSERT_EQ(descriptor.baseOffset, 0u);
      for (int64_t row = 0; row < GetParam().rows; ++row)
        for (int64_t k = 0; k < 16; ++k) {
          uint32_t at = descriptor.address(tile.depthIsInner, row, k);
          ASSERT_EQ(elements.at(at), Element(first + row, 16 * step + k));
        }
    }
}

INSTANTIATE_TEST_SUITE_P(
    Tiles, OperandTileTest,
    testing::Values(TileCase{true, 128, 64}, TileCase{false, 128, 64},
                    TileCase{true, 256, 256}, TileCase{false, 256, 256},
                    TileCase{true, 128, 128}, TileCase{false, 128, 128},
                    TileCase{true, 192, 192}, TileCase{false, 192, 192}));

TEST(SharedLayoutTest, DescriptorAddressKeepsEighteenBits) {
  EXPECT_EQ(descriptorAddress(int64_t(0x40000 + 0x12340)), 0x1234);
}

TEST(SharedLayoutTest, AccumulatorsOfAWarpgroupAreItsResult) {
  for (unsigned row = 0; row < 64; ++row)
    for (unsigned column = 0; column < 256; ++column) {
      Place<int64_t> place = accumulatorPlace<int64_t>(
          pst::emulator::accumulatorThread(row, column),
          pst::emulator::accumulatorRegister(row, column));
      ASSERT_EQ(place.row, row);
      ASSERT_EQ(place.column, column);
    }
}

TEST(SharedLayoutTest, NeighbouringAccumulatorsAreNeighboursInARow) {
  for (int64_t thread = 0; thread < 128; ++thread)
    for (int64_t i = 0; i < 128; i += 2) {
      Place<int64_t> one = accumulatorPlace(thread, i);
      Place<int64_t> other = accumulatorPlace(thread, i + 1);
      ASSERT_EQ(one.row, other.row);
      ASSERT_EQ(one.column + 1, other.column);
      ASSERT_EQ(one.column % 2, 0);
    }
}

struct ResultBoxTest : testing::TestWithParam<int64_t> {};

/// TMA reads the rows of a box in order, swizzled.
TEST_P(ResultBoxTest, LiesAsTmaReadsIt) {
  ResultBox box{GetParam()};
  uint32_t base = 5 * 1024, address = base;
  for (int64_t row = 0; row < 64; ++row)
    for (int64_t column = 0; column < box.columns();
         ++column, address += GetParam())
      ASSERT_EQ(base + box.offset(row, column),
                pst::emulator::swizzle128(address));
  ASSERT_EQ(address - base, ResultBox::kBytes);
}

/// What a warp writes at a time: a pair of bf16, or one of two words.
TEST_P(ResultBoxTest, WordsLieInDifferentBanks) {
  ResultBox box{GetParam()};
  for (int64_t i = 0; i < box.columns() / 2; i += 2)
    for (int64_t part : {0, 1}) {
      std::set<int64_t> banks;
      for (int64_t lane = 0; lane < 32; ++lane) {
        Place<int64_t> place = accumulatorPlace(lane, i);
        int64_t column = GetParam() == 4
                             ? place.column + ResultBox::word(place.row, part)
                             : place.column;
        banks.insert(box.offset(place.row, column) % 128 / 4);
      }
      ASSERT_EQ(banks.size(), 32u);
    }
}

INSTANTIATE_TEST_SUITE_P(Elements, ResultBoxTest, testing::Values(2, 4));

TEST(SharedLayoutTest, BothWordsAreWritten) {
  for (int64_t row : {0, 1})
    EXPECT_NE(ResultBox::word(row, 0), ResultBox::word(row, 1));
}

TEST(SharedLayoutTest, TilesAreVisitedOnceEach) {
  for (int64_t rows : {1, 2, 7, 8, 9, 16, 23})
    for (int64_t columns : {1, 3, 8, 13})
      for (int64_t band : {1, 4, 8}) {
        std::set<std::pair<int64_t, int64_t>> seen;
        for (int64_t number = 0; number < rows * columns; ++number) {
          Place<int64_t> place = tilePlace(number, rows, columns, band);
          ASSERT_TRUE(place.row >= 0 && place.row < rows);
          ASSERT_TRUE(place.column >= 0 && place.column < columns);
          ASSERT_TRUE(seen.emplace(place.row, place.column).second);
          Place<int64_t> same = placeInBands(number, rows, columns, band);
          ASSERT_TRUE(same.row == place.row && same.column == place.column);
        }
      }
}

TEST(SharedLayoutTest, TilesThatRunTogetherShareOperands) {
  // 132 blocks on 64 x 32 tiles: 8 bands' rows and at most 18 columns.
  std::set<int64_t> rows, columns;
  for (int64_t number = 132; number < 264; ++number) {
    Place<int64_t> place = tilePlace<int64_t>(number, 64, 32, 8);
    rows.insert(place.row);
    columns.insert(place.column);
  }
  EXPECT_LE(rows.size(), 16u);
  EXPECT_LE(columns.size(), 18u);
}

TEST(SharedLayoutTest, PipelineStagesAndParities) {
  for (int64_t stages : {2, 4, 5}) {
    std::map<int64_t, int64_t> uses;
    for (int64_t number = 0; number < 50; ++number) {
      int64_t stage = pipelineStage(number, stages);
      ASSERT_EQ(pipelineParity(number, stages), uses[stage]++ % 2);
    }
  }
}

} // namespace
