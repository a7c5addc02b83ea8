//===- ModelBuilder.h - Builds the forward graph of a model -----*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// What the families of models share: parameters by name, layers over them, the
// function's frame and the loss. A family (Bert.cpp) reads like the model.

#ifndef PST_LIB_IMPORT_MODELBUILDER_H
#define PST_LIB_IMPORT_MODELBUILDER_H

#include "ConfigFile.h"
#include "WeightFiles.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "pst/Bundle/Manifest.h"
#include "pst/Dialect/NN/NNOps.h"
#include "pst/Dialect/PST/PSTOps.h"
#include "pst/Import/Import.h"

namespace pst {

/// The function that is built: the forward, or one of those that generate text,
/// which read tokens in the order of their positions and keep keys and values.
///  - prefill: `length` tokens, of any sequences;
///  - decode:  one token of each sequence, and the logits of the next one.
enum class Form { forward, prefill, decode };

/// What the model predicts.
struct Task {
  ModelTask kind = ModelTask::classification;
  int64_t numLabels = 2; ///< Of a classifier, which a language model has not.

  bool predictsTokens() const { return kind == ModelTask::lm; }
};

/// A number that config.json may give; more than any model has, and small
/// enough that no product of two overflows.
inline constexpr int64_t kMaxSize = int64_t(1) << 24;

/// The columns of a stored tensor that a parameter is: those from `first` on,
/// of `all`. Without a name, the parameter is the whole tensor.
struct Columns {
  llvm::StringRef name;
  int64_t first = 0, all = 0;
};

class ModelBuilder {
public:
  ModelBuilder(mlir::ModuleOp module, ConfigFile &config, WeightFiles &weights,
               const ImportOptions &options, Task task);

  ConfigFile &config;
  const ImportOptions &options;
  const Task task;

  /// What `begin` begins; `@forward` unless it is said. Parameters are shared.
  void setForm(Form form) { this->form = form; }
  /// The positions that a sequence may have.
  int64_t positions() const {
    return form == Form::forward ? options.length : options.cacheLength;
  }

  /// The dropout probability of a key of config.json, or the one that the
  /// options put in its place.
  double dropoutProbability(llvm::StringRef key, double otherwise);
  /// Whether anything that was read so far is wrong.
  bool failed() const { return config.failed() || weights.failed(); }
  /// Checkpoints of the bare encoder have the names without this.
  void setPrefix(llvm::StringRef prefix) { weights.setPrefix(prefix); }
  bool hasTensor(llvm::StringRef name) const { return weights.has(name); }

  //===--------------------------------------------------------------------===//
  // The function
  //===--------------------------------------------------------------------===//

  struct Inputs {
    /// B x L of i32; without token types, those are null. Labels as in
    /// importModel.
    mlir::Value ids, mask, tokenTypes, labels;
  };
  /// Begins the function.
  Inputs begin(bool hasTokenTypes);
  /// Ends it: the loss of the logits (B x C, or B * L x C where tokens have
  /// classes) and the labels.
  void finish(mlir::Value logits);
  /// Ends it: the loss of the next tokens, by the scores of the hidden states
  /// with the rows of `table` (vocabulary x features); or these scores.
  void finishTokens(mlir::Value hidden, mlir::Value table);
  /// Ends a decoder, of the hidden states after its last norm. A language
  /// model's head is the table of words if `tied`, else lm_head; a classifier's
  /// is `score`, without a bias, of the last token that is no padding.
  void finishDecoder(mlir::Value hidden, mlir::Value words, bool tied,
                     bool isClassifier);
  /// The ops that follow, and their parameters, belong to this part of the
  /// model ("encoder.layer.3.attention").
  void enter(llvm::StringRef part);

  //===--------------------------------------------------------------------===//
  // Parameters
  //===--------------------------------------------------------------------===//

  /// How a layer's parameters are held.
  enum class Layer {
    frozen,   ///< as the files have them
    sparse,   ///< frozen, and its weight to be sparsified
    withHead, ///< frozen, and to be trained where only the head is, too
    trained   ///< trainable; random if the files do not have it
  };
  /// Declares a parameter and loads it. The files must have the tensor, unless
  /// it is `trained`, or `fresh`: trained and random, whatever the files have.
  mlir::Value parameter(llvm::StringRef name, llvm::ArrayRef<int64_t> shape,
                        Layer layer = Layer::frozen, bool fresh = false,
                        Columns columns = {});

