//===- Manifest.h - What a bundle says about itself -------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The one door between compiler and runtime. The compiler fills a `Manifest`,
// the runtime reads it; docs/BundleFormat.md is its prose. This header and its
// source include nothing of LLVM.
//
//===----------------------------------------------------------------------===//

#ifndef PST_BUNDLE_MANIFEST_H
#define PST_BUNDLE_MANIFEST_H

#include "pst/Bundle/LaunchList.h"

#include <cstdint>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace pst {

/// The triple of code for NVIDIA GPUs.
inline constexpr std::string_view kGPUTriple = "nvptx64-nvidia-cuda";

/// The version of the calling convention and of the manifest's fields. A
/// runtime refuses a bundle of another version.
inline constexpr int64_t kBundleVersion = 5;

/// A malformed manifest, or one of another version. The message names the
/// key, what was expected and what was found.
struct ManifestError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// A dense row-major tensor; an empty shape is a scalar.
struct TensorType {
  ElementType element = ElementType::f32;
  std::vector<int64_t> shape;

  int64_t numElements() const;
  int64_t numBytes() const { return numElements() * byteSize(element); }
  /// "f32[768,64]", or "f32" for a scalar.
  std::string text() const;
  bool operator==(const TensorType &) const = default;
};

/// Where a parameter lives.
///  - frozen:    read only, used where the model file maps it (never copied);
///  - trainable: f32, at `offset` bytes in the spaces trainable, gradient,
///               moment1 and moment2 alike;
///  - state:     at `offset` bytes in the space state (the thresholds, weights
///               as a program stores them);
///  - cache:     at `offset` bytes in the space cache (keys and values).
enum class Role { frozen, trainable, state, cache };

/// The space of a role that is not frozen.
std::string_view spaceOf(Role role);

/// How a parameter gets its first value.
///  - file:   tensor `source` of the model files, or some columns of it;
///  - zeros;
///  - normal: independent normal values of mean 0 and `stddev`;
///  - constant: every element is `value` (converted to the element type).
struct Initializer {
  enum class Kind { file, zeros, normal, constant } kind = Kind::zeros;
  double stddev = 0.0;
  double value = 0.0;
};

struct Parameter {
  /// Unique in the bundle. A parameter that is a tensor of the model has that
  /// tensor's canonical Hugging Face name; one that is some columns of it
  /// appends ":query" and the like; a factor appends ".pst_U" and so on.
  std::string name;
  Role role = Role::frozen;
  TensorType type;
  Initializer initializer;
  /// The tensor's name in the model files (it may lack a prefix such as
  /// "bert."); empty unless the initializer is `file`.
  std::string source;
  /// The safetensors file, or model directory, that holds it; empty: the
  /// model's.
  std::string sourceFile;
  /// If that tensor has more columns (of a vector: elements) than the
  /// parameter: how many, and the parameter's first; else 0.
  int64_t sourceColumns = 0, column = 0;
  /// Bytes into the role's space; 0 for frozen parameters.
  int64_t offset = 0;
  /// Whether AdamW's weight decay applies (decayed parameters come first in
  /// the space).
  bool decay = false;

  /// The canonical name of the tensor that the parameter is, or is columns of.
  std::string tensorName() const { return name.substr(0, name.find(':')); }
};

/// What a program learns, which says what its labels and logits are.
///  - none:           nothing is said (a program of .mlir text);
///  - classification: labels i32[B], logits f32[B,C];
///  - multiLabel:     labels f32[B,C] of 0 and 1, logits f32[B,C];
///  - tokenClasses:   labels i32[B,L], logits f32[B*L,C], a class a token;
///  - regression:     labels f32[B], logits f32[B,1];
///  - lm:             labels i32[B,L], tokens to be predicted; no logits.
enum class ModelTask {
  none,
  classification,
  multiLabel,
  tokenClasses,
  regression,
  lm
};

/// All but `none`.
inline constexpr ModelTask kModelTasks[] = {
    ModelTask::classification, ModelTask::multiLabel, ModelTask::tokenClasses,
    ModelTask::regression, ModelTask::lm};

/// A factor of a virtual weight, as the weight's criterion takes it.
///  - dense:   one tensor, rows x columns;
///  - lowrank: two, rows x r and r x columns;
///  - row:     one, of as many elements as there are rows;
///  - col:     one, of as many elements as there are columns.
struct Factor {
  enum class Kind { dense, lowrank, row, col } kind = Kind::dense;
  std::vector<std::string> tensors; ///< Names of parameters.
};

/// A linear layer whose weight is masked, or merged from factors.
struct SparseLayer {
  /// Canonical name of the dense weight, for instance
  /// "bert.encoder.layer.0.attention.self.query.weight".
  std::string weight;
  int64_t rows = 0, columns = 0;
  /// Which elements stay: "topk layer", "topk row", "topk global", "nm 2:4",
  /// "block 16x16 mean", "rows max" (`#pst.selection`); empty if the method has
  /// no score.
  std::string selection;
  /// The state parameters from which the mask follows, in the order that
  /// docs/BundleFormat.md gives. One of f32 holds NaN where a score was NaN.
  std::vector<std::string> state;
  /// State parameter: i64 scalar, the number of elements that the mask prunes.
  /// Empty where that is not counted.
  std::string pruned;
  /// What the weight is made of, in the order of the criterion's arguments. One
  /// of the dense factors is `weight` itself; the others are not part of the
  /// model, but of the method.
  std::vector<Factor> factors;
  /// The layer's own final sparsity, or negative: it goes with the run's
  /// (Manifest::sparsityOf). Its input of `select` says how sparse it is to be.
  double finalSparsity = -1;
  std::string sparsityInput = "sparsity";
};

