//===- ImportErrorsTest.cpp - What cannot be imported, and why ------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TinyBert.h"

#include <fstream>

using namespace pst;

//===----------------------------------------------------------------------===//
// Options
//===----------------------------------------------------------------------===//

TEST(ImportErrors, Options) {
  TinyBert model;
  model.write();
  ImportOptions good = model.options;
  model.options.batch = 0;
  expectError(model, "error: the batch must be from 1 to 16777216, but is 0");
  model.options = good;
  model.options.length = -3;
  expectError(model, "error: the length must be from 1 to 16777216, but is -3");
  model.options.batch = model.options.length = 5000;
  expectError(model, "error: the batch times the length must be at most "
                     "16777216, but is 25000000");
  model.options = good;
  model.options.numLabels = 0;
  expectError(model, "error: the number of labels must be from 1 to 16777216, "
                     "but is 0");
  model.options = good;
  model.options.numLabels = 3;
  model.options.regression = true;
  expectError(model, "error: the number of labels must be 1 for regression, "
                     "but is 3");
  model.options = good;
  model.options.task = TaskKind::classifyMany;
  model.options.regression = true;
  expectError(model, "error: the task must be another one for regression, but "
                     "is multi_label_classification");
  model.options = good;
  model.options.dropout = 1.0;
  expectError(model, "error: the dropout must be in [0, 1), but is "
                     "1.000000e+00");
}

//===----------------------------------------------------------------------===//
// config.json
//===----------------------------------------------------------------------===//

TEST(ImportErrors, ConfigIsMissing) {
  TinyBert model;
  model.write();
  std::filesystem::remove(model.path("config.json"));
  expectError(model, "config.json:0:0: error: cannot read: No such file or "
                     "directory");
}

