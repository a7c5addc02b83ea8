//===- BertTest.cpp - The graph of an imported BERT -----------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TinyBert.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "pst/Dialect/NN/NNOps.h"
#include "pst/Dialect/PST/PSTOps.h"

#include <cstdlib>
#include <fstream>
#include <set>

using namespace mlir;
using namespace pst;

namespace {

std::string print(Type type) {
  std::string text;
  llvm::raw_string_ostream(text) << type;
  return text;
}

std::string location(Operation *op) {
  return cast<NameLoc>(op->getLoc()).getName().str();
}

/// The op's name, and the parameters or ops that its operands come from.
std::string describe(Operation &op, DenseMap<Value, std::string> &names) {
  std::string text = op.getName().getStringRef().str() + "(";
  for (auto [i, operand] : llvm::enumerate(op.getOperands()))
    text += (i ? ", " : "") + names.lookup(operand);
  return text + ")";
}

/// Every op of the forward function but the loads, one a line: location, op,
/// operands (parameters by name, results by the number of the line).
std::vector<std::string> graph(ModuleOp module) {
  auto forward = module.lookupSymbol<func::FuncOp>("forward");
  DenseMap<Value, std::string> names;
  for (BlockArgument argument : forward.getArguments())
    names[argument] =
        forward
            .getArgAttrOfType<StringAttr>(argument.getArgNumber(), "pst.name")
            .str();
  std::vector<std::string> lines;
  for (Operation &op : forward.getBody().front()) {
    if (auto load = dyn_cast<LoadOp>(op)) {
      names[load.getResult()] = load.getParameter().str();
      continue;
    }
    std::string line = describe(op, names);
    if (auto dropout = dyn_cast<nn::DropoutOp>(op))
      line += " p=" +
              std::to_string(dropout.getProbability().convertToDouble())
                  .substr(0, 5) +
              " site=" + std::to_string(dropout.getSite());
    if (auto attention = dyn_cast<nn::AttentionOp>(op)) {
      line += " heads=" + std::to_string(attention.getHeads());
      if (attention.getProbability())
        line += " p=" +
                std::to_string(attention.getProbability()->convertToDouble())
                    .substr(0, 5) +
                " site=" + std::to_string(*attention.getSite());
    }
    if (auto norm = dyn_cast<nn::LayerNormOp>(op)) {
      EXPECT_EQ(norm.getEpsilon().convertToDouble(), 1e-6);
    }
    if (op.getNumResults())
      names[op.getResult(0)] = "#" + std::to_string(lines.size());
    if (!isa<func::ReturnOp>(op))
      line = location(&op) + ": " + line;
    lines.push_back(line);
  }
  return lines;
}

std::map<std::string, ParameterOp> parameters(ModuleOp module) {
  std::map<std::string, ParameterOp> found;
  for (auto parameter : module.getOps<ParameterOp>())
    found[parameter.getSymName().str()] = parameter;
  return found;
}

std::string describe(ParameterOp parameter) {
  std::string text = stringifyParameterRole(parameter.getRole()).str() + " ";
  InitializerAttr first = parameter.getInitializer();
  text += stringifyInitializerKind(first.getKind()).str();
  if (first.getKind() == InitializerKind::File)
    text += " " + first.getSource().str();
  if (first.getKind() == InitializerKind::Normal)
    text += " " + std::to_string(first.getValue().convertToDouble());
  text += " " + print(parameter.getType());
  if (parameter.getDecay())
    text += " decay";
  if (parameter->hasAttr("pst.sparsify"))
    text += " sparsify";
  if (parameter->hasAttr("pst.with_head"))
    text += " with head";
  return text;
}

} // namespace

