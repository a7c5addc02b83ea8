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

namespace {

struct PlugConfig {
  int64_t vocabulary, hidden, encoderLayers, decoderLayers, heads, intermediate,
      positions, types;
  double hiddenDropout, attentionDropout, epsilon;
  nn::ActivationKind activation;

  explicit PlugConfig(ModelBuilder &m);
};

} // namespace

PlugConfig::PlugConfig(ModelBuilder &m) {
  ConfigFile &config = m.config;
  vocabulary = config.integer("vocab_size", 1, kMaxSize);
  hidden = config.integer("hidden_size", 1, kMaxSize);
  encoderLayers = config.integer("num_hidden_layers", 1, 10000);
  decoderLayers = config.integer("dec_hidden_layers", 1, 10000);
  heads = config.integer("num_attention_heads", 1, kMaxSize);
  intermediate = config.integer("intermediate_size", 1, kMaxSize);
  positions = config.integer("max_position_embeddings", 1, kMaxSize);
  types = config.integer("type_vocab_size", 1, kMaxSize, 2);
  epsilon = config.positive("layernorm_epsilon", 1e-5);
  activation = readActivation(config, "hidden_act", "gelu");
  hiddenDropout = m.dropoutProbability("hidden_dropout_prob", 0.1);
  attentionDropout = m.dropoutProbability("attention_probs_dropout_prob", 0.1);
  if (!m.options.allowMissingWeights)
    config.error("model_type")
        << "a model of type \"plugNLG\" can only be planned: ask for the "
           "memory plan (--plan-only)";
  if (!config.boolean("pre_ln", true))
    config.error("pre_ln") << "\"pre_ln\" is false, but only norms before the "
                              "layers are known";
  if (config.failed())
    return;
  if (hidden % heads != 0)
    config.error("num_attention_heads")
        << "\"num_attention_heads\" is " << heads
        << ", which does not divide \"hidden_size\" " << hidden;
  if (m.options.length > positions)
    config.error("max_position_embeddings")
        << "\"max_position_embeddings\" is " << positions
        << ", too few for the length " << m.options.length
        << " that is asked for";
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
  for (int64_t i = 0; i < config.encoderLayers; ++i) {
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

const ModelFamily pst::kPlugFamily = {"plugNLG", "PlugNLG", kCheckpoints,
                                      buildPlug, /*predictsTokens=*/true};
