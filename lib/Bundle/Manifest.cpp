//===- Manifest.cpp - What a bundle says about itself ---------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Bundle/Manifest.h"
#include "ManifestReader.h"

#include <cmath>
#include <cstdio>

using namespace pst;
using namespace pst::manifest;

//===----------------------------------------------------------------------===//
// Spelling
//===----------------------------------------------------------------------===//

namespace {

constexpr std::array<Spelling<Role>, 4> kRoles{{{Role::frozen, "frozen"},
                                                {Role::trainable, "trainable"},
                                                {Role::state, "state"},
                                                {Role::cache, "cache"}}};

using InitKind = Initializer::Kind;
constexpr std::array<Spelling<InitKind>, 4> kInitKinds{
    {{InitKind::file, "file"},
     {InitKind::zeros, "zeros"},
     {InitKind::normal, "normal"},
     {InitKind::constant, "constant"}}};

constexpr std::array<Spelling<ModelTask>, 6> kTasks{
    {{ModelTask::none, "none"},
     {ModelTask::classification, "classification"},
     {ModelTask::multiLabel, "multi_label_classification"},
     {ModelTask::tokenClasses, "token_classification"},
     {ModelTask::regression, "regression"},
     {ModelTask::lm, "lm"}}};

constexpr std::array<Spelling<Factor::Kind>, 4> kFactorKinds{
    {{Factor::Kind::dense, "dense"},
     {Factor::Kind::lowrank, "lowrank"},
     {Factor::Kind::row, "row"},
     {Factor::Kind::col, "col"}}};

using ArgKind = Argument::Kind;
constexpr std::array<Spelling<ArgKind>, 4> kArgKinds{
    {{ArgKind::parameter, "parameter"},
     {ArgKind::space, "space"},
     {ArgKind::input, "input"},
     {ArgKind::output, "output"}}};

/// A number, or its name where JSON has none.
Json spell(double value) {
  if (std::isinf(value))
    return value > 0 ? "inf" : "-inf";
  return value;
}

//===----------------------------------------------------------------------===//
// Reading JSON
//===----------------------------------------------------------------------===//

Parameter readParameter(Reader &reader) {
  Parameter parameter;
  parameter.name = reader.string("name");
  parameter.role = reader.keyword("role", kRoles);
  parameter.type = reader.type("type");
  Reader init(reader.object("initializer"), reader.path("initializer"));
  parameter.initializer.kind = init.keyword("kind", kInitKinds);
  if (parameter.initializer.kind == InitKind::normal)
    parameter.initializer.stddev = init.number("stddev");
  if (parameter.initializer.kind == InitKind::constant)
    parameter.initializer.value = init.numberOrInfinity("value");
  init.finish();
  parameter.source = reader.string("source");
  parameter.sourceFile = reader.string("source_file");
  parameter.sourceColumns = reader.integer("source_columns");
  parameter.column = reader.integer("column");
  parameter.offset = reader.integer("offset");
  parameter.decay = reader.boolean("decay");
  return parameter;
}

SparseLayer readSparseLayer(Reader &reader) {
  SparseLayer layer;
  layer.weight = reader.string("weight");
  layer.rows = reader.integer("rows");
  layer.columns = reader.integer("columns");
  layer.selection = reader.string("selection");
  layer.state = reader.strings("state");
  layer.pruned = reader.string("pruned");
  reader.forObjects("factors", [&](Reader &item) {
    Factor &factor = layer.factors.emplace_back();
    factor.kind = item.keyword("kind", kFactorKinds);
    factor.tensors = item.strings("tensors");
  });
  layer.finalSparsity = reader.number("final_sparsity");
  layer.sparsityInput = reader.string("sparsity_input");
  return layer;
}

EntryPoint readEntryPoint(const Json &json, const std::string &where) {
  Reader reader(json, where);
  EntryPoint entry;
  entry.symbol = reader.string("symbol");
  reader.forObjects("arguments", [&](Reader &item) {
    Argument &argument = entry.arguments.emplace_back();
    argument.kind = item.keyword("kind", kArgKinds);
    argument.name = item.string("name");
    if (argument.kind != ArgKind::space)
      argument.type = item.type("type");
    if (item.has("ids"))
      argument.ids = item.integer("ids");
  });
  for (const std::string &text : reader.strings("launches"))
    entry.launches.push_back(Launch::fromText(
        text, reader.path("launches") + "[" +
                  std::to_string(entry.launches.size()) + "]"));
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
  case ElementType::i8:
    return 1;
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

std::string_view pst::spaceOf(Role role) { return spell(kRoles, role); }

std::string TensorType::text() const {
  std::string text(name(element));
  if (shape.empty())
    return text;
  text += '[';
  for (size_t i = 0; i < shape.size(); ++i)
    text += (i ? "," : "") + std::to_string(shape[i]);
  return text + ']';
}

std::string_view pst::name(ElementType type) { return spell(kElements, type); }

std::string_view pst::name(ModelTask task) { return spell(kTasks, task); }

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

const SparseLayer *
Manifest::findLayerOfFactor(std::string_view parameter) const {
  for (const SparseLayer &layer : sparseLayers)
    for (const Factor &factor : layer.factors)
      for (const std::string &tensor : factor.tensors)
        if (tensor == parameter && tensor != layer.weight)
          return &layer;
  return nullptr;
}

const EntryPoint *Manifest::findEntryPoint(std::string_view name) const {
  auto found = entryPoints.find(std::string(name));
  return found == entryPoints.end() ? nullptr : &found->second;
}

int64_t Manifest::numLogits() const {
  if (const EntryPoint *forward = findEntryPoint("forward"))
    for (const Argument &argument : forward->arguments)
      if (argument.kind == ArgKind::output && argument.name == "logits")
        return argument.type.shape.back();
  return 0;
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

template <typename Rates, typename Function>
static void visitRates(Rates &rates, Function function) {
  function("weights", rates.weights);
  function("mask", rates.mask);
  function("head", rates.head);
}

std::string Manifest::toJson() const {
  Json json;
  json["version"] = kBundleVersion;
  json["triple"] = triple;
  json["cpu"] = cpu;
  json["features"] = features;
  json["library"] = library;
  json["architecture"] = architecture;
  json["config"] = config;
  json["task"] = spell(kTasks, task);
  if (tokenCapacity)
    json["token_capacity"] = tokenCapacity;
  json["method"] = method;
  json["hyperparameters"] = hyperparameters;
  visitRates(rates, [&](const char *key, const double &rate) {
    json["rates"][key] = rate;
  });
  if (oneShot)
    json["one_shot"] = true;
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
  for (const SparseLayer &l : sparseLayers) {
    Json factors = Json::array();
    for (const Factor &factor : l.factors)
      factors.push_back({{"kind", spell(kFactorKinds, factor.kind)},
                         {"tensors", factor.tensors}});
    json["sparse_layers"].push_back({{"weight", l.weight},
                                     {"rows", l.rows},
                                     {"columns", l.columns},
                                     {"selection", l.selection},
                                     {"state", l.state},
                                     {"pruned", l.pruned},
                                     {"factors", std::move(factors)},
                                     {"final_sparsity", l.finalSparsity},
                                     {"sparsity_input", l.sparsityInput}});
  }
  json["spaces"] = spaces;
  json["entry_points"] = Json::object();
  for (const auto &[name, entry] : entryPoints) {
    Json arguments = Json::array();
    for (const Argument &argument : entry.arguments) {
      Json item{{"kind", spell(kArgKinds, argument.kind)},
                {"name", argument.name}};
      if (argument.kind != ArgKind::space)
        item["type"] = spell(argument.type);
      if (argument.ids)
        item["ids"] = argument.ids;
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
    json = parseJson(text);
  } catch (const JsonError &error) {
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
  manifest.task = reader.keyword("task", kTasks);
  if (reader.has("token_capacity"))
    manifest.tokenCapacity = reader.integer("token_capacity");
  manifest.method = reader.string("method");
  Reader hyper(reader.object("hyperparameters"), "hyperparameters");
  for (const auto &[key, value] : reader.at("hyperparameters").items())
    manifest.hyperparameters[key] = hyper.number(key);
  if (reader.has("rates")) {
    Reader rates(reader.object("rates"), "rates");
    visitRates(manifest.rates, [&](const char *key, double &rate) {
      rate = rates.number(key);
    });
  }
  if (reader.has("one_shot"))
    manifest.oneShot = reader.boolean("one_shot");
  manifest.criterion = reader.string("criterion");
  manifest.finalSparsity = reader.number("final_sparsity");
  reader.forObjects("parameters", [&](Reader &item) {
    manifest.parameters.push_back(readParameter(item));
  });
  reader.forObjects("sparse_layers", [&](Reader &item) {
    manifest.sparseLayers.push_back(readSparseLayer(item));
  });
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
