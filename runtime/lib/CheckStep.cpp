//===- CheckStep.cpp - A training step against another program's ----------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Both programs begin each part of the step with the same bits, so that the
// errors of one part are not those of the parts before:
//
//   select: the same parameters          -> thresholds, masked weights
//   forward_backward: the same thresholds -> loss, gradient
//   apply: the reference's gradient      -> parameters, moments
//
//===----------------------------------------------------------------------===//

#include "RandomInputs.h"
#include "pst/Runtime/Check.h"
#include "pst/Runtime/Dataset.h"
#include "pst/Runtime/Error.h"
#include "pst/Runtime/Invocation.h"
#include "pst/Runtime/Philox.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <numeric>

using namespace pst;
using namespace pst::runtime;

static constexpr double kUnit = 0x1p-24; // roundoff of f32

namespace {

/// A program with its memory.
struct Side {
  Side(std::shared_ptr<const Program> program,
       std::shared_ptr<const ModelFiles> files, uint64_t seed)
      : store(std::move(program), std::move(files), seed) {}

  /// Calls an entry point; returns its outputs, by name.
  std::map<std::string, std::vector<float>>
  call(const std::string &entry,
       const std::map<std::string, std::vector<std::byte>> &inputs) {
    Invocation call(store, entry);
    std::map<std::string, std::vector<float>> outputs;
    for (const Argument &argument : call.entryPoint().arguments) {
      if (argument.kind == Argument::Kind::input)
        call.bind(argument.name, inputs.at(argument.name).data());
      if (argument.kind != Argument::Kind::output)
        continue;
      if (argument.type.element != ElementType::f32)
        throw Error("the output \"" + argument.name + "\" of \"" + entry +
                    "\" is not f32, and cannot be compared");
      std::vector<float> &output = outputs[argument.name];
      output.resize(static_cast<size_t>(argument.type.numElements()));
      call.bind(argument.name, output.data());
    }
    call();
    return outputs;
  }

  float *values(const Parameter &parameter, const char *space) const {
    return static_cast<float *>(
        store.data(*manifest().findParameter(parameter.name), space));
  }
  /// An element of a state parameter, of f32 or i64.
  double number(const std::string &name, ElementType element, int64_t i) const {
    const void *data = store.data(name);
    return element == ElementType::f32
               ? double{static_cast<const float *>(data)[i]}
               : static_cast<double>(static_cast<const int64_t *>(data)[i]);
  }
  const Manifest &manifest() const { return store.manifest(); }

  ParameterStore store;
};

/// Collects the worst difference of one quantity.
class Comparison {
public:
  explicit Comparison(std::string name) { result.name = std::move(name); }

  /// `shape`: that of what `index` counts.
  void add(double value, double wanted, double allowed,
           const std::string &where, const std::vector<int64_t> &shape,
           int64_t index) {
    ++result.check.numElements;
    double share = errorShare(value, wanted, allowed);
    if (share <= result.check.worst)
      return;
    result.check.worst = share;
    std::string place;
    for (size_t i = shape.size(); i-- > 0; index /= shape[i])
      place = std::to_string(index % shape[i]) +
              (place.empty() ? "" : ", " + place);
    char text[96];
    std::snprintf(text, sizeof text, ": %.9g instead of %.9g, allowed is %.3g",
                  value, wanted, allowed);
    result.check.where =
        "\"" + where + "\"" + (place.empty() ? "" : "[" + place + "]") + text;
  }
  StepQuantity result;
};

class StepCheck {
public:
  StepCheck(std::shared_ptr<const Program> ours,
            std::shared_ptr<const Program> theirs,
            std::shared_ptr<const ModelFiles> files,
            const StepCheckOptions &options)
      : options(options),
        ours((requireSame(*ours, *theirs), ours), files, options.seed),
        theirs(theirs, files, options.seed) {
    for (const Parameter &parameter : this->ours.manifest().parameters)
      if (parameter.role == Role::trainable)
        trainable.push_back(&parameter);
  }

  std::vector<StepQuantity> run() {
    shareState();
    if (ours.store.program().has("select"))
      checkSelection();
    checkGradient();
    checkUpdate();
    return std::move(results);
  }

private:
  using Inputs = std::map<std::string, std::vector<std::byte>>;
  static void requireSame(const Program &ours, const Program &theirs);
  Inputs inputsOf(const char *entry, const Dataset *data);
  double roundingOfStep() const;
  void shareState();
  void checkSelection();
  void checkGradient();
  void checkUpdate();
  /// Gives `visit` the elements of each trainable parameter on both sides.
  template <typename Function>
  void forEach(const char *space, Function visit) const {
    for (const Parameter *parameter : trainable)
      visit(*parameter, ours.values(*parameter, space),
            theirs.values(*parameter, space), parameter->type.numElements());
  }

  StepCheckOptions options;
  Side ours, theirs;
  std::vector<const Parameter *> trainable;
  std::vector<StepQuantity> results;
};

} // namespace

