//===- Llama.cpp - Llama, Mistral and Qwen2 -------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// The graphs of transformers' LlamaForCausalLM (Touvron et al. 2023),
// MistralForCausalLM (Jiang et al. 2023: a sliding window) and Qwen2ForCausalLM
// (Yang et al. 2024: biases of query, key and value), and of their classifiers:
// pre-norm blocks without means, rotary positions, keys and values of fewer
// heads than queries, a gated feed-forward part.
//
// What becomes of the rotary frequencies in longer sequences than the model has
// seen is arithmetic of the importer, as in transformers'
// modeling_rope_utils.py; the graph gets the frequencies.

#include "ModelBuilder.h"

#include <cmath>
#include <numbers>

using namespace mlir;
using namespace pst;

namespace {

enum class Kind { llama, mistral, qwen2 };

struct LlamaConfig : TransformerConfig {
  int64_t keyHeads, width; ///< `width` columns for each head.
  bool queryBias, outputBias, innerBias, tied;
  double attentionDropout;
  /// Of each layer; null for all that came before.
  SmallVector<std::optional<int64_t>> windows;
  /// Radians per position of each pair of a head's columns, and a factor of the
  /// cosines and sines.
  SmallVector<double> frequencies;
  double rotaryScale = 1.0;

  LlamaConfig(ModelBuilder &m, Kind kind);

private:
  void readHeads();
  void readWindows(Kind kind);
  void readRotary();
  void scaleLlama3(StringRef object);
  void scaleYarn(StringRef object, double theta);
  /// The positions that the model has seen before its frequencies were scaled.
  double originalPositions(StringRef object);
};

} // namespace

static TransformerKeys keysOf(Kind kind) {
  TransformerKeys keys;
  keys.epsilon = "rms_norm_eps";
  keys.defaultEpsilon = 1e-6;
  keys.defaultActivation = "silu";
  keys.positions.otherwise = kind == Kind::llama     ? 2048
                             : kind == Kind::mistral ? 131072
                                                     : 32768;
  return keys;
}

LlamaConfig::LlamaConfig(ModelBuilder &m, Kind kind)
    : TransformerConfig(m, keysOf(kind)) {
  bool isLlama = kind == Kind::llama;
  outputBias = isLlama && m.config.boolean("attention_bias", false);
  queryBias = outputBias || kind == Kind::qwen2;
  innerBias = isLlama && m.config.boolean("mlp_bias", false);
  tied = m.config.boolean("tie_word_embeddings", false);
  attentionDropout = m.dropoutProbability("attention_dropout", 0.0);
  readHeads();
  readWindows(kind);
  if (!m.failed())
    readRotary();
}

void LlamaConfig::readHeads() {
  ConfigFile &config = m.config;
  keyHeads = config.integer("num_key_value_heads", 1, kMaxSize, heads);
  bool hasWidth = config.has("head_dim");
  width = config.integer("head_dim", 1, kMaxSize, std::max(hidden / heads, 1L));
  if (config.failed())
    return;
  if (!hasWidth)
    requireWholeHeads("model.layers.0.self_attn");
  if (heads % keyHeads != 0)
    config.error("num_key_value_heads")
        << "\"num_key_value_heads\" is " << keyHeads
        << ", which does not divide \"num_attention_heads\" " << heads
        << " (layer model.layers.0.self_attn)";
  if (width % 2 != 0)
    config.error(hasWidth ? "head_dim" : "num_attention_heads")
        << "a head has " << width
        << " columns, but rotary positions turn pairs of them: the number "
           "must be even";
  if (heads * width > kMaxSize)
    config.error("head_dim")
        << "\"head_dim\" is " << width << ", which with " << heads
        << " heads makes more than " << kMaxSize << " columns";
}

void LlamaConfig::readWindows(Kind kind) {
  ConfigFile &config = m.config;
  windows.assign(layers, std::nullopt);
  if (kind == Kind::llama)
    return;
  if (kind == Kind::qwen2 && !config.boolean("use_sliding_window", false))
    return;
  // In Mistral's files a null says that there is no window.
  if (config.hasNull("sliding_window"))
    return;
  int64_t window = config.integer("sliding_window", 1, kMaxSize, 4096);
  if (kind == Kind::mistral) {
    windows.assign(layers, window);
    return;
  }
  int64_t first = config.integer("max_window_layers", 0, kMaxSize, 28);
  std::vector<std::string> types = config.strings("layer_types");
  if (!types.empty() && int64_t(types.size()) != layers) {
    config.error("layer_types")
        << "\"layer_types\" has " << types.size()
        << " entries, but \"num_hidden_layers\" is " << layers;
    return;
  }
  for (int64_t i = 0; i < layers; ++i) {
    std::string type = !types.empty() ? types[i]
                       : i >= first   ? "sliding_attention"
                                      : "full_attention";
    if (type == "sliding_attention")
      windows[i] = window;
    else if (type != "full_attention")
      config.error("layer_types")
          << "\"layer_types\" has \"" << type
          << "\", which is not known; known are: full_attention, "
             "sliding_attention";
  }
}

