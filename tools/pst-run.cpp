//===- pst-run.cpp - Runs a bundle: train, evaluate, export ---------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The command line of the runtime: flags are spelled as in Hugging Face's
// TrainingArguments; everything else is in runtime/.
//
//===----------------------------------------------------------------------===//

#include "pst/Runtime/Bench.h"
#include "pst/Runtime/Check.h"
#include "pst/Runtime/Error.h"
#include "pst/Runtime/Export.h"
#include "pst/Runtime/Files.h"
#include "pst/Runtime/Memory.h"
#include "pst/Runtime/SafeTensorsWriter.h"
#include "pst/Runtime/Trainer.h"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <csignal>
#include <cstdio>
#include <iostream>

using namespace pst;
using namespace pst::runtime;

namespace {

volatile std::sig_atomic_t interrupted = 0;

struct Inputs {
  std::string bundle, model, data, checkpoint, predictions;
  double sparsity = 0;
};

/// The bundle and the weights of the model that it was compiled for.
std::unique_ptr<Model> open(const Inputs &inputs, uint64_t seed) {
  auto program = Program::load(inputs.bundle);
  std::cout << formatMemoryPlan(program->manifest().memory) << std::flush;
  auto files = std::make_shared<const ModelFiles>(inputs.model);
  auto model =
      std::make_unique<Model>(std::move(program), std::move(files), seed);
  if (int64_t rounded = model->parameters().numRounded())
    std::cout << "rounded to bf16: " << rounded
              << " frozen tensors, which the file has wider\n"
              << std::flush;
  return model;
}

void addInputs(CLI::App &command, Inputs &inputs) {
  command.add_option("--bundle", inputs.bundle, "Directory of the bundle")
      ->required();
  command
      .add_option("--model", inputs.model,
                  "Directory of the pretrained model (model.safetensors)")
      ->required();
}

//===----------------------------------------------------------------------===//
// train
//===----------------------------------------------------------------------===//

void printStep(const StepRecord &r) {
  std::printf(
      "step %lld/%lld  epoch %.2f  loss %.4f  lr %.3g  sparsity %.3f  "
      "grad_norm %.3g  %.3f s/step  %.0f tokens/s  %s  %.0f s left\n",
      static_cast<long long>(r.step), static_cast<long long>(r.totalSteps),
      r.epoch, r.loss, r.learningRate, r.sparsity, r.gradNorm, r.secondsPerStep,
      r.tokensPerSecond, formatBytes(r.memoryBytes).c_str(), r.secondsLeft);
  std::fflush(stdout);
}

void printMetrics(const Metrics &metrics) {
  for (const auto &[name, value] : metrics)
    std::printf("  %s %.4f", name.c_str(), value);
  std::printf("\n");
  std::fflush(stdout);
}

void printEvaluation(const EvaluationRecord &r) {
  std::printf("eval at step %lld  sparsity %.3f  loss %.4f",
              static_cast<long long>(r.step), r.sparsity, r.loss);
  printMetrics(r.metrics);
}

struct TrainCommand {
  Inputs inputs;
  std::string evalData;
  TrainingOptions options;

