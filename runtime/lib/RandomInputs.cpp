//===- RandomInputs.cpp - Values for inputs, where there are no data ------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "RandomInputs.h"
#include "ModelConfig.h"
#include "pst/Runtime/Philox.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

using namespace pst;
using namespace pst::runtime;

RandomInputs::RandomInputs(const Manifest &manifest, const EntryPoint &entry,
                           double sparsity, uint64_t seed)
    : seed(seed), generator(seed) {
  if (int64_t size = configNumber(manifest, "vocab_size"))
    tokens = static_cast<int32_t>(size);
  sparsities["sparsity"] = sparsity;
  for (const SparseLayer &layer : manifest.sparseLayers)
    sparsities[layer.sparsityInput] = manifest.sparsityOf(layer, sparsity);
  for (const Argument &argument : entry.arguments) {
    if (argument.name == "labels" && argument.type.shape.size() == 2)
      labels = tokens;
    if (argument.name == "labels")
      examples = argument.type.numElements();
  }
  if (int64_t width = manifest.numLogits())
    labels = static_cast<int32_t>(
        std::min<int64_t>(width, std::numeric_limits<int32_t>::max()));
}

static void put(ElementType type, double value, std::byte *to) {
  auto write = [to](auto number) { std::memcpy(to, &number, sizeof number); };
  switch (type) {
  case ElementType::f32:
    return write(static_cast<float>(value));
  case ElementType::f64:
    return write(value);
  case ElementType::bf16: // cut off: as random as rounded
    return write(static_cast<uint16_t>(
        std::bit_cast<uint32_t>(static_cast<float>(value)) >> 16));
  case ElementType::i8:
    return write(static_cast<int8_t>(value));
  case ElementType::i32:
    return write(static_cast<int32_t>(value));
  case ElementType::i64:
    return write(static_cast<int64_t>(value));
  }
}

std::vector<std::byte> RandomInputs::fill(const Argument &argument) {
  const TensorType &type = argument.type;
  std::vector<std::byte> bytes(static_cast<size_t>(type.numBytes()));
  double given = 0;
  if (type.shape.empty() && knownScalar(argument.name, given)) {
    put(type.element, given, bytes.data());
    return bytes;
  }
  size_t count = static_cast<size_t>(type.numElements());
  size_t size = static_cast<size_t>(byteSize(type.element));
  if (type.element == ElementType::i32 || type.element == ElementType::i64) {
    int32_t below = argument.ids ? static_cast<int32_t>(argument.ids)
                    : argument.name == "input_ids"      ? tokens
                    : argument.name == "labels"         ? labels
                    : argument.name == "token_type_ids" ? 1
                                                        : 2;
    bool ones = argument.name == "attention_mask";
    for (size_t i = 0; i < count; ++i)
      put(type.element, ones ? 1 : static_cast<int32_t>(generator() % below),
          bytes.data() + i * size);
    return bytes;
  }
  std::vector<float> values(count);
  fillNormal(values, 1, seed, argument.name);
  for (size_t i = 0; i < count; ++i)
    put(type.element, values[i], bytes.data() + i * size);
  return bytes;
}

/// As of the third step of a run (docs/BundleFormat.md).
bool RandomInputs::knownScalar(const std::string &name, double &value) const {
  const std::pair<const char *, double> known[] = {
      {"seed", static_cast<double>(seed)},
      {"loss_scale", 1.0 / static_cast<double>(examples)},
      {"distillation_scale", 0.5 / static_cast<double>(examples)},
      {"temperature", 2},
      {"learning_rate", 1e-5},
      {"mask_learning_rate", 3e-5},
      {"head_learning_rate", 1e-4},
      {"beta1", 0.9},
      {"beta2", 0.999},
      {"epsilon", 1e-8},
      {"weight_decay", 0.01},
      {"bias_correction1", 1 - 0.9 * 0.9 * 0.9},
      {"bias_correction2", 1 - 0.999 * 0.999 * 0.999},
      {"max_grad_norm", 1}};
  if (auto found = sparsities.find(name); found != sparsities.end()) {
    value = found->second;
    return true;
  }
  for (const auto &[scalar, number] : known)
    if (name == scalar) {
      value = number;
      return true;
    }
  return false;
}
