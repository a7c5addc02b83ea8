//===- BertTasksTest.cpp - What an imported BERT learns -------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TinyBert.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "pst/Dialect/NN/NNOps.h"

using namespace mlir;
using namespace pst;

/// The type of @forward.
static std::string signature(ModuleOp module) {
  std::string text;
  llvm::raw_string_ostream(text)
      << module.lookupSymbol<func::FuncOp>("forward").getFunctionType();
  return text;
}

TEST(BertTasks, RegressionFitsANumber) {
  // By the options, by the number of labels, by config.json.
  for (int way = 0; way < 3; ++way) {
    TinyBert model;
    model.tensors["classifier.weight"].shape = {1, 6};
    model.tensors["classifier.bias"].shape = {1};
    if (way == 0)
      model.options.regression = true;
    if (way == 1)
      model.options.numLabels = 1;
    if (way == 2) {
      model.config["id2label"] = {{"0", "score"}};
      model.config["problem_type"] = "regression";
    }
    model.write();
    OwningOpRef<ModuleOp> module = model.importModel();
    ASSERT_TRUE(module) << way;
    EXPECT_EQ(model.messages, std::vector<std::string>{});
    EXPECT_EQ(signature(*module),
              "(tensor<2x5xi32>, tensor<2x5xi32>, tensor<2x5xi32>, "
              "tensor<2xf32>, f32, i64) -> (tensor<f32>, tensor<2x1xf32>)");
    int losses = 0;
    module->walk([&](nn::SquaredErrorOp) { ++losses; });
    EXPECT_EQ(losses, 1);
  }
}

TEST(BertTasks, SeveralLabelsAnExample) {
  // By the task, with as many labels as config.json has or others; by
  // config.json, whether or not classifying is asked for.
  for (int way = 0; way < 4; ++way) {
    TinyBert model;
    if (way == 0)
      model.options.task = TaskKind::classifyMany;
    if (way == 1) {
      model.options.task = TaskKind::classifyMany;
      model.options.numLabels = 1;
      model.tensors["classifier.weight"].shape = {1, 6};
      model.tensors["classifier.bias"].shape = {1};
    }
    if (way >= 2)
      model.config["problem_type"] = "multi_label_classification";
    if (way == 3)
      model.options.task = TaskKind::classify;
    model.write();
    OwningOpRef<ModuleOp> module = model.importModel();
    ASSERT_TRUE(module) << way;
    EXPECT_EQ(model.messages, std::vector<std::string>{});
    EXPECT_EQ(
        (*module)->getAttr("pst.task"),
        StringAttr::get(module->getContext(), "multi_label_classification"));
    std::string shape = way == 1 ? "tensor<2x1xf32>" : "tensor<2x3xf32>";
    EXPECT_EQ(signature(*module),
              "(tensor<2x5xi32>, tensor<2x5xi32>, tensor<2x5xi32>, " + shape +
                  ", f32, i64) -> (tensor<f32>, " + shape + ")");
    int losses = 0;
    module->walk([&](nn::BinaryCrossEntropyOp) { ++losses; });
    EXPECT_EQ(losses, 1);
  }
}

TEST(BertTasks, ClassesOfTokens) {
  // By the class of the files; by the task, with a new head; by both.
  for (int way = 0; way < 3; ++way) {
    TinyBert model;
    if (way != 1)
      model.config["architectures"] = {"BertForTokenClassification"};
    if (way >= 1) {
      model.options.task = TaskKind::classifyTokens;
      model.options.numLabels = 3;
    }
    model.write();
    OwningOpRef<ModuleOp> module = model.importModel();
    ASSERT_TRUE(module) << way;
    EXPECT_EQ(model.messages.size(), way == 1 ? 1u : 0u);
    EXPECT_EQ((*module)->getAttr("pst.task"),
              StringAttr::get(module->getContext(), "token_classification"));
    EXPECT_EQ(
        (*module)->getAttr("pst.architecture"),
        StringAttr::get(module->getContext(), "BertForTokenClassification"));
    EXPECT_EQ(signature(*module),
              "(tensor<2x5xi32>, tensor<2x5xi32>, tensor<2x5xi32>, "
              "tensor<2x5xi32>, f32, i64) -> (tensor<f32>, tensor<10x3xf32>)");
    // There is no pooler, and every token goes on.
    EXPECT_FALSE(module->lookupSymbol("bert.pooler.dense.weight"));
    module->walk([&](nn::SelectTokenOp) { FAIL(); });
  }
}