TEST(Bert, GraphIsThatOfTheModel) {
  TinyBert model;
  model.config["num_hidden_layers"] = 1;
  model.write();
  OwningOpRef<ModuleOp> module = model.importModel();
  ASSERT_TRUE(module);
  EXPECT_EQ(model.messages, std::vector<std::string>{});
  const std::string e = "bert.embeddings.", l = "bert.encoder.layer.0.",
                    a = l + "attention.";
  auto both = [](const std::string &name) {
    return name + ".weight, " + name + ".bias";
  };
  EXPECT_EQ(
      graph(*module),
      (std::vector<std::string>{
          "embeddings: nn.embedding(input_ids, " + e +
              "word_embeddings.weight)",
          "embeddings: nn.embedding(token_type_ids, " + e +
              "token_type_embeddings.weight)",
          "embeddings: nn.add(#0, #1)",
          "embeddings: nn.add_positions(#2, " + e +
              "position_embeddings.weight)",
          "embeddings: nn.layer_norm(#3, " + both(e + "LayerNorm") + ")",
          "embeddings: nn.dropout(#4, seed) p=0.250 site=0",
          "encoder.layer.0.attention: nn.linear(#5, " + both(a + "self.query") +
              ")",
          "encoder.layer.0.attention: nn.linear(#5, " + both(a + "self.key") +
              ")",
          "encoder.layer.0.attention: nn.linear(#5, " + both(a + "self.value") +
              ")",
          "encoder.layer.0.attention: nn.attention(#6, #7, #8, "
          "attention_mask, seed) heads=3 p=0.125 site=1",
          "encoder.layer.0.attention: nn.linear(#9, " +
              both(a + "output.dense") + ")",
          "encoder.layer.0.attention: nn.dropout(#10, seed) p=0.250 site=2",
          "encoder.layer.0.attention: nn.add(#11, #5)",
          "encoder.layer.0.attention: nn.layer_norm(#12, " +
              both(a + "output.LayerNorm") + ")",
          "encoder.layer.0.intermediate: nn.linear(#13, " +
              both(l + "intermediate.dense") + ")",
          "encoder.layer.0.intermediate: nn.activation(#14)",
          "encoder.layer.0.output: nn.linear(#15, " + both(l + "output.dense") +
              ")",
          "encoder.layer.0.output: nn.dropout(#16, seed) p=0.250 site=3",
          "encoder.layer.0.output: nn.add(#17, #13)",
          "encoder.layer.0.output: nn.layer_norm(#18, " +
              both(l + "output.LayerNorm") + ")",
          "pooler: nn.select_token(#19)",
          "pooler: nn.linear(#20, " + both("bert.pooler.dense") + ")",
          "pooler: nn.activation(#21)",
          "classifier: nn.dropout(#22, seed) p=0.250 site=4",
          "classifier: nn.linear(#23, " + both("classifier") + ")",
          "loss: nn.cross_entropy(#24, labels, loss_scale)",
          "func.return(#25, #24)",
      }));
}

TEST(Bert, FunctionHasNamesAndTypes) {
  TinyBert model;
  model.write();
  OwningOpRef<ModuleOp> module = model.importModel();
  ASSERT_TRUE(module);
  auto forward = module->lookupSymbol<func::FuncOp>("forward");
  EXPECT_EQ(print(forward.getFunctionType()),
            "(tensor<2x5xi32>, tensor<2x5xi32>, tensor<2x5xi32>, tensor<2xi32>,"
            " f32, i64) -> (tensor<f32>, tensor<2x3xf32>)");
  std::vector<std::string> names;
  for (unsigned i = 0; i < forward.getNumArguments(); ++i)
    names.push_back(forward.getArgAttrOfType<StringAttr>(i, "pst.name").str());
  for (unsigned i = 0; i < forward.getNumResults(); ++i)
    names.push_back(
        forward.getResultAttrOfType<StringAttr>(i, "pst.name").str());
  EXPECT_EQ(names, (std::vector<std::string>{
                       "input_ids", "attention_mask", "token_type_ids",
                       "labels", "loss_scale", "seed", "loss", "logits"}));
  std::ifstream stream(model.path("config.json"));
  std::string text(std::istreambuf_iterator<char>(stream), {});
  EXPECT_EQ((*module)->getAttrOfType<StringAttr>("pst.config").str(), text);
  EXPECT_EQ((*module)->getAttrOfType<StringAttr>("pst.architecture").str(),
            "BertForSequenceClassification");
}

TEST(Bert, EveryTensorIsOneParameter) {
  TinyBert model;
  model.tensors["bert.encoder.layer.1.output.dense.weight"].dtype =
      runtime::DType::F16;
  model.tensors["classifier.bias"].dtype = runtime::DType::BF16;
  model.write();
  OwningOpRef<ModuleOp> module = model.importModel();
  ASSERT_TRUE(module);
  std::map<std::string, std::string> expected;
  for (const auto &[name, spec] : model.tensors) {
    std::string shape;
    for (int64_t size : spec.shape)
      shape += std::to_string(size) + "x";
    bool head = name.starts_with("classifier");
    std::string text = std::string(head ? "trainable" : "frozen") + " file " +
                       name + " tensor<" + shape + "f32>";
    if (spec.shape.size() == 2) {
      text += " decay";
      if (name.starts_with("bert.encoder"))
        text += " sparsify";
    }
    if (name.starts_with("bert.pooler"))
      text += " with head";
    expected[name] = text;
  }
  std::map<std::string, std::string> found;
  for (auto &[name, parameter] : parameters(*module))
    found[name] = describe(parameter);
  EXPECT_EQ(found, expected);
}

