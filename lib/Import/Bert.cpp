//===- Bert.cpp - BERT and RoBERTa, for sentences and tokens --------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// The graphs of transformers' BertForSequenceClassification (Devlin et al.
// 2019) and RobertaForSequenceClassification (Liu et al. 2019): post-norm
// blocks, and a pooler on the first token. RoBERTa numbers the tokens that are
// no padding, after the id of that, and its head has another name for the
// pooler. Of BertForTokenClassification and RobertaForTokenClassification: no
// pooler, and one linear layer on every token.

#include "ModelBuilder.h"

using namespace mlir;
using namespace pst;

namespace {

struct BertConfig : TransformerConfig {
  int64_t types;
  double hiddenDropout, attentionDropout, classifierDropout;

  /// `firstPosition` rows of the table of positions are of no token.
  BertConfig(ModelBuilder &m, int64_t firstPosition);
};

} // namespace

BertConfig::BertConfig(ModelBuilder &m, int64_t firstPosition)
    : TransformerConfig(m, {}) {
  ConfigFile &config = m.config;
  types = config.integer("type_vocab_size", 1, kMaxSize, 2);
  hiddenDropout = m.dropoutProbability("hidden_dropout_prob", 0.1);
  attentionDropout = m.dropoutProbability("attention_probs_dropout_prob", 0.1);
  classifierDropout = m.dropoutProbability("classifier_dropout", hiddenDropout);

  std::string kind = config.string("position_embedding_type", "absolute");
  if (kind != "absolute")
    config.error("position_embedding_type")
        << "\"position_embedding_type\" is \"" << kind
        << "\", which is not known; known is: absolute";
  require("is_decoder", false, "only an encoder can be imported");
  if (config.size("pruned_heads") != 0)
    config.error("pruned_heads")
        << "\"pruned_heads\" is not empty, but only whole layers can be "
           "imported";
  if (config.failed())
    return;
  requireWholeHeads("encoder.layer.0.attention");
  requirePositions(firstPosition);
}

/// One block of the encoder; x is tokens x hidden.
static Value buildLayer(ModelBuilder &m, const BertConfig &config,
                        StringRef prefix, int64_t i, Value x) {
  constexpr auto sparse = ModelBuilder::Layer::sparse;
  std::string part = "encoder.layer." + std::to_string(i);
  std::string name = prefix.str() + part;

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

/// The encoder's output, tokens x hidden. Its tensors begin with `prefix`. With
/// an id of padding, positions are those of the tokens that are none.
static Value buildEncoder(ModelBuilder &m, const BertConfig &config,
                          StringRef prefix,
                          std::optional<int64_t> padding = std::nullopt) {
  m.setPrefix(prefix);
  ModelBuilder::Inputs inputs = m.begin(/*hasTokenTypes=*/true);

  m.enter("embeddings");
  const std::string embeddings = (prefix + "embeddings.").str();
  Value x = m.embedding(inputs.ids, embeddings + "word_embeddings",
                        config.vocabulary, config.hidden);
  x = m.add(x,
            m.embedding(inputs.tokenTypes, embeddings + "token_type_embeddings",
                        config.types, config.hidden));
  x = m.addPositions(x, embeddings + "position_embeddings", config.positions,
                     padding ? inputs.ids : Value(), padding.value_or(0));
  x = m.layerNorm(x, embeddings + "LayerNorm", config.epsilon);
  x = m.dropout(x, config.hiddenDropout);

  for (int64_t i = 0; i < config.layers; ++i)
    x = buildLayer(m, config, prefix, i, x);
  return x;
}

static void buildBert(ModelBuilder &m, bool isClassifier) {
  using Layer = ModelBuilder::Layer;
  BertConfig config(m, /*firstPosition=*/0);
  if (m.failed())
    return;
  Value x = buildEncoder(m, config, "bert.");
  m.enter("pooler");
  x = m.selectToken(x, 0);
  bool newPooler = m.startsAnew("bert.pooler.dense", config.hidden);
  x = m.linear(x, "bert.pooler.dense", config.hidden,
               newPooler ? Layer::trained : Layer::withHead, newPooler);
  x = m.activation(x, nn::ActivationKind::Tanh);

  m.enter("classifier");
  x = m.dropout(x, config.classifierDropout);
  m.finish(m.classifier(x, "classifier", isClassifier));
}

static void buildRoberta(ModelBuilder &m, bool isClassifier) {
  using Layer = ModelBuilder::Layer;
  int64_t padding = m.config.integer("pad_token_id", 0, kMaxSize, 1);
  BertConfig config(m, /*firstPosition=*/padding + 1);
  if (m.failed())
    return;
  Value x = buildEncoder(m, config, "roberta.", padding);
  m.enter("classifier");
  bool newHead =
      m.startsAnew("classifier.dense", config.hidden, isClassifier) ||
      m.startsAnew("classifier.out_proj", m.task.numLabels);
  x = m.dropout(m.selectToken(x, 0), config.classifierDropout);
  x = m.linear(x, "classifier.dense", config.hidden, Layer::trained, newHead);
  x = m.activation(x, nn::ActivationKind::Tanh);
  x = m.dropout(x, config.classifierDropout);
  m.finish(m.linear(x, "classifier.out_proj", m.task.numLabels, Layer::trained,
                    newHead));
}

/// The classes of all tokens, of the encoder's output.
static void finishTokenClasses(ModelBuilder &m, const BertConfig &config,
                               Value x, bool isClassifier) {
  m.enter("classifier");
  x = m.dropout(x, config.classifierDropout);
  m.finish(m.classifier(x, "classifier", isClassifier));
}

static void buildBertTokens(ModelBuilder &m, bool isClassifier) {
  BertConfig config(m, /*firstPosition=*/0);
  if (!m.failed())
    finishTokenClasses(m, config, buildEncoder(m, config, "bert."),
                       isClassifier);
}

static void buildRobertaTokens(ModelBuilder &m, bool isClassifier) {
  int64_t padding = m.config.integer("pad_token_id", 0, kMaxSize, 1);
  BertConfig config(m, /*firstPosition=*/padding + 1);
  if (!m.failed())
    finishTokenClasses(m, config, buildEncoder(m, config, "roberta.", padding),
                       isClassifier);
}

static constexpr StringRef kBertCheckpoints[] = {
    "BertForSequenceClassification",
    "BertForTokenClassification",
    "BertModel",
    "BertForMaskedLM",
    "BertForPreTraining",
    "BertForNextSentencePrediction"};
static constexpr StringRef kRobertaCheckpoints[] = {
    "RobertaForSequenceClassification", "RobertaForTokenClassification",
    "RobertaModel", "RobertaForMaskedLM"};

ModelFamilies pst::bertFamilies() {
  static constexpr ModelFamily families[] = {
      {"bert", "BertForSequenceClassification", kBertCheckpoints, buildBert,
       "classifier"},
      {"bert", "BertForTokenClassification", kBertCheckpoints, buildBertTokens,
       "classifier", TaskKind::classifyTokens},
      {"roberta", "RobertaForSequenceClassification", kRobertaCheckpoints,
       buildRoberta, "classifier.out_proj"},
      {"roberta", "RobertaForTokenClassification", kRobertaCheckpoints,
       buildRobertaTokens, "classifier", TaskKind::classifyTokens}};
  return families;
}
