//===- Plug.cpp - PLUG, to plan its memory --------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// The encoder-decoder of plugNLG (27 billion parameters), from its config.json
// alone: what a training step computes and keeps, so that it can be planned.
// Its checkpoints are not read, so nothing else can be done with it.
//
// What the configuration leaves open is taken as usual: pre-norm blocks with a
// norm after the last, biases everywhere, a feed-forward part and
// self-attention in each layer, cross-attention too in those of the decoder;
// words and positions shared by both halves, and words by the head. Source and
// target are of one length, which is the sequence length.

#include "ModelBuilder.h"

using namespace mlir;
using namespace pst;

static constexpr TransformerKeys plugKeys() {
  TransformerKeys keys;
  keys.epsilon = "layernorm_epsilon";
  keys.defaultEpsilon = 1e-5;
  return keys;
}

namespace {

/// `layers` are those of the encoder.
struct PlugConfig : TransformerConfig {
  int64_t decoderLayers, types;
  double hiddenDropout, attentionDropout;

  explicit PlugConfig(ModelBuilder &m);
};

} // namespace

PlugConfig::PlugConfig(ModelBuilder &m) : TransformerConfig(m, plugKeys()) {
  ConfigFile &config = m.config;
  decoderLayers = config.integer("dec_hidden_layers", 1, 10000);
  types = config.integer("type_vocab_size", 1, kMaxSize, 2);
  hiddenDropout = m.dropoutProbability("hidden_dropout_prob", 0.1);
  attentionDropout = m.dropoutProbability("attention_probs_dropout_prob", 0.1);
  if (!m.options.allowMissingWeights)
    config.error("model_type")
        << "a model of type \"plugNLG\" can only be planned: ask for the "
           "memory plan (--plan-only)";
  require("pre_ln", true, "only norms before the layers are known");
  if (config.failed())
    return;
  requireWholeHeads("encoder.layer.0.attention");
  requirePositions();
}

namespace {
/// The parts of both halves' layers; each adds itself to x.
struct PlugLayer {
  ModelBuilder &m;
  const PlugConfig &config;
  std::string name;

  Value linear(Value x, StringRef part, int64_t outputs) {
    return m.linear(x, name + "." + part.str(), outputs,
                    ModelBuilder::Layer::sparse);
  }
  Value norm(Value x, StringRef part) {
    return m.layerNorm(x, name + "." + part.str(), config.epsilon);
  }

  /// Queries from x, keys and values from `source` (null: from x).
  Value attend(Value x, StringRef part, Value source, bool causal) {
    m.enter(name + "." + part.str());
    auto of = [&](StringRef which) { return (part + "." + which).str(); };
    Value normed = norm(x, of("norm"));
    Value from = source ? source : normed;
    Value query = linear(normed, of("query"), config.hidden);
    Value key = linear(from, of("key"), config.hidden);
    Value value = linear(from, of("value"), config.hidden);
    Value y = m.attention(query, key, value, config.heads,
                          config.attentionDropout, causal);
    y = linear(y, of("dense"), config.hidden);
    return m.add(m.dropout(y, config.hiddenDropout), x);
  }

  Value feedForward(Value x) {
    m.enter(name + ".mlp");
    Value y = linear(norm(x, "mlp.norm"), "mlp.up", config.intermediate);
    y = linear(m.activation(y, config.activation), "mlp.down", config.hidden);
    return m.add(m.dropout(y, config.hiddenDropout), x);
  }
};
} // namespace

static void buildPlug(ModelBuilder &m, bool) {
  PlugConfig config(m);
  if (m.failed())
    return;
  ModelBuilder::Inputs inputs = m.begin(/*hasTokenTypes=*/true);
  auto layer = [&](StringRef half, int64_t i) {
    return PlugLayer{m, config, (half + ".layer." + Twine(i)).str()};
  };

  m.enter("embeddings");
  Value words =
      m.parameter("embeddings.words", {config.vocabulary, config.hidden});
  Value places =
      m.parameter("embeddings.positions", {config.positions, config.hidden});
  Value x = m.addPositions(m.lookUp(inputs.ids, words), places);
  x = m.add(x, m.embedding(inputs.tokenTypes, "embeddings.types", config.types,
                           config.hidden));
  x = m.dropout(x, config.hiddenDropout);
  for (int64_t i = 0; i < config.layers; ++i) {
    PlugLayer part = layer("encoder", i);
    x = part.attend(x, "attention", /*source=*/nullptr, /*causal=*/false);
    x = part.feedForward(x);
  }
  m.enter("encoder.norm");
  Value source = m.layerNorm(x, "encoder.norm", config.epsilon);

  m.enter("decoder.embeddings");
  x = m.addPositions(m.lookUp(inputs.labels, words), places);
  x = m.dropout(x, config.hiddenDropout);
  for (int64_t i = 0; i < config.decoderLayers; ++i) {
    PlugLayer part = layer("decoder", i);
    x = part.attend(x, "attention", /*source=*/nullptr, /*causal=*/true);
    x = part.attend(x, "cross", source, /*causal=*/false);
    x = part.feedForward(x);
  }
  m.enter("decoder.norm");
  m.finishTokens(m.layerNorm(x, "decoder.norm", config.epsilon), words);
}

static constexpr StringRef kCheckpoints[] = {"PlugNLG"};

ModelFamilies pst::plugFamilies() {
  static constexpr ModelFamily families[] = {
      {"plugNLG", "PlugNLG", kCheckpoints, buildPlug,
       /*head=*/"", TaskKind::predictTokens}};
  return families;
}
