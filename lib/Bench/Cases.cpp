//===- Cases.cpp - The named kernels of pst-bench -------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Bench/Cases.h"
#include "CaseText.h"
#include "VirtualLayer.h"
#include "pst/Bench/Kernel.h"
#include "pst/Compiler.h"
#include "pst/Runtime/Error.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <optional>
#include <sstream>

using namespace pst;
using namespace pst::bench;
using runtime::Error;

namespace {

/// One case from its text to its figures.
class Run {
public:
  Run(const CaseOptions &options, const Rivals &rivals)
      : options(options), rivals(rivals) {
    compilerOptions().set(compiler, "products", options.products);
    compiler.cpu = options.cpu;
    setKernelThreads(options.timing.threads);
    for (const auto &rival : rivals.present)
      rival->setThreads(options.timing.threads);
  }

  CaseResult gemm();
  CaseResult masked();
  CaseResult accumulate();
  CaseResult topk();
  CaseResult layer();

private:
  Product shape() const;
  VirtualLayer makeLayer() const {
    return {options.out, options.in, options.rank, options.sparsity};
  }
  /// The threshold that a step before would have left, where the usual
  /// schedule moves fastest: 4.5 / T of sparsity a step, here of T = 4,500.
  float previousThreshold() const {
    return VirtualLayer(options.out, options.in, options.rank,
                        std::max(0.0, options.sparsity - 0.001))
        .threshold;
  }
  void bind(const char *function, const VirtualLayer &layer);
  void addOurs(const char *function) {
    contestants.push_back(
        {"ours", [this, function] { kernel->run(function); }});
  }
  /// Every rival's product, into a matrix of its own.
  void addRivals(Product product);
  /// Compares with `expected`; an error beyond `tolerance` ends the case.
  template <typename Number>
  void compare(const float *ours, const Number *expected, int64_t count,
               double tolerance, const std::string &what);
  CaseResult time(const std::string &title, double operations);

  const CaseOptions &options;
  const Rivals &rivals;
  CompilerOptions compiler;
  std::unique_ptr<Kernel> kernel;
  std::vector<Contestant> contestants;
  std::vector<float> theirs;
  double error = 0;
};

} // namespace

Product Run::shape() const {
  Product p;
  switch (options.form) {
  case Form::nt:
    p = {false, true, options.tokens, options.out, options.in};
    break;
  case Form::nn:
    p = {false, false, options.tokens, options.in, options.out};
    break;
  case Form::tn:
    p = {true, false, options.out, options.in, options.tokens};
    break;
  }
  return p;
}

void Run::bind(const char *function, const VirtualLayer &layer) {
  auto &arguments = kernel->arguments(function);
  auto copy = [&](const char *name, const void *data) {
    if (auto found = arguments.find(name); found != arguments.end())
      std::memcpy(found->second.data(), data, found->second.type().numBytes());
  };
  copy("w", layer.w.data());
  copy("u", layer.u.data());
  copy("v", layer.v.data());
  copy("a", layer.a.data());
  copy("b", layer.b.data());
  copy("r", layer.r.data());
  copy("c", layer.c.data());
  if (arguments.contains("previous")) {
    float previous = previousThreshold();
    copy("previous", &previous);
    copy("sparsity", &options.sparsity);
  } else {
    copy("tau", &layer.threshold);
    copy("cut", &layer.cut);
  }
}

void Run::addRivals(Product product) {
  theirs.resize(product.m * product.n);
  product.c = theirs.data();
  for (const auto &rival : rivals.present)
    contestants.push_back({rival->name(), rival->prepare(product)});
}

template <typename Number>
void Run::compare(const float *ours, const Number *expected, int64_t count,
                  double tolerance, const std::string &what) {
  double scale = 0, worst = 0;
  for (int64_t i = 0; i < count; ++i) {
    double difference = std::fabs(static_cast<double>(ours[i]) -
                                  static_cast<double>(expected[i]));
    // A NaN is no small difference.
    worst = difference <= worst ? worst : difference;
    scale = std::max(scale, std::fabs(static_cast<double>(expected[i])));
  }
  double relative = scale > 0 ? worst / scale : worst;
  if (!(relative <= tolerance))
    throw Error(options.name + ": " + what + " differs from the expected by " +
                std::to_string(relative) +
                " of its largest element, more "
                "than " +
                std::to_string(tolerance) +
                ": the kernel is wrong and is not timed");
  error = std::max(error, relative);
}