TEST(ImportErrors, ConfigIsNoJson) {
  TinyBert model;
  model.writeText("config.json",
                  "{\n  \"hidden_size\": 6,\n  \"vocab_size\" 11\n}\n");
  expectError(model,
              "config.json:3:17: error: not valid JSON: syntax error while "
              "parsing object separator - unexpected number literal; expected "
              "':'");
  model.writeText("config.json", "{\"hidden_size\": 6");
  expectError(model, "config.json:1:18: error: not valid JSON: syntax error "
                     "while parsing object - unexpected end of input; expected "
                     "'}'");
  model.writeText("config.json", "[1, 2]");
  expectError(model, "config.json:0:0: error: must be a JSON object, but is of "
                     "type array");
  model.writeText("config.json", "{\"layer_norm_eps\": 1e999}");
  expectError(model, "config.json:0:0: error: not valid JSON: number overflow "
                     "parsing '1e999'");
  // A message shows the value that it complains of.
  model.writeText("config.json",
                  "{\"hidden_size\": " + std::string(100'000, '[') +
                      std::string(100'000, ']') + "}");
  expectError(model, "config.json:0:0: error: not valid JSON: objects and "
                     "lists lie more than 100 deep in one another");
}

static const std::string kTypes =
    "known are: bert, roberta, gpt2, plugNLG, llama, mistral, qwen2";

TEST(ImportErrors, ModelTypeIsUnknown) {
  TinyBert model;
  model.config["model_type"] = "mamba";
  model.config["architectures"] = {"MambaForCausalLM"};
  model.write();
  expectError(model, "config.json:19:3: error: \"model_type\" is \"mamba\" "
                     "(architecture MambaForCausalLM), which is not known; " +
                         kTypes);
  model.config["architectures"] = nullptr;
  model.write();
  expectError(model, "config.json:17:3: error: \"model_type\" is \"mamba\", "
                     "which is not known; " +
                         kTypes);
}

/// Checkpoints of the other families, which are known without a type.
static const std::string kOthers =
    ", RobertaForSequenceClassification, RobertaForTokenClassification, "
    "RobertaModel, RobertaForMaskedLM, "
    "GPT2LMHeadModel, GPT2ForSequenceClassification, GPT2Model, "
    "GPT2DoubleHeadsModel, PlugNLG, LlamaForCausalLM, "
    "LlamaForSequenceClassification, LlamaModel, MistralForCausalLM, "
    "MistralForSequenceClassification, MistralModel, Qwen2ForCausalLM, "
    "Qwen2ForSequenceClassification, Qwen2Model";

TEST(ImportErrors, ArchitectureIsOfNoFamily) {
  TinyBert model;
  model.config.erase("model_type");
  model.config["architectures"] = {"GPT9"};
  model.write();
  expectError(model, "config.json:2:3: error: \"architectures\" is \"GPT9\", "
                     "which is not known; known are: "
                     "BertForSequenceClassification, "
                     "BertForTokenClassification, BertModel, "
                     "BertForMaskedLM, BertForPreTraining, "
                     "BertForNextSentencePrediction" +
                         kOthers);
}

TEST(ImportErrors, ModelTypeIsMissing) {
  TinyBert model;
  model.config.erase("model_type");
  model.config.erase("architectures");
  model.write();
  expectError(model,
              "config.json:1:1: error: \"model_type\" is missing; " + kTypes);
}

TEST(ImportErrors, ArchitectureIsUnknown) {
  TinyBert model;
  // Where the type is missing; with it, any class of its encoder will do.
  model.config["architectures"] = {"BertForMultipleChoice"};
  model.config.erase("model_type");
  model.write();
  expectError(model,
              "config.json:2:3: error: \"architectures\" is "
              "\"BertForMultipleChoice\", which is not known; known are: "
              "BertForSequenceClassification, BertForTokenClassification, "
              "BertModel, BertForMaskedLM, BertForPreTraining, "
              "BertForNextSentencePrediction" +
                  kOthers);
  model.config["architectures"] = "BertModel";
  model.write();
  expectError(model, "config.json:2:3: error: \"architectures\" must be a list "
                     "of strings, but is \"BertModel\"");
}

TEST(ImportErrors, KeysOfWrongTypeAreAllNamed) {
  TinyBert model;
  model.config["hidden_size"] = "six";
  model.config["intermediate_size"] = 10.5;
  model.config["num_attention_heads"] = 0;
  model.config["num_hidden_layers"] = 18446744073709551615u;
  model.config["hidden_dropout_prob"] = 1;
  model.config["layer_norm_eps"] = 0;
  model.config["hidden_act"] = {1, 2};
  model.config["initializer_range"] = "wide";
  model.config["is_decoder"] = "yes";
  model.config.erase("vocab_size");
  model.write();
  EXPECT_FALSE(model.importModel());
  EXPECT_EQ(
      model.messages,
      (std::vector<std::string>{
          "config.json:18:3: error: \"initializer_range\" must be a number "
          "above 0, but is \"wide\"",
          "config.json:1:1: error: \"vocab_size\" is missing; it must be a "
          "whole number from 1 to 16777216",
          "config.json:12:3: error: \"hidden_size\" must be a whole number "
          "from 1 to 16777216, but is \"six\"",
          "config.json:24:3: error: \"num_hidden_layers\" must be a whole "
          "number from 1 to 10000, but is 18446744073709551615",
          "config.json:23:3: error: \"num_attention_heads\" must be a whole "
          "number from 1 to 16777216, but is 0",
          "config.json:19:3: error: \"intermediate_size\" must be a whole "
          "number from 1 to 16777216, but is 10.5",
          "config.json:20:3: error: \"layer_norm_eps\" must be a number above "
          "0, but is 0",
          "config.json:7:3: error: \"hidden_act\" must be a string, but is "
          "[1,2]",
          "config.json:11:3: error: \"hidden_dropout_prob\" must be a "
          "probability in [0, 1), but is 1",
          "config.json:27:3: error: \"is_decoder\" must be true or false, but "
          "is \"yes\""}));
}

TEST(ImportErrors, HeadsDoNotDivide) {
  TinyBert model;
  model.config["num_attention_heads"] = 4;
  model.write();
  expectError(model,
              "config.json:20:3: error: \"num_attention_heads\" is 4, which "
              "does not divide \"hidden_size\" 6 (layer "
              "encoder.layer.0.attention)");
}

TEST(ImportErrors, LengthIsPastThePositions) {
  TinyBert model;
  model.options.length = 8;
  model.write();
  expectError(model, "config.json:18:3: error: \"max_position_embeddings\" is "
                     "7, too few for the length 8 that is asked for");
}

TEST(ImportErrors, FormsThatAreNotKnown) {
  auto expectAt = [](const char *key, nlohmann::json value,
                     const std::string &message) {
    TinyBert model;
    // In the place of the first key, so that every case has one position.
    nlohmann::ordered_json config = {{key, value}};
    for (auto &[name, old] : model.config.items())
      if (name != key)
        config[name] = old;
    model.config = config;
    model.write();
    expectError(model, "config.json:2:3: error: " + message);
  };
  expectAt("position_embedding_type", "relative_key",
           "\"position_embedding_type\" is \"relative_key\", which is not "
           "known; known is: absolute");
  expectAt("hidden_act", "mish",
           "\"hidden_act\" is \"mish\", which is not known; known are: gelu, "
           "gelu_python, gelu_new, gelu_fast, gelu_pytorch_tanh, relu, tanh, "
           "silu, swish");
  expectAt("is_decoder", true,
           "\"is_decoder\" is true, but only an encoder can be imported");
  expectAt("pruned_heads", {{"0", {1}}},
           "\"pruned_heads\" is not empty, but only whole layers can be "
           "imported");
  expectAt("quantization_config", {{"bits", 4}},
           "\"quantization_config\" says that the weights are quantized; only "
           "F32, F16, BF16 and F64 weights can be imported, and those that "
           "compressed-tensors stores as sparse-bitmask, sparse-24-bitmask or "
           "int-quantized");
  expectAt("quantization_config",
           {{"quant_method", "compressed-tensors"},
            {"format", "int-quantized"},
            {"config_groups",
             {{"group_0", {{"input_activations", {{"num_bits", 8}}}}}}}},
           "\"quantization_config\" says that activations are quantized, but "
           "only weights can be");
  expectAt("problem_type", "ranking",
           "\"problem_type\" is \"ranking\", which is not known; known are: "
           "regression, single_label_classification, "
           "multi_label_classification");
  expectAt("problem_type", "regression",
           "\"problem_type\" is \"regression\", which has one label, but "
           "config.json has 3");
  expectAt("id2label", nlohmann::json::object(), "\"id2label\" is empty");
  expectAt("id2label", 3, "\"id2label\" must be an object, but is 3");
}

TEST(ImportErrors, PositionsAreThoseOfTheOutermostKeys) {
  TinyBert model;
  model.write();
  // Keys in strings and in nested objects are none, and one is escaped.
  model.writeText(
      "config.json",
      "{\"a\": \"\\\"hidden_size\\\": 1 {\", \"b\": {\"hidden_size\""
      ": [2]},\r\n\t\"hidden\\u005fsize\" :\n\"six\",\n"
      "\"model_type\": \"bert\", \"vocab_size\": 11,\n"
      "\"num_hidden_layers\": 2, \"num_attention_heads\": 3,\n"
      "\"intermediate_size\": 10, \"max_position_embeddings\": 7}");
  expectError(model, "config.json:2:2: error: \"hidden_size\" must be a whole "
                     "number from 1 to 16777216, but is \"six\"");
}

//===----------------------------------------------------------------------===//
// The weights
//===----------------------------------------------------------------------===//

TEST(ImportErrors, WeightsAreMissing) {
  TinyBert model;
  model.write();
  std::filesystem::remove(model.path("model.safetensors"));
  EXPECT_FALSE(model.importModel());
  EXPECT_EQ(model.messages,
            std::vector<std::string>{
                model.path().parent_path().string() +
                ":0:0: error: holds neither model.safetensors nor "
                "model.safetensors.index.json (weights in another format must "
                "be saved with safe_serialization=True first)"});
}

TEST(ImportErrors, TensorIsMissing) {
  TinyBert model;
  model.tensors.erase("bert.encoder.layer.1.attention.self.key.weight");
  model.write();
  expectError(model,
              "model.safetensors:0:0: error: tensor "
              "\"bert.encoder.layer.1.attention.self.key.weight\" is missing; "
              "config.json asks for it, of shape [6, 6]");
}

TEST(ImportErrors, HalfAHeadIsMissing) {
  TinyBert model;
  model.tensors.erase("classifier.bias");
  model.write();
  expectError(model, "model.safetensors:0:0: error: tensor \"classifier.bias\" "
                     "is missing; config.json asks for it, of shape [3]");
}

TEST(ImportErrors, AnotherModelsTensors) {
  TinyBert model;
  model.rename([](std::string name) { return "transformer." + name; });
  model.write();
  EXPECT_FALSE(model.importModel());
  ASSERT_FALSE(model.messages.empty());
  std::vector<std::string> errors;
  for (const std::string &message : model.messages)
    if (message.find("error: ") != std::string::npos)
      errors.push_back(message);
  ASSERT_EQ(errors.size(), 6u);
  EXPECT_EQ(errors[0], "model.safetensors:0:0: error: tensor "
                       "\"bert.embeddings.word_embeddings.weight\" is missing; "
                       "config.json asks for it, of shape [11, 6]");
  EXPECT_EQ(errors[5], "model.safetensors:0:0: error: 32 more tensors are "
                       "missing or of a wrong type");
}

TEST(ImportErrors, TensorHasAnotherShape) {
  TinyBert model;
  model.tensors["bert.encoder.layer.0.output.dense.weight"].shape = {10, 6};
  model.write();
  expectError(model,
              "model.safetensors:0:0: error: tensor "
              "\"bert.encoder.layer.0.output.dense.weight\" is F32[10, 6], but "
              "config.json asks for the shape [6, 10]");
}

TEST(ImportErrors, HeadHasAnotherShape) {
  TinyBert model;
  model.config["id2label"] = {{"0", "no"}, {"1", "yes"}};
  model.write();
  EXPECT_FALSE(model.importModel());
  EXPECT_EQ(model.messages,
            (std::vector<std::string>{
                "model.safetensors:0:0: error: tensor \"classifier.weight\" is "
                "F32[3, 6], but config.json asks for the shape [2, 6]",
                "model.safetensors:0:0: error: tensor \"classifier.bias\" is "
                "F32[3], but config.json asks for the shape [2]"}));
}

TEST(ImportErrors, TensorHasAnotherType) {
  TinyBert model;
  model.rename([](std::string name) {
    return name.starts_with("bert.") ? name.substr(5) : name;
  });
  model.tensors["embeddings.LayerNorm.bias"].dtype = runtime::DType::I64;
  model.write();
  expectError(model,
              "model.safetensors:0:0: error: tensor "
              "\"embeddings.LayerNorm.bias\" is I64[6], but its elements must "
              "be F32, F16, BF16 or F64");
}

TEST(ImportErrors, FileIsCutShort) {
  TinyBert model;
  model.write();
  auto size = std::filesystem::file_size(model.path("model.safetensors"));
  std::filesystem::resize_file(model.path("model.safetensors"), size - 4);
  EXPECT_FALSE(model.importModel());
  ASSERT_EQ(model.messages.size(), 1u);
  EXPECT_TRUE(
      model.messages[0].starts_with("model.safetensors:0:0: error: tensor \""))
      << model.messages[0];
  EXPECT_TRUE(model.messages[0].ends_with("the file is cut short"))
      << model.messages[0];
  std::filesystem::resize_file(model.path("model.safetensors"), 3);
  expectError(model, "model.safetensors:0:0: error: not a safetensors file, or "
                     "cut short: it has 3 bytes, and 8 hold the header's "
                     "length");
}

TEST(ImportErrors, ShardIsMissing) {
  TinyBert model;
  model.write();
  std::filesystem::remove(model.path("model.safetensors"));
  nlohmann::json index;
  for (const auto &[name, spec] : model.tensors)
    index["weight_map"][name] = "model-00001-of-00001.safetensors";
  model.writeText("model.safetensors.index.json", index.dump());
  expectError(model, "model-00001-of-00001.safetensors:0:0: error: cannot "
                     "open: No such file or directory");
}
