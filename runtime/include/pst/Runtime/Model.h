//===- Model.h - A program with its parameters ------------------*- C++ -*-===//
//-*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_RUNTIME_MODEL_H
#define PST_RUNTIME_MODEL_H

#include "pst/Runtime/Dataset.h"
#include "pst/Runtime/Invocation.h"

#include <array>
#include <optional>

namespace pst::runtime {

/// What `apply` reads, per step (docs/BundleFormat.md). `step` counts from 1,
/// for the bias corrections.
struct ApplyOptions {
  double learningRate = 0;
  /// Of the tensors of which scores alone are made, and of the head; none: the
  /// same.
  std::optional<double> maskLearningRate, headLearningRate;
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
  double weightDecay = 0;
  double maxGradNorm = 0;
  int64_t step = 1;
};

/// What a kernel, or an entry point as a whole, has taken.
struct KernelTime {
  std::string name;
  double seconds = 0;
  int64_t calls = 0;
};

/// A training program and its state: the five calls of a training step.
class Model {
public:
  /// Arguments as of ParameterStore.
  Model(std::shared_ptr<const Program> program,
        std::shared_ptr<const ModelFiles> files, uint64_t seed);
  /// Another program over the parameters of `other`, as ParameterStore shares
  /// them. Both may be called at once, and either may end first.
  Model(std::shared_ptr<const Program> program, const Model &other);

  const Manifest &manifest() const { return store.manifest(); }
  const Program &program() const { return store.program(); }
  ParameterStore &parameters() { return store; }
  const ParameterStore &parameters() const { return store; }

  /// Whether the method has a score, hence a sparsity.
  bool hasMask() const { return program().has("select"); }
  /// Whether the mask is state, which stays until it is selected anew, and not
  /// what parameters and thresholds make it.
  bool holdsMask() const { return freezeMaskCall.has_value(); }
  /// Whether tensors of which scores alone are made are trained, and a head.
  bool trainsMask() const { return applies("mask_learning_rate"); }
  bool trainsHead() const { return applies("head_learning_rate"); }
  /// Rows of one batch, and width of the logits (1: regression, or one class).
  int64_t batchSize() const;
  int64_t numLabels() const;
  /// Rows of the logits that an example has: where tokens have classes, its
  /// tokens; else 1.
  int64_t rowsOfExample() const;
  /// What it learns. Throws Error if the bundle does not say.
  ModelTask task() const;
  /// Whether it is a language model: `forward` gives a loss but no logits.
  bool predictsTokens() const { return task() == ModelTask::lm; }

  /// Whether the loss takes weights of classes and a smoothing of labels; then
  /// `weights` are one for each class (empty: all 1), and each label gives
  /// `smoothing` of itself, in [0, 1), to all classes alike (nn.cross_entropy;
  /// several labels an example have no smoothing: nn.binary_cross_entropy). A
  /// language model has no such weights, and smooths in training alone: its
  /// evaluation is the plain loss, of which the perplexity is made
  /// (nn.linear_cross_entropy). Until this is called, the loss is a plain one.
  bool hasWeightedLoss() const {
    return !classWeights.empty() || takesSmoothing;
  }
  /// Of a distilled program `temperature` divides logits.
  void setLoss(std::vector<float> weights, double smoothing,
               double temperature = 1);
  /// Whether the loss has a part for a teacher's logits (nn.distillation_loss),
  /// which an evaluation leaves out.
  bool hasDistillation() const;
  /// What a mean of losses is over: these examples, or their tokens, each with
  /// the weight of its class, if it has one only.
  double sumOfWeights(const Dataset &data, std::span<const int64_t> rows) const;

  /// Sets the thresholds at which `int(rows*columns*sparsity)` elements of each
  /// layer are pruned. Does nothing if they stand already, or if the method has
  /// no mask. Throws Error if a score is NaN, naming the layer.
  void select(double sparsity);
  /// Says that the state, masks that are held with it, is that of a selection
  /// at `sparsity`, as a checkpoint has it.
  void restoreSelection(double sparsity);
  /// Of a held mask: from now on no gradients go to scores, until the next
  /// selection.
  void freezeMask();
  /// Of the last selection; 0 before the first.
  double sparsity() const { return currentSparsity; }

