//===- ManifestVerify.cpp - Whether a manifest contradicts itself ---------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What is as large as a number says, or lies where one says, is so after this:
// nothing that runs a program checks again. Numbers come from a file, so all
// arithmetic on them is checked.
//
//===----------------------------------------------------------------------===//

#include "ManifestVerify.h"
#include "pst/Bundle/Checked.h"
#include "pst/Bundle/ParseJson.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <utility>

using namespace pst;
using namespace pst::manifest;

//===----------------------------------------------------------------------===//
// What all of it is made of
//===----------------------------------------------------------------------===//

void manifest::verifyText(const std::string &text, const std::string &where) {
  try {
    (void)nlohmann::json(text).dump();
  } catch (const nlohmann::json::exception &) {
    fail(where, "the text is not UTF-8, and JSON holds no other");
  }
}

void manifest::verifyType(const TensorType &type, const std::string &where) {
  constexpr int64_t limit = kMostBytes / 16;
  Checked count = 1;
  for (int64_t size : type.shape) {
    if (size <= 0)
      fail(where, "sizes must be positive, but got " + spell(type));
    count = count * size;
    if (!count.isAtMost(limit))
      fail(where, "the type " + spell(type) + " is absurdly large");
  }
}

int64_t manifest::spaceBytes(const Manifest &manifest, const std::string &space,
                             const std::string &where) {
  auto found = manifest.spaces.find(space);
  if (found == manifest.spaces.end())
    fail(where, "needs the space " + quote(space) + ", which \"spaces\" lacks");
  return found->second;
}

static void verifyBytes(int64_t bytes, const std::string &where) {
  if (bytes < 0 || bytes > kMostBytes)
    fail(where, std::to_string(bytes) + " bytes are absurdly many");
}

static std::string spell(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", value);
  return text;
}

/// A number that is written to JSON, which has none that are not finite.
static void verifyNumber(double value, const std::string &where) {
  if (!std::isfinite(value))
    fail(where, "expected a finite number, but got " + spell(value));
}

//===----------------------------------------------------------------------===//
// The program as a whole
//===----------------------------------------------------------------------===//

/// An export writes the configuration anew, so that it must be one.
static void verifyConfig(const Manifest &manifest) {
  if (manifest.config.empty())
    return;
  try {
    if (!parseJson(manifest.config).is_object())
      fail("config", "must be empty, or the text of a JSON object");
  } catch (const JsonError &error) {
    fail("config", std::string("is not valid JSON: ") + error.what());
  }
}

static void verifyProgram(const Manifest &manifest) {
  for (const auto &[key, text] :
       std::initializer_list<std::pair<const char *, const std::string &>>{
           {"triple", manifest.triple},
           {"cpu", manifest.cpu},
           {"features", manifest.features},
           {"library", manifest.library},
           {"architecture", manifest.architecture},
           {"config", manifest.config},
           {"method", manifest.method},
           {"criterion", manifest.criterion}})
    verifyText(text, key);
  verifyConfig(manifest);
  for (const auto &[name, value] : manifest.hyperparameters) {
    verifyText(name, "hyperparameters");
    verifyNumber(value, "hyperparameters." + name);
  }
  for (double rate :
       {manifest.rates.weights, manifest.rates.mask, manifest.rates.head})
    if (!(rate >= 0 && rate < 1e30))
      fail("rates",
           "must be numbers from 0, but one is " + std::to_string(rate));
  verifyNumber(manifest.finalSparsity, "final_sparsity");
  for (const auto &[name, bytes] : manifest.spaces) {
    verifyText(name, "spaces");
    verifyBytes(bytes, "spaces." + name);
  }
  const MemoryPlan &memory = manifest.memory;
  for (const auto &[key, bytes] :
       std::initializer_list<std::pair<const char *, int64_t>>{
           {"frozen", memory.frozen},
           {"trainable", memory.trainable},
           {"gradients", memory.gradients},
           {"optimizer", memory.optimizer},
           {"state", memory.state},
           {"activations", memory.activations},
           {"workspace", memory.workspace},
           {"arena", memory.arena}})
    verifyBytes(bytes, std::string("memory.") + key);
}

//===----------------------------------------------------------------------===//
// Parameters
//===----------------------------------------------------------------------===//

template <typename T> static bool holds(double value) {
  using Limits = std::numeric_limits<T>;
  if constexpr (Limits::is_integer)
    // The largest value plus one is a power of two, and a double; it is not.
    return value == std::trunc(value) &&
           value >= static_cast<double>(Limits::min()) &&
           value < -static_cast<double>(Limits::min());
  else
    return std::isinf(value) || std::abs(value) <= double{Limits::max()};
}

/// Whether an element of that type can be `value`.
static bool holds(ElementType element, double value) {
  switch (element) {
  case ElementType::f32:
    return holds<float>(value);
  case ElementType::f64:
    return holds<double>(value);
  case ElementType::i8:
    return holds<int8_t>(value);
  case ElementType::i32:
    return holds<int32_t>(value);
  case ElementType::i64:
    return holds<int64_t>(value);
  case ElementType::bf16:
    break;
  }
  return false;
}

