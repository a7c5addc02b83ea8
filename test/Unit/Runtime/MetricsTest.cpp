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
  std::vector<float> logits{-1.3,  -0.35, 3.33,  1.32, -3.28, -0.01, -1.25,
                            0.3,   -3.22, 0.48,  0.47, 3.15,  0.63,  1.02,
                            -2.99, 4.51,  -3.83, 2.2,  -0.66, -1.76, -1.31,
                            -1.34, 0.76,  -0.22, 2.97, -3.66, -0.01, -1.78,
                            1.55,  -4.24, -0.69, 0.42, -2.97};
  Metrics metrics = classificationMetrics(logits, labels, 3);
  EXPECT_DOUBLE_EQ(metrics.at("accuracy"), 0.36363636363636365);
  EXPECT_DOUBLE_EQ(metrics.at("matthews"), 0.09091675835657295);
  EXPECT_DOUBLE_EQ(metrics.at("macro_f1"), 0.35714285714285715);
  EXPECT_DOUBLE_EQ(metrics.at("auc"), 0.49166666666666664);
  EXPECT_FALSE(metrics.contains("f1"));
}

// Two examples of different classes have one score.
TEST(Metrics, TwoClasses) {
  std::vector<int32_t> labels{1, 0, 1, 1, 0, 0, 1, 0, 1};
  std::vector<float> logits{2,    0.4,  2,    1.9,  -2,   -1.6,
                            1.7,  -1.4, 1.7,  -1.4, -1.2, -1.6,
                            -1.2, -0.5, -0.3, 4.1,  -1,   -0.6};
  Metrics metrics = classificationMetrics(logits, labels, 2);
  EXPECT_DOUBLE_EQ(metrics.at("accuracy"), 0.6666666666666666);
  EXPECT_DOUBLE_EQ(metrics.at("matthews"), 0.35);
  EXPECT_DOUBLE_EQ(metrics.at("f1"), 0.6666666666666666);
  EXPECT_DOUBLE_EQ(metrics.at("macro_f1"), 0.6666666666666666);
  EXPECT_DOUBLE_EQ(metrics.at("auc"), 0.525);
}

// One class is predicted only, and one does not occur: scikit-learn leaves the
// latter out of the mean, and has no area for either.
TEST(Metrics, ClassesWithoutExamples) {
  std::vector<int32_t> labels{0, 1, 1, 0, 1, 0};
  std::vector<float> logits{0.46, -0.95, -0.37, -9, 0.77,  -1.32, 1.37, -9,
                            0.17, 0.85,  0.66,  -9, 0.17,  -0.02, 0.32, -9,
                            1.21, -0.78, -1.26, -9, -0.14, -1.18, 1.85, -9};
  Metrics metrics = classificationMetrics(logits, labels, 4);
  EXPECT_DOUBLE_EQ(metrics.at("accuracy"), 0.3333333333333333);
  EXPECT_DOUBLE_EQ(metrics.at("matthews"), 0.15075567228888181);
  EXPECT_DOUBLE_EQ(metrics.at("macro_f1"), 0.3);
  EXPECT_TRUE(std::isnan(metrics.at("auc")));
}

// The third label is nobody's, and no logit of 0 predicts one.
TEST(Metrics, SeveralLabels) {
  std::vector<float> labels{1, 0, 0, 1, 1, 0, 0, 0, 0, 0, 1, 0};
  std::vector<float> logits{2, -1, -3, 0.5f, -0.1f, -1, 0, -2, -9, 3, 1, -1};
  Metrics metrics = multiLabelMetrics(logits, labels, 3);
  EXPECT_DOUBLE_EQ(metrics.at("micro_f1"), 0.75);
  EXPECT_DOUBLE_EQ(metrics.at("macro_f1"), (0.8 + 2.0 / 3) / 3);
  EXPECT_DOUBLE_EQ(metrics.at("subset_accuracy"), 0.5);
  Metrics none = multiLabelMetrics(std::vector<float>{-1, -1},
                                   std::vector<float>{0, 0}, 2);
  EXPECT_EQ(none.at("micro_f1"), 0);
  EXPECT_EQ(none.at("macro_f1"), 0);
  EXPECT_EQ(none.at("subset_accuracy"), 1);
}

TEST(Metrics, TokensWithoutALabelDoNotCount) {
  std::vector<int32_t> labels{-100, 1, 0, -100, 2, 1};
  std::vector<float> logits{9, 0, 0, 1, 2, 0, 3, 1, 1,
                            0, 9, 0, 0, 1, 0, 0, 5, 4};
  Metrics metrics = tokenMetrics(logits, labels, 3);
  EXPECT_EQ(metrics.size(), 1u);
  EXPECT_DOUBLE_EQ(metrics.at("accuracy"), 0.75);
}

TEST(Metrics, OneSidedPredictionsAreDefined) {
  std::vector<int32_t> labels{1, 0, 1}, same{1, 1, 1};
  std::vector<float> one{0, 1, 0, 1, 0, 1}, zero{1, 0, 1, 0, 1, 0};
  Metrics ones = classificationMetrics(one, labels, 2);
  Metrics zeros = classificationMetrics(zero, labels, 2);
  EXPECT_EQ(ones.at("matthews"), 0);
  EXPECT_DOUBLE_EQ(ones.at("f1"), 0.8);
  EXPECT_DOUBLE_EQ(ones.at("macro_f1"), 0.4);
  EXPECT_EQ(ones.at("auc"), 0.5);
  EXPECT_EQ(zeros.at("f1"), 0);
  EXPECT_DOUBLE_EQ(zeros.at("macro_f1"), 0.25);
  Metrics alone = classificationMetrics(one, same, 2);
  EXPECT_EQ(alone.at("macro_f1"), 1);
  EXPECT_TRUE(std::isnan(alone.at("auc")));
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