TEST(Bert, DropoutIsOverriddenEverywhere) {
  TinyBert model;
  model.write();
  model.options.dropout = 0.0;
  OwningOpRef<ModuleOp> module = model.importModel();
  ASSERT_TRUE(module);
  module->walk([](nn::DropoutOp op) { ADD_FAILURE() << "a dropout is left"; });
  module->walk([](nn::AttentionOp op) { EXPECT_FALSE(op.getSeed()); });
  EXPECT_EQ(module->lookupSymbol<func::FuncOp>("forward").getNumArguments(),
            6u);

  model.options.dropout = 0.75;
  module = model.importModel();
  ASSERT_TRUE(module);
  std::vector<double> probabilities;
  std::set<int64_t> sites;
  module->walk([&](Operation *op) {
    if (auto dropout = dyn_cast<nn::DropoutOp>(op)) {
      probabilities.push_back(dropout.getProbability().convertToDouble());
      sites.insert(dropout.getSite());
    } else if (auto attention = dyn_cast<nn::AttentionOp>(op)) {
      probabilities.push_back(attention.getProbability()->convertToDouble());
      sites.insert(*attention.getSite());
    }
  });
  // One after the embeddings, three for each of two layers, one before the
  // head.
  EXPECT_EQ(probabilities, std::vector<double>(8, 0.75));
  EXPECT_EQ(sites.size(), 8u);
}

TEST(Bert, ClassifierDropoutIsItsOwn) {
  TinyBert model;
  model.config["classifier_dropout"] = 0.5;
  model.write();
  OwningOpRef<ModuleOp> module = model.importModel();
  ASSERT_TRUE(module);
  std::vector<double> found;
  module->walk([&](nn::DropoutOp op) {
    if (location(op) == "classifier")
      found.push_back(op.getProbability().convertToDouble());
  });
  EXPECT_EQ(found, std::vector<double>{0.5});
}

TEST(Bert, ActivationsAreThoseOfTransformers) {
  for (auto [name, kind] :
       std::initializer_list<std::pair<const char *, nn::ActivationKind>>{
           {"gelu", nn::ActivationKind::Gelu},
           {"gelu_new", nn::ActivationKind::GeluTanh},
           {"gelu_pytorch_tanh", nn::ActivationKind::GeluTanh},
           {"relu", nn::ActivationKind::Relu},
           {"tanh", nn::ActivationKind::Tanh}}) {
    TinyBert model;
    model.config["hidden_act"] = name;
    model.write();
    OwningOpRef<ModuleOp> module = model.importModel();
    ASSERT_TRUE(module);
    int count = 0;
    module->walk([&](nn::ActivationOp op) {
      bool pooler = location(op) == "pooler";
      EXPECT_EQ(op.getKind(), pooler ? nn::ActivationKind::Tanh : kind) << name;
      ++count;
    });
    EXPECT_EQ(count, 3);
  }
}

TEST(Bert, ConfigMayBeShort) {
  TinyBert model;
  for (const char *key :
       {"attention_probs_dropout_prob", "classifier_dropout", "hidden_act",
        "hidden_dropout_prob", "id2label", "initializer_range",
        "layer_norm_eps", "position_embedding_type", "type_vocab_size",
        "model_type"})
    model.config.erase(key);
  model.tensors["classifier.weight"].shape = {2, 6};
  model.tensors["classifier.bias"].shape = {2};
  model.write();
  OwningOpRef<ModuleOp> module = model.importModel();
  ASSERT_TRUE(module);
  std::set<double> probabilities;
  module->walk([&](nn::DropoutOp op) {
    probabilities.insert(op.getProbability().convertToDouble());
  });
  EXPECT_EQ(probabilities, std::set<double>{0.1});
  module->walk([](nn::LayerNormOp op) {
    EXPECT_EQ(op.getEpsilon().convertToDouble(), 1e-12);
  });
}