/// Whether the elements can begin as the initializer says.
static void verifyInitializer(const Parameter &parameter,
                              const std::string &where) {
  const Initializer &initializer = parameter.initializer;
  auto refuse = [&](const std::string &what) {
    fail(where, "its initializer " + what + ", but its type is " +
                    parameter.type.text());
  };
  switch (initializer.kind) {
  case Initializer::Kind::zeros:
    return;
  case Initializer::Kind::file:
    // Frozen weights are narrowed as they are read; state is not.
    if (parameter.role != Role::frozen &&
        parameter.type.element == ElementType::bf16)
      refuse("\"file\" gives f32, f64, i32 or i64");
    return;
  case Initializer::Kind::normal:
    if (parameter.type.element != ElementType::f32)
      refuse("\"normal\" gives f32");
    if (!(initializer.stddev >= 0 && initializer.stddev <= 1e30))
      fail(where, "the \"stddev\" of its initializer must lie between 0 and "
                  "1e30, but is " +
                      spell(initializer.stddev));
    return;
  case Initializer::Kind::constant:
    if (!holds(parameter.type.element, initializer.value))
      refuse("\"constant\" has the value " + spell(initializer.value));
    return;
  }
}

static void verifySource(const Parameter &parameter, const std::string &where) {
  if ((parameter.initializer.kind == Initializer::Kind::file) ==
      parameter.source.empty())
    fail(where, "\"source\" must be given if, and only if, the initializer "
                "is \"file\"");
  if (!parameter.sourceFile.empty() && parameter.source.empty())
    fail(where, "has a \"source_file\", but no \"source\" in it");
  if (parameter.column && !parameter.sourceColumns)
    fail(where, "begins at column " + std::to_string(parameter.column) +
                    " of a tensor of which \"source_columns\" says nothing");
  if (parameter.sourceColumns &&
      (parameter.type.shape.empty() || parameter.column < 0 ||
       parameter.column >
           parameter.sourceColumns - parameter.type.shape.back()))
    fail(where, "columns from " + std::to_string(parameter.column) +
                    " of a tensor of " +
                    std::to_string(parameter.sourceColumns) +
                    " cannot hold those of " + spell(parameter.type));
  if (!parameter.sourceColumns)
    return;
  TensorType whole = parameter.type;
  whole.shape.back() = parameter.sourceColumns;
  verifyType(whole, where + ", \"source_columns\"");
}

/// The tensor that the parameter is columns of, as an export writes it.
static TensorType writtenType(const Parameter &parameter) {
  TensorType type = parameter.type;
  type.shape.back() = parameter.sourceColumns;
  if (type.element == ElementType::bf16)
    type.element = ElementType::f32; // widened
  return type;
}

/// Parameters that are columns of one tensor are put side by side again when a
/// model is exported.
static void verifyParts(const Manifest &manifest) {
  std::map<std::string, const Parameter *> parts;
  for (const Parameter &parameter : manifest.parameters) {
    if (!parameter.sourceColumns)
      continue;
    const Parameter &first =
        *parts.try_emplace(parameter.tensorName(), &parameter).first->second;
    if (writtenType(parameter) != writtenType(first))
      fail("parameter " + quote(parameter.name),
           "is columns of a tensor as " + quote(first.name) +
               " is, and must have the same element type, rows and "
               "\"source_columns\"");
  }
}

/// Parameters of one role lie one after the other in its space.
static void verifyPlaces(const Manifest &manifest, Role role,
                         std::vector<const Parameter *> &list) {
  std::sort(list.begin(), list.end(),
            [](auto *a, auto *b) { return a->offset < b->offset; });
  Checked end = 0;
  for (const Parameter *parameter : list) {
    std::string where = "parameter " + quote(parameter->name);
    if (!end.isAtMost(parameter->offset))
      fail(where, "overlaps another parameter at offset " +
                      std::to_string(parameter->offset));
    end = Checked(parameter->offset) + parameter->type.numBytes();
    std::string space(spaceOf(role));
    if (!end.isAtMost(spaceBytes(manifest, space, where)))
      fail(where, "at offset " + std::to_string(parameter->offset) +
                      " ends at byte " + end.text() +
                      ", past the end of the space " + quote(space));
  }
}

static void verifyParameters(Verified &verified) {
  const Manifest &manifest = verified.manifest;
  std::map<Role, std::vector<const Parameter *>> byRole;
  for (const Parameter &parameter : manifest.parameters) {
    std::string where = "parameter " + quote(parameter.name);
    for (const std::string *text :
         {&parameter.name, &parameter.source, &parameter.sourceFile})
      verifyText(*text, "parameters");
    if (parameter.name.empty() ||
        !verified.parameters.emplace(parameter.name, &parameter).second)
      fail(where, "names must be unique and not empty");
    verifyType(parameter.type, where);
    verifySource(parameter, where);
    if (parameter.role == Role::frozen) {
      if (parameter.initializer.kind != Initializer::Kind::file)
        fail(where, "a frozen parameter must come from a file");
      continue;
    }
    if (parameter.role == Role::trainable &&
        parameter.type.element != ElementType::f32)
      fail(where, "a trainable parameter must be f32, but is " +
                      spell(parameter.type));
    verifyInitializer(parameter, where);
    if (parameter.offset % byteSize(parameter.type.element) != 0)
      fail(where, "offset " + std::to_string(parameter.offset) +
                      " is not aligned to its elements");
    byRole[parameter.role].push_back(&parameter);
  }
  verifyParts(manifest);
  for (auto &[role, list] : byRole)
    verifyPlaces(manifest, role, list);
  if (!byRole[Role::trainable].empty())
    for (const char *space : {"gradient", "moment1", "moment2"})
      if (auto found = manifest.spaces.find(space);
          found != manifest.spaces.end() &&
          found->second != manifest.spaces.at("trainable"))
        fail("spaces." + std::string(space),
             "must be as large as the space \"trainable\"");
}

void Manifest::verify() const {
  Verified verified{*this, {}};
  verifyProgram(*this);
  verifyParameters(verified);
  verifySparseLayers(verified);
  verifyEntryPoints(verified);
}