CaseResult Run::time(const std::string &title, double operations) {
  CaseResult result;
  int threads = options.timing.threads;
  result.title = title + ", " + std::to_string(threads) +
                 (threads == 1 ? " thread" : " threads");
  result.operations = operations;
  result.error = error;
  result.peak = measurePeak(threads);
  std::vector<Samples> samples = takeTurns(contestants, options.timing);
  result.peak = std::max(result.peak, measurePeak(threads));
  for (size_t i = 0; i < contestants.size(); ++i) {
    double rate = operations / samples[i].median() * 1e-9;
    result.contestants.push_back(
        {contestants[i].name, samples[i], rate, rate / result.peak});
    if (i > 0)
      result.ratios.push_back(ratio(samples[i], samples[0]));
  }
  return result;
}

static const char *spell(Form form) {
  return form == Form::nt ? "nt" : form == Form::nn ? "nn" : "tn";
}

static std::string sizes(const CaseOptions &options) {
  return std::to_string(options.tokens) + "x" + std::to_string(options.out) +
         "x" + std::to_string(options.in);
}

/// C in double precision at up to 4,096 elements spread over it, for want of a
/// rival that computes it all.
static bool plausible(const Product &p, const float *c) {
  int64_t count = p.m * p.n, step = std::max<int64_t>(1, count / 4096);
  for (int64_t at = 0; at < count; at += step) {
    int64_t i = at / p.n, j = at % p.n;
    double sum = 0, size = 0;
    for (int64_t k = 0; k < p.k; ++k) {
      double term =
          static_cast<double>(p.a[p.transposeA ? k * p.m + i : i * p.k + k]) *
          p.b[p.transposeB ? j * p.k + k : k * p.n + j];
      sum += term;
      size += std::fabs(term);
    }
    if (!(std::fabs(c[at] - sum) <= 1e-5 * size + 1e-30))
      return false;
  }
  return true;
}

CaseResult Run::gemm() {
  Product p = shape();
  kernel = std::make_unique<Kernel>(denseText(p), "gemm", compiler);
  auto &arguments = kernel->arguments("dense");
  p.a = arguments.at("a").f32();
  p.b = arguments.at("b").f32();
  addOurs("dense");
  addRivals(p);
  kernel->run("dense");
  float *ours = arguments.at("c").f32();
  if (!plausible(p, ours))
    throw Error("gemm: the product is wrong and is not timed");
  for (size_t i = 1; i < contestants.size(); ++i) {
    contestants[i].run();
    compare(ours, theirs.data(), p.m * p.n, 1e-4, "the product");
  }
  return time("gemm " + std::string(spell(options.form)) + " " + sizes(options),
              p.operations());
}

CaseResult Run::masked() {
  if (options.form == Form::tn)
    throw Error("masked: the forms are nt (forward) and nn (backward)");
  VirtualLayer layer = makeLayer();
  bool transposed = options.form == Form::nn;
  Product p = shape();
  kernel = std::make_unique<Kernel>(
      LayerText(layer, options.tokens).masked(transposed), "masked", compiler);
  bind("masked", layer);
  auto &arguments = kernel->arguments("masked");
  p.a = arguments.at("input").f32();
  p.b = layer.masked.data();
  addOurs("masked");
  addRivals(p);
  kernel->run("masked");
  if (!plausible(p, arguments.at("output").f32()))
    throw Error("masked: the product is wrong and is not timed");
  for (size_t i = 1; i < contestants.size(); ++i) {
    contestants[i].run();
    compare(arguments.at("output").f32(), theirs.data(), p.m * p.n, 1e-4,
            "the product");
  }
  return time("masked " + std::string(spell(options.form)) + " " +
                  sizes(options) + ", sparsity " +
                  std::to_string(options.sparsity).substr(0, 5) + ", " +
                  options.products,
              p.operations());
}

