//===- VerifyEntryPoints.cpp - Whether entry points keep the convention -===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ManifestVerify.h"

#include <limits>
#include <set>
#include <utility>

using namespace pst;
using namespace pst::manifest;

namespace {

const Argument *find(const EntryPoint &entry, Argument::Kind kind,
                     std::string_view name) {
  for (const Argument &argument : entry.arguments)
    if (argument.kind == kind && argument.name == name)
      return &argument;
  return nullptr;
}

/// The rows of a batch, one and the same in all tensors that are read, and in
/// the logits; of `tokens`, these have a row for each.
void verifyRows(const EntryPoint &entry, int64_t rows, bool tokens,
                const std::string &where) {
  for (const Argument &argument : entry.arguments)
    if (argument.kind == Argument::Kind::input &&
        argument.name != kClassWeights && !argument.type.shape.empty() &&
        (tokens ? argument.type.numElements() : argument.type.shape.front()) !=
            rows)
      fail(where, "argument " + quote(argument.name) + " is " +
                      spell(argument.type) + ", but \"logits\" has " +
                      std::to_string(rows) + " rows");
}

/// What an evaluation is given, it looks into (docs/BundleFormat.md).
void verifyLogits(ModelTask task, const EntryPoint &entry,
                  const std::string &where) {
  const Argument *logits = find(entry, Argument::Kind::output, "logits");
  if (!logits)
    return;
  if (logits->type.element != ElementType::f32 ||
      logits->type.shape.size() != 2)
    fail(where, "argument \"logits\" must be a matrix of f32, rows x classes, "
                "but is " +
                    spell(logits->type));
  verifyRows(entry, logits->type.shape.front(), task == ModelTask::tokenClasses,
             where);
}

/// The logits are those of "forward", which has as many classes as the loss.
void verifyClassWeights(const Manifest &manifest, const EntryPoint &entry,
                        const std::string &where) {
  const Argument *weights = find(entry, Argument::Kind::input, kClassWeights);
  if (!weights)
    return;
  const EntryPoint *forward = manifest.findEntryPoint("forward");
  const Argument *logits =
      forward ? find(*forward, Argument::Kind::output, "logits") : nullptr;
  if (!logits || (manifest.task != ModelTask::classification &&
                  manifest.task != ModelTask::multiLabel))
    fail(where, "argument " + quote(kClassWeights) +
                    " is of a model that tells classes apart, by the "
                    "\"logits\" of \"forward\"");
  TensorType expected{ElementType::f32, {logits->type.shape.back()}};
  if (weights->type != expected)
    fail(where, "argument " + quote(kClassWeights) + " must be " +
                    spell(expected) + ", one for each class, but is " +
                    spell(weights->type));
}

/// A teacher's logits are as the model's own.
void verifyTeacher(const Manifest &manifest, const EntryPoint &entry,
                   const std::string &where) {
  const Argument *teacher = find(entry, Argument::Kind::input, kTeacherLogits);
  if (!teacher)
    return;
  const EntryPoint *forward = manifest.findEntryPoint("forward");
  const Argument *logits =
      forward ? find(*forward, Argument::Kind::output, "logits") : nullptr;
  bool regression = manifest.task == ModelTask::regression;
  if (!logits || (manifest.task != ModelTask::classification &&
                  manifest.task != ModelTask::multiLabel && !regression))
    fail(where, "argument " + quote(kTeacherLogits) +
                    " is of a model that classifies texts or predicts a "
                    "number, by the \"logits\" of \"forward\"");
  TensorType expected = logits->type;
  if (regression)
    expected.shape.pop_back();
  if (teacher->type != expected)
    fail(where, "argument " + quote(kTeacherLogits) + " must be " +
                    spell(expected) + ", as the logits are, but is " +
                    spell(teacher->type));
}

/// The element type and the number of dimensions of a task's labels.
std::pair<ElementType, size_t> labelsOf(ModelTask task) {
  switch (task) {
  case ModelTask::none:
    break;
  case ModelTask::classification:
    return {ElementType::i32, 1};
  case ModelTask::multiLabel:
    return {ElementType::f32, 2};
  case ModelTask::regression:
    return {ElementType::f32, 1};
  case ModelTask::tokenClasses:
  case ModelTask::lm:
    return {ElementType::i32, 2};
  }
  return {};
}

void verifyLabels(ModelTask task, const EntryPoint &entry,
                  const std::string &where) {
  const Argument *labels = find(entry, Argument::Kind::input, "labels");
  if (!labels || task == ModelTask::none)
    return;
  auto [element, rank] = labelsOf(task);
  if (labels->type.element != element || labels->type.shape.size() != rank)
    fail(where, "argument \"labels\" of the task " + quote(name(task)) +
                    " must be " + std::string(name(element)) +
                    (task == ModelTask::multiLabel ? "[B,C]"
                     : rank == 2                   ? "[B,L]"
                                                   : "[B]") +
                    ", but is " + spell(labels->type));
  const Argument *logits = find(entry, Argument::Kind::output, "logits");
  if (task == ModelTask::multiLabel && logits && logits->type != labels->type)
    fail(where, "argument \"labels\" must be " + spell(logits->type) +
                    ", as the logits are, but is " + spell(labels->type));
}

/// One example fits into a batch without padding, and all of a batch's tokens
/// are no more than it has with padding.
void verifyTokenCapacity(int64_t capacity, const EntryPoint &entry,
                         const std::string &where) {
  if (capacity < 0)
    fail(where, "\"token_capacity\" must be 0 or more, but is " +
                    std::to_string(capacity));
  const Argument *mask = find(entry, Argument::Kind::input, "attention_mask");
  if (!mask || capacity == 0)
    return;
  if (mask->type.shape.size() != 2 || capacity < mask->type.shape.back() ||
      capacity > mask->type.numElements())
    fail(where, "argument \"attention_mask\" is " + spell(mask->type) +
                    ", but \"token_capacity\" is " + std::to_string(capacity));
}

/// What is written where an export has room for a weight.
void verifyMaterialize(const Manifest &manifest, const EntryPoint &entry,
                       const std::string &where) {
  std::map<std::string_view, const SparseLayer *> layers;
  for (const SparseLayer &layer : manifest.sparseLayers)
    layers[layer.weight] = &layer;
  for (const Argument &argument : entry.arguments) {
    auto layer = layers.find(argument.name);
    if (layer == layers.end() || argument.kind == Argument::Kind::parameter ||
        argument.kind == Argument::Kind::space)
      continue;
    TensorType weight{ElementType::f32,
                      {layer->second->rows, layer->second->columns}};
    if (argument.type != weight)
      fail(where, "argument " + quote(argument.name) + " must be " +
                      spell(weight) + ", as the layer is, but is " +
                      spell(argument.type));
  }
}

/// Some rows of a matrix, or of a column.
bool areRowsOf(const TensorType &rows, const TensorType &all) {
  std::vector<int64_t> shape = all.shape;
  if (shape.empty() || rows.shape.empty())
    return false;
  shape.front() = rows.shape.front();
  return rows == TensorType{all.element, shape} &&
         shape.front() <= all.shape.front();
}

/// What stores a weight in pieces takes rows of it, and writes as many of the
/// state.
void verifyPieces(const Verified &verified, const EntryPoint &entry,
                  const std::string &where) {
  const Argument *piece = nullptr;
  for (const Argument &argument : entry.arguments)
    if (argument.kind == Argument::Kind::input &&
        std::exchange(piece, &argument))
      fail(where, "has more than one input, but stores one weight");
  if (!piece)
    return;
  const Parameter *weight = verified.find(piece->name);
  if (!weight || weight->role != Role::frozen ||
      weight->type.shape.size() != 2 || !areRowsOf(piece->type, weight->type))
    fail(where, "argument " + quote(piece->name) + " is " + spell(piece->type) +
                    ", but must be rows of a frozen matrix of this name");
  for (const Argument &argument : entry.arguments) {
    if (argument.kind != Argument::Kind::output)
      continue;
    const Parameter *stored = verified.find(argument.name);
    if (!stored || stored->role != Role::state ||
        !areRowsOf(argument.type, stored->type) ||
        argument.type.shape.front() != piece->type.shape.front() ||
        stored->type.shape.front() != weight->type.shape.front())
      fail(where, "argument " + quote(argument.name) + " is " +
                      spell(argument.type) + ", but must be " +
                      std::to_string(piece->type.shape.front()) +
                      " rows of a parameter of role state of this name, which "
                      "has as many as " +
                      quote(piece->name));
  }
}

void verifyArguments(const Verified &verified, const EntryPoint &entry,
                     const std::string &where) {
  std::set<std::pair<Argument::Kind, std::string_view>> seen;
  for (const Argument &argument : entry.arguments) {
    verifyText(argument.name, where);
    std::string at = where + ", argument " + quote(argument.name);
    if (!seen.emplace(argument.kind, argument.name).second)
      fail(at, "is listed twice");
    if (argument.kind == Argument::Kind::space) {
      spaceBytes(verified.manifest, argument.name, at);
      continue;
    }
    verifyType(argument.type, at);
    if (argument.ids && (argument.kind != Argument::Kind::input ||
                         argument.type.element != ElementType::i32))
      fail(at, "has \"ids\", which only inputs of i32 hold");
    if (argument.ids > std::numeric_limits<int32_t>::max())
      fail(at, "has " + std::to_string(argument.ids) +
                   " ids, which i32 cannot tell apart");
    if (argument.kind != Argument::Kind::parameter)
      continue;
    const Parameter *parameter = verified.find(argument.name);
    if (!parameter || parameter->role != Role::frozen ||
        parameter->type != argument.type)
      fail(at, "there must be a frozen parameter of this name, of type " +
                   spell(argument.type));
  }
}

} // namespace

void manifest::verifyEntryPoints(const Verified &verified) {
  const Manifest &manifest = verified.manifest;
  for (const auto &[name, entry] : manifest.entryPoints) {
    verifyText(name, "entry_points");
    std::string where = "entry point " + quote(name);
    if (entry.symbol.empty() != manifest.isForGPU())
      fail(where, manifest.isForGPU()
                      ? "has a symbol, but code for a GPU has launches instead"
                      : "the symbol is empty");
    if (!entry.launches.empty() && !manifest.isForGPU())
      fail(where, "has launches, but the code is for " + manifest.triple);
    verifyText(entry.symbol, where);
    verifyArguments(verified, entry, where);
    if (name == "forward")
      verifyLogits(manifest.task, entry, where);
    verifyTokenCapacity(manifest.tokenCapacity, entry, where);
    if (name == "forward" || name == "forward_backward") {
      verifyLabels(manifest.task, entry, where);
      verifyClassWeights(manifest, entry, where);
      verifyTeacher(manifest, entry, where);
    }
    if (name == "materialize")
      verifyMaterialize(manifest, entry, where);
    if (isPackEntry(name))
      verifyPieces(verified, entry, where);
    verifyLaunches(manifest, entry, where);
  }
}
