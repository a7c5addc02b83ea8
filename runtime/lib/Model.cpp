//===- Model.cpp - A program with its parameters --------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Runtime/Model.h"
#include "pst/Runtime/Error.h"

#include <array>
#include <cmath>
#include <cstring>

using namespace pst;
using namespace pst::runtime;

static const TensorType kF32{ElementType::f32, {}};
static const TensorType kF64{ElementType::f64, {}};
static const TensorType kI64{ElementType::i64, {}};

static constexpr const char *kLabelSmoothing = "label_smoothing";

/// Binds a scalar argument, which must be of the type that the calling
/// convention gives it.
static void bindScalar(Invocation &call, const char *name,
                       const TensorType &type, const void *data) {
  for (const Argument &argument : call.entryPoint().arguments)
    if (argument.name == name && argument.type != type)
      throw Error("the argument \"" + std::string(name) + "\" of \"" +
                  call.entryPoint().symbol + "\" must be of type " +
                  std::string(pst::name(type.element)) +
                  ": the bundle does not follow the calling convention");
  call.bind(name, data);
}

Model::Model(std::shared_ptr<const Program> program,
             std::shared_ptr<const ModelFiles> files, uint64_t seed)
    : store(std::move(program), std::move(files), seed) {
  prepare();
  packWeights(store);
}

Model::Model(std::shared_ptr<const Program> program, const Model &other)
    : store(std::move(program), other.store) {
  prepare();
}

/// Makes the entry points ready.
void Model::prepare() {
  auto make = [&](std::optional<Invocation> &call, const char *entry,
                  std::vector<std::string> returned = {}) {
    if (this->program().has(entry))
      call.emplace(store, entry, std::move(returned));
  };
  make(selectCall, "select", {"state"});
  make(freezeMaskCall, "freeze_mask");
  make(forwardBackwardCall, "forward_backward");
  make(applyCall, "apply");
  make(forwardCall, "forward");
  make(materializeCall, "materialize");
  for (const auto &[name, entry] : manifest().entryPoints)
    for (const Argument &argument : entry.arguments)
      if (argument.name == kClassWeights)
        classWeights.assign(argument.type.numElements(), 1);
      else if (argument.name == kLabelSmoothing)
        takesSmoothing = true;
  if (selectCall)
    for (std::vector<std::byte> &state : states.values)
      state.resize(static_cast<size_t>(store.spaceBytes("state")));
  for (const SparseLayer &layer : manifest().sparseLayers)
    for (const std::string &name : layer.state) {
      const Parameter *parameter = store.find(name);
      if (parameter->type.element == ElementType::f32)
        scores.push_back(
            {layer.weight, parameter->offset, parameter->type.numElements()});
    }
}

static Invocation &need(std::optional<Invocation> &call, const Program &program,
                        const char *entry) {
  if (!call)
    program.entryPoint(entry); // throws
  return *call;
}

int64_t Model::batchSize() const {
  const char *entry = forwardCall ? "forward" : "forward_backward";
  return Batch(program().entryPoint(entry)).capacity();
}

int64_t Model::numLabels() const {
  program().entryPoint("forward"); // throws
  if (int64_t width = manifest().numLogits())
    return width;
  throw Error("the entry point \"forward\" has no output \"logits\"");
}

int64_t Model::rowsOfExample() const {
  if (task() != ModelTask::tokenClasses)
    return 1;
  const EntryPoint &forward = program().entryPoint("forward");
  for (const Argument &argument : forward.arguments)
    if (argument.name == "labels")
      return argument.type.shape.back();
  throw Error("the entry point \"forward\" has no input \"labels\"");
}

ModelTask Model::task() const {
  if (manifest().task == ModelTask::none)
    throw Error("the program does not say what it learns: give its module the "
                "attribute pst.task, which is \"classification\", "
                "\"multi_label_classification\", \"token_classification\", "
                "\"regression\" or \"lm\"");
  return manifest().task;
}

void Model::requireNothingBegun() const {
  if (!states.isEmpty() || !losses.isEmpty() || !norms.isEmpty())
    throw Error("a step of the model was begun and not finished");
}

void Model::select(double sparsity) {
  requireNothingBegun();
  if (beginSelect(sparsity))
    finishSelect();
}