CaseResult Run::accumulate() {
  VirtualLayer layer = makeLayer();
  Product p{true, false, options.out, options.in, options.tokens};
  kernel = std::make_unique<Kernel>(
      LayerText(layer, options.tokens).accumulate(), "accumulate", compiler);
  bind("accumulate", layer);
  auto &arguments = kernel->arguments("accumulate");
  Kernel plain(denseText(p), "gemm", compiler);
  auto &operands = plain.arguments("dense");
  p.a = operands.at("a").f32();
  p.b = operands.at("b").f32();
  std::memcpy(arguments.at("dy").data(), p.a, sizeof(float) * p.m * p.k);
  std::memcpy(arguments.at("x").data(), p.b, sizeof(float) * p.k * p.n);
  addOurs("accumulate");
  contestants.push_back({"our G alone", [&] { plain.run("dense"); }});
  addRivals(p);

  plain.run("dense");
  if (!plausible(p, operands.at("c").f32()))
    throw Error("accumulate: G is wrong, nothing is timed");
  kernel->run("accumulate");
  const char *names[] = {"du", "dv", "da", "db", "dr", "dc"};
  auto expected = layer.gradients(operands.at("c").f32());
  for (int i = 0; i < 6; ++i)
    compare(arguments.at(names[i]).f32(), expected[i].data(),
            static_cast<int64_t>(expected[i].size()), 1e-4, names[i]);
  return time("accumulate " + sizes(options), p.operations());
}

/// Whether a selection found the layer's threshold and cut. Of equal scores
/// none may lie between the two cuts.
static void checkThreshold(const VirtualLayer &layer, float tau, int64_t cut) {
  bool sameCut = cut == layer.cut;
  for (int64_t i = std::min(cut, layer.cut);
       !sameCut &&
       i < std::min(std::max(cut, layer.cut), layer.rows * layer.columns);
       ++i)
    if (layer.score[i] == layer.threshold)
      throw Error("topk: the cut is " + std::to_string(cut) + ", but must be " +
                  std::to_string(layer.cut));
  if (tau != layer.threshold)
    throw Error("topk: the threshold is " + std::to_string(tau) +
                ", but must be " + std::to_string(layer.threshold));
}

CaseResult Run::topk() {
  VirtualLayer layer = makeLayer();
  kernel =
      std::make_unique<Kernel>(LayerText(layer, 1).select(), "topk", compiler);
  bind("select", layer);
  auto &arguments = kernel->arguments("select");
  addOurs("select");
  contestants[0].name = "ours, warm";
  // A second set of arguments, without a threshold to begin with.
  Kernel cold(LayerText(layer, 1).select(), "topk", compiler);
  auto &coldArguments = cold.arguments("select");
  for (auto &[name, buffer] : arguments)
    std::memcpy(coldArguments.at(name).data(), buffer.data(),
                buffer.type().numBytes());
  *coldArguments.at("previous").f32() = std::nanf("");
  contestants.push_back({"ours, cold", [&] { cold.run("select"); }});
  std::vector<float> order(layer.score.size());
  contestants.push_back({"std::nth_element of ready scores", [&] {
                           order = layer.score;
                           std::nth_element(order.begin(),
                                            order.begin() + (layer.keep - 1),
                                            order.end(), std::greater<>());
                         }});
  for (auto *all : {&arguments, &coldArguments}) {
    (all == &arguments ? *kernel : cold).run("select");
    checkThreshold(layer, *all->at("tau").f32(),
                   *static_cast<int64_t *>(all->at("cut").data()));
  }
  return time("topk " + std::to_string(options.out) + "x" +
                  std::to_string(options.in) + ", sparsity " +
                  std::to_string(options.sparsity).substr(0, 5),
              0);
}

