//===- TimingTest.cpp - Turns, medians and ratios -------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Bench/Timing.h"
#include "pst/Bench/Step.h"

#include <gtest/gtest.h>

using namespace pst::bench;

TEST(Timing, QuartilesInterpolate) {
  Quartiles found = quartiles({4, 1, 3, 2});
  EXPECT_DOUBLE_EQ(found.low, 1.75);
  EXPECT_DOUBLE_EQ(found.median, 2.5);
  EXPECT_DOUBLE_EQ(found.high, 3.25);
  EXPECT_DOUBLE_EQ(quartiles({7}).low, 7);
}

TEST(Timing, RatiosAreOfTheSameRound) {
  // The medians' own ratio would be 3 / 2.
  Quartiles found = ratio({{1, 9, 3}}, {{2, 3, 1}});
  EXPECT_DOUBLE_EQ(found.median, 3);
}

TEST(Timing, ContestantsTakeTurns) {
  std::string order;
  TimingOptions options;
  options.samples = 3;
  options.sampleSeconds = 0;
  options.quietSeconds = 0;
  std::vector<Contestant> contestants = {{"a", [&] { order += 'a'; }},
                                         {"b", [&] { order += 'b'; }}};
  auto samples = takeTurns(contestants, options);
  // Two calls of each that do not count; then the order turns every round.
  EXPECT_EQ(order, "aabb"
                   "ab"
                   "ba"
                   "ab");
  ASSERT_EQ(samples.size(), 2u);
  EXPECT_EQ(samples[0].seconds.size(), 3u);
  EXPECT_EQ(samples[1].seconds.size(), 3u);
}

TEST(Timing, ProductsAreTold) {
  EXPECT_TRUE(isProduct("masked_matmul_64_pst_384x384_r8_r8_threshold"));
  EXPECT_TRUE(isProduct("lowrank_accumulate_64_pst_384x384"));
  EXPECT_TRUE(isProduct("materialize_384x384_59232_pst_compressed"));
  EXPECT_TRUE(isProduct("stored_matmul_64x384_64x384_147744"));
  EXPECT_FALSE(isProduct("topk_threshold_pst_384x384_r8_r8"));
  EXPECT_FALSE(isProduct("attention_4x16x384_heads12"));
}
