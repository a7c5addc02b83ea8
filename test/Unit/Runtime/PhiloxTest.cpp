//===- PhiloxTest.cpp - Counter-based random numbers ----------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Runtime/Philox.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

using namespace pst::runtime;
using Block = std::array<uint32_t, 4>;

// The known answers of Random123 1.09, kat_vectors.
TEST(Philox, KnownAnswers) {
  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}),
            (Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
                   {0xffffffff, 0xffffffff}),
            (Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
                   {0xa4093822, 0x299f31d0}),
            (Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

// The first outputs of SplitMix64 from state 1234567 (Vigna's reference).
TEST(Philox, SplitMixKnownAnswers) {
  EXPECT_EQ(splitMix(1234567), 6457827717110365317u);
  EXPECT_EQ(splitMix(1234567 + 0x9E3779B97F4A7C15u), 3203168211198807973u);
}

TEST(Philox, NormalValuesHaveTheMomentsOfANormal) {
  std::vector<float> values(200001);
  fillNormal(values, 2.0, 5, "layer.pst_U");
  double sum = 0, squares = 0, fourth = 0;
  int64_t inOneSigma = 0;
  for (double value : values) {
    sum += value;
    squares += value * value;
    fourth += value * value * value * value;
    inOneSigma += std::abs(value) < 2.0;
  }
  double n = static_cast<double>(values.size());
  EXPECT_NEAR(sum / n, 0, 0.02);
  EXPECT_NEAR(squares / n, 4, 0.05);
  EXPECT_NEAR(fourth / (squares * squares) * n, 3, 0.05);
  EXPECT_NEAR(static_cast<double>(inOneSigma) / n, 0.6827, 0.004);
}

// A parameter's values must not depend on what else is drawn, nor on how many.
TEST(Philox, NormalValuesDependOnSeedNameAndPositionAlone) {
  std::vector<float> all(103), some(37), other(103), reseeded(103);
  fillNormal(all, 1, 5, "a");
  fillNormal(other, 1, 5, "b");
  fillNormal(reseeded, 1, 6, "a");
  fillNormal(some, 1, 5, "a");
  EXPECT_TRUE(std::equal(some.begin(), some.end(), all.begin()));
  int same = 0;
  for (size_t i = 0; i < all.size(); ++i)
    same += (all[i] == other[i]) + (all[i] == reseeded[i]);
  EXPECT_EQ(same, 0);
}

TEST(Philox, OrderIsAPermutationThatDependsOnTheEpoch) {
  for (int64_t count : {1, 2, 7, 1000}) {
    std::vector<int64_t> order = shuffledOrder(count, 3, 4);
    EXPECT_EQ(order, shuffledOrder(count, 3, 4));
    if (count == 1000) {
      EXPECT_NE(order, shuffledOrder(count, 3, 5));
      EXPECT_NE(order, shuffledOrder(count, 4, 4));
    }
    std::sort(order.begin(), order.end());
    for (int64_t i = 0; i < count; ++i)
      EXPECT_EQ(order[i], i);
  }
}

// Over many epochs, each of the 24 orders of four examples is as likely.
TEST(Philox, OrdersAreUniform) {
  std::map<std::vector<int64_t>, int> counts;
  constexpr int epochs = 24000;
  for (int epoch = 0; epoch < epochs; ++epoch)
    ++counts[shuffledOrder(4, 11, epoch)];
  EXPECT_EQ(counts.size(), 24u);
  double chi = 0;
  for (const auto &[order, count] : counts)
    chi += (count - 1000.0) * (count - 1000.0) / 1000.0;
  EXPECT_LT(chi, 49.7); // 23 degrees of freedom, 0.1 %
}

TEST(Philox, SeedsOfMicroBatchesDiffer) {
  std::set<int64_t> seeds;
  for (uint64_t seed : {0, 1, 42})
    for (int64_t index = 0; index < 1000; ++index)
      seeds.insert(microBatchSeed(seed, index));
  EXPECT_EQ(seeds.size(), 3000u);
}
