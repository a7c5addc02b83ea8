//===- ProgramTest.cpp - Bundles, entry points, and pst-run ---------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TinyProgram.h"
#include "pst/Runtime/Error.h"
#include "pst/Runtime/SafeTensorsWriter.h"

#include <nlohmann/json.hpp>

#include <cstdio>
#include <omp.h>
#include <sys/wait.h>

using namespace pst;
using namespace pst::runtime;
using namespace tiny;
namespace fs = std::filesystem;

static void writeBundle(const fs::path &directory, const Manifest &manifest) {
  fs::create_directories(directory);
  writeBytes(directory / "manifest.json", manifest.toJson());
  fs::copy_file(PST_TINY_KERNELS, directory / "kernels.so",
                fs::copy_options::overwrite_existing);
}

TEST(Program, LoadsABundle) {
  TemporaryDirectory directory;
  writeBundle(directory / "b", makeManifest());
  auto program = Program::load(directory / "b");
  EXPECT_TRUE(program->has("apply"));
  EXPECT_FALSE(program->has("reply"));
  EXPECT_ERROR(program->entryPoint("reply"),
               "has no entry point \"reply\" (it has: apply, forward, "
               "forward_backward, materialize, select)");
  // What it computes: the threshold at which 37 of 42 elements are pruned.
  writeModel(directory / "m");
  Model model(program, std::make_shared<const ModelFiles>(directory / "m"), 7);
  model.select(0.9);
  auto linked = makeModel(directory / "m");
  linked->select(0.9);
  EXPECT_EQ(*static_cast<const float *>(model.parameters().space("state")),
            *static_cast<const float *>(linked->parameters().space("state")));
}

TEST(Program, RefusesWhatIsNoBundle) {
  TemporaryDirectory directory;
  fs::path bundle = directory / "b";
  EXPECT_ERROR(Program::load(bundle),
               "not a bundle: it holds no manifest.json");
  Manifest manifest = makeManifest();
  writeBundle(bundle, manifest);
  fs::remove(bundle / "kernels.so");
  EXPECT_ERROR(Program::load(bundle), "the bundle lacks this file");
  writeBytes(bundle / "kernels.so", "no library");
  EXPECT_ERROR(Program::load(bundle), "cannot load the code");

  auto broken = [&](auto change) {
    Manifest other = manifest;
    change(other);
    writeBundle(bundle, other);
    return errorOf([&] { Program::load(bundle); });
  };
  using ::testing::IsSubstring;
  EXPECT_PRED_FORMAT2(IsSubstring,
                      "lacks the symbol \"tiny_nothing\" of the entry point",
                      broken([](Manifest &m) {
                        m.entryPoints.at("apply").symbol = "tiny_nothing";
                      }));
  EXPECT_PRED_FORMAT2(IsSubstring, "\"library\" must name a file of the bundle",
                      broken([](Manifest &m) { m.library = "../kernels.so"; }));
  EXPECT_PRED_FORMAT2(
      IsSubstring, "compiled for sparc64-sun-solaris, but this machine is",
      broken([](Manifest &m) { m.triple = "sparc64-sun-solaris"; }));
  EXPECT_PRED_FORMAT2(IsSubstring, "(no error)", broken([](Manifest &m) {
                        m.features = "+sse4.2,-avx512f,+unheard-of";
                      }));
#if defined(__x86_64__)
  if (!__builtin_cpu_supports("avx512bf16")) {
    EXPECT_PRED_FORMAT2(
        IsSubstring, "this processor lacks avx512bf16: compile the bundle",
        broken([](Manifest &m) { m.features = "+sse4.2,+avx512bf16"; }));
  }
#endif
  auto json = nlohmann::json::parse(manifest.toJson());
  json["version"] = 7;
  writeBytes(bundle / "manifest.json", json.dump());
  EXPECT_ERROR(Program::load(bundle), "the bundle is of version 7");
}