/// "f32[3, 5]".
static std::string text(const TensorType &type) {
  std::string sizes;
  for (int64_t size : type.shape)
    sizes += (sizes.empty() ? "" : ", ") + std::to_string(size);
  return std::string(name(type.element)) + "[" + sizes + "]";
}

void StepCheck::requireSame(const Program &ours, const Program &theirs) {
  const Manifest &own = ours.manifest(), &other = theirs.manifest();
  if (own.fingerprint() != other.fingerprint())
    throw Error("the two bundles are of different models: compile both from "
                "the same one, by the same method and selection, with the same "
                "frozen type");
  for (const char *name : {"forward_backward", "apply"}) {
    const EntryPoint &entry = ours.entryPoint(name);
    for (const Argument &argument : theirs.entryPoint(name).arguments)
      for (const Argument &mine : entry.arguments)
        if (mine.name == argument.name && mine.kind == argument.kind &&
            argument.kind == Argument::Kind::input &&
            mine.type != argument.type)
          throw Error("the two bundles differ in the input \"" + mine.name +
                      "\": " + text(mine.type) + ", and " +
                      text(argument.type) +
                      "; compile both for the same batch and length");
  }
}

StepCheck::Inputs StepCheck::inputsOf(const char *name, const Dataset *data) {
  const EntryPoint &entry = ours.store.program().entryPoint(name);
  RandomInputs random(ours.manifest(), entry, options.sparsity, options.seed);
  Inputs inputs;
  for (const Argument &argument : entry.arguments)
    if (argument.kind == Argument::Kind::input)
      inputs[argument.name] = random.fill(argument);
  if (!data)
    return inputs;
  data->check(ours.manifest(), name, /*needLabels=*/true);
  Batch batch(entry);
  std::vector<int64_t> rows(
      static_cast<size_t>(std::min(batch.capacity(), data->size())));
  std::iota(rows.begin(), rows.end(), 0);
  batch.gather(*data, rows);
  for (const Batch::Buffer &buffer : batch.buffers())
    inputs[buffer.name] = buffer.bytes;
  auto targets =
      static_cast<double>(data->countTargets(rows, ours.manifest().task));
  float scale = static_cast<float>(targets > 0 ? 1 / targets : 0);
  std::memcpy(inputs.at("loss_scale").data(), &scale, sizeof scale);
  return inputs;
}

/// Parameters and moments as they may be after some steps: at first, factors
/// that are zero would hide those that they are multiplied by.
void StepCheck::shareState() {
  std::vector<float> noise;
  forEach("trainable", [&](const Parameter &p, float *a, float *b, int64_t n) {
    noise.resize(static_cast<size_t>(n));
    fillNormal(noise, 0.02, options.seed, p.name + " step");
    for (int64_t i = 0; i < n; ++i)
      a[i] = b[i] += noise[i];
  });
  for (const char *moment : {"moment1", "moment2"})
    forEach(moment, [&](const Parameter &p, float *a, float *b, int64_t n) {
      noise.resize(static_cast<size_t>(n));
      fillNormal(noise, 1e-3, options.seed, p.name + " moment");
      bool second = moment[6] == '2';
      for (int64_t i = 0; i < n; ++i)
        a[i] = b[i] = second ? noise[i] * noise[i] : noise[i];
    });
}

/// Scores are computed by the same operations in f32 on all processors, so that
/// thresholds, masks and merged weights have the same bits.
void StepCheck::checkSelection() {
  Inputs inputs = inputsOf("select", nullptr);
  ours.call("select", inputs);
  theirs.call("select", inputs);
  Comparison thresholds("thresholds");
  for (const SparseLayer &layer : ours.manifest().sparseLayers) {
    for (const std::string &name : layer.state) {
      const TensorType &type = ours.manifest().findParameter(name)->type;
      for (int64_t i = 0; i < type.numElements(); ++i)
        thresholds.add(ours.number(name, type.element, i),
                       theirs.number(name, type.element, i), 0, name,
                       type.shape, i);
    }
  }
  results.push_back(thresholds.result);
  auto weights = ours.call("materialize", {});
  auto wanted = theirs.call("materialize", {});
  Comparison masked("masked weights");
  for (const SparseLayer &layer : ours.manifest().sparseLayers) {
    const std::vector<float> &own = weights.at(layer.weight);
    const std::vector<float> &other = wanted.at(layer.weight);
    for (size_t i = 0; i < own.size(); ++i)
      masked.add(own[i], other[i], 0, layer.weight, {layer.rows, layer.columns},
                 static_cast<int64_t>(i));
  }
  results.push_back(masked.result);
  // From here on both have the reference's thresholds.
  for (const Parameter &parameter : ours.manifest().parameters)
    if (parameter.role == Role::state)
      std::memcpy(ours.store.data(parameter, "state"),
                  theirs.store.data(parameter.name),
                  static_cast<size_t>(parameter.type.numBytes()));
}

