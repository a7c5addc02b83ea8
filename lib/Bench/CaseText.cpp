//===- CaseText.cpp - The named kernels as MLIR text ----------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "CaseText.h"
#include "pst/Transforms/Recipes.h"

using namespace pst::bench;

using Strings = std::vector<std::string>;

static std::string join(const Strings &parts) {
  std::string text;
  for (const std::string &part : parts)
    text += (text.empty() ? "" : ", ") + part;
  return text;
}

static std::string matrix(int64_t rows, int64_t columns) {
  return "tensor<" + std::to_string(rows) + "x" + std::to_string(columns) +
         "xf32>";
}

static std::string named(const std::string &name, const std::string &type) {
  return "%" + name + ": " + type + " {pst.name = \"" + name + "\"}";
}

static std::string function(const std::string &name, const Strings &parameters,
                            const std::string &body, const Strings &results,
                            const Strings &types) {
  Strings values, named;
  for (size_t i = 0; i < results.size(); ++i) {
    values.push_back("%" + results[i]);
    named.push_back(types[i] + " {pst.name = \"" + results[i] + "\"}");
  }
  return "func.func @" + name + "(" + join(parameters) + ") -> (" +
         join(named) + ") {\n" + body + "  return " + join(values) + " : " +
         join(types) + "\n}\n";
}

std::string pst::bench::denseText(const Product &p) {
  std::string a = p.transposeA ? matrix(p.k, p.m) : matrix(p.m, p.k);
  std::string b = p.transposeB ? matrix(p.n, p.k) : matrix(p.k, p.n);
  std::string c = matrix(p.m, p.n);
  std::string op = p.transposeB && !p.transposeA ? "nn.linear" : "nn.matmul";
  std::string flags;
  if (p.transposeA)
    flags =
        p.transposeB ? " {transpose_lhs, transpose_rhs}" : " {transpose_lhs}";
  std::string body = "  %c = " + op + " %a, %b" + flags + " : " + a + ", " + b +
                     " -> " + c + "\n";
  return function("dense", {named("a", a), named("b", b)}, body, {"c"}, {c});
}

//===----------------------------------------------------------------------===//
// LayerText
//===----------------------------------------------------------------------===//

static const Strings kGradients = {"du", "dv", "da", "db", "dr", "dc"};
static const char *kFactors = "%w, %u, %v, %a, %b, %r, %c";

/// The criterion @pst, as models are trained with it.
static std::string criterion() { return pst::recipeText("pst")->str(); }

/// Types of w, u, v, a, b, r, c.
static Strings factorTypes(const VirtualLayer &layer) {
  std::string left = matrix(layer.rows, layer.rank);
  std::string right = matrix(layer.rank, layer.columns);
  auto vector = [](int64_t size) {
    return "tensor<" + std::to_string(size) + "xf32>";
  };
  return {matrix(layer.rows, layer.columns),
          left,
          right,
          left,
          right,
          vector(layer.rows),
          vector(layer.columns)};
}

static Strings withFactors(const VirtualLayer &layer, Strings parameters,
                           const Strings &more) {
  Strings types = factorTypes(layer);
  const char *names[] = {"w", "u", "v", "a", "b", "r", "c"};
  for (size_t i = 0; i < types.size(); ++i)
    parameters.push_back(named(names[i], types[i]));
  parameters.insert(parameters.end(), more.begin(), more.end());
  return parameters;
}

static const Strings kThreshold = {named("tau", "tensor<f32>"),
                                   named("cut", "tensor<i64>")};
static const Strings kSelection = {named("previous", "tensor<f32>"),
                                   named("sparsity", "f64")};

LayerText::LayerText(const VirtualLayer &layer, int64_t tokens)
    : layer(layer), x(matrix(tokens, layer.columns)),
      y(matrix(tokens, layer.rows)) {}

std::string LayerText::selection() const {
  return std::string("  %tau, %cut, %pruned = pst.topk_threshold @pst(") + kFactors +
         "), %sparsity previous(%previous) : (" + join(factorTypes(layer)) +
         ")\n";
}

std::string LayerText::product(const std::string &result,
                               const std::string &operand,
                               bool transposed) const {
  return "  %" + result + " = pst.masked_matmul %" + operand + ", @pst(" +
         kFactors + ")" + (transposed ? " transposed" : "") +
         " threshold(%tau, %cut) : " + (transposed ? y : x) + ", (" +
         join(factorTypes(layer)) + ") -> " + (transposed ? x : y) + "\n";
}

Strings LayerText::gradientTypes() const {
  Strings types = factorTypes(layer);
  types.erase(types.begin()); // w gets none
  return types;
}

std::string LayerText::gradients() const {
  Strings results;
  for (const std::string &name : kGradients)
    results.push_back("%" + name);
  return "  " + join(results) + " = pst.lowrank_accumulate %dy, %x, @pst(" +
         kFactors + ") threshold(%tau, %cut) wrt [1, 2, 3, 4, 5, 6] : " + y +
         ", " + x + ", (" + join(factorTypes(layer)) + ") -> " +
         join(gradientTypes()) + "\n";
}

std::string LayerText::masked(bool transposed) const {
  return criterion() +
         function("masked",
                  withFactors(layer, {named("input", transposed ? y : x)},
                              kThreshold),
                  product("output", "input", transposed), {"output"},
                  {transposed ? x : y});
}

std::string LayerText::accumulate() const {
  return criterion() +
         function(
             "accumulate",
             withFactors(layer, {named("dy", y), named("x", x)}, kThreshold),
             gradients(), kGradients, gradientTypes());
}

std::string LayerText::select() const {
  return criterion() + function("select", withFactors(layer, {}, kSelection),
                               selection(), {"tau", "cut"},
                               {"tensor<f32>", "tensor<i64>"});
}

std::string LayerText::whole() const {
  Strings results = {"y", "dx"}, types = {y, x}, more = gradientTypes();
  results.insert(results.end(), kGradients.begin(), kGradients.end());
  types.insert(types.end(), more.begin(), more.end());
  return criterion() +
         function(
             "layer",
             withFactors(layer, {named("x", x), named("dy", y)}, kSelection),
             selection() + product("y", "x", false) +
                 product("dx", "dy", true) + gradients(),
             results, types);
}
