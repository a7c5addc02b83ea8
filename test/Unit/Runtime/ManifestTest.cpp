//===- ManifestTest.cpp - What a bundle says about itself -----------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TinyProgram.h"

using namespace pst;
using namespace tiny;

TEST(Manifest, ReadsBackWhatItWrites) {
  Manifest manifest = makeManifest();
  manifest.features = "+avx2,+fma";
  manifest.parameters[3].decay = true;
  for (Argument &argument : manifest.entryPoints.at("forward").arguments)
    if (argument.name == "input_ids")
      argument.ids = 11;
  manifest.parameters[5].initializer = {Initializer::Kind::constant, 0, 0.1};
  manifest.rates = {2e-3, 0.5, 7};
  manifest.oneShot = true;
  std::string text = manifest.toJson();
  Manifest copy = Manifest::fromJson(text);
  EXPECT_EQ(copy.toJson(), text);
  EXPECT_EQ(copy.rates.weights, 2e-3);
  EXPECT_EQ(copy.rates.mask, 0.5);
  EXPECT_EQ(copy.rates.head, 7);
  EXPECT_TRUE(copy.oneShot);
  EXPECT_FALSE(Manifest::fromJson(makeManifest().toJson()).oneShot);
  EXPECT_EQ(copy.fingerprint(), manifest.fingerprint());
  EXPECT_EQ(copy.config, manifest.config);
  EXPECT_EQ(copy.hyperparameters, manifest.hyperparameters);
  EXPECT_EQ(copy.spaces, manifest.spaces);
  ASSERT_EQ(copy.parameters.size(), manifest.parameters.size());
  EXPECT_TRUE(copy.parameters[3].decay);
  EXPECT_EQ(copy.parameters[3].initializer.stddev, 1);
  EXPECT_EQ(copy.parameters[5].initializer.value, 0.1);
  EXPECT_EQ(copy.parameters[3].type, manifest.parameters[3].type);
  ASSERT_EQ(copy.entryPoints.size(), manifest.entryPoints.size());
  const EntryPoint &apply = copy.entryPoints.at("apply");
  EXPECT_EQ(apply.symbol, "tiny_apply");
  EXPECT_EQ(apply.arguments[4].name, "learning_rate");
  EXPECT_EQ(apply.arguments[4].type.shape.size(), 0u);
  for (const Argument &argument : copy.entryPoints.at("forward").arguments)
    EXPECT_EQ(argument.ids, argument.name == "input_ids" ? 11 : 0);
  EXPECT_EQ(copy.memory.peak(), manifest.memory.peak());
  EXPECT_EQ(copy.memory.activations, manifest.memory.activations);
}

TEST(Manifest, ReadsBackInfinities) {
  // A threshold starts at minus infinity, for which JSON has no number.
  Manifest manifest = makeManifest();
  for (double value : {HUGE_VAL, -HUGE_VAL}) {
    manifest.parameters[5].initializer = {Initializer::Kind::constant, 0,
                                          value};
    Manifest copy = Manifest::fromJson(manifest.toJson());
    EXPECT_EQ(copy.parameters[5].initializer.value, value);
  }
}

TEST(Manifest, GroupsFixTheSparsity) {
  Manifest manifest = makeManifest();
  EXPECT_EQ(manifest.fixedSparsity(), std::nullopt);
  manifest.sparseLayers[0].selection = "nm 3:8";
  EXPECT_EQ(manifest.fixedSparsity(), 0.625);
}

TEST(Manifest, LayersWithoutScoreHaveNoSelection) {
  // LoRA's are merged and not masked. State without a selection is a mistake.
  Manifest manifest = makeManifest();
  manifest.sparseLayers[0].selection.clear();
  EXPECT_THROW(manifest.verify(), ManifestError);
  manifest.sparseLayers[0].state.clear();
  EXPECT_THROW(manifest.verify(), ManifestError);
  manifest.sparseLayers[0].pruned.clear();
  EXPECT_NO_THROW(Manifest::fromJson(manifest.toJson()).verify());
}

TEST(Manifest, SaysWhatAWeightIsMadeOf) {
  Manifest manifest = Manifest::fromJson(makeManifest().toJson());
  EXPECT_EQ(manifest.task, ModelTask::classification);
  const SparseLayer &layer = manifest.sparseLayers[0];
  ASSERT_EQ(layer.factors.size(), 3u);
  EXPECT_EQ(layer.factors[1].kind, Factor::Kind::lowrank);
  EXPECT_EQ(manifest.findLayerOfFactor(layer.factors[1].tensors[1]), &layer);
  // Whatever it is called.
  EXPECT_EQ(manifest.findLayerOfFactor("tiny.dense.weight.pst_cut"), nullptr);
  EXPECT_EQ(manifest.findLayerOfFactor(layer.weight), nullptr);
  EXPECT_EQ(manifest.findLayerOfFactor("classifier.weight"), nullptr);
}

TEST(Manifest, AParameterMayBeSomeColumnsOfATensor) {
  // The seven rows of six elements lie in rows of twenty, from the ninth on.
  Manifest manifest = makeManifest();
  Parameter &weight = manifest.parameters[1];
  ASSERT_EQ(weight.type.shape, (std::vector<int64_t>{kHidden, kWidth}));
  weight.sourceColumns = 20;
  weight.column = 8;
  Manifest copy = Manifest::fromJson(manifest.toJson());
  EXPECT_EQ(copy.parameters[1].sourceColumns, 20);
  EXPECT_EQ(copy.parameters[1].column, 8);
  EXPECT_EQ(copy.parameters[1].tensorName(), weight.name);
  copy.parameters[1].name += ":query";
  EXPECT_EQ(copy.parameters[1].tensorName(), weight.name);
  weight.column = 20 - kWidth;
  EXPECT_NO_THROW(manifest.verify());
  // One further, and as far as a number goes.
  for (int64_t column : {int64_t(20 - kWidth + 1), int64_t(-1), INT64_MAX}) {
    weight.column = column;
    EXPECT_ERROR(manifest.verify(),
                 "parameter \"tiny.dense.weight\": columns from " +
                     std::to_string(column) +
                     " of a tensor of 20 cannot hold those of f32[7,6]");
  }
  weight.sourceColumns = 0;
  weight.column = 8;
  EXPECT_ERROR(manifest.verify(), "begins at column 8 of a tensor of which "
                                  "\"source_columns\" says nothing");
}