/// Each input of "select" that says how sparse layers are to be.
void Model::bindSparsities(double sparsity) {
  sparsities.clear();
  sparsities["sparsity"] = sparsity;
  for (const SparseLayer &layer : manifest().sparseLayers)
    sparsities[layer.sparsityInput] = manifest().sparsityOf(layer, sparsity);
  for (const auto &[input, value] : sparsities)
    if (selectCall->hasArgument(input))
      bindScalar(*selectCall, input.c_str(), kF64, &value);
}

bool Model::beginSelect(double sparsity) {
  if (!selectCall || (selectionStands && sparsity == currentSparsity))
    return false;
  if (!(sparsity >= 0 && sparsity < 1))
    throw Error("sparsity must lie in [0, 1), but is " +
                std::to_string(sparsity));
  bindSparsities(sparsity);
  selectionStands = false;
  selectCall->bind("state", states.next().data());
  selectCall->begin();
  states.add();
  currentSparsity = sparsity;
  selectionStands = true;
  return true;
}

void Model::finishSelect() {
  const std::byte *state = states.take().data();
  selectCall->finish();
  for (const auto &[weight, offset, count] : scores)
    for (int64_t i = 0; i < count; ++i) {
      float score;
      std::memcpy(&score, state + offset + i * int64_t{sizeof score},
                  sizeof score);
      if (!std::isnan(score))
        continue;
      selectionStands = false;
      throw Error("a score of layer \"" + weight +
                  "\" is NaN: its parameters have diverged; lower the "
                  "learning rate (--learning_rate), or clip the gradients "
                  "(--max_grad_norm 1)");
    }
}

void Model::restoreSelection(double sparsity) {
  invalidateSelection();
  if (!holdsMask())
    return select(sparsity);
  currentSparsity = sparsity;
  selectionStands = true;
}

void Model::freezeMask() { need(freezeMaskCall, program(), "freeze_mask")(); }

void Model::setLoss(std::vector<float> weights, double smoothing, double heat) {
  requireNothingBegun();
  temperature = static_cast<float>(heat);
  if (!hasWeightedLoss()) {
    if (!weights.empty() || smoothing != 0)
      throw Error("the program was compiled without a weighted loss");
    return;
  }
  if (weights.empty())
    weights.assign(classWeights.size(), 1);
  if (weights.size() != classWeights.size())
    throw Error("there are " + std::to_string(weights.size()) +
                " weights of classes, but the model has " +
                std::to_string(classWeights.size()) + " classes");
  classWeights = std::move(weights);
  labelSmoothing = static_cast<float>(smoothing);
}

double Model::sumOfWeights(const Dataset &data,
                           std::span<const int64_t> rows) const {
  const DataArray *labels = data.find("labels");
  // Of several labels an example, as in PyTorch, weights change no mean.
  if (classWeights.empty() || !labels || task() == ModelTask::multiLabel)
    return static_cast<double>(data.countTargets(rows, task()));
  const auto *classes = static_cast<const int32_t *>(labels->data);
  double sum = 0;
  for (int64_t row : rows) // another label is no example
    if (classes[row] >= 0 && classes[row] < numLabels())
      sum += classWeights[classes[row]];
  return sum;
}

bool Model::hasDistillation() const {
  return forwardBackwardCall &&
         forwardBackwardCall->hasArgument(kTeacherLogits);
}

void Model::bindBatch(Invocation &call, const Batch &batch,
                      const float &distillationScale, const float &smoothing) {
  for (const Batch::Buffer &buffer : batch.buffers())
    call.bind(buffer.name, buffer.bytes.data());
  if (call.hasArgument(kClassWeights))
    call.bind(kClassWeights, classWeights.data());
  if (call.hasArgument(kLabelSmoothing))
    bindScalar(call, kLabelSmoothing, kF32, &smoothing);
  if (call.hasArgument(kTeacherLogits)) {
    bindScalar(call, "distillation_scale", kF32, &distillationScale);
    if (call.hasArgument("temperature"))
      bindScalar(call, "temperature", kF32, &temperature);
  }
}

float Model::forwardBackward(const Batch &batch, float lossScale, int64_t seed,
                             float distillationScale) {
  requireNothingBegun();
  beginForwardBackward(batch, lossScale, seed, distillationScale);
  return finishForwardBackward();
}

void Model::beginForwardBackward(const Batch &batch, float lossScale,
                                 int64_t seed, float distillationScale) {
  Invocation &call = need(forwardBackwardCall, program(), "forward_backward");
  bindBatch(call, batch, distillationScale, labelSmoothing);
  bindScalar(call, "loss_scale", kF32, &lossScale);
  bindScalar(call, "seed", kI64, &seed);
  bindScalar(call, "loss", kF32, &losses.next());
  call.begin();
  losses.add();
}

