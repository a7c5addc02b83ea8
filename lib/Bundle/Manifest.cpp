//===- Manifest.cpp - What a bundle says about itself ---------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Bundle/Manifest.h"
#include "ManifestText.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <limits>
#include <set>

using namespace pst;
using namespace pst::manifest;
using Json = nlohmann::ordered_json;

//===----------------------------------------------------------------------===//
// Spelling
//===----------------------------------------------------------------------===//

namespace {

template <typename Enum> struct Spelling {
  Enum value;
  std::string_view text;
};

constexpr std::array<Spelling<ElementType>, 5> kElements{
    {{ElementType::f32, "f32"},
     {ElementType::f64, "f64"},
     {ElementType::bf16, "bf16"},
     {ElementType::i32, "i32"},
     {ElementType::i64, "i64"}}};

constexpr std::array<Spelling<Role>, 3> kRoles{{{Role::frozen, "frozen"},
                                                {Role::trainable, "trainable"},
                                                {Role::state, "state"}}};

using InitKind = Initializer::Kind;
constexpr std::array<Spelling<InitKind>, 4> kInitKinds{
    {{InitKind::file, "file"},
     {InitKind::zeros, "zeros"},
     {InitKind::normal, "normal"},
     {InitKind::constant, "constant"}}};

using ArgKind = Argument::Kind;
constexpr std::array<Spelling<ArgKind>, 4> kArgKinds{
    {{ArgKind::parameter, "parameter"},
     {ArgKind::space, "space"},
     {ArgKind::input, "input"},
     {ArgKind::output, "output"}}};

template <typename Enum, size_t N>
std::string_view spell(const std::array<Spelling<Enum>, N> &table, Enum value) {
  return std::find_if(table.begin(), table.end(),
                      [&](auto &entry) { return entry.value == value; })
      ->text;
}

/// A number, or its name where JSON has none.
Json spell(double value) {
  if (std::isinf(value))
    return value > 0 ? "inf" : "-inf";
  return value;
}

//===----------------------------------------------------------------------===//
// Reading JSON
//===----------------------------------------------------------------------===//

/// A JSON object being read: every key must be asked for, exactly those must be
/// there, and errors say where they are.
class Reader {
public:
  Reader(const Json &json, std::string where)
      : json(json), where(std::move(where)) {
    if (!json.is_object())
      fail(this->where,
           "expected an object, but got " + std::string(json.type_name()));
  }

  /// Reports keys that nobody asked for.
  void finish() const {
    for (const auto &[key, value] : json.items())
      if (!seen.contains(key))
        fail(path(key), "unknown key");
  }

  std::string path(std::string_view key) const {
    return where.empty() ? std::string(key) : where + "." + std::string(key);
  }

  const Json &at(std::string_view key) {
    seen.emplace(key);
    auto found = json.find(key);
    if (found == json.end())
      fail(path(key), "the key is missing");
    return *found;
  }

  std::string string(std::string_view key) {
    const Json &value = at(key);
    if (!value.is_string())
      fail(path(key),
           "expected a string, but got " + std::string(value.type_name()));
    return value.get<std::string>();
  }

  int64_t integer(std::string_view key) { return integer(at(key), path(key)); }

  static int64_t integer(const Json &value, const std::string &where) {
    constexpr uint64_t limit = std::numeric_limits<int64_t>::max();
    if (!value.is_number_unsigned() || value.get<uint64_t>() > limit)
      fail(where,
           "expected a whole number, not negative, but got " + value.dump());
    return value.get<int64_t>();
  }

  double number(std::string_view key) {
    const Json &value = at(key);
    if (value == "inf" || value == "-inf")
      return (value == "inf" ? 1 : -1) *
             std::numeric_limits<double>::infinity();
    if (!value.is_number())
      fail(path(key), "expected a number, but got " + value.dump());
    return value.get<double>();
  }

  bool boolean(std::string_view key) {
    const Json &value = at(key);
    if (!value.is_boolean())
      fail(path(key), "expected true or false, but got " + value.dump());
    return value.get<bool>();
  }

  template <typename Enum, size_t N>
  Enum keyword(std::string_view key,
               const std::array<Spelling<Enum>, N> &table) {
    std::string text = string(key), choices;
    for (const Spelling<Enum> &entry : table) {
      if (entry.text == text)
        return entry.value;
      choices += (choices.empty() ? "" : ", ") + quote(entry.text);
    }
    fail(path(key), "expected one of " + choices + ", but got " + quote(text));
  }