  void add(CLI::App &app) {
    CLI::App *command = app.add_subcommand("train", "Train, or resume a run");
    addInputs(*command, inputs);
    TrainingOptions &o = options;
    auto flag = [&](const char *name, auto &value, const char *help) {
      command->add_option(name, value, help)->capture_default_str();
    };
    command->add_option("--train", inputs.data, "Training data (safetensors)")
        ->required();
    command->add_option("--eval", evalData, "Evaluation data (safetensors)");
    command
        ->add_option("--output_dir", o.outputDir,
                     "Directory of checkpoints and log")
        ->required();
    command->add_flag("--overwrite_output_dir", o.overwriteOutputDir,
                      "Replace a run that lies there");
    command->add_option("--resume_from_checkpoint", o.resumeFromCheckpoint,
                        "A checkpoint's directory, or 'last'");
    flag("--learning_rate", o.learningRate, "Peak learning rate");
    flag("--num_train_epochs", o.numTrainEpochs, "Epochs");
    flag("--max_steps", o.maxSteps, "Optimizer steps; overrides epochs");
    flag("--warmup_steps", o.warmupSteps, "Steps of linear warm-up");
    flag("--warmup_ratio", o.warmupRatio, "Warm-up as a share of all steps");
    flag("--adam_beta1", o.adamBeta1, "AdamW");
    flag("--adam_beta2", o.adamBeta2, "AdamW");
    flag("--adam_epsilon", o.adamEpsilon, "AdamW");
    flag("--weight_decay", o.weightDecay, "AdamW");
    flag("--max_grad_norm", o.maxGradNorm, "Clip gradients; 0: do not");
    flag("--gradient_accumulation_steps", o.gradientAccumulationSteps,
         "Batches per optimizer step");
    flag("--seed", o.seed, "Of initial values, order and dropout");
    command->add_option("--sparsity", o.sparsity,
                        "Final sparsity (0.9 if the method has a mask)");
    flag("--initial_sparsity", o.initialSparsity, "Sparsity at first");
    flag("--initial_warmup", o.initialWarmup,
         "Share of the steps before pruning begins");
    flag("--final_warmup", o.finalWarmup,
         "Share of the steps at the final sparsity");
    flag("--logging_steps", o.loggingSteps, "Steps per line of the log");
    const std::map<std::string, Interval> intervals{{"no", Interval::no},
                                                    {"epoch", Interval::epoch},
                                                    {"steps", Interval::steps}};
    command->add_option("--eval_strategy", o.evalStrategy, "no, epoch or steps")
        ->transform(CLI::Transformer(intervals));
    flag("--eval_steps", o.evalSteps, "With --eval_strategy steps");
    command->add_option("--save_strategy", o.saveStrategy, "no, epoch or steps")
        ->transform(CLI::Transformer(intervals));
    flag("--save_steps", o.saveSteps, "With --save_strategy steps");
    flag("--save_total_limit", o.saveTotalLimit,
         "Checkpoints to keep beside the best one; 0: all");
    command->add_option("--metric_for_best_model", o.metricForBestModel,
                        "accuracy, f1, matthews, pearson, spearman, mse, loss");
    command->add_flag("--load_best_model_at_end", o.loadBestModelAtEnd,
                      "End with the best checkpoint of final sparsity");
    flag("--num_threads", o.numThreads, "0: as OpenMP chooses");
    command->callback([this] { run(); });
  }

  void run() {
    std::unique_ptr<Model> model = open(inputs, options.seed);
    std::optional<Dataset> eval;
    if (!evalData.empty())
      eval = Dataset::load(evalData);
    TrainingCallbacks callbacks;
    callbacks.onLog = printStep;
    callbacks.onEvaluate = printEvaluation;
    callbacks.onSave = [](const std::filesystem::path &path) {
      std::cout << "saved " << path.string() << std::endl;
    };
    callbacks.onMessage = [](const std::string &text) {
      std::cout << text << std::endl;
    };
    callbacks.shouldStop = [] { return interrupted != 0; };
    Trainer trainer(*model, options, Dataset::load(inputs.data),
                    std::move(eval), callbacks);
    TrainingResult result = trainer.train();
    std::cout << (result.stopped ? "stopped" : "finished") << " at step "
              << result.step << " of " << result.totalSteps << ", sparsity "
              << result.sparsity << ", " << result.secondsPerStep
              << " s/step, peak memory " << formatBytes(peakResidentBytes())
              << "\n";
    if (!result.bestCheckpoint.empty())
      std::cout << "best " << result.bestCheckpoint.string() << "\n";
    if (result.stopped)
      std::cout << "continue with --resume_from_checkpoint last\n";
  }
};

//===----------------------------------------------------------------------===//
// eval, export, info
//===----------------------------------------------------------------------===//

/// Loads what was trained, if a checkpoint was given; returns the sparsity.
double loadTrained(Model &model, const Inputs &inputs, bool sparsityGiven) {
  if (!inputs.checkpoint.empty()) {
    double sparsity = loadCheckpoint(inputs.checkpoint, model).sparsity;
    return sparsityGiven ? inputs.sparsity : sparsity;
  }
  for (const Parameter &parameter : model.manifest().parameters)
    if (parameter.initializer.kind == Initializer::Kind::normal &&
        parameter.name.find(".pst_") == std::string::npos)
      throw Error("\"" + parameter.name +
                  "\" has random values in this bundle: give the --checkpoint "
                  "that holds the trained ones");
  return inputs.sparsity;
}

struct EvalCommand {
  Inputs inputs;
  CLI::Option *sparsity = nullptr;