float Model::finishForwardBackward() {
  float &loss = losses.take();
  forwardBackwardCall->finish();
  return loss;
}

float Model::apply(const ApplyOptions &options) {
  requireNothingBegun();
  beginApply(options);
  return finishApply();
}

void Model::beginApply(const ApplyOptions &options) {
  Invocation &call = need(applyCall, program(), "apply");
  float learningRate = static_cast<float>(options.learningRate);
  float beta1 = static_cast<float>(options.beta1);
  float beta2 = static_cast<float>(options.beta2);
  float epsilon = static_cast<float>(options.epsilon);
  float weightDecay = static_cast<float>(options.weightDecay);
  float maxGradNorm = static_cast<float>(options.maxGradNorm);
  // Of the betas as the kernel has them: 1 - 0.999 is off by 1e-5 in f32, in
  // the moments and in their correction alike.
  double t = static_cast<double>(options.step);
  float correction1 = static_cast<float>(1 - std::pow(double{beta1}, t));
  float correction2 = static_cast<float>(1 - std::pow(double{beta2}, t));
  bindScalar(call, "learning_rate", kF32, &learningRate);
  // A program has these if it has such parameters.
  float maskRate =
      static_cast<float>(options.maskLearningRate.value_or(learningRate));
  float headRate =
      static_cast<float>(options.headLearningRate.value_or(learningRate));
  if (trainsMask())
    bindScalar(call, "mask_learning_rate", kF32, &maskRate);
  if (trainsHead())
    bindScalar(call, "head_learning_rate", kF32, &headRate);
  bindScalar(call, "beta1", kF32, &beta1);
  bindScalar(call, "beta2", kF32, &beta2);
  bindScalar(call, "epsilon", kF32, &epsilon);
  bindScalar(call, "weight_decay", kF32, &weightDecay);
  bindScalar(call, "bias_correction1", kF32, &correction1);
  bindScalar(call, "bias_correction2", kF32, &correction2);
  bindScalar(call, "max_grad_norm", kF32, &maxGradNorm);
  bindScalar(call, "grad_norm", kF32, &norms.next());
  call.begin();
  norms.add();
  if (!holdsMask())
    invalidateSelection();
}

float Model::finishApply() {
  float &norm = norms.take();
  applyCall->finish();
  return norm;
}

void Model::abandon() noexcept {
  if (states.isEmpty() && losses.isEmpty() && norms.isEmpty())
    return;
  for (std::optional<Invocation> *call :
       {&selectCall, &forwardBackwardCall, &applyCall})
    if (*call)
      (*call)->abandon();
  states.clear();
  losses.clear();
  norms.clear();
  invalidateSelection();
}

float Model::forward(const Batch &batch, float lossScale, float *logits) {
  Invocation &call = need(forwardCall, program(), "forward");
  float loss = 0, distillationScale = 0;
  float smoothing = manifest().task == ModelTask::lm ? 0 : labelSmoothing;
  bindBatch(call, batch, distillationScale, smoothing);
  bindScalar(call, "loss_scale", kF32, &lossScale);
  bindScalar(call, "loss", kF32, &loss);
  if (logits)
    call.bind("logits", logits);
  call();
  return loss;
}

void Model::materialize(const std::map<std::string, void *> &targets) {
  Invocation &call = need(materializeCall, program(), "materialize");
  for (const auto &[name, data] : targets)
    call.bind(name, data);
  call();
}

std::vector<KernelTime> Model::takeProfile() {
  if (!program().has("profile"))
    throw Error("the program does not measure its kernels: compile it with "
                "--profile");
  Invocation call(store, "profile");
  std::vector<std::array<double, 2>> sums(call.entryPoint().arguments.size());
  for (const Argument &argument : call.entryPoint().arguments)
    if (argument.type != TensorType{ElementType::f64, {2}})
      throw Error("the argument \"" + argument.name +
                  "\" of \"profile\" must be f64[2]: the bundle does not "
                  "follow the calling convention");
  for (size_t i = 0; i < sums.size(); ++i)
    call.bind(call.entryPoint().arguments[i].name, sums[i].data());
  call();
  std::vector<KernelTime> times;
  for (size_t i = 0; i < sums.size(); ++i)
    times.push_back({call.entryPoint().arguments[i].name, sums[i][0],
                     static_cast<int64_t>(sums[i][1])});
  return times;
}