/// One pointer handed to an entry point.
///  - parameter: the data of the frozen parameter `name`;
///  - space:     the base of the space `name` ("trainable", "gradient",
///               "moment1", "moment2", "state", "cache", "arena");
///  - input:     read by the entry point; a scalar is passed by address too;
///  - output:    written by the entry point.
struct Argument {
  enum class Kind { parameter, space, input, output } kind = Kind::input;
  std::string name;
  TensorType type; // of no meaning for a space
  /// Of an input i32 that holds ids: how many there are, from 0; else 0. What
  /// is no id would be read as another one.
  int64_t ids = 0;
};

/// A function `extern "C" void symbol(void *const *arguments)`; arguments[i]
/// points to the data described by `arguments[i]`. For a GPU there is no symbol
/// but a list of launches, and the data, scalars too, lie in the GPU's memory.
struct EntryPoint {
  std::string symbol;
  std::vector<Argument> arguments;
  std::vector<Launch> launches;
};

/// Bytes by kind, known before anything runs.
struct MemoryPlan {
  int64_t frozen = 0;    // mapped model files, tensors that are used
  int64_t trainable = 0; // factors, head
  int64_t gradients = 0;
  int64_t optimizer = 0;   // both moments
  int64_t state = 0;       // and the caches
  int64_t activations = 0; // of the arena, at its peak
  int64_t workspace = 0;   // of the arena, at its peak
  int64_t arena = 0;       // one allocation serves every entry point
  int64_t peak() const {
    return frozen + trainable + gradients + optimizer + state + arena;
  }
};

/// The one tensor input of a model that is a setting and no part of a batch:
/// weights of the classes in the loss, f32[C].
inline constexpr const char *kClassWeights = "class_weights";

/// What a program that is distilled is to come near: f32[B,C], of a regression
/// f32[B]. As of labels, a NaN is no example; an evaluation has none.
inline constexpr const char *kTeacherLogits = "teacher_logits";

/// Entry points of this prefix and a number store a weight as the others read
/// it.
inline constexpr std::string_view kPackPrefix = "pack.";
inline bool isPackEntry(std::string_view entry) {
  return entry.starts_with(kPackPrefix);
}

/// The word of the manifest: "classification".
std::string_view name(ModelTask task);

/// What a run that names none trains with: weights by `weights`, what only
/// scores are made of by `mask` times, and the head by `head` times as much.
struct LearningRates {
  double weights = 5e-5, mask = 1, head = 1;
};

struct Manifest {
  /// Target of the code: LLVM triple, CPU (a GPU's architecture: "sm_90a") and
  /// features.
  std::string triple, cpu, features;
  /// File name of the code, relative to the bundle: a shared library, or for a
  /// GPU its PTX; empty in a program compiled in memory.
  std::string library;

  /// Architecture as in config.json ("BertForSequenceClassification"); empty
  /// for a program made of .mlir text.
  std::string architecture;
  /// config.json as it was read (JSON text), or empty.
  std::string config;
  ModelTask task = ModelTask::none;
  /// The tokens that a batch has room for, if it is stored without padding;
  /// else 0. Then the tokens of an example are its first ones.
  int64_t tokenCapacity = 0;
  /// The method ("pst", "dense", ...) and its hyperparameters, for instance
  /// {"weight_rank": 8, "mask_alpha1": 1.0}.
  std::string method;
  std::map<std::string, double> hyperparameters;
  LearningRates rates;
  /// Whether a run that names no initial sparsity begins at its final one:
  /// the mask does not change with what is trained.
  bool oneShot = false;
  /// The criterion, as MLIR text, if the method is one of the user's; else
  /// empty.
  std::string criterion;
  /// The final sparsity of the run for which layers have final sparsities of
  /// their own; negative if none has.
  double finalSparsity = -1;

  std::vector<Parameter> parameters;
  std::vector<SparseLayer> sparseLayers;
  /// Bytes of each space, by name.
  std::map<std::string, int64_t> spaces;
  /// "select", "forward_backward", "apply", "forward", "materialize",
  /// "pack.0", ...; for a program of .mlir text, its public functions.
  std::map<std::string, EntryPoint> entryPoints;
  MemoryPlan memory;

  /// Whether the code is for an NVIDIA GPU.
  bool isForGPU() const;

  /// The share of zeros that the layers' selection ends at by itself, 0.5 of
  /// "nm 2:4"; nothing if that is the user's choice.
  std::optional<double> fixedSparsity() const;

  const Parameter *findParameter(std::string_view name) const;
  /// The layer of which the parameter is a factor, but not the weight; null if
  /// there is none.
  const SparseLayer *findLayerOfFactor(std::string_view parameter) const;
  const EntryPoint *findEntryPoint(std::string_view name) const;

  /// The columns of the logits that `forward` writes, or 0 if it writes none.
  int64_t numLogits() const;

  /// How sparse a layer is where the run's sparsity is `sparsity`: the same,
  /// or, for one with a final sparsity f of its own, `sparsity * (f / final)`,
  /// and exactly f once the run is at its final one.
  double sparsityOf(const SparseLayer &layer, double sparsity) const;

  /// Hex digest of all that a checkpoint depends on: architecture, method,
  /// hyperparameters, criterion, and names, roles, shapes of parameters and
  /// layers (not batch, target or offsets).
  std::string fingerprint() const;

  /// Throws ManifestError if the fields contradict each other (overlapping or
  /// misaligned parameters, layers or arguments that nothing declares, ...), if
  /// a number is larger than anything can be, or if a value is one that JSON
  /// has not.
  void verify() const;

  std::string toJson() const;
  /// Throws ManifestError, also for what `verify` finds.
  static Manifest fromJson(std::string_view text);
};

} // namespace pst

#endif // PST_BUNDLE_MANIFEST_H
