//===- Gpt2.cpp - GPT-2, to predict tokens or to classify -----------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// The graphs of transformers' GPT2LMHeadModel and GPT2ForSequenceClassification
// (Radford et al. 2019): pre-norm blocks, causal attention, learned positions,
// a head that is the embedding. Weights are stored inputs x outputs (Conv1D),
// and are read, sparsified and exported as they lie. Query, key and value are
// the columns of one tensor; each is a layer of its own, with its own mask (Li
// et al. 2022 sparsify them apart).

#include "ModelBuilder.h"

using namespace mlir;
using namespace pst;

namespace {

struct Gpt2Config {
  int64_t vocabulary, hidden, layers, heads, intermediate, positions;
  double residualDropout, embeddingDropout, attentionDropout, epsilon;
  nn::ActivationKind activation;
  bool tied;

  explicit Gpt2Config(ModelBuilder &m);
};

} // namespace

Gpt2Config::Gpt2Config(ModelBuilder &m) {
  ConfigFile &config = m.config;
  vocabulary = config.integer("vocab_size", 1, kMaxSize, 50257);
  hidden = config.integer("n_embd", 1, kMaxSize);
  layers = config.integer("n_layer", 1, 10000);
  heads = config.integer("n_head", 1, kMaxSize);
  intermediate =
      config.integer("n_inner", 1, kMaxSize, std::min(4 * hidden, kMaxSize));
  positions = config.integer("n_positions", 1, kMaxSize, 1024);
  epsilon = config.positive("layer_norm_epsilon", 1e-5);
  activation = readActivation(config, "activation_function", "gelu_new");
  residualDropout = m.dropoutProbability("resid_pdrop", 0.1);
  embeddingDropout = m.dropoutProbability("embd_pdrop", 0.1);
  attentionDropout = m.dropoutProbability("attn_pdrop", 0.1);
  tied = config.boolean("tie_word_embeddings", true);

  auto only = [&](StringRef key, bool expected, StringRef what) {
    if (config.boolean(key, expected) != expected)
      config.error(key) << "\"" << key << "\" is "
                        << (expected ? "false" : "true") << ", but " << what;
  };
  only("scale_attn_weights", true,
       "only scores divided by the root of a head's width can be imported");
  only("scale_attn_by_inverse_layer_idx", false,
       "only scores of the same scale in all layers can be imported");
  only("add_cross_attention", false, "only a decoder alone can be imported");
  if (config.failed())
    return;
  if (hidden % heads != 0)
    config.error("n_head") << "\"n_head\" is " << heads
                           << ", which does not divide \"n_embd\" " << hidden
                           << " (layer h.0.attn)";
  if (m.options.length > positions)
    config.error("n_positions")
        << "\"n_positions\" is " << positions << ", too few for the length "
        << m.options.length << " that is asked for";
}

/// One block; x is tokens x hidden.
static Value buildBlock(ModelBuilder &m, const Gpt2Config &config, int64_t i,
                        Value x) {
  std::string part = "h." + std::to_string(i);
  std::string name = "transformer." + part;

  m.enter(part + ".attn");
  Value y = m.layerNorm(x, name + ".ln_1", config.epsilon);
  auto project = [&](StringRef which, int64_t index) {
    return m.conv1d(y, name + ".attn.c_attn", config.hidden,
                    {which, index * config.hidden, 3 * config.hidden});
  };
  Value query = project("query", 0), key = project("key", 1),
        value = project("value", 2);
  y = m.attention(query, key, value, config.heads, config.attentionDropout,
                  /*causal=*/true);
  y = m.conv1d(y, name + ".attn.c_proj", config.hidden);
  x = m.add(m.dropout(y, config.residualDropout), x);

  m.enter(part + ".mlp");
  y = m.layerNorm(x, name + ".ln_2", config.epsilon);
  y = m.conv1d(y, name + ".mlp.c_fc", config.intermediate);
  y = m.activation(y, config.activation);
  y = m.conv1d(y, name + ".mlp.c_proj", config.hidden);
  return m.add(m.dropout(y, config.residualDropout), x);
}

/// The hidden states after the last norm. `table` is the embedding's.
static Value buildDecoder(ModelBuilder &m, const Gpt2Config &config,
                          ModelBuilder::Inputs inputs, Value &table) {
  m.enter("embeddings");
  Value x = m.embedding(inputs.ids, "transformer.wte", config.vocabulary,
                        config.hidden, &table);
  x = m.addPositions(x, "transformer.wpe", config.positions);
  x = m.dropout(x, config.embeddingDropout);
  for (int64_t i = 0; i < config.layers; ++i)
    x = buildBlock(m, config, i, x);
  m.enter("ln_f");
  return m.layerNorm(x, "transformer.ln_f", config.epsilon);
}

static void buildLanguageModel(ModelBuilder &m, bool) {
  Gpt2Config config(m);
  if (m.failed())
    return;
  m.setPrefix("transformer.");
  Value table;
  Value x = buildDecoder(m, config, m.begin(/*hasTokenTypes=*/false), table);
  m.enter("lm_head");
  if (!config.tied)
    table = m.parameter("lm_head.weight", {config.vocabulary, config.hidden});
  m.finishTokens(x, table);
}

static void buildClassifier(ModelBuilder &m, bool isClassifier) {
  Gpt2Config config(m);
  if (m.failed())
    return;
  m.setPrefix("transformer.");
  Value table;
  Value x = buildDecoder(m, config, m.begin(/*hasTokenTypes=*/false), table);
  m.enter("score");
  x = m.selectLastToken(x);
  bool newHead = !isClassifier || m.startsAnew("score", m.task.numLabels);
  m.finish(m.project(x, "score", m.task.numLabels, ModelBuilder::Layer::trained,
                     newHead));
}

static constexpr StringRef kCheckpoints[] = {
    "GPT2LMHeadModel", "GPT2ForSequenceClassification", "GPT2Model",
    "GPT2DoubleHeadsModel"};

const ModelFamily pst::kGpt2Family = {"gpt2", "GPT2LMHeadModel", kCheckpoints,
                                      buildLanguageModel,
                                      /*predictsTokens=*/true};

const ModelFamily pst::kGpt2ClassifierFamily = {
    "gpt2", "GPT2ForSequenceClassification", kCheckpoints, buildClassifier};
