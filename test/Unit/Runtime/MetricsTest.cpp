//===- MetricsTest.cpp - What an evaluation reports -----------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The expected values were printed by scikit-learn 1.9 and SciPy 1.17.
//
//===----------------------------------------------------------------------===//

#include "pst/Runtime/Metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

using namespace pst::runtime;

TEST(Metrics, ThreeClasses) {
  std::vector<int32_t> labels{0, 2, 1, 2, 2, 0, 1, 1, 2, 0, 2};
  std::vector<int32_t> predictions{0, 2, 2, 2, 1, 0, 1, 0, 2, 2, 2};
  Metrics metrics = classificationMetrics(predictions, labels, 3);
  EXPECT_DOUBLE_EQ(metrics.at("accuracy"), 0.6363636363636364);
  EXPECT_DOUBLE_EQ(metrics.at("matthews"), 0.42700841014689905);
  EXPECT_FALSE(metrics.contains("f1"));
}

TEST(Metrics, TwoClasses) {
  std::vector<int32_t> labels{1, 0, 1, 1, 0, 0, 1, 0, 1};
  std::vector<int32_t> predictions{1, 1, 1, 0, 0, 0, 1, 0, 0};
  Metrics metrics = classificationMetrics(predictions, labels, 2);
  EXPECT_DOUBLE_EQ(metrics.at("accuracy"), 0.6666666666666666);
  EXPECT_DOUBLE_EQ(metrics.at("matthews"), 0.35);
  EXPECT_DOUBLE_EQ(metrics.at("f1"), 0.6666666666666666);
}

TEST(Metrics, OneSidedPredictionsAreDefined) {
  std::vector<int32_t> labels{1, 0, 1}, ones{1, 1, 1}, zeros{0, 0, 0};
  EXPECT_EQ(classificationMetrics(ones, labels, 2).at("matthews"), 0);
  EXPECT_EQ(classificationMetrics(zeros, labels, 2).at("f1"), 0);
  EXPECT_DOUBLE_EQ(classificationMetrics(ones, labels, 2).at("f1"), 0.8);
}

TEST(Metrics, Regression) {
  std::vector<float> predictions{1.5, -2, 0.25, 3, 3, -1, 0.25};
  std::vector<float> labels{2, -1.5, 0, 2.5, 4, 0, -0.5};
  Metrics metrics = regressionMetrics(predictions, labels);
  EXPECT_DOUBLE_EQ(metrics.at("pearson"), 0.9316029006943237);
  EXPECT_DOUBLE_EQ(metrics.at("spearman"), 0.9082951062292476);
  EXPECT_DOUBLE_EQ(metrics.at("mse"), 0.48214285714285715);
}

TEST(Metrics, CorrelationWithAConstantIsNaN) {
  std::vector<float> constant{2, 2, 2}, labels{1, 2, 3};
  EXPECT_TRUE(std::isnan(regressionMetrics(constant, labels).at("pearson")));
}