  TensorType type(std::string_view key) {
    return parseType(string(key), path(key));
  }

  const Json &array(std::string_view key) {
    const Json &value = at(key);
    if (!value.is_array())
      fail(path(key),
           "expected a list, but got " + std::string(value.type_name()));
    return value;
  }

  const Json &object(std::string_view key) {
    const Json &value = at(key);
    if (!value.is_object())
      fail(path(key),
           "expected an object, but got " + std::string(value.type_name()));
    return value;
  }

private:
  static TensorType parseType(const std::string &text,
                              const std::string &where) {
    auto malformed = [&]() {
      fail(where,
           "expected a type such as \"f32[3,5]\", but got " + quote(text));
    };
    TensorType type;
    size_t bracket = text.find('[');
    std::string element = text.substr(0, bracket);
    auto found =
        std::find_if(kElements.begin(), kElements.end(),
                     [&](auto &entry) { return entry.text == element; });
    if (found == kElements.end())
      malformed();
    type.element = found->value;
    if (bracket == std::string::npos)
      return type;
    size_t at = bracket + 1;
    while (true) {
      size_t end = text.find_first_of(",]", at);
      if (end == std::string::npos || end == at || end - at > 18)
        malformed();
      int64_t size = 0;
      for (; at < end; ++at) {
        if (text[at] < '0' || text[at] > '9')
          malformed();
        size = size * 10 + (text[at] - '0');
      }
      type.shape.push_back(size);
      ++at;
      if (text[end] == ']')
        break;
    }
    if (at != text.size())
      malformed();
    return type;
  }

  const Json &json;
  std::string where;
  std::set<std::string, std::less<>> seen;
};

Parameter readParameter(const Json &json, const std::string &where) {
  Reader reader(json, where);
  Parameter parameter;
  parameter.name = reader.string("name");
  parameter.role = reader.keyword("role", kRoles);
  parameter.type = reader.type("type");
  Reader init(reader.object("initializer"), reader.path("initializer"));
  parameter.initializer.kind = init.keyword("kind", kInitKinds);
  if (parameter.initializer.kind == InitKind::normal)
    parameter.initializer.stddev = init.number("stddev");
  if (parameter.initializer.kind == InitKind::constant)
    parameter.initializer.value = init.number("value");
  init.finish();
  parameter.source = reader.string("source");
  parameter.sourceFile = reader.string("source_file");
  parameter.sourceColumns = reader.integer("source_columns");
  parameter.column = reader.integer("column");
  parameter.offset = reader.integer("offset");
  parameter.decay = reader.boolean("decay");
  reader.finish();
  return parameter;
}

SparseLayer readSparseLayer(const Json &json, const std::string &where) {
  Reader reader(json, where);
  SparseLayer layer;
  layer.weight = reader.string("weight");
  layer.rows = reader.integer("rows");
  layer.columns = reader.integer("columns");
  layer.selection = reader.string("selection");
  const Json &state = reader.array("state");
  for (size_t i = 0; i < state.size(); ++i) {
    if (!state[i].is_string())
      fail(reader.path("state") + "[" + std::to_string(i) + "]",
           "must be the name of a parameter, but is " + state[i].dump());
    layer.state.push_back(state[i].get<std::string>());
  }
  layer.finalSparsity = reader.number("final_sparsity");
  layer.sparsityInput = reader.string("sparsity_input");
  reader.finish();
  return layer;
}

EntryPoint readEntryPoint(const Json &json, const std::string &where) {
  Reader reader(json, where);
  EntryPoint entry;
  entry.symbol = reader.string("symbol");
  const Json &arguments = reader.array("arguments");
  for (size_t i = 0; i < arguments.size(); ++i) {
    Reader item(arguments[i],
                reader.path("arguments") + "[" + std::to_string(i) + "]");
    Argument argument;
    argument.kind = item.keyword("kind", kArgKinds);
    argument.name = item.string("name");
    if (argument.kind != ArgKind::space)
      argument.type = item.type("type");
    item.finish();
    entry.arguments.push_back(std::move(argument));
  }
  const Json &launches = reader.array("launches");
  for (size_t i = 0; i < launches.size(); ++i) {
    std::string at = reader.path("launches") + "[" + std::to_string(i) + "]";
    if (!launches[i].is_string())
      fail(at, "expected a string, but got " + launches[i].dump());
    entry.launches.push_back(
        Launch::fromText(launches[i].get_ref<const std::string &>(), at));
  }
  reader.finish();
  return entry;
}

/// One place names the fields of the memory plan, for reading and writing.
template <typename Plan, typename Visit>
void visitMemory(Plan &plan, Visit visit) {
  visit("frozen", plan.frozen);
  visit("trainable", plan.trainable);
  visit("gradients", plan.gradients);
  visit("optimizer", plan.optimizer);
  visit("state", plan.state);
  visit("activations", plan.activations);
  visit("workspace", plan.workspace);
  visit("arena", plan.arena);
}

} // namespace