TEST(Program, HasSoManyThreadsAsThereCanBe) {
  for (int count : {-1, 100'000})
    EXPECT_ERROR(setNumThreads(count),
                 "the number of threads must lie between 0 and 1024, but is " +
                     std::to_string(count) + "; this machine has ");
  int before = numThreads();
  ::omp_set_num_threads(100'000); // as OMP_NUM_THREADS does
  EXPECT_ERROR(makeProgram(),
               "OMP_NUM_THREADS asks for 100000 threads, of which there are at "
               "most 1024: make it smaller, or unset it");
  setNumThreads(before);
}

TEST(Program, RefusesAProgramWithoutItsFunctions) {
  EXPECT_ERROR(Program::create(makeManifest(), {}),
               "no function for its entry point \"apply\"");
  Manifest manifest = makeManifest();
  manifest.parameters[3].offset = 4;
  EXPECT_ERROR(Program::create(manifest, {}), "overlaps another parameter");
}

TEST(Invocation, KnowsItsArguments) {
  TemporaryDirectory directory;
  writeModel(directory.path());
  auto model = makeModel(directory.path());
  Invocation call(model->parameters(), "select");
  EXPECT_TRUE(call.hasArgument("sparsity"));
  EXPECT_FALSE(call.hasArgument("state")) << "a space is no input";
  EXPECT_ERROR(call(), "the argument \"sparsity\" of the entry point "
                       "\"select\" was not given");
  EXPECT_ERROR(call.bind("opacity", nullptr), "no input or output \"opacity\"");
}

TEST(Model, RefusesABundleThatBreaksTheConvention) {
  Manifest manifest = makeManifest();
  manifest.entryPoints.at("select").arguments.back().type.element =
      ElementType::f32;
  std::map<std::string, EntryFunction> none;
  for (const auto &[name, entry] : manifest.entryPoints)
    none[name] = [](void *const *) {};
  TemporaryDirectory directory;
  writeModel(directory.path());
  Model model(Program::create(manifest, none),
              std::make_shared<const ModelFiles>(directory.path()), 1);
  EXPECT_ERROR(model.select(0.5), "\"sparsity\" of \"tiny_select\" must be of "
                                  "type f64");
}

//===----------------------------------------------------------------------===//
// pst-run
//===----------------------------------------------------------------------===//

namespace {

struct Output {
  int status;
  std::string text;
};

Output shell(const std::string &command) {
  FILE *pipe = ::popen((command + " 2>&1").c_str(), "r");
  std::string text;
  for (int c; (c = std::fgetc(pipe)) != EOF;)
    text += static_cast<char>(c);
  int status = ::pclose(pipe);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, text};
}

void writeData(const fs::path &file, const Dataset &data) {
  std::vector<TensorData> tensors;
  for (const char *name : {"input_ids", "attention_mask", "labels"}) {
    const DataArray *array = data.find(name);
    tensors.push_back({{name, DType::I32, array->type.shape}, array->data});
  }
  writeSafeTensors(file, tensors);
}

} // namespace

TEST(PstRun, TrainsResumesEvaluatesAndExports) {
  TemporaryDirectory directory;
  writeBundle(directory / "bundle", makeManifest());
  writeModel(directory / "model");
  writeData(directory / "train.safetensors", makeData(23));
  writeData(directory / "eval.safetensors", makeData(9, {}, 2));
  std::string in = " --bundle " + (directory / "bundle").string() +
                   " --model " + (directory / "model").string();
  std::string run = (directory / "run").string();
  std::string train =
      std::string(PST_RUN) + " train" + in + " --train " +
      (directory / "train.safetensors").string() + " --eval " +
      (directory / "eval.safetensors").string() + " --output_dir " + run +
      " --learning_rate 0.01 --max_steps 12 --logging_steps 3 --sparsity 0.5 "
      "--eval_strategy steps --eval_steps 4 --save_strategy steps "
      "--save_steps 5 ";

  Output info = shell(std::string(PST_RUN) + " info --bundle " +
                      (directory / "bundle").string());
  EXPECT_EQ(info.status, 0) << info.text;
  EXPECT_PRED_FORMAT2(::testing::IsSubstring, "TinyForSequenceClassification",
                      info.text);
  EXPECT_PRED_FORMAT2(::testing::IsSubstring, "peak", info.text);

  Output first = shell(train);
  EXPECT_EQ(first.status, 0) << first.text;
  for (const char *part :
       {"memory plan", "step 3/12", "step 12/12", "eval at step 8",
        "checkpoint-5", "finished at step 12 of 12, sparsity 0.5"})
    EXPECT_PRED_FORMAT2(::testing::IsSubstring, part, first.text);
  auto reference = readAll(run + "/checkpoint-12");

  Output again = shell(train);
  EXPECT_EQ(again.status, 1);
  EXPECT_PRED_FORMAT2(::testing::IsSubstring,
                      "pst-run: error: " + run + ": already holds a run",
                      again.text);

  fs::remove_all(run + "/checkpoint-12");
  Output resumed = shell(train + "--resume_from_checkpoint True");
  EXPECT_EQ(resumed.status, 0) << resumed.text;
  EXPECT_PRED_FORMAT2(::testing::IsSubstring, "after step 10 of 12",
                      resumed.text);
  EXPECT_EQ(readAll(run + "/checkpoint-12"), reference);

  std::string checkpoint = " --checkpoint " + run + "/checkpoint-12";
  std::string eval = std::string(PST_RUN) + " eval --eval " +
                     (directory / "eval.safetensors").string() + " --bundle " +
                     (directory / "bundle").string();
  Output trained =
      shell(eval + " --model " + (directory / "model").string() + checkpoint +
            " --predictions " + (directory / "logits.safetensors").string());
  EXPECT_EQ(trained.status, 0) << trained.text;
  EXPECT_PRED_FORMAT2(::testing::IsSubstring,
                      "examples 9  sparsity 0.5000  loss ", trained.text);
  EXPECT_EQ(
      SafeTensorsFile(directory / "logits.safetensors").find("logits")->shape,
      (std::vector<int64_t>{9, 3}));
  Output untrained = shell(eval + " --model " + (directory / "model").string());
  EXPECT_EQ(untrained.status, 1);
  EXPECT_PRED_FORMAT2(::testing::IsSubstring,
                      "\"classifier.weight\" has random values",
                      untrained.text);

  Output exported = shell(std::string(PST_RUN) + " export" + in + checkpoint +
                          " --output_dir " + (directory / "out").string());
  EXPECT_EQ(exported.status, 0) << exported.text;
  EXPECT_PRED_FORMAT2(::testing::IsSubstring, "zeros in sparse layers 0.5000",
                      exported.text);
  EXPECT_TRUE(fs::exists(directory / "out" / "model.safetensors"));
}

TEST(PstRun, LoadsNothingOfLLVM) {
  Output output = shell(std::string("ldd ") + PST_RUN);
  EXPECT_EQ(output.status, 0);
  EXPECT_PRED_FORMAT2(::testing::IsNotSubstring, "libLLVM", output.text);
  EXPECT_PRED_FORMAT2(::testing::IsNotSubstring, "libMLIR", output.text);
  EXPECT_PRED_FORMAT2(::testing::IsSubstring, "libomp", output.text);
  EXPECT_PRED_FORMAT2(::testing::IsSubstring, "libm.so", output.text);
}