  void add(CLI::App &app) {
    CLI::App *command = app.add_subcommand("eval", "Evaluate on data");
    addInputs(*command, inputs);
    command->add_option("--eval", inputs.data, "Data (safetensors)")
        ->required();
    command->add_option("--checkpoint", inputs.checkpoint,
                        "Trained parameters: a checkpoint's directory");
    sparsity =
        command->add_option("--sparsity", inputs.sparsity,
                            "Sparsity (the checkpoint's, or 0 without one)");
    command->add_option("--predictions", inputs.predictions,
                        "Write the logits to this file (safetensors)");
    command->callback([this] { run(); });
  }

  void run() {
    std::unique_ptr<Model> model = open(inputs, 0);
    double at = loadTrained(*model, inputs, sparsity->count() > 0);
    Evaluation result = evaluate(*model, Dataset::load(inputs.data), at);
    std::printf("examples %lld  sparsity %.4f  loss %.6f",
                static_cast<long long>(result.numExamples), result.sparsity,
                result.loss);
    printMetrics(result.metrics);
    if (!inputs.predictions.empty())
      writeSafeTensors(
          inputs.predictions,
          {{{"logits", DType::F32, {result.numExamples, result.numLabels}},
            result.logits.data()}});
  }
};

struct ExportCommand {
  Inputs inputs;
  ExportOptions options;
  CLI::Option *sparsity = nullptr;

  void add(CLI::App &app) {
    CLI::App *command =
        app.add_subcommand("export", "Write a Hugging Face directory");
    addInputs(*command, inputs);
    command->add_option("--checkpoint", inputs.checkpoint,
                        "Trained parameters: a checkpoint's directory");
    command->add_option("--output_dir", options.outputDir, "Where to write")
        ->required();
    command->add_flag("--overwrite_output_dir", options.overwrite,
                      "Replace a model that lies there");
    command->add_option("--config_updates", options.configUpdates,
                        "Keys for config.json, as a JSON object");
    sparsity =
        command->add_option("--sparsity", inputs.sparsity,
                            "Sparsity (the checkpoint's, or 0 without one)");
    command->callback([this] { run(); });
  }

  void run() {
    std::unique_ptr<Model> model = open(inputs, 0);
    double at = loadTrained(*model, inputs, sparsity->count() > 0);
    ExportResult result = exportModel(*model, at, options);
    for (const ExportedLayer &layer : result.layers)
      std::printf("%-60s %10lld elements  %10lld zeros  %.4f\n",
                  layer.weight.c_str(),
                  static_cast<long long>(layer.numElements),
                  static_cast<long long>(layer.numZeros),
                  static_cast<double>(layer.numZeros) /
                      static_cast<double>(layer.numElements));
    std::printf("wrote %s: %lld tensors, %s, zeros in sparse layers %.4f\n",
                options.outputDir.c_str(),
                static_cast<long long>(result.numTensors),
                formatBytes(result.numBytes).c_str(), result.zeroShare());
  }
};

/// To `file`, if one was asked for.
void writeJson(const std::string &file, const nlohmann::ordered_json &json) {
  if (!file.empty())
    writeFile(file, json.dump(1) + "\n");
}

struct CheckCommand {
  std::vector<std::string> directories;
  std::string json, against, model, data, precision = "f32";
  StepCheckOptions step;
  int repetitions = 0;

