//===- ScheduleTest.cpp - Learning rate and sparsity over a run -----------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Runtime/Schedule.h"

#include <gtest/gtest.h>

#include <vector>

using namespace pst::runtime;

// transformers.get_scheduler, as printed by it.
TEST(Schedule, LearningRateIsThatOfHuggingFace) {
  struct Case {
    RateCurve curve;
    int64_t warmup, total;
    std::vector<double> factors;
  };
  using enum RateCurve;
  std::vector<Case> cases = {
      {linear,
       0,
       7,
       {1.0, 0.8571428571428571, 0.7142857142857143, 0.5714285714285714,
        0.42857142857142855, 0.2857142857142857, 0.14285714285714285, 0.0,
        0.0}},
      {linear,
       3,
       10,
       {0.0, 0.3333333333333333, 0.6666666666666666, 1.0, 0.8571428571428571,
        0.7142857142857143, 0.5714285714285714, 0.42857142857142855,
        0.2857142857142857, 0.14285714285714285, 0.0, 0.0}},
      {linear,
       10,
       10,
       {0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.0, 0.0}},
      {linear,
       12,
       10,
       {0.0, 0.08333333333333333, 0.16666666666666666, 0.25, 0.3333333333333333,
        0.4166666666666667, 0.5, 0.5833333333333334, 0.6666666666666666, 0.75,
        0.8333333333333334, 0.9166666666666666}},
      {cosine,
       0,
       7,
       {1.0, 0.9504844339512095, 0.8117449009293668, 0.6112604669781572,
        0.38873953302184283, 0.18825509907063326, 0.04951556604879048, 0.0}},
      {cosine,
       3,
       10,
       {0.0, 0.3333333333333333, 0.6666666666666666, 1.0, 0.9504844339512095,
        0.8117449009293668, 0.6112604669781572, 0.38873953302184283,
        0.18825509907063326, 0.04951556604879048, 0.0}},
      {cosine, 10, 10, {0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0}},
      {constant, 3, 4, {1.0, 1.0, 1.0, 1.0, 1.0}},
      {constantWithWarmup,
       3,
       5,
       {0.0, 0.3333333333333333, 0.6666666666666666, 1.0, 1.0, 1.0, 1.0}},
      {constantWithWarmup, 0, 2, {1.0, 1.0, 1.0}}};
  // With decay_type "linear" and 3 num_decay_steps.
  RateSchedule stable{warmupStableDecay, 2, 7, 4};
  std::vector<double> factors = {
      0.0, 0.5, 1.0, 1.0, 1.0, 0.6666666666666666, 0.3333333333333333,
      0.0, 0.0};
  for (size_t step = 0; step < factors.size(); ++step)
    EXPECT_DOUBLE_EQ(stable.at(static_cast<int64_t>(step)), factors[step]);
  for (const Case &c : cases)
    for (size_t step = 0; step < c.factors.size(); ++step)
      EXPECT_DOUBLE_EQ((RateSchedule{c.curve, c.warmup, c.total}.at(
                           static_cast<int64_t>(step))),
                       c.factors[step])
          << "curve " << static_cast<int>(c.curve) << ", step " << step
          << " of " << c.total;
}

// T = 100, i = 0.1, f = 0.3, s = 0 to 0.9: values worked out by hand from the
// paper's formula.
TEST(Schedule, SparsityFollowsThePaper) {
  SparsitySchedule schedule{0, 0.9, 0.1, 0.3, 100};
  for (int64_t t : {0, 1, 9, 10}) // t <= i T
    EXPECT_EQ(schedule.at(t), 0);
  // 0.9 (1 - (1 - 1/60)^3)
  EXPECT_NEAR(schedule.at(11), 0.9 * (1 - 205379.0 / 216000.0), 1e-15);
  EXPECT_NEAR(schedule.at(40), 0.7875, 1e-15); // half of the way
  EXPECT_NEAR(schedule.at(55), 0.9 * (1 - 1.0 / 64), 1e-15);
  EXPECT_NEAR(schedule.at(69), 0.9 * (1 - 1.0 / 216000), 1e-15);
  EXPECT_LT(schedule.at(69), 0.9);
  for (int64_t t : {70, 71, 99, 100}) // the formula meets the end at T - f T
    EXPECT_EQ(schedule.at(t), 0.9);
}

TEST(Schedule, SparsityFromAnotherBeginning) {
  SparsitySchedule schedule{0.2, 0.8, 0.25, 0.25, 16};
  EXPECT_EQ(schedule.at(4), 0.2);
  EXPECT_NEAR(schedule.at(8), 0.8 - 0.6 / 8, 1e-15);
  EXPECT_EQ(schedule.at(13), 0.8);
}

// Shares of 0 and 1, where the denominator or the middle part vanishes. The end
// is the final sparsity exactly: a rounding error would prune one element less.
TEST(Schedule, SparsityAtTheEdges) {
  for (int64_t total : {1, 2, 3, 7, 10, 13, 999}) {
    for (auto [initial, final] : {std::pair{0.0, 0.0},
                                  {0.0, 1.0},
                                  {1.0, 0.0},
                                  {0.3, 0.7},
                                  {0.1, 0.3}}) {
      SparsitySchedule schedule{0, 0.9, initial, final, total};
      EXPECT_EQ(schedule.at(total), 0.9) << total << " " << initial;
      double before = 0;
      for (int64_t step = 0; step <= total; ++step) {
        double now = schedule.at(step);
        EXPECT_GE(now, before);
        EXPECT_LE(now, 0.9);
        before = now;
      }
    }
  }
  EXPECT_EQ((SparsitySchedule{0, 0.9, 0, 1, 10}.at(1)), 0.9);
  EXPECT_EQ((SparsitySchedule{0, 0.9, 0, 1, 10}.at(0)), 0);
  EXPECT_EQ((SparsitySchedule{0, 0.9, 1, 0, 10}.at(9)), 0);
}
