//===- VerifyLayers.cpp - Whether sparse layers are what they say -------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ManifestVerify.h"

#include <cmath>
#include <optional>
#include <set>

using namespace pst;
using namespace pst::manifest;

namespace {

/// Whether tensors of these shapes are such a factor of a rows x columns
/// weight.
bool isFactor(Factor::Kind kind, const std::vector<const Parameter *> &tensors,
              int64_t rows, int64_t columns) {
  using Shape = std::vector<int64_t>;
  auto is = [&](const Shape &shape) {
    return tensors.size() == 1 && tensors[0]->type.shape == shape;
  };
  switch (kind) {
  case Factor::Kind::dense:
    return is({rows, columns});
  case Factor::Kind::row:
    return is({rows});
  case Factor::Kind::col:
    return is({columns});
  case Factor::Kind::lowrank:
    break;
  }
  if (tensors.size() != 2 || tensors[0]->type.shape.size() != 2)
    return false;
  int64_t rank = tensors[0]->type.shape[1];
  return tensors[0]->type.shape == Shape{rows, rank} &&
         tensors[1]->type.shape == Shape{rank, columns};
}

void verifyFactors(const Verified &verified, const SparseLayer &layer) {
  bool hasWeight = false;
  for (const Factor &factor : layer.factors) {
    std::vector<const Parameter *> tensors;
    std::string names;
    for (const std::string &name : factor.tensors) {
      names += (names.empty() ? "" : ", ") + quote(name);
      tensors.push_back(verified.find(name));
      if (!tensors.back())
        fail("sparse layer " + quote(layer.weight),
             "has the factor " + quote(name) + ", which is no parameter");
      hasWeight |= name == layer.weight && factor.kind == Factor::Kind::dense;
    }
    if (!isFactor(factor.kind, tensors, layer.rows, layer.columns))
      fail("sparse layer " + quote(layer.weight),
           "its factor of " + (names.empty() ? "no tensor" : names) +
               " has not the shapes of its kind");
  }
  if (!hasWeight)
    fail("sparse layer " + quote(layer.weight),
         "its weight must be one of its dense factors");
}

/// Takes the number at the beginning of `text` off it; 0 if there is none from
/// 1 to a billion.
int64_t takeNumber(std::string_view &text) {
  int64_t number = 0;
  size_t digits = 0;
  for (; digits < text.size() && digits < 10 && text[digits] >= '0' &&
         text[digits] <= '9';
       ++digits)
    number = number * 10 + (text[digits] - '0');
  text.remove_prefix(digits);
  return number <= 1'000'000'000 ? number : 0;
}

bool take(std::string_view &text, std::string_view what) {
  if (!text.starts_with(what))
    return false;
  text.remove_prefix(what.size());
  return true;
}

/// The types of the state that a selection leaves for such a layer
/// (docs/BundleFormat.md, "selection"); nothing if there is no such selection.
std::optional<std::vector<TensorType>> stateTypes(const SparseLayer &layer) {
  const TensorType f32{ElementType::f32, {}}, i64{ElementType::i64, {}};
  std::string_view text = layer.selection;
  if (text == "topk layer" || text == "topk global")
    return {{f32, i64}};
  if (text == "topk row")
    return {
        {{ElementType::f32, {layer.rows}}, {ElementType::i64, {layer.rows}}}};
  if (take(text, "nm ")) {
    int64_t kept = takeNumber(text);
    bool colon = take(text, ":");
    int64_t group = takeNumber(text);
    if (kept < 1 || !colon || group <= kept || !text.empty())
      return std::nullopt;
    return {{i64}};
  }
  int64_t rows = 1, columns = layer.columns;
  if (take(text, "block ")) {
    rows = takeNumber(text);
    bool by = take(text, "x");
    columns = takeNumber(text);
    if (rows < 1 || !by || columns < 1)
      return std::nullopt;
  } else if (!take(text, "rows")) {
    return std::nullopt;
  }
  if (text != " mean" && text != " max")
    return std::nullopt;
  auto blocks = [](int64_t size, int64_t of) { return (size - 1) / of + 1; };
  return {{{ElementType::f32,
            {blocks(layer.rows, rows), blocks(layer.columns, columns)}},
           f32,
           i64}};
}

void verifyState(const Verified &verified, const SparseLayer &layer) {
  std::string where = "sparse layer " + quote(layer.weight);
  // Without a score nothing is masked, only merged.
  if (layer.selection.empty() != layer.state.empty())
    fail(where, "must have a selection and its state, or neither");
  std::vector<TensorType> types;
  if (!layer.selection.empty()) {
    auto found = stateTypes(layer);
    if (!found)
      fail(where, "there is no \"selection\" " + quote(layer.selection));
    types = *found;
  }
  if (types.size() != layer.state.size())
    fail(where, "its \"state\" has " + std::to_string(layer.state.size()) +
                    " parameters, but " + quote(layer.selection) + " leaves " +
                    std::to_string(types.size()));
  for (size_t i = 0; i < types.size(); ++i) {
    const Parameter *parameter = verified.find(layer.state[i]);
    if (!parameter || parameter->role != Role::state ||
        parameter->type != types[i])
      fail(where, quote(layer.state[i]) +
                      " must be a state parameter of type " + spell(types[i]));
  }
  const Parameter *pruned = verified.find(layer.pruned);
  if (!layer.pruned.empty() &&
      (layer.selection.empty() || !pruned || pruned->role != Role::state ||
       pruned->type != TensorType{ElementType::i64, {}}))
    fail(where, quote(layer.pruned) +
                    " must be a state parameter of type i64, which its "
                    "selection leaves");
}

} // namespace

void manifest::verifySparseLayers(const Verified &verified) {
  const Manifest &manifest = verified.manifest;
  std::set<std::string_view> weights;
  for (const SparseLayer &layer : manifest.sparseLayers) {
    std::string where = "sparse layer " + quote(layer.weight);
    const Parameter *weight = verified.find(layer.weight);
    if (!weight || weight->role == Role::state || weight->role == Role::cache ||
        weight->type.shape != std::vector<int64_t>{layer.rows, layer.columns})
      fail(where, "there must be a parameter of this name, " +
                      std::to_string(layer.rows) + " x " +
                      std::to_string(layer.columns));
    if (!weights.insert(layer.weight).second)
      fail(where, "is listed twice");
    verifyFactors(verified, layer);
    if (!(layer.finalSparsity < 1) || !std::isfinite(layer.finalSparsity) ||
        (layer.finalSparsity >= 0 &&
         !(manifest.finalSparsity >= 0 && manifest.finalSparsity < 1)))
      fail(where, "has a final sparsity of its own, which must lie below 1, as "
                  "must the manifest's \"final_sparsity\"");
    verifyText(layer.sparsityInput, where + ", \"sparsity_input\"");
    verifyState(verified, layer);
  }
  // An export leaves factors out, so that what is one is no layer's weight.
  for (const SparseLayer &layer : manifest.sparseLayers)
    for (const Factor &factor : layer.factors)
      for (const std::string &tensor : factor.tensors)
        if (tensor != layer.weight && weights.contains(tensor))
          fail("sparse layer " + quote(layer.weight),
               "its factor " + quote(tensor) +
                   " is the weight of another layer");
}