//===----------------------------------------------------------------------===//
// Heads and tasks
//===----------------------------------------------------------------------===//

TEST(Bert, BareEncoderGetsANewHead) {
  TinyBert model;
  model.config["architectures"] = {"BertModel"};
  model.tensors.erase("classifier.weight");
  model.tensors.erase("classifier.bias");
  model.rename([](std::string name) { return name.substr(5); });
  model.write();
  OwningOpRef<ModuleOp> module = model.importModel();
  ASSERT_TRUE(module);
  EXPECT_EQ(model.messages,
            std::vector<std::string>{
                "model.safetensors:0:0: remark: the files have no "
                "\"classifier\": it starts from random values and is "
                "trained"});
  auto found = parameters(*module);
  EXPECT_EQ(describe(found.at("bert.encoder.layer.0.output.dense.weight")),
            "frozen file encoder.layer.0.output.dense.weight tensor<6x10xf32> "
            "decay sparsify");
  EXPECT_EQ(describe(found.at("bert.pooler.dense.bias")),
            "frozen file pooler.dense.bias tensor<6xf32> with head");
  EXPECT_EQ(describe(found.at("classifier.weight")),
            "trainable normal 0.500000 tensor<3x6xf32> decay");
  EXPECT_EQ(describe(found.at("classifier.bias")),
            "trainable zeros tensor<3xf32>");
}

TEST(Bert, OldNamesOfNormsAreKnown) {
  TinyBert model;
  model.rename([](std::string name) {
    size_t norm = name.find("LayerNorm.");
    if (norm == std::string::npos)
      return name;
    bool scale = name.ends_with(".weight");
    return name.substr(0, norm) + "LayerNorm." + (scale ? "gamma" : "beta");
  });
  model.write();
  OwningOpRef<ModuleOp> module = model.importModel();
  ASSERT_TRUE(module);
  auto found = parameters(*module);
  EXPECT_EQ(describe(found.at("bert.embeddings.LayerNorm.weight")),
            "frozen file bert.embeddings.LayerNorm.gamma tensor<6xf32>");
  EXPECT_EQ(describe(found.at("bert.embeddings.LayerNorm.bias")),
            "frozen file bert.embeddings.LayerNorm.beta tensor<6xf32>");
}

TEST(Bert, MissingPoolerIsTrained) {
  TinyBert model;
  model.config["architectures"] = {"BertForMaskedLM"};
  // A masked language model has a head of its own, which is none of ours.
  model.tensors.erase("bert.pooler.dense.weight");
  model.tensors.erase("bert.pooler.dense.bias");
  model.tensors["cls.predictions.bias"] = {runtime::DType::F32, {11}};
  model.write();
  OwningOpRef<ModuleOp> module = model.importModel();
  ASSERT_TRUE(module);
  EXPECT_EQ(model.messages,
            (std::vector<std::string>{
                "model.safetensors:0:0: remark: the files have no "
                "\"bert.pooler.dense\": it starts from random values and is "
                "trained",
                "model.safetensors:0:0: remark: \"classifier\" is the head of "
                "another task: it starts from random values and is trained"}));
  auto found = parameters(*module);
  EXPECT_EQ(describe(found.at("bert.pooler.dense.weight")),
            "trainable normal 0.500000 tensor<6x6xf32> decay");
  EXPECT_EQ(describe(found.at("bert.pooler.dense.bias")),
            "trainable zeros tensor<6xf32>");
  EXPECT_EQ(describe(found.at("classifier.weight")),
            "trainable normal 0.500000 tensor<3x6xf32> decay");
}

TEST(Bert, AnyClassOfTheTypeHasTheEncoder) {
  for (nlohmann::json classes : {nlohmann::json{"BertForQuestionAnswering"},
                                 nlohmann::json::array(), nlohmann::json()}) {
    TinyBert model;
    model.config["architectures"] = classes;
    model.write();
    OwningOpRef<ModuleOp> module = model.importModel();
    ASSERT_TRUE(module);
    // Without a class, a classifier in the files is taken for what it is.
    EXPECT_EQ(failed(refuseNewHead(*module)), !classes.empty());
  }
}