//===----------------------------------------------------------------------===//
// Types
//===----------------------------------------------------------------------===//

int64_t pst::byteSize(ElementType type) {
  switch (type) {
  case ElementType::bf16:
    return 2;
  case ElementType::f32:
  case ElementType::i32:
    return 4;
  case ElementType::f64:
  case ElementType::i64:
    return 8;
  }
  return 0;
}

std::string_view pst::name(ElementType type) { return spell(kElements, type); }

int64_t TensorType::numElements() const {
  int64_t count = 1;
  for (int64_t size : shape)
    count *= size;
  return count;
}

bool Manifest::isForGPU() const { return triple == kGPUTriple; }

const Parameter *Manifest::findParameter(std::string_view name) const {
  auto found = std::find_if(parameters.begin(), parameters.end(),
                            [&](auto &p) { return p.name == name; });
  return found == parameters.end() ? nullptr : &*found;
}

const EntryPoint *Manifest::findEntryPoint(std::string_view name) const {
  auto found = entryPoints.find(std::string(name));
  return found == entryPoints.end() ? nullptr : &found->second;
}

std::optional<double> Manifest::fixedSparsity() const {
  for (const SparseLayer &layer : sparseLayers) {
    int kept = 0, group = 0;
    if (std::sscanf(layer.selection.c_str(), "nm %d:%d", &kept, &group) == 2 &&
        group > 0)
      return 1 - static_cast<double>(kept) / group;
  }
  return std::nullopt;
}

//===----------------------------------------------------------------------===//
// Fingerprint
//===----------------------------------------------------------------------===//

/// FNV-1a, 64 bits, from a given basis.
static uint64_t hash(std::string_view text, uint64_t basis) {
  for (unsigned char c : text)
    basis = (basis ^ c) * 0x100000001b3;
  return basis;
}

double Manifest::sparsityOf(const SparseLayer &layer, double sparsity) const {
  if (layer.finalSparsity < 0)
    return sparsity;
  return sparsity >= finalSparsity
             ? layer.finalSparsity
             : sparsity * (layer.finalSparsity / finalSparsity);
}

std::string Manifest::fingerprint() const {
  Json json;
  json["architecture"] = architecture;
  json["method"] = method;
  json["hyperparameters"] = hyperparameters;
  if (!criterion.empty())
    json["criterion"] = criterion;
  // Sorted: the order of declaration is of no meaning.
  std::map<std::string, std::string> lines;
  for (const Parameter &p : parameters)
    lines["parameter " + p.name] =
        std::string(spell(kRoles, p.role)) + " " + spell(p.type);
  for (const SparseLayer &l : sparseLayers)
    lines["layer " + l.weight] = std::to_string(l.rows) + "x" +
                                 std::to_string(l.columns) + " " + l.selection;
  for (const SparseLayer &l : sparseLayers)
    if (l.finalSparsity >= 0)
      lines["sparsity " + l.weight] = std::to_string(l.finalSparsity) + " at " +
                                      std::to_string(finalSparsity);
  json["lines"] = lines;
  std::string text = json.dump();
  char digest[33];
  std::snprintf(
      digest, sizeof digest, "%016llx%016llx",
      static_cast<unsigned long long>(hash(text, 0xcbf29ce484222325)),
      static_cast<unsigned long long>(hash(text, 0x9e3779b97f4a7c15)));
  return digest;
}

//===----------------------------------------------------------------------===//
// JSON
//===----------------------------------------------------------------------===//