  /// Whether a head, of weight NAME.weight with `rows` rows, must start anew:
  /// the files lack it, hold that of another task (`isOurs` is false), or one
  /// for another number of labels than the options ask for. Says so in a
  /// remark.
  bool startsAnew(llvm::StringRef name, int64_t rows, bool isOurs = true);
  /// The logits of a classifier whose last layer has this name. It is trained,
  /// and starts anew unless the files hold such a classifier.
  mlir::Value classifier(mlir::Value x, llvm::StringRef name, bool isClassifier,
                         bool bias = true);

  //===--------------------------------------------------------------------===//
  // Layers; tokens x features
  //===--------------------------------------------------------------------===//

  /// X W^T + b, over NAME.weight (outputs x inputs) and, if it has a `bias`,
  /// NAME.bias.
  mlir::Value linear(mlir::Value x, llvm::StringRef name, int64_t outputs,
                     Layer layer, bool fresh = false, bool bias = true);
  /// X W + b, to be sparsified, over NAME.weight as transformers' Conv1D stores
  /// it (inputs x outputs) and NAME.bias, or columns of both.
  mlir::Value conv1d(mlir::Value x, llvm::StringRef name, int64_t outputs,
                     Columns columns = {});
  mlir::Value layerNorm(mlir::Value x, llvm::StringRef name, double epsilon);
  /// Over NAME.weight alone.
  mlir::Value rmsNorm(mlir::Value x, llvm::StringRef name, double epsilon);
  /// `shared`, if given, is set to the table.
  mlir::Value embedding(mlir::Value ids, llvm::StringRef name, int64_t rows,
                        int64_t columns, mlir::Value *shared = nullptr);
  /// The row of `table` of each token.
  mlir::Value lookUp(mlir::Value ids, mlir::Value table);
  /// The row of its position, of a table that is there already.
  mlir::Value addPositions(mlir::Value x, mlir::Value table);
  /// The same of the table NAME.weight. With `ids`, tokens are counted that are
  /// no padding, from the row after that of padding on.
  mlir::Value addPositions(mlir::Value x, llvm::StringRef name, int64_t rows,
                           mlir::Value ids = {}, int64_t padding = 0);
  /// The cosines and sines of all positions, times `scale`, for `rotary`;
  /// frequencies are radians per position of each pair of a head's columns.
  mlir::Value rotaryTable(llvm::ArrayRef<double> frequencies, double scale);
  /// Turns queries or keys by the angles of their positions.
  mlir::Value rotary(mlir::Value x, mlir::Value table);
  /// Keys and values may have fewer heads than the query. Tokens see at most
  /// `window` ones that end with them, if it is given.
  mlir::Value attention(mlir::Value query, mlir::Value key, mlir::Value value,
                        int64_t heads, double dropout, bool causal = false,
                        std::optional<int64_t> window = std::nullopt);
  mlir::Value activation(mlir::Value x, nn::ActivationKind kind);
  mlir::Value gatedActivation(mlir::Value gate, mlir::Value value,
                              nn::ActivationKind kind);
  /// The operand itself if the probability is 0.
  mlir::Value dropout(mlir::Value x, double probability);
  mlir::Value add(mlir::Value x, mlir::Value y);
  /// The token `index` of each sequence.
  mlir::Value selectToken(mlir::Value x, int64_t index);
  /// The last token of each sequence that is no padding.
  mlir::Value selectLastToken(mlir::Value x);

private:
  static int64_t columns(mlir::Value x) {
    return mlir::cast<mlir::RankedTensorType>(x.getType()).getDimSize(1);
  }
  mlir::RankedTensorType f32(llvm::ArrayRef<int64_t> shape);
  /// Begins a function that generates text; returns the ids.
  mlir::Value beginCached();
  /// Attention to what the cache holds, in which keys and values go first.
  mlir::Value cachedAttention(mlir::Value query, mlir::Value key,
                              mlir::Value value, int64_t heads,
                              std::optional<int64_t> window);
  /// Puts a row of each token into the cache NAME; returns all of that.
  mlir::Value cacheRows(mlir::Value rows, llvm::StringRef name);
  ParameterOp declare(llvm::StringRef name, ParameterRole role,
                      InitializerAttr first, mlir::RankedTensorType type);
  /// Notes on a weight with zeros, if the options ask for it, how many of its
  /// elements are none.
  void noteKept(ParameterOp parameter);
  /// Of the labels of a batch, as importModel has them.
  mlir::RankedTensorType labelsType();
  /// With what a teacher's logits add to it, if the options ask for that.
  mlir::Value distilled(mlir::Value loss, mlir::Value logits);