  void add(CLI::App &app) {
    CLI::App *command = app.add_subcommand(
        "check", "Compare bundles with the results recorded beside them, or a "
                 "training step with that of another bundle");
    command->add_option("directories", directories, "Bundles")->required();
    auto *reference = command->add_option(
        "--against", against, "A bundle whose step is right, for the CPU");
    auto *from = command->add_option("--model", model,
                                     "With --against: the model's directory");
    reference->needs(from);
    from->needs(reference);
    for (CLI::Option *option :
         {command->add_option("--train", data,
                              "With --against: data (safetensors; default: "
                              "random tokens)"),
          command
              ->add_option("--precision", precision,
                           "With --against: f32, tf32 or bf16, as the bundle "
                           "was compiled (f32)")
              ->check(CLI::IsMember({"f32", "tf32", "bf16"})),
          command->add_option("--sparsity", step.sparsity,
                              "With --against: of the step (0.5)")})
      option->needs(reference);
    command->add_option("--time", repetitions,
                        "On a GPU: time each kernel, median of so many calls");
    command->add_option("--json", json, "Write what was found to this file");
    command->callback([this] { run(); });
  }

  /// A step of the bundle against that of another.
  void runStep() {
    if (directories.size() != 1)
      throw Error("--against compares one bundle, but " +
                  std::to_string(directories.size()) + " are given");
    std::optional<Dataset> examples;
    if (!data.empty())
      step.data = &examples.emplace(Dataset::load(data));
    step.rounding = precision == "bf16"   ? 0x1p-8
                    : precision == "tf32" ? 0x1p-11
                                          : 0x1p-24;
    nlohmann::ordered_json all;
    int failures = 0;
    for (const auto &[name, check] :
         checkStep(Program::load(directories[0]), Program::load(against),
                   std::make_shared<const ModelFiles>(model), step)) {
      failures += !check.passed();
      std::printf(
          "%s  %-20s %10lld values, worst %.3g of what is allowed%s%s\n",
          check.passed() ? "ok    " : "FAILED", name.c_str(),
          static_cast<long long>(check.numElements), check.worst,
          check.worst > 0 ? ": " : "", check.where.c_str());
      all.push_back({{"quantity", name},
                     {"passed", check.passed()},
                     {"worst", check.worst}, // null: infinite
                     {"where", check.where}});
    }
    writeJson(json, all);
    if (failures)
      throw Error("the step differs from that of " + against);
    std::printf("the step is that of %s\n", against.c_str());
  }

  void run() {
    if (!against.empty())
      return runStep();
    nlohmann::ordered_json all;
    int failures = 0;
    auto open = keepGPUsOpen();
    for (const std::string &directory : directories) {
      nlohmann::ordered_json entry{{"bundle", directory}};
      try {
        CheckResult check = checkBundle(directory, repetitions);
        failures += !check.passed();
        std::printf("%s  %s  %lld results, worst %.3g of what is allowed%s%s\n",
                    check.passed() ? "ok    " : "FAILED", directory.c_str(),
                    static_cast<long long>(check.numElements), check.worst,
                    check.passed() ? "" : ": ",
                    check.passed() ? "" : check.where.c_str());
        entry["passed"] = check.passed();
        entry["worst"] = check.worst; // null: infinite
        entry["seconds"] = check.seconds;
        for (const LaunchTime &launch : check.launches)
          entry["launches"].push_back({launch.kernel, launch.seconds});
      } catch (const Error &error) {
        ++failures;
        std::printf("FAILED  %s  %s\n", directory.c_str(), error.what());
        entry["passed"] = false;
        entry["error"] = error.what();
      }
      std::fflush(stdout);
      all.push_back(std::move(entry));
    }
    writeJson(json, all);
    if (failures)
      throw Error(std::to_string(failures) + " of " +
                  std::to_string(directories.size()) + " checks failed");
    std::printf("all %zu checks passed\n", directories.size());
  }
};

struct BenchCommand {
  std::vector<std::string> directories;
  std::string model, json;
  BenchOptions options;