TEST(Manifest, ColumnsOfATensorMustFitTogether) {
  Manifest manifest = makeManifest();
  Parameter &weight = manifest.parameters[1];
  weight.sourceColumns = 8;
  Parameter rest = weight;
  rest.name += ":rest";
  rest.column = 6;
  rest.type = {ElementType::bf16, {kHidden, 2}}; // an export widens it
  manifest.parameters.push_back(rest);
  EXPECT_NO_THROW(manifest.verify());
  manifest.parameters.back().type.shape[0] = 100;
  EXPECT_ERROR(
      manifest.verify(),
      "parameter \"tiny.dense.weight:rest\": is columns of a tensor as "
      "\"tiny.dense.weight\" is, and must have the same element type, "
      "rows and \"source_columns\"");
}

TEST(Manifest, AParameterMayComeFromAFileOfItsOwn) {
  Manifest manifest = makeManifest();
  Parameter &weight = manifest.parameters[1];
  weight.sourceFile = "/norms.safetensors";
  manifest.criterion = "pst.criterion @c";
  Manifest copy = Manifest::fromJson(manifest.toJson());
  EXPECT_EQ(copy.parameters[1].sourceFile, weight.sourceFile);
  EXPECT_EQ(copy.criterion, manifest.criterion);
  weight.initializer.kind = Initializer::Kind::zeros;
  weight.source.clear();
  EXPECT_ERROR(manifest.verify(),
               "has a \"source_file\", but no \"source\" in it");
}

TEST(Manifest, RoomForTokensIsOfABatch) {
  Manifest manifest = makeManifest(); // batches of 4 x 5
  EXPECT_EQ(manifest.toJson().find("token_capacity"), std::string::npos);
  manifest.tokenCapacity = 5;
  EXPECT_EQ(Manifest::fromJson(manifest.toJson()).tokenCapacity, 5);
  for (int64_t capacity : {int64_t(4), int64_t(21), INT64_MAX}) {
    manifest.tokenCapacity = capacity;
    EXPECT_ERROR(manifest.verify(),
                 "argument \"attention_mask\" is i32[4,5], but "
                 "\"token_capacity\" is " +
                     std::to_string(capacity));
  }
  manifest.tokenCapacity = -1;
  EXPECT_ERROR(manifest.verify(),
               "\"token_capacity\" must be 0 or more, but is -1");
}

TEST(Launch, SaysWhatItIsForOrNot) {
  for (const char *text :
       {"mm grid 8x1x1 block 384x1x1 shared 64 for nn.matmul "
        "flops 137438953472 bytes 48 : #3+0 #4+16",
        "gelu grid 1x2x3 block 256x1x1 for nn.activation bytes 7 : 4:3f800000",
        "gelu grid 1x2x3 block 256x1x1 : #0+0", "copy bytes 4 : #1+0 #0+0"})
    EXPECT_EQ(Launch::fromText(text, "test").toText(), text);
  Launch launch = Launch::fromText(
      "mm grid 1x1x1 block 32x1x1 for nn.matmul flops 96 :", "test");
  EXPECT_EQ(launch.op, "nn.matmul");
  EXPECT_EQ(launch.flops, 96);
  EXPECT_EQ(launch.bytes, 0);
  EXPECT_ERROR(Launch::fromText("mm grid 1x1x1 block 1x1x1 flops -3 :", "here"),
               "here: expected a whole number at character");
}

TEST(Manifest, FingerprintKnowsModelsButNotPlaces) {
  Manifest manifest = makeManifest();
  auto changed = [&](auto change) {
    Manifest other = manifest;
    change(other);
    return other.fingerprint() != manifest.fingerprint();
  };
  EXPECT_TRUE(changed([](Manifest &m) { m.architecture = "Other"; }));
  EXPECT_TRUE(changed([](Manifest &m) { m.method = "dense"; }));
  EXPECT_TRUE(
      changed([](Manifest &m) { m.hyperparameters["weight_rank"] = 3; }));
  EXPECT_TRUE(changed([](Manifest &m) { m.criterion = "pst.criterion"; }));
  EXPECT_TRUE(changed([](Manifest &m) { m.parameters[0].name += "x"; }));
  EXPECT_TRUE(changed([](Manifest &m) { m.parameters[4].type.shape[0]++; }));
  EXPECT_TRUE(
      changed([](Manifest &m) { m.parameters[1].role = Role::trainable; }));
  EXPECT_TRUE(changed([](Manifest &m) { m.sparseLayers.clear(); }));
  EXPECT_FALSE(changed([](Manifest &m) { m.cpu = "znver3"; }));
  EXPECT_FALSE(changed([](Manifest &m) { m.parameters[4].offset += 64; }));
  EXPECT_FALSE(changed([](Manifest &m) {
    std::swap(m.parameters.front(), m.parameters.back());
  }));
  EXPECT_FALSE(changed([](Manifest &m) { m.entryPoints.clear(); }));
}
