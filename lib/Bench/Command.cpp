//===- Command.cpp - The command pst-bench --------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Bench/Command.h"
#include "pst/Bench/Report.h"
#include "pst/Options/CompilerOptions.h"

#include <CLI/CLI.hpp>

#include <fstream>
#include <iostream>

using namespace pst::bench;

namespace {

const char *const kDescription =
    R"(Times kernels and steps of training against rivals.

Contestants run in turns in one process, each sample after a moment (--quiet) in
which nobody computes, so that the threads of one pool have gone to sleep when
those of another begin: OpenBLAS's spin for some 25 ms after a call, the
kernels' (libomp) for 20 ms here; oneDNN's OpenMP calls resolve to libomp, so it
has no pool of its own. With one thread the clock is the process's processor
time. Every result is compared with one computed otherwise before it is timed.
)";

struct Bench {
  std::vector<int> threads = {1};
  std::vector<std::string> openBlas;
  std::string jsonFile;
  CaseOptions kernel;
  StepOptions step;
  double quietMilliseconds = 50, sampleMilliseconds = 50;

  void addCase(CLI::App &app, const char *name, const char *text);
  void addStep(CLI::App &app);
  void addFile(CLI::App &app);
  void addTiming(CLI::App &command);
  void write(const std::vector<CaseResult> &cases,
             const std::vector<StepResult> &steps,
             const std::vector<std::string> &absent) const;
  TimingOptions timing(int count) const {
    TimingOptions options = kernel.timing;
    options.threads = count;
    options.quietSeconds = quietMilliseconds * 1e-3;
    options.sampleSeconds = sampleMilliseconds * 1e-3;
    return options;
  }

  std::string file, function;
  std::vector<std::string> fileRivals;
};

} // namespace

void Bench::addTiming(CLI::App &command) {
  command.add_option("--threads", threads, "Threads; several: 1,2")
      ->delimiter(',')
      ->check(CLI::PositiveNumber);
  command.add_option("--samples", kernel.timing.samples, "Samples of each")
      ->check(CLI::PositiveNumber);
  command.add_option("--quiet", quietMilliseconds, "Rest before a sample, ms");
  command.add_option("--sample", sampleMilliseconds, "Length of a sample, ms");
  command.add_option("--json", jsonFile, "Write the results here, too");
  command.add_option("--products", kernel.products,
                     pst::compilerOptions().get("products").describe());
  command.add_option("--mcpu", kernel.cpu, "Compile for this CPU");
}

void Bench::write(const std::vector<CaseResult> &cases,
                  const std::vector<StepResult> &steps,
                  const std::vector<std::string> &absent) const {
  for (const CaseResult &result : cases)
    std::cout << format(result);
  for (const StepResult &result : steps)
    std::cout << format(result);
  for (const std::string &reason : absent)
    std::cout << "absent: " << reason << "\n";
  if (jsonFile.empty())
    return;
  std::ofstream stream(jsonFile);
  stream << toJson(cases, steps, absent);
  if (!stream.flush())
    throw std::runtime_error(jsonFile + ": cannot be written");
}

void Bench::addCase(CLI::App &app, const char *name, const char *text) {
  CLI::App *command = app.add_subcommand(name, text);
  addTiming(*command);
  command->add_option("--tokens", kernel.tokens, "Rows of X")
      ->check(CLI::PositiveNumber);
  command->add_option("--out", kernel.out, "Rows of W")
      ->check(CLI::PositiveNumber);
  command->add_option("--in", kernel.in, "Columns of W")
      ->check(CLI::PositiveNumber);
  command->add_option("--rank", kernel.rank, "Rank of the factors")
      ->check(CLI::PositiveNumber);
  command->add_option("--sparsity", kernel.sparsity, "Share of zeros")
      ->check(CLI::Range(0.0, 0.9999));
  command
      ->add_option("--form", kernel.form,
                   "nt: Y = X W^T, nn: dX = dY W, tn: G = dY^T X")
      ->transform(CLI::CheckedTransformer(std::map<std::string, Form>{
          {"nt", Form::nt}, {"nn", Form::nn}, {"tn", Form::tn}}));
  command->add_option("--openblas", openBlas,
                      "OpenBLAS libraries (default: libopenblas.so.0)");
  command->callback([this, name] {
    Rivals rivals = findRivals(openBlas);
    kernel.name = name;
    std::vector<CaseResult> results;
    for (int count : threads) {
      kernel.timing = timing(count);
      results.push_back(runCase(kernel, rivals));
    }
    write(results, {}, rivals.absent);
  });
}

void Bench::addStep(CLI::App &app) {
  CLI::App *command = app.add_subcommand(
      "step", "A training step of a model: selection, forward, backward, "
              "clipping, AdamW");
  addTiming(*command);
  command->add_option("model", step.model, "Model directory")->required();
  command->add_option("--batch-size", step.batch)->check(CLI::PositiveNumber);
  command->add_option("--sequence-length", step.length)
      ->check(CLI::PositiveNumber);
  command->add_option("--method", step.method,
                      pst::compilerOptions().get("method").describe());
  command->add_option("--against", step.against, "Another method");
  command->add_option("--sparsity", step.sparsity)
      ->check(CLI::Range(0.0, 0.9999));
  command->add_flag("--profile", step.profile, "Print the time of each kernel");
  command->callback([this] {
    step.products = kernel.products;
    step.cpu = kernel.cpu;
    std::vector<StepResult> results;
    for (int count : threads) {
      step.timing = timing(count);
      results.push_back(runStep(step));
    }
    write({}, results, {});
  });
}

void Bench::addFile(CLI::App &app) {
  CLI::App *command = app.add_subcommand(
      "file", "A function of an MLIR file, against others of that file");
  addTiming(*command);
  command->add_option("file", file, "MLIR file")->required();
  command->add_option("--function", function, "The function to be timed");
  command->add_option("--rival", fileRivals, "Functions to compare it with");
  command->callback([this] {
    std::vector<CaseResult> results;
    for (int count : threads) {
      kernel.timing = timing(count);
      results.push_back(runFile(file, function, fileRivals, kernel));
    }
    write(results, {}, {});
  });
}

int pst::bench::runBenchCommand(int argc, char **argv) {
  CLI::App app(kDescription);
  app.require_subcommand(1);
  Bench bench;
  bench.addCase(app, "gemm", "A dense product");
  bench.addCase(app, "masked",
                "The product with a masked virtual weight, against dense "
                "products with the masked weight at hand");
  bench.addCase(app, "accumulate",
                "G folded into the factors' gradients, against G alone");
  bench.addCase(app, "topk", "The exact threshold of a layer");
  bench.addCase(app, "layer",
                "A layer's step: threshold, Y, dX, gradients; against three "
                "dense products");
  bench.addStep(app);
  bench.addFile(app);
  CLI::App *peak = app.add_subcommand("peak", "The peak of this machine");
  peak->add_option("--threads", bench.threads)->delimiter(',');
  peak->callback([&] {
    for (int count : bench.threads)
      std::cout << count << " threads: " << measurePeak(count) << " GF/s\n";
  });
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError &error) {
    return app.exit(error);
  } catch (const std::exception &error) {
    std::cerr << "pst-bench: error: " << error.what() << std::endl;
    return 1;
  }
  return 0;
}