  void add(CLI::App &app) {
    CLI::App *command =
        app.add_subcommand("bench", "Measure entry points, with random inputs");
    command->add_option("directories", directories, "Bundles")->required();
    command->add_option("--model", model,
                        "Directory of the model (model.safetensors), for "
                        "bundles that take parameters from it");
    command->add_option("--entry", options.entries,
                        "Entry points (default: those of a training step, and "
                        "the step as a whole; of other programs all)");
    auto flag = [&](const char *name, auto &value, const char *help) {
      return command->add_option(name, value, help)->capture_default_str();
    };
    flag("--repetitions", options.repetitions, "Calls of each")
        ->check(CLI::PositiveNumber);
    flag("--sparsity", options.sparsity, "Share of zeros");
    flag("--seed", options.seed, "Of the inputs");
    flag("--copy-bytes", options.copyBytes,
         "Size of the copy that measures the GPU's memory")
        ->check(CLI::PositiveNumber);
    flag("--matrix-ceiling", options.matrixCeiling,
         "Operations per second of the GPU's fastest matrix product, if known");
    command->add_option("--json", json, "Write what was found to this file");
    command->callback([this] { run(); });
  }

  void run() const {
    nlohmann::ordered_json all;
    int failures = 0;
    auto open = keepGPUsOpen();
    for (const std::string &directory : directories) {
      nlohmann::ordered_json entry{{"bundle", directory}};
      std::printf("== %s\n", directory.c_str());
      try {
        BenchResult result = bench(
            Program::load(directory),
            model.empty() ? nullptr : std::make_shared<const ModelFiles>(model),
            options);
        std::cout << result.toText() << std::flush;
        entry.update(nlohmann::ordered_json::parse(result.toJson()));
      } catch (const Error &error) {
        ++failures;
        std::printf("FAILED  %s\n", error.what());
        entry["error"] = error.what();
      }
      std::fflush(stdout);
      all.push_back(std::move(entry));
    }
    writeJson(json, all);
    if (failures)
      throw Error(std::to_string(failures) + " of " +
                  std::to_string(directories.size()) +
                  " bundles could not be measured");
  }
};

void printInfo(const std::string &bundle) {
  auto program = Program::load(bundle);
  const Manifest &manifest = program->manifest();
  std::cout << "architecture  " << manifest.architecture << "\nmethod        "
            << manifest.method;
  for (const auto &[name, value] : manifest.hyperparameters)
    std::cout << "  " << name << "=" << value;
  std::cout << "\ntarget        " << manifest.triple << ", " << manifest.cpu
            << "\nfingerprint   " << manifest.fingerprint()
            << "\nsparse layers " << manifest.sparseLayers.size() << "\n";
  std::map<Role, std::pair<int64_t, int64_t>> counts; // tensors, elements
  for (const Parameter &parameter : manifest.parameters) {
    ++counts[parameter.role].first;
    counts[parameter.role].second += parameter.type.numElements();
  }
  std::cout << "frozen        " << counts[Role::frozen].first << " tensors, "
            << counts[Role::frozen].second << " elements\ntrainable     "
            << counts[Role::trainable].first << " tensors, "
            << counts[Role::trainable].second << " elements\nentry points ";
  for (const auto &[name, entry] : manifest.entryPoints)
    std::cout << " " << name << "(" << entry.arguments.size() << ")";
  std::cout << "\n" << formatMemoryPlan(manifest.memory);
}

} // namespace

int main(int argc, char **argv) {
  // The first signal ends the run after the step, with a checkpoint; the second
  // one ends the process.
  for (int signal : {SIGINT, SIGTERM})
    std::signal(signal, [](int number) {
      interrupted = 1;
      std::signal(number, SIG_DFL);
    });
  // A limit on file sizes shall be an error that can be told.
  std::signal(SIGXFSZ, SIG_IGN);

  CLI::App app("Runs a bundle that pst-compile made: trains, evaluates and "
               "exports a sparse model");
  app.require_subcommand(1);
  TrainCommand train;
  train.add(app);
  EvalCommand eval;
  eval.add(app);
  ExportCommand exportCommand;
  exportCommand.add(app);
  CheckCommand check;
  check.add(app);
  BenchCommand benchCommand;
  benchCommand.add(app);
  std::string bundle;
  CLI::App *info = app.add_subcommand("info", "Say what a bundle is");
  info->add_option("--bundle", bundle, "Directory of the bundle")->required();
  info->callback([&] { printInfo(bundle); });
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError &error) {
    return app.exit(error);
  } catch (const std::exception &error) {
    std::cerr << "pst-run: error: " << error.what() << std::endl;
    return 1;
  }
  return 0;
}
