//===- ChooseLayers.cpp - Which layers become sparse, and how much --------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ChooseLayers.h"
#include "ReadText.h"
#include "pst/Bundle/JsonText.h"
#include "pst/Dialect/PST/StageAttributes.h"
#include "pst/Options/CompilerOptions.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/Regex.h"

using namespace mlir;
using namespace pst;

namespace {

/// How a name meets a module; a better way first.
enum class Match { whole, end, expression, none };

/// A name that a user gave.
class LayerName {
public:
  explicit LayerName(StringRef text)
      : text(text.trim().str()), expression(translated()) {}

  StringRef getText() const { return text; }
  /// What is wrong with it, or nothing.
  std::string error() const;
  Match match(StringRef module) const;

private:
  std::string translated() const;

  std::string text;
  llvm::Regex expression;
};

} // namespace

/// "^(...)$", with the classes that POSIX does not know spelled out.
std::string LayerName::translated() const {
  std::string posix;
  for (size_t i = 0; i < text.size(); ++i) {
    StringRef known = text[i] == '\\' && i + 1 < text.size()
                          ? llvm::StringSwitch<StringRef>(text.substr(i + 1, 1))
                                .Case("d", "[0-9]")
                                .Case("w", "[A-Za-z0-9_]")
                                .Case("s", "[[:space:]]")
                                .Default("")
                          : "";
    if (known.empty()) {
      posix += text[i];
      continue;
    }
    posix += known;
    ++i;
  }
  return "^(" + posix + ")$";
}

std::string LayerName::error() const {
  if (text.empty())
    return "a name is empty";
  std::string message;
  if (expression.isValid(message))
    return "";
  return "'" + text + "' is no regular expression: " + message;
}

Match LayerName::match(StringRef module) const {
  auto [whole, part] = module.split(':');
  Match best = Match::none;
  for (StringRef name : {module, whole}) {
    if (name == text)
      best = std::min(best, Match::whole);
    else if (name.ends_with("." + text))
      best = std::min(best, Match::end);
    else if (expression.match(name))
      best = std::min(best, Match::expression);
  }
  return best;
}

/// "h.0.attn.c_attn.weight:query" is the weight of "h.0.attn.c_attn:query".
static std::string moduleOf(ParameterOp weight) {
  auto [name, part] = weight.getSymName().split(':');
  name.consume_back(".weight");
  return (name + (part.empty() ? "" : ":") + part).str();
}

SmallVector<ParameterOp> pst::markedWeights(ModuleOp module) {
  return llvm::filter_to_vector(
      module.getOps<ParameterOp>(),
      [](ParameterOp op) { return op->hasAttr(kSparsifyAttribute); });
}

/// The names of modules, a number in them as a star: "layer.*.query".
static void listModules(InFlightDiagnostic &error,
                        ArrayRef<ParameterOp> weights) {
  SmallVector<std::string> patterns;
  for (ParameterOp weight : weights) {
    SmallVector<StringRef> parts;
    std::string name = moduleOf(weight);
    StringRef(name).split(parts, '.');
    for (StringRef &part : parts)
      if (llvm::all_of(part, llvm::isDigit))
        part = "*";
    std::string pattern = llvm::join(parts, ".");
    if (!llvm::is_contained(patterns, pattern))
      patterns.push_back(pattern);
  }
  llvm::interleaveComma(patterns, error);
}

/// The names of a list with commas. Emits an error at `loc` that begins with
/// `what`.
static FailureOr<SmallVector<LayerName>>
parseNames(Location loc, StringRef what, ArrayRef<StringRef> texts) {
  SmallVector<LayerName> names;
  for (StringRef text : texts) {
    names.emplace_back(text);
    if (std::string message = names.back().error(); !message.empty())
      return emitError(loc) << what << ": " << message;
  }
  return names;
}

/// Of each weight: the first of the names that meets it best, or -1. An error
/// if a name meets none.
static FailureOr<SmallVector<int>> match(Location loc, StringRef what,
                                         ArrayRef<LayerName> names,
                                         ArrayRef<ParameterOp> weights) {
  SmallVector<int> found(weights.size(), -1);
  SmallVector<Match> best(weights.size(), Match::none);
  for (auto [n, name] : llvm::enumerate(names)) {
    bool any = false;
    for (auto [w, weight] : llvm::enumerate(weights)) {
      Match here = name.match(moduleOf(weight));
      any |= here != Match::none;
      if (here < best[w]) {
        best[w] = here;
        found[w] = static_cast<int>(n);
      }
    }
    if (any)
      continue;
    InFlightDiagnostic error = emitError(loc)
                               << what << ": no linear layer is called '"
                               << name.getText() << "'; those that can become "
                               << "sparse are: ";
    listModules(error, weights);
    return error;
  }
  return found;
}

/// The names of a list with commas, of which none is empty.
static FailureOr<SmallVector<LayerName>>
parseList(ModuleOp module, StringRef what, StringRef list) {
  SmallVector<StringRef> texts;
  list.split(texts, ',', /*MaxSplit=*/-1, /*KeepEmpty=*/false);
  return parseNames(module.getLoc(), what, texts);
}