void LlamaConfig::readRotary() {
  ConfigFile &config = m.config;
  StringRef object =
      config.object("rope_scaling") ? "rope_scaling" : "rope_parameters";
  bool isScaled = config.object(object);
  auto key = [&](StringRef name) { return (object + "." + name).str(); };
  double theta = config.positive("rope_theta", 10000.0);
  theta = config.positive(key("rope_theta"), theta);
  std::string typeKey =
      key(config.has(key("rope_type")) ? "rope_type" : "type");
  std::string type = isScaled ? config.string(typeKey, "default") : "default";
  for (const std::string &part :
       {std::string("partial_rotary_factor"), key("partial_rotary_factor")})
    if (config.positive(part, 1.0) != 1.0)
      config.error(part) << "\"" << part
                         << "\" is not 1, but only heads that are turned as a "
                            "whole can be imported";
  if (config.failed())
    return;

  double factor = 1.0;
  if (type == "linear" || type == "dynamic" || type == "llama3")
    factor = config.positive(key("factor"));
  if (type == "dynamic") {
    if (width == 2)
      config.error(typeKey) << "\"" << typeKey
                            << "\" is \"dynamic\", which is not defined for "
                               "heads of 2 columns";
    if (m.options.cacheLength > positions)
      config.error(typeKey)
          << "\"" << typeKey << "\" is \"dynamic\", where frequencies change "
          << "while a text grows beyond " << positions
          << " positions, but keys that are kept do not; the length of the "
             "cache may be that at most, but is "
          << m.options.cacheLength;
    double length = std::max(m.positions(), positions);
    double grown = factor * length / double(positions) - (factor - 1.0);
    theta *= std::pow(grown, double(width) / double(width - 2));
  }
  for (int64_t k = 0; k < width; k += 2)
    frequencies.push_back(1.0 / std::pow(theta, double(k) / double(width)));
  if (type == "linear") {
    for (double &frequency : frequencies)
      frequency /= factor;
  } else if (type == "llama3") {
    scaleLlama3(object);
  } else if (type == "yarn") {
    scaleYarn(object, theta);
  } else if (type != "default" && type != "dynamic") {
    config.error(typeKey) << "\"" << typeKey << "\" is \"" << type
                          << "\", which is not known; known are: default, "
                             "linear, dynamic, llama3, yarn";
  }
}

double LlamaConfig::originalPositions(StringRef object) {
  constexpr StringRef kKey = "original_max_position_embeddings";
  int64_t found =
      m.config.integer((object + "." + kKey).str(), 1, kMaxSize, positions);
  return m.config.integer(kKey, 1, kMaxSize, found);
}

/// Long waves are made longer by a factor, short ones stay, and those between
/// are a blend.
void LlamaConfig::scaleLlama3(StringRef object) {
  auto positive = [&](StringRef name) {
    return m.config.positive((object + "." + name).str());
  };
  double factor = positive("factor"), low = positive("low_freq_factor"),
         high = positive("high_freq_factor");
  double original = originalPositions(object);
  if (!m.config.failed() && high <= low)
    m.config.error((object + ".high_freq_factor").str())
        << "\"" << object << ".high_freq_factor\" is " << high
        << ", which must be above \"low_freq_factor\" " << low;
  for (double &frequency : frequencies) {
    double turns = original * frequency / (2 * std::numbers::pi);
    double blend = std::clamp((turns - low) / (high - low), 0.0, 1.0);
    frequency = (1 - blend) * frequency / factor + blend * frequency;
  }
}

