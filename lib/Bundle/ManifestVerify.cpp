//===- ManifestVerify.cpp - Whether a manifest contradicts itself ---------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ManifestText.h"
#include "pst/Bundle/Manifest.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

using namespace pst;
using namespace pst::manifest;

namespace {

void verifyType(const TensorType &type, const std::string &where) {
  // Far below overflow, far above any tensor.
  constexpr int64_t limit = int64_t(1) << 48;
  int64_t count = 1;
  for (int64_t size : type.shape) {
    if (size <= 0)
      fail(where, "sizes must be positive, but got " + spell(type));
    if (size > limit / count)
      fail(where, "the type " + spell(type) + " is absurdly large");
    count *= size;
  }
}

int64_t spaceBytes(const Manifest &manifest, const std::string &space,
                   const std::string &where) {
  auto found = manifest.spaces.find(space);
  if (found == manifest.spaces.end())
    fail(where, "needs the space " + quote(space) + ", which \"spaces\" lacks");
  return found->second;
}

void verifyParameters(const Manifest &manifest) {
  std::set<std::string_view> names;
  std::map<Role, std::vector<const Parameter *>> byRole;
  for (const Parameter &parameter : manifest.parameters) {
    std::string where = "parameter " + quote(parameter.name);
    if (parameter.name.empty() || !names.insert(parameter.name).second)
      fail(where, "names must be unique and not empty");
    verifyType(parameter.type, where);
    if ((parameter.initializer.kind == Initializer::Kind::file) ==
        parameter.source.empty())
      fail(where, "\"source\" must be given if, and only if, the initializer "
                  "is \"file\"");
    if (parameter.role == Role::frozen) {
      if (parameter.initializer.kind != Initializer::Kind::file)
        fail(where, "a frozen parameter must come from a file");
      continue;
    }
    if (parameter.role == Role::trainable &&
        parameter.type.element != ElementType::f32)
      fail(where, "a trainable parameter must be f32, but is " +
                      spell(parameter.type));
    if (parameter.offset % byteSize(parameter.type.element) != 0)
      fail(where, "offset " + std::to_string(parameter.offset) +
                      " is not aligned to its elements");
    byRole[parameter.role].push_back(&parameter);
  }
  for (auto &[role, list] : byRole) {
    std::sort(list.begin(), list.end(),
              [](auto *a, auto *b) { return a->offset < b->offset; });
    int64_t end = 0;
    for (const Parameter *parameter : list) {
      std::string where = "parameter " + quote(parameter->name);
      if (parameter->offset < end)
        fail(where, "overlaps another parameter at offset " +
                        std::to_string(parameter->offset));
      end = parameter->offset + parameter->type.numBytes();
      std::string space = role == Role::state ? "state" : "trainable";
      if (end > spaceBytes(manifest, space, where))
        fail(where, "ends at byte " + std::to_string(end) +
                        ", past the end of "
                        "the space " +
                        quote(space));
    }
  }
  if (!byRole[Role::trainable].empty())
    for (const char *space : {"gradient", "moment1", "moment2"})
      if (auto found = manifest.spaces.find(space);
          found != manifest.spaces.end() &&
          found->second != manifest.spaces.at("trainable"))
        fail("spaces." + std::string(space),
             "must be as large as the space \"trainable\"");
}

void verifySparseLayers(const Manifest &manifest) {
  auto verifyState = [&](const SparseLayer &layer, const std::string &name,
                         ElementType element) {
    const Parameter *parameter = manifest.findParameter(name);
    if (!parameter || parameter->role != Role::state ||
        parameter->type != TensorType{element, {}})
      fail("sparse layer " + quote(layer.weight),
           quote(name) + " must be a state parameter of type " +
               std::string(pst::name(element)));
  };
  for (const SparseLayer &layer : manifest.sparseLayers) {
    const Parameter *weight = manifest.findParameter(layer.weight);
    if (!weight ||
        weight->type.shape != std::vector<int64_t>{layer.rows, layer.columns})
      fail("sparse layer " + quote(layer.weight),
           "there must be a parameter of this name, " +
               std::to_string(layer.rows) + " x " +
               std::to_string(layer.columns));
    // Without a score nothing is masked, only merged.
    if (layer.threshold.empty() && layer.cut.empty())
      continue;
    verifyState(layer, layer.threshold, ElementType::f32);
    verifyState(layer, layer.cut, ElementType::i64);
  }
}

void verifyEntryPoints(const Manifest &manifest) {
  for (const auto &[name, entry] : manifest.entryPoints) {
    std::string where = "entry point " + quote(name);
    if (entry.symbol.empty())
      fail(where, "the symbol is empty");
    std::set<std::pair<Argument::Kind, std::string_view>> seen;
    for (const Argument &argument : entry.arguments) {
      std::string at = where + ", argument " + quote(argument.name);
      if (!seen.emplace(argument.kind, argument.name).second)
        fail(at, "is listed twice");
      if (argument.kind == Argument::Kind::space) {
        spaceBytes(manifest, argument.name, at);
        continue;
      }
      verifyType(argument.type, at);
      if (argument.kind != Argument::Kind::parameter)
        continue;
      const Parameter *parameter = manifest.findParameter(argument.name);
      if (!parameter || parameter->role != Role::frozen ||
          parameter->type != argument.type)
        fail(at, "there must be a frozen parameter of this name, of type " +
                     spell(argument.type));
    }
  }
}

} // namespace

void Manifest::verify() const {
  verifyParameters(*this);
  verifySparseLayers(*this);
  verifyEntryPoints(*this);
}