/// Relative to the largest elements, how far a step may be off. Each launch
/// rounds its results to the precision of activations, u, and sums at most k
/// products in f32, in whatever order: together an error of u + sqrt(k) 2^-24,
/// as roundings are as good as independent (Higham and Mary, A New Approach to
/// Probabilistic Rounding Error Analysis, 2019, theorem 2.4: sqrt(k) for k). So
/// are those of n launches in a row: sqrt(n) times as much. Four standard
/// deviations are allowed.
double StepCheck::roundingOfStep() const {
  int64_t longest = 1;
  for (const Parameter &parameter : ours.manifest().parameters)
    for (int64_t size : parameter.type.shape)
      longest = std::max(longest, size);
  size_t launches = 1;
  for (const Side *side : {&ours, &theirs}) {
    const EntryPoint &entry =
        side->store.program().entryPoint("forward_backward");
    launches = std::max(launches, entry.launches.size());
    for (const Argument &argument : entry.arguments)
      if (argument.name == "input_ids")
        longest = std::max(longest, argument.type.numElements());
  }
  double each =
      options.rounding + std::sqrt(static_cast<double>(longest)) * kUnit;
  return 4 * std::sqrt(static_cast<double>(launches)) * each;
}

void StepCheck::checkGradient() {
  Inputs inputs = inputsOf("forward_backward", options.data);
  for (Side *side : {&ours, &theirs})
    side->store.clearSpace("gradient");
  float loss = ours.call("forward_backward", inputs).at("loss")[0];
  float wanted = theirs.call("forward_backward", inputs).at("loss")[0];
  double relative = roundingOfStep();
  Comparison losses("loss");
  losses.add(loss, wanted, relative * std::max(1.0f, std::abs(wanted)), "loss",
             {}, 0);
  results.push_back(losses.result);
  // An error counts relative to the largest of its parameter; and of those
  // where all but nothing is left (the bias of keys) relative to the others.
  auto largest = [](const float *values, int64_t n) {
    double most = 0;
    for (int64_t i = 0; i < n; ++i)
      most = std::max(most, std::abs(double{values[i]}));
    return most;
  };
  double most = 0;
  forEach("gradient", [&](const Parameter &, float *, float *b, int64_t n) {
    most = std::max(most, largest(b, n));
  });
  Comparison gradients("gradient");
  forEach("gradient", [&](const Parameter &p, float *a, float *b, int64_t n) {
    double allowed = relative * std::max(largest(b, n), most / 16);
    for (int64_t i = 0; i < n; ++i) {
      gradients.add(a[i], b[i], allowed, p.name, p.type.shape, i);
      a[i] = b[i]; // what the update begins with
    }
  });
  results.push_back(gradients.result);
}

/// Each element is some ten operations of f32, and the norm a sum of squares,
/// of n elements: with an error of sqrt(n) 2^-24, as above, by which clipping
/// scales the gradient.
void StepCheck::checkUpdate() {
  Inputs inputs = inputsOf("apply", nullptr);
  std::vector<float> before;
  double count = 1;
  forEach("trainable", [&](const Parameter &, float *, float *b, int64_t n) {
    before.insert(before.end(), b, b + n);
    count += static_cast<double>(n);
  });
  float norm = ours.call("apply", inputs).at("grad_norm")[0];
  float wanted = theirs.call("apply", inputs).at("grad_norm")[0];
  double scaling = std::sqrt(count) * kUnit, each = 16 * kUnit;
  Comparison norms("norm of the gradient");
  norms.add(norm, wanted, (scaling + each) * wanted, "grad_norm", {}, 0);
  results.push_back(norms.result);
  size_t at = 0;
  Comparison updated("updated parameters");
  forEach("trainable", [&](const Parameter &p, float *a, float *b, int64_t n) {
    for (int64_t i = 0; i < n; ++i) {
      double step = std::abs(double{b[i]} - before[at++]);
      updated.add(a[i], b[i],
                  (2 * scaling + each) * step +
                      2 * kUnit * std::abs(double{b[i]}),
                  p.name, p.type.shape, i);
    }
  });
  results.push_back(updated.result);
  for (const char *space : {"moment1", "moment2", "gradient"}) {
    bool cleared = space[0] == 'g';
    Comparison moments(cleared ? "gradient afterwards" : space);
    forEach(space, [&](const Parameter &p, float *a, float *b, int64_t n) {
      for (int64_t i = 0; i < n; ++i)
        moments.add(a[i], b[i],
                    (2 * scaling + each) * std::abs(double{b[i]}) + 1e-37,
                    p.name, p.type.shape, i);
    });
    results.push_back(moments.result);
  }
}

std::vector<StepQuantity>
pst::runtime::checkStep(std::shared_ptr<const Program> program,
                        std::shared_ptr<const Program> reference,
                        std::shared_ptr<const ModelFiles> files,
                        const StepCheckOptions &options) {
  return StepCheck(std::move(program), std::move(reference), std::move(files),
                   options)
      .run();
}