/// Waves that turn seldom within the original positions are made longer by a
/// factor, those that turn often stay, with a ramp over the columns between;
/// scores grow with the logarithm of the factor (Peng et al. 2023).
void LlamaConfig::scaleYarn(StringRef object, double theta) {
  auto key = [&](StringRef name) { return (object + "." + name).str(); };
  auto positive = [&](StringRef name, double otherwise) {
    return m.config.positive(key(name), otherwise);
  };
  double original = originalPositions(object);
  double factor = positive("factor", double(positions) / original);
  double fast = positive("beta_fast", 32), slow = positive("beta_slow", 1);
  auto attention = [&](double weight) {
    return factor <= 1.0 ? 1.0 : 0.1 * weight * std::log(factor) + 1.0;
  };
  rotaryScale = attention(1.0);
  if (m.config.has(key("mscale")) && m.config.has(key("mscale_all_dim")))
    rotaryScale = attention(positive("mscale", 1.0)) /
                  attention(positive("mscale_all_dim", 1.0));
  rotaryScale = positive("attention_factor", rotaryScale);
  if (theta <= 1.0)
    m.config.error(m.config.has(key("rope_theta")) ? key("rope_theta")
                                                   : "rope_theta")
        << "\"rope_theta\" is " << theta
        << ", but must be above 1 where \"yarn\" scales it";
  if (m.config.failed())
    return;
  // The column at which a wave turns so many times.
  auto column = [&](double turns) {
    return double(width) * std::log(original / (turns * 2 * std::numbers::pi)) /
           (2 * std::log(theta));
  };
  double low = column(fast), high = column(slow);
  if (m.config.boolean(key("truncate"), true)) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, double(width - 1));
  if (low == high)
    high += 0.001; // as transformers has it, lest the ramp be a division by 0
  for (auto [k, frequency] : llvm::enumerate(frequencies)) {
    double ramp = std::clamp((double(k) - low) / (high - low), 0.0, 1.0);
    frequency = frequency / factor * ramp + frequency * (1 - ramp);
  }
}

/// One block; x is tokens x hidden.
static Value buildBlock(ModelBuilder &m, const LlamaConfig &config, int64_t i,
                        Value table, Value x) {
  std::string part = "layers." + std::to_string(i);
  std::string name = "model." + part;
  auto linear = [&](Value x, StringRef which, int64_t outputs, bool bias) {
    return m.linear(x, name + "." + which.str(), outputs,
                    ModelBuilder::Layer::sparse, /*fresh=*/false, bias);
  };

  m.enter(part + ".self_attn");
  Value y = m.rmsNorm(x, name + ".input_layernorm", config.epsilon);
  Value query = linear(y, "self_attn.q_proj", config.heads * config.width,
                       config.queryBias);
  Value key = linear(y, "self_attn.k_proj", config.keyHeads * config.width,
                     config.queryBias);
  Value value = linear(y, "self_attn.v_proj", config.keyHeads * config.width,
                       config.queryBias);
  y = m.attention(m.rotary(query, table), m.rotary(key, table), value,
                  config.heads, config.attentionDropout, /*causal=*/true,
                  config.windows[i]);
  y = linear(y, "self_attn.o_proj", config.hidden, config.outputBias);
  x = m.add(y, x);

  m.enter(part + ".mlp");
  y = m.rmsNorm(x, name + ".post_attention_layernorm", config.epsilon);
  Value gate =
      linear(y, "mlp.gate_proj", config.intermediate, config.innerBias);
  Value up = linear(y, "mlp.up_proj", config.intermediate, config.innerBias);
  y = m.gatedActivation(gate, up, config.activation);
  y = linear(y, "mlp.down_proj", config.hidden, config.innerBias);
  return m.add(y, x);
}

template <Kind kind> static void build(ModelBuilder &m, bool isClassifier) {
  LlamaConfig config(m, kind);
  if (m.failed())
    return;
  m.setPrefix("model.");
  ModelBuilder::Inputs inputs = m.begin(/*hasTokenTypes=*/false);
  m.enter("embed_tokens");
  Value words;
  Value x = m.embedding(inputs.ids, "model.embed_tokens", config.vocabulary,
                        config.hidden, &words);
  m.enter("rotary_emb");
  Value table = m.rotaryTable(config.frequencies, config.rotaryScale);
  for (int64_t i = 0; i < config.layers; ++i)
    x = buildBlock(m, config, i, table, x);
  m.enter("norm");
  x = m.rmsNorm(x, "model.norm", config.epsilon);
  m.finishDecoder(x, words, config.tied, isClassifier);
}

static constexpr StringRef kLlama[] = {
    "LlamaForCausalLM", "LlamaForSequenceClassification", "LlamaModel"};
static constexpr StringRef kMistral[] = {
    "MistralForCausalLM", "MistralForSequenceClassification", "MistralModel"};
static constexpr StringRef kQwen2[] = {
    "Qwen2ForCausalLM", "Qwen2ForSequenceClassification", "Qwen2Model"};

ModelFamilies pst::llamaFamilies() {
  static constexpr ModelFamily families[] = {
      {"llama", kLlama[0], kLlama, build<Kind::llama>, "",
       TaskKind::predictTokens},
      {"llama", kLlama[1], kLlama, build<Kind::llama>, "score"},
      {"mistral", kMistral[0], kMistral, build<Kind::mistral>, "",
       TaskKind::predictTokens},
      {"mistral", kMistral[1], kMistral, build<Kind::mistral>, "score"},
      {"qwen2", kQwen2[0], kQwen2, build<Kind::qwen2>, "",
       TaskKind::predictTokens},
      {"qwen2", kQwen2[1], kQwen2, build<Kind::qwen2>, "score"}};
  return families;
}