TEST(Bert, RowsOfTheHeadAreTheLabelsThatConfigDoesNotTell) {
  TinyBert model;
  model.config.erase("id2label");
  model.config.erase("num_labels");
  model.write();
  OwningOpRef<ModuleOp> module = model.importModel();
  ASSERT_TRUE(module);
  EXPECT_EQ(describe(parameters(*module).at("classifier.weight")),
            "trainable file classifier.weight tensor<3x6xf32> decay");
}

TEST(Bert, HeadForOtherLabelsStartsAnew) {
  TinyBert model;
  model.write();
  model.options.numLabels = 4;
  OwningOpRef<ModuleOp> module = model.importModel();
  ASSERT_TRUE(module);
  EXPECT_EQ(model.messages,
            std::vector<std::string>{
                "model.safetensors:0:0: remark: \"classifier\" is for 3 "
                "labels, not 4: it starts from random values and is trained"});
  EXPECT_EQ(describe(parameters(*module).at("classifier.weight")),
            "trainable normal 0.500000 tensor<4x6xf32> decay");
  EXPECT_EQ(describe(parameters(*module).at("bert.pooler.dense.weight")),
            "frozen file bert.pooler.dense.weight tensor<6x6xf32> decay "
            "with head");
}

//===----------------------------------------------------------------------===//
// Files
//===----------------------------------------------------------------------===//

TEST(Bert, ShardsAreOneModel) {
  TinyBert model;
  model.write();
  OwningOpRef<ModuleOp> whole = model.importModel();
  ASSERT_TRUE(whole);
  std::filesystem::remove(model.path("model.safetensors"));
  auto first = [](const std::string &name) {
    return name < "bert.encoder.layer.1";
  };
  auto second = [&](const std::string &name) { return !first(name); };
  model.writeTensors("model-00001-of-00002.safetensors", first);
  model.writeTensors("model-00002-of-00002.safetensors", second);
  nlohmann::json index;
  for (const auto &[name, spec] : model.tensors)
    index["weight_map"][name] = first(name)
                                    ? "model-00001-of-00002.safetensors"
                                    : "model-00002-of-00002.safetensors";
  model.writeText("model.safetensors.index.json", index.dump());
  OwningOpRef<ModuleOp> shards = model.importModel();
  ASSERT_TRUE(shards);
  std::string a, b;
  llvm::raw_string_ostream(a) << **whole;
  llvm::raw_string_ostream(b) << **shards;
  EXPECT_EQ(a, b);
}

TEST(Bert, PlanNeedsNoWeights) {
  TinyBert model;
  model.write();
  OwningOpRef<ModuleOp> whole = model.importModel();
  ASSERT_TRUE(whole);
  std::filesystem::remove(model.path("model.safetensors"));
  model.options.allowMissingWeights = true;
  OwningOpRef<ModuleOp> plan = model.importModel();
  ASSERT_TRUE(plan);
  EXPECT_EQ(model.messages, std::vector<std::string>{});
  std::string a, b;
  llvm::raw_string_ostream(a) << **whole;
  llvm::raw_string_ostream(b) << **plan;
  EXPECT_EQ(a, b);
}

/// Sizes as the papers and transformers' num_parameters() say them: BERT base
/// and large for two labels, and what of them PST makes sparse.
TEST(Bert, PublishedModelsHaveTheirSizes) {
  const char *data = std::getenv("PST_DATA");
  std::filesystem::path configs =
      (data ? data : PST_SOURCE_DIR "/../shared/data") /
      std::filesystem::path("configs");
  for (auto [file, elements, sparse] :
       {std::tuple("bert-base-uncased.json", 109483778, 84934656),
        std::tuple("bert-large-uncased.json", 335143938, 301989888)}) {
    if (!std::filesystem::exists(configs / file))
      GTEST_SKIP() << configs / file << " is not there (set PST_DATA)";
    TinyBert model;
    std::filesystem::copy_file(configs / file, model.path("config.json"));
    model.options.allowMissingWeights = true;
    model.options.length = 512;
    OwningOpRef<ModuleOp> module = model.importModel();
    ASSERT_TRUE(module);
    int64_t found = 0, foundSparse = 0;
    for (auto parameter : module->getOps<ParameterOp>()) {
      int64_t size =
          cast<RankedTensorType>(parameter.getType()).getNumElements();
      found += size;
      foundSparse += parameter->hasAttr("pst.sparsify") ? size : 0;
    }
    EXPECT_EQ(found, elements) << file;
    EXPECT_EQ(foundSparse, sparse) << file;
  }
}