CaseResult Run::layer() {
  VirtualLayer layer = makeLayer();
  kernel = std::make_unique<Kernel>(LayerText(layer, options.tokens).whole(),
                                    "layer", compiler);
  bind("layer", layer);
  auto &arguments = kernel->arguments("layer");
  const float *x = arguments.at("x").f32(), *dy = arguments.at("dy").f32();
  Product forward{false,      true, options.tokens,     options.out,
                  options.in, x,    layer.masked.data()};
  Product backward{false,       false, options.tokens,     options.in,
                   options.out, dy,    layer.masked.data()};
  Product weight{true, false, options.out, options.in, options.tokens, dy, x};
  std::vector<float> y(forward.m * forward.n), dx(backward.m * backward.n),
      g(weight.m * weight.n);
  forward.c = y.data();
  backward.c = dx.data();
  weight.c = g.data();
  addOurs("layer");
  for (const auto &rival : rivals.present) {
    std::vector<std::function<void()>> parts = {rival->prepare(forward),
                                                rival->prepare(backward),
                                                rival->prepare(weight)};
    contestants.push_back({"three dense products of " + rival->name(), [parts] {
                             for (const auto &part : parts)
                               part();
                           }});
  }
  kernel->run("layer");
  if (!plausible(forward, arguments.at("y").f32()) ||
      !plausible(backward, arguments.at("dx").f32()))
    throw Error("layer: a product is wrong, nothing is timed");
  for (size_t i = 1; i < contestants.size(); ++i) {
    contestants[i].run();
    compare(arguments.at("y").f32(), y.data(), forward.m * forward.n, 1e-4,
            "y");
    auto expected = layer.gradients(g.data());
    compare(arguments.at("du").f32(), expected[0].data(),
            static_cast<int64_t>(expected[0].size()), 1e-4, "du");
  }
  return time("layer " + sizes(options) + ", sparsity " +
                  std::to_string(options.sparsity).substr(0, 5) + ", " +
                  options.products,
              3 * forward.operations());
}

CaseResult pst::bench::runCase(const CaseOptions &options,
                               const Rivals &rivals) {
  Run run(options, rivals);
  if (options.name == "gemm")
    return run.gemm();
  if (options.name == "masked")
    return run.masked();
  if (options.name == "accumulate")
    return run.accumulate();
  if (options.name == "topk")
    return run.topk();
  if (options.name == "layer")
    return run.layer();
  throw Error("unknown case '" + options.name +
              "': gemm, masked, accumulate, topk and layer are known");
}

CaseResult pst::bench::runFile(const std::string &file,
                               const std::string &function,
                               const std::vector<std::string> &rivals,
                               const CaseOptions &options) {
  std::ifstream stream(file);
  std::stringstream text;
  text << stream.rdbuf();
  if (!stream)
    throw Error(file + ": cannot be read");
  CompilerOptions compiler;
  compilerOptions().set(compiler, "products", options.products);
  compiler.cpu = options.cpu;
  setKernelThreads(options.timing.threads);
  Kernel kernel(text.str(), file, compiler);
  std::vector<std::string> names = {function};
  names.insert(names.end(), rivals.begin(), rivals.end());
  if (function.empty()) {
    if (kernel.functions().size() != 1)
      throw Error(file + ": has several functions: say which with --function");
    names[0] = kernel.functions()[0];
  }
  std::vector<Contestant> contestants;
  for (const std::string &name : names) {
    for (auto &[argument, buffer] : kernel.arguments(name))
      if (auto &first = kernel.arguments(names[0]);
          first.contains(argument) &&
          first.at(argument).type() == buffer.type() && name != names[0])
        std::memcpy(buffer.data(), first.at(argument).data(),
                    buffer.type().numBytes());
    contestants.push_back({name, [&kernel, name] { kernel.run(name); }});
  }
  CaseResult result;
  result.title = file + ", " + std::to_string(options.timing.threads) +
                 (options.timing.threads == 1 ? " thread" : " threads");
  std::vector<Samples> samples = takeTurns(contestants, options.timing);
  for (size_t i = 0; i < contestants.size(); ++i) {
    result.contestants.push_back({contestants[i].name, samples[i]});
    if (i > 0)
      result.ratios.push_back(ratio(samples[i], samples[0]));
  }
  return result;
}