LogicalResult pst::chooseLayers(ModuleOp module, StringRef targets,
                                StringRef excluded) {
  SmallVector<ParameterOp> weights = markedWeights(module);
  auto meets = [&](StringRef what,
                   StringRef list) -> FailureOr<SmallVector<int>> {
    auto names = parseList(module, what, list);
    if (failed(names))
      return failure();
    return match(module.getLoc(), what, *names, weights);
  };
  auto wanted = meets("target_modules", targets);
  auto unwanted = meets("exclude_modules", excluded);
  if (failed(wanted) || failed(unwanted))
    return failure();
  size_t chosen = weights.size();
  for (auto [w, weight] : llvm::enumerate(weights))
    if ((!targets.empty() && (*wanted)[w] < 0) || (*unwanted)[w] >= 0) {
      weight->removeAttr(kSparsifyAttribute);
      --chosen;
    }
  if (chosen == 0 && !weights.empty())
    return module.emitError("exclude_modules leaves no linear layer to be "
                            "made sparse");
  return success();
}

/// Whether the parameter's module has the name, or one that it lies in.
static bool liesIn(ParameterOp parameter, const LayerName &name) {
  StringRef module = parameter.getSymName();
  if (name.match(moduleOf(parameter)) != Match::none)
    return true;
  while (module.contains('.')) {
    module = module.rsplit('.').first;
    if (name.match(module) != Match::none)
      return true;
  }
  return false;
}

static void trainAtHeadsRate(ParameterOp parameter) {
  if (parameter.getRole() != ParameterRole::Frozen)
    return;
  parameter.setRole(ParameterRole::Trainable);
  parameter.setGroup(RateGroup::Head);
  parameter->removeAttr(kSparsifyAttribute);
}

void pst::trainWithHead(ModuleOp module) {
  for (auto parameter : module.getOps<ParameterOp>())
    if (parameter->hasAttr(kWithHeadAttribute))
      trainAtHeadsRate(parameter);
}

LogicalResult pst::trainModules(ModuleOp module, StringRef list) {
  if (list == kNoModules)
    return success();
  auto names = parseList(module, "modules_to_save", list);
  if (failed(names))
    return failure();
  SmallVector<ParameterOp> parameters(module.getOps<ParameterOp>());
  bool hadMarked = !markedWeights(module).empty();
  for (const LayerName &name : *names) {
    bool any = false;
    for (ParameterOp parameter : parameters) {
      if (!liesIn(parameter, name))
        continue;
      any = true;
      trainAtHeadsRate(parameter);
    }
    if (any)
      continue;
    InFlightDiagnostic error = module.emitError("modules_to_save: no module is "
                                                "called '")
                               << name.getText()
                               << "'; those that have parameters are: ";
    listModules(error, parameters);
    return error;
  }
  if (hadMarked && markedWeights(module).empty())
    return module.emitError("modules_to_save leaves no linear layer to be made "
                            "sparse");
  return success();
}

FailureOr<llvm::StringMap<double>> pst::readLayerSparsities(ModuleOp module,
                                                            StringRef path) {
  Location loc = FileLineColLoc::get(module.getContext(), path, 0, 0);
  FailureOr<std::string> contents = readText(module.getContext(), path);
  if (failed(contents))
    return failure();
  if (nestsTooDeep(*contents))
    return emitError(loc) << "is no JSON: " << tooDeepMessage();
  llvm::Expected<llvm::json::Value> json = llvm::json::parse(*contents);
  if (!json)
    return emitError(loc) << "is no JSON: " << llvm::toString(json.takeError());
  const llvm::json::Object *object = json->getAsObject();
  if (!object)
    return emitError(loc) << "must be an object of layers and their final "
                             "sparsities, as in {\"query\": 0.5}";
  SmallVector<StringRef> texts;
  SmallVector<double> values;
  for (const auto &entry : *object)
    texts.push_back(entry.first);
  llvm::sort(texts); // an object has no order
  for (StringRef text : texts) {
    std::optional<double> number = object->getNumber(text);
    if (!number || !(*number >= 0.0 && *number < 1.0))
      return emitError(loc)
             << "the sparsity of '" << text << "' must be a number in [0, 1)";
    values.push_back(*number);
  }
  SmallVector<ParameterOp> weights = markedWeights(module);
  auto names = parseNames(loc, "layer_sparsity", texts);
  if (failed(names))
    return failure();
  auto found = match(loc, "layer_sparsity", *names, weights);
  if (failed(found))
    return failure();
  llvm::StringMap<double> sparsities;
  for (auto [w, weight] : llvm::enumerate(weights)) {
    int n = (*found)[w];
    if (n < 0)
      continue;
    std::string layer = moduleOf(weight);
    for (auto [other, name] : llvm::enumerate(*names))
      if (name.match(layer) == (*names)[n].match(layer) &&
          values[other] != values[n])
        return emitError(loc)
               << "layer '" << layer << "' is named by '"
               << (*names)[n].getText() << "' and by '" << name.getText()
               << "', which give it different sparsities";
    sparsities[weight.getSymName()] = values[n];
  }
  return sparsities;
}

FailureOr<llvm::StringMap<double>> pst::ownSparsities(ModuleOp module) {
  llvm::StringMap<double> sparsities;
  bool any = false;
  for (ParameterOp weight : markedWeights(module)) {
    auto kept = weight->getAttrOfType<IntegerAttr>(kKeptAttribute);
    any |= kept != nullptr;
    auto count = static_cast<double>(
        cast<RankedTensorType>(weight.getType()).getNumElements());
    double zeros = kept ? count - static_cast<double>(kept.getInt()) : 0.0;
    if (zeros == count) {
      weight->removeAttr(kSparsifyAttribute);
      continue;
    }
    // In the middle between so many and one more, so that rounding tells them
    // apart.
    sparsities[weight.getSymName()] = (zeros + 0.5) / count;
  }
  if (!any)
    return module.emitError("layer_sparsity is 'zeros', but no linear layer of "
                            "the model has one");
  return sparsities;
}
