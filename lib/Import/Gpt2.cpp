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

static constexpr TransformerKeys kKeys = {
    /*vocabulary=*/{"vocab_size", 50257},
    /*hidden=*/{"n_embd"},
    /*layers=*/{"n_layer"},
    /*heads=*/{"n_head"},
    /*intermediate=*/{"n_inner"},
    /*positions=*/{"n_positions", 1024},
    /*intermediateTimes=*/4,
    /*epsilon=*/"layer_norm_epsilon",
    /*defaultEpsilon=*/1e-5,
    /*activation=*/"activation_function",
    /*defaultActivation=*/"gelu_new"};

namespace {

struct Gpt2Config : TransformerConfig {
  double residualDropout, embeddingDropout, attentionDropout;
  bool tied;

  explicit Gpt2Config(ModelBuilder &m);
};

} // namespace

Gpt2Config::Gpt2Config(ModelBuilder &m) : TransformerConfig(m, kKeys) {
  residualDropout = m.dropoutProbability("resid_pdrop", 0.1);
  embeddingDropout = m.dropoutProbability("embd_pdrop", 0.1);
  attentionDropout = m.dropoutProbability("attn_pdrop", 0.1);
  tied = m.config.boolean("tie_word_embeddings", true);
  require("scale_attn_weights", true,
          "only scores divided by the root of a head's width can be imported");
  require("scale_attn_by_inverse_layer_idx", false,
          "only scores of the same scale in all layers can be imported");
  require("add_cross_attention", false, "only a decoder alone can be imported");
  if (m.failed())
    return;
  requireWholeHeads("h.0.attn");
  requirePositions();
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

static void buildGpt2(ModelBuilder &m, bool isClassifier) {
  Gpt2Config config(m);
  if (m.failed())
    return;
  m.setPrefix("transformer.");
  ModelBuilder::Inputs inputs = m.begin(/*hasTokenTypes=*/false);
  m.enter("embeddings");
  Value words;
  Value x = m.embedding(inputs.ids, "transformer.wte", config.vocabulary,
                        config.hidden, &words);
  x = m.addPositions(x, "transformer.wpe", config.positions);
  x = m.dropout(x, config.embeddingDropout);
  for (int64_t i = 0; i < config.layers; ++i)
    x = buildBlock(m, config, i, x);
  m.enter("ln_f");
  x = m.layerNorm(x, "transformer.ln_f", config.epsilon);
  m.finishDecoder(x, words, config.tied, isClassifier);
}

static constexpr StringRef kCheckpoints[] = {
    "GPT2LMHeadModel", "GPT2ForSequenceClassification", "GPT2Model",
    "GPT2DoubleHeadsModel"};

ModelFamilies pst::gpt2Families() {
  static constexpr ModelFamily families[] = {
      {"gpt2", "GPT2LMHeadModel", kCheckpoints, buildGpt2,
       /*head=*/"", TaskKind::predictTokens},
      {"gpt2", "GPT2ForSequenceClassification", kCheckpoints, buildGpt2,
       "score"}};
  return families;
}