  /// Adds the gradients of `lossScale * sum of the batch's losses`, of a
  /// distilled program plus `distillationScale * sum of the divergences`, and
  /// returns that loss.
  float forwardBackward(const Batch &batch, float lossScale, int64_t seed,
                        float distillationScale = 0);
  /// One step of AdamW; the gradients are zero afterwards. Returns the global
  /// norm of the gradient before clipping.
  float apply(const ApplyOptions &options);
  /// Evaluation: returns `lossScale * sum of the batch's losses`; `logits` has
  /// room for batchSize() x rowsOfExample() x numLabels(), and is null for a
  /// language model.
  float forward(const Batch &batch, float lossScale, float *logits);

  /// The same in two parts, between which an accelerator computes; here the
  /// first does it all. `finish...` is of the oldest that was begun, of
  /// RemoteCall::kBegun at most. What is above wants nothing begun.
  ///
  /// False: the thresholds stand, and there is nothing to finish.
  bool beginSelect(double sparsity);
  void finishSelect();
  void beginForwardBackward(const Batch &batch, float lossScale, int64_t seed,
                            float distillationScale = 0);
  float finishForwardBackward();
  void beginApply(const ApplyOptions &options);
  float finishApply();
  /// Waits for what was begun; nobody wants the results.
  void abandon() noexcept;

  /// Writes the masked, merged weight of each sparse layer, f32 rows x columns,
  /// to `targets[weight name]`; every layer must be named.
  void materialize(const std::map<std::string, void *> &targets);

  /// Seconds and calls of each kernel since the last call, in no order that
  /// means anything. Throws Error if the program was compiled without
  /// `--profile`.
  std::vector<KernelTime> takeProfile();

  /// To be called after parameters were written from outside: the next
  /// selection is made anew.
  void invalidateSelection() { selectionStands = false; }

private:
  /// Whether `apply` takes this number.
  bool applies(std::string_view number) const {
    return applyCall && applyCall->hasArgument(number);
  }
  /// Results of calls that were begun, first in, first out.
  template <typename T> class Results {
  public:
    /// Where the next call's goes; it counts once it was begun.
    T &next() { return values[begun % RemoteCall::kBegun]; }
    void add() { ++begun; }
    T &take() { return values[finished++ % RemoteCall::kBegun]; }
    bool isEmpty() const { return begun == finished; }
    void clear() { finished = begun; }
    std::array<T, RemoteCall::kBegun> values{};

  private:
    int64_t begun = 0, finished = 0;
  };
  void prepare();
  void requireNothingBegun() const;
  /// The numbers are read when the call is made.
  void bindBatch(Invocation &call, const Batch &batch,
                 const float &distillationScale, const float &smoothing);
  void bindSparsities(double sparsity);

  ParameterStore store;
  // Before the calls, which write to it.
  Results<std::vector<std::byte>> states;
  Results<float> losses, norms;
  std::optional<Invocation> selectCall, freezeMaskCall, forwardBackwardCall,
      applyCall, forwardCall, materializeCall;
  /// What a selection leaves of scores: NaN where they are.
  struct Scores {
    std::string weight; ///< the layer
    int64_t offset = 0; ///< in the space "state"
    int64_t count = 0;  ///< of f32
  };
  std::vector<Scores> scores;
  std::map<std::string, double> sparsities; ///< by input of "select"
  std::vector<float> classWeights;          ///< empty: the program takes none
  bool takesSmoothing = false;              ///< whether the program does
  float labelSmoothing = 0, temperature = 1;
  double currentSparsity = 0;
  bool selectionStands = false;
};

} // namespace pst::runtime

#endif // PST_RUNTIME_MODEL_H