std::string Manifest::toJson() const {
  Json json;
  json["version"] = kBundleVersion;
  json["triple"] = triple;
  json["cpu"] = cpu;
  json["features"] = features;
  json["library"] = library;
  json["architecture"] = architecture;
  json["config"] = config;
  json["method"] = method;
  json["hyperparameters"] = hyperparameters;
  json["criterion"] = criterion;
  json["final_sparsity"] = finalSparsity;
  json["parameters"] = Json::array();
  for (const Parameter &p : parameters) {
    Json init{{"kind", spell(kInitKinds, p.initializer.kind)}};
    if (p.initializer.kind == InitKind::normal)
      init["stddev"] = p.initializer.stddev;
    if (p.initializer.kind == InitKind::constant)
      init["value"] = spell(p.initializer.value);
    json["parameters"].push_back({{"name", p.name},
                                  {"role", spell(kRoles, p.role)},
                                  {"type", spell(p.type)},
                                  {"initializer", init},
                                  {"source", p.source},
                                  {"source_file", p.sourceFile},
                                  {"source_columns", p.sourceColumns},
                                  {"column", p.column},
                                  {"offset", p.offset},
                                  {"decay", p.decay}});
  }
  json["sparse_layers"] = Json::array();
  for (const SparseLayer &l : sparseLayers)
    json["sparse_layers"].push_back({{"weight", l.weight},
                                     {"rows", l.rows},
                                     {"columns", l.columns},
                                     {"selection", l.selection},
                                     {"state", l.state},
                                     {"final_sparsity", l.finalSparsity},
                                     {"sparsity_input", l.sparsityInput}});
  json["spaces"] = spaces;
  json["entry_points"] = Json::object();
  for (const auto &[name, entry] : entryPoints) {
    Json arguments = Json::array();
    for (const Argument &argument : entry.arguments) {
      Json item{{"kind", spell(kArgKinds, argument.kind)},
                {"name", argument.name}};
      if (argument.kind != ArgKind::space)
        item["type"] = spell(argument.type);
      arguments.push_back(std::move(item));
    }
    Json launches = Json::array();
    for (const Launch &launch : entry.launches)
      launches.push_back(launch.toText());
    json["entry_points"][name] = {{"symbol", entry.symbol},
                                  {"arguments", std::move(arguments)},
                                  {"launches", std::move(launches)}};
  }
  json["memory"] = Json::object();
  visitMemory(memory, [&](const char *key, int64_t bytes) {
    json["memory"][key] = bytes;
  });
  return json.dump(1) + "\n";
}

Manifest Manifest::fromJson(std::string_view text) {
  Json json;
  try {
    json = Json::parse(text);
  } catch (const Json::exception &error) {
    throw ManifestError(std::string("manifest: not valid JSON: ") +
                        error.what());
  }
  Reader reader(json, "");
  // First of all, so that a bundle of another version is called that, and not
  // an unknown key.
  int64_t version = reader.integer("version");
  if (version != kBundleVersion)
    fail("version", "this runtime reads version " +
                        std::to_string(kBundleVersion) +
                        ", but the bundle is of version " +
                        std::to_string(version) + ": compile it anew");
  Manifest manifest;
  manifest.triple = reader.string("triple");
  manifest.cpu = reader.string("cpu");
  manifest.features = reader.string("features");
  manifest.library = reader.string("library");
  manifest.architecture = reader.string("architecture");
  manifest.config = reader.string("config");
  manifest.method = reader.string("method");
  Reader hyper(reader.object("hyperparameters"), "hyperparameters");
  for (const auto &[key, value] : reader.at("hyperparameters").items())
    manifest.hyperparameters[key] = hyper.number(key);
  manifest.criterion = reader.string("criterion");
  manifest.finalSparsity = reader.number("final_sparsity");
  const Json &parameters = reader.array("parameters");
  for (size_t i = 0; i < parameters.size(); ++i)
    manifest.parameters.push_back(
        readParameter(parameters[i], "parameters[" + std::to_string(i) + "]"));
  const Json &layers = reader.array("sparse_layers");
  for (size_t i = 0; i < layers.size(); ++i)
    manifest.sparseLayers.push_back(
        readSparseLayer(layers[i], "sparse_layers[" + std::to_string(i) + "]"));
  Reader spaces(reader.object("spaces"), "spaces");
  for (const auto &[key, value] : reader.at("spaces").items())
    manifest.spaces[key] = spaces.integer(key);
  for (const auto &[key, value] : reader.object("entry_points").items())
    manifest.entryPoints[key] = readEntryPoint(value, "entry_points." + key);
  Reader memory(reader.object("memory"), "memory");
  visitMemory(manifest.memory, [&](const char *key, int64_t &bytes) {
    bytes = memory.integer(key);
  });
  memory.finish();
  reader.finish();
  manifest.verify();
  return manifest;
}