  WeightFiles &weights;
  mlir::ImplicitLocOpBuilder b;
  mlir::func::FuncOp forward;
  Form form = Form::forward;
  mlir::Value mask, labels, lossScale, seed;
  /// Of a function that generates text: of each token its sequence and its
  /// position there, and the table of slots (nn.cache_rows).
  mlir::Value sequences, tokenPositions, slots;
  int64_t nextCache = 0;
  llvm::StringMap<ParameterOp> declared;
  /// Null unless the loss is a weighted one, and has such.
  mlir::Value classWeights, labelSmoothing;
  /// Null unless it is a teacher's too.
  mlir::Value teacher, distillationScale, temperature;
  /// Tells the dropouts apart.
  int64_t nextSite = 0;
  /// Of fresh weights.
  double initializerRange;
};

/// A size that config.json gives, and what it is where the key is missing (if
/// it may be).
struct SizeKey {
  llvm::StringRef key;
  std::optional<int64_t> otherwise = std::nullopt;
};

/// What every transformer has in its config.json, by the family's words.
struct TransformerKeys {
  SizeKey vocabulary{"vocab_size"}, hidden{"hidden_size"},
      layers{"num_hidden_layers"}, heads{"num_attention_heads"},
      intermediate{"intermediate_size"}, positions{"max_position_embeddings"};
  /// Without the key, the intermediate size is so many times the hidden one.
  int64_t intermediateTimes = 0;
  llvm::StringRef epsilon = "layer_norm_eps";
  double defaultEpsilon = 1e-12;
  llvm::StringRef activation = "hidden_act", defaultActivation = "gelu";
};

/// The values of those keys. Families derive from it and add their own.
struct TransformerConfig {
  int64_t vocabulary, hidden, layers, heads, intermediate, positions;
  double epsilon;
  nn::ActivationKind activation;

  TransformerConfig(ModelBuilder &m, const TransformerKeys &keys);

protected:
  /// Emits an error at the heads if they do not divide the hidden size; `layer`
  /// is the first one that has them.
  void requireWholeHeads(llvm::StringRef layer);
  /// Emits an error at the positions if the sequences that are asked for need
  /// more than there are; the first `reserved` are of no token.
  void requirePositions(int64_t reserved = 0);
  /// Emits an error, which says why, at a key that is not as it must be.
  void require(llvm::StringRef key, bool expected, llvm::StringRef why);

  ModelBuilder &m;

private:
  TransformerKeys keys;
};

/// The activation that config.json names; an error lists those that are known.
nn::ActivationKind readActivation(ConfigFile &config, llvm::StringRef key,
                                  llvm::StringRef otherwise);

/// What one class of `transformers` is built by.
struct ModelFamily {
  llvm::StringRef modelType; ///< "model_type" of config.json
  /// The class of `transformers` that the finished model is.
  llvm::StringRef architecture;
  /// Those of the checkpoints that hold such an encoder.
  llvm::ArrayRef<llvm::StringRef> checkpoints;
  /// Builds `@forward`; returns with the builder `failed()` after an error.
  /// `isClassifier` says that the files' classifier, if any, is of this kind.
  void (*build)(ModelBuilder &builder, bool isClassifier);
  /// The last layer of its classifier.
  llvm::StringRef head;
  /// classify, classifyTokens or predictTokens.
  TaskKind makes = TaskKind::classify;
};

/// The families of one file each.
using ModelFamilies = llvm::ArrayRef<ModelFamily>;
ModelFamilies bertFamilies();
ModelFamilies gpt2Families();
ModelFamilies plugFamilies();
ModelFamilies llamaFamilies();

} // namespace pst

#endif // PST_LIB_IMPORT_MODELBUILDER_H
