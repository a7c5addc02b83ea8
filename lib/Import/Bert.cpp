//===- Bert.cpp - BERT, for sentences ------------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// The graph of transformers' BertForSequenceClassification (Devlin et al.
// 2019): post-norm blocks, and a pooler on the first token.

#include "ModelBuilder.h"

using namespace mlir;
using namespace pst;

namespace {

struct BertConfig {
  int64_t vocabulary, hidden, layers, heads, intermediate, positions, types;
  double hiddenDropout, attentionDropout, classifierDropout, epsilon;
  nn::ActivationKind activation;

  explicit BertConfig(ModelBuilder &m);
};

} // namespace

BertConfig::BertConfig(ModelBuilder &m) {
  ConfigFile &config = m.config;
  vocabulary = config.integer("vocab_size", 1, kMaxSize);
  hidden = config.integer("hidden_size", 1, kMaxSize);
  layers = config.integer("num_hidden_layers", 1, 10000);
  heads = config.integer("num_attention_heads", 1, kMaxSize);
  intermediate = config.integer("intermediate_size", 1, kMaxSize);
  positions = config.integer("max_position_embeddings", 1, kMaxSize);
  types = config.integer("type_vocab_size", 1, kMaxSize, 2);
  epsilon = config.positive("layer_norm_eps", 1e-12);
  activation = readActivation(config, "hidden_act", "gelu");
  hiddenDropout = m.dropoutProbability("hidden_dropout_prob", 0.1);
  attentionDropout = m.dropoutProbability("attention_probs_dropout_prob", 0.1);
  classifierDropout = m.dropoutProbability("classifier_dropout", hiddenDropout);

  std::string kind = config.string("position_embedding_type", "absolute");
  if (kind != "absolute")
    config.error("position_embedding_type")
        << "\"position_embedding_type\" is \"" << kind
        << "\", which is not known; known is: absolute";
  if (config.boolean("is_decoder", false))
    config.error("is_decoder") << "\"is_decoder\" is true, but only an encoder "
                                  "can be imported";
  if (config.size("pruned_heads") != 0)
    config.error("pruned_heads")
        << "\"pruned_heads\" is not empty, but only whole layers can be "
           "imported";
  if (config.failed())
    return;
  if (hidden % heads != 0)
    config.error("num_attention_heads")
        << "\"num_attention_heads\" is " << heads
        << ", which does not divide \"hidden_size\" " << hidden
        << " (layer encoder.layer.0.attention)";
  if (m.options.length > positions)
    config.error("max_position_embeddings")
        << "\"max_position_embeddings\" is " << positions
        << ", too few for the length " << m.options.length
        << " that is asked for";
}

/// One block of the encoder; x is tokens x hidden.
static Value buildLayer(ModelBuilder &m, const BertConfig &config, int64_t i,
                        Value x) {
  constexpr auto sparse = ModelBuilder::Layer::sparse;
  std::string part = "encoder.layer." + std::to_string(i);
  std::string name = "bert." + part;

  m.enter(part + ".attention");
  Value query =
      m.linear(x, name + ".attention.self.query", config.hidden, sparse);
  Value key = m.linear(x, name + ".attention.self.key", config.hidden, sparse);
  Value value =
      m.linear(x, name + ".attention.self.value", config.hidden, sparse);
  Value y =
      m.attention(query, key, value, config.heads, config.attentionDropout);
  y = m.linear(y, name + ".attention.output.dense", config.hidden, sparse);
  y = m.add(m.dropout(y, config.hiddenDropout), x);
  x = m.layerNorm(y, name + ".attention.output.LayerNorm", config.epsilon);

  m.enter(part + ".intermediate");
  y = m.linear(x, name + ".intermediate.dense", config.intermediate, sparse);
  y = m.activation(y, config.activation);

  m.enter(part + ".output");
  y = m.linear(y, name + ".output.dense", config.hidden, sparse);
  y = m.add(m.dropout(y, config.hiddenDropout), x);
  return m.layerNorm(y, name + ".output.LayerNorm", config.epsilon);
}

static void buildBert(ModelBuilder &m, bool isClassifier) {
  using Layer = ModelBuilder::Layer;
  BertConfig config(m);
  if (m.failed())
    return;
  m.setPrefix("bert.");
  auto [ids, mask, types] = m.begin(/*hasTokenTypes=*/true);

  m.enter("embeddings");
  const std::string embeddings = "bert.embeddings.";
  Value x = m.embedding(ids, embeddings + "word_embeddings", config.vocabulary,
                        config.hidden);
  x = m.add(x, m.embedding(types, embeddings + "token_type_embeddings",
                           config.types, config.hidden));
  x = m.addPositions(x, embeddings + "position_embeddings", config.positions);
  x = m.layerNorm(x, embeddings + "LayerNorm", config.epsilon);
  x = m.dropout(x, config.hiddenDropout);

  for (int64_t i = 0; i < config.layers; ++i)
    x = buildLayer(m, config, i, x);

  m.enter("pooler");
  x = m.selectToken(x, 0);
  bool newPooler = m.startsAnew("bert.pooler.dense", config.hidden);
  x = m.linear(x, "bert.pooler.dense", config.hidden,
               newPooler ? Layer::trained : Layer::frozen, newPooler);
  x = m.activation(x, nn::ActivationKind::Tanh);

  m.enter("classifier");
  x = m.dropout(x, config.classifierDropout);
  bool newHead = !isClassifier || m.startsAnew("classifier", m.task.numLabels);
  m.finish(
      m.linear(x, "classifier", m.task.numLabels, Layer::trained, newHead));
}

static constexpr StringRef kCheckpoints[] = {
    "BertForSequenceClassification", "BertModel", "BertForMaskedLM",
    "BertForPreTraining", "BertForNextSentencePrediction"};

const ModelFamily pst::kBertFamily = {"bert", "BertForSequenceClassification",
                                      kCheckpoints, buildBert};
