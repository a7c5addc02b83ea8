//===- CheckpointTest.cpp - The state of a run on disk --------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TinyProgram.h"
#include "pst/Runtime/Error.h"
#include "pst/Runtime/Files.h"
#include "pst/Runtime/SafeTensorsWriter.h"

#include <nlohmann/json.hpp>

#include <cmath>
#include <cstring>

using namespace pst;
using namespace pst::runtime;
using namespace tiny;
namespace fs = std::filesystem;

namespace {

class CheckpointTest : public ::testing::Test {
protected:
  CheckpointTest() {
    writeModel(directory / "model");
    model = makeModel(directory / "model");
    // Values that nothing else has, in every space.
    for (const char *space : {"trainable", "moment1", "moment2"})
      for (int i = 0; i < numTrainable(3); ++i)
        floats(space)[i] = static_cast<float>(i) / 7 + space[6];
    state.step = 10;
    state.totalSteps = 17;
    state.epoch = 10.0 / 3;
    state.sparsity = 0.6;
    state.options = {{"seed", "5"}};
    state.lossSum = 0.1 + 0.2;
    state.lossCount = 2;
    EvaluationRecord record;
    record.step = 6;
    record.loss = 1.0 / 3;
    record.metrics = {{"accuracy", 2.0 / 3}, {"pearson", NAN}};
    record.eligible = true;
    state.history = {record};
    fs::create_directories(run);
  }
  float *floats(const char *space) {
    return static_cast<float *>(model->parameters().space(space));
  }
  std::string load(const fs::path &checkpoint) {
    auto fresh = makeModel(directory / "model");
    return errorOf([&] { loadCheckpoint(checkpoint, *fresh); });
  }

  TemporaryDirectory directory;
  fs::path run = directory / "run";
  std::unique_ptr<Model> model;
  TrainerState state;
};

} // namespace

TEST_F(CheckpointTest, LoadsWhatWasSaved) {
  model->select(0.6);
  fs::path path = saveCheckpoint(run, *model, state);
  EXPECT_EQ(path, run / "checkpoint-10");
  auto other = makeModel(directory / "model", {}, 1234);
  TrainerState copy = loadCheckpoint(path, *other);
  for (const char *space : {"trainable", "moment1", "moment2"})
    EXPECT_EQ(std::memcmp(other->parameters().space(space), floats(space),
                          numTrainable(3) * 4),
              0)
        << space;
  EXPECT_EQ(other->sparsity(), 0.6);
  EXPECT_EQ(*static_cast<float *>(other->parameters().space("state")),
            *floats("state"));
  EXPECT_EQ(copy.step, 10);
  EXPECT_EQ(copy.totalSteps, 17);
  EXPECT_EQ(copy.epoch, state.epoch);
  EXPECT_EQ(copy.options, state.options);
  EXPECT_EQ(copy.lossSum, state.lossSum);
  EXPECT_EQ(copy.lossCount, 2);
  ASSERT_EQ(copy.history.size(), 1u);
  EXPECT_EQ(copy.history[0].loss, 1.0 / 3);
  EXPECT_EQ(copy.history[0].value("accuracy"), 2.0 / 3);
  EXPECT_TRUE(std::isnan(copy.history[0].value("pearson")));
  EXPECT_TRUE(std::isnan(copy.history[0].value("f1")));
  EXPECT_TRUE(copy.history[0].eligible);
}

TEST_F(CheckpointTest, ReplacesOneOfTheSameStep) {
  saveCheckpoint(run, *model, state);
  auto before = readAll(run / "checkpoint-10");
  floats("trainable")[3] += 1;
  saveCheckpoint(run, *model, state);
  EXPECT_NE(readAll(run / "checkpoint-10"), before);
  EXPECT_EQ(std::distance(fs::directory_iterator(run), {}), 1);
}

TEST_F(CheckpointTest, ListsOnlyCheckpoints) {
  for (int64_t step : {200, 3, 10}) {
    state.step = step;
    saveCheckpoint(run, *model, state);
  }
  fs::create_directories(run / "checkpoint-abc");
  fs::create_directories(run / "checkpoint-");
  fs::create_directories(run / "checkpoint-7x");
  fs::create_directories(run / ".checkpoint-9.pst-tmp-1-0");
  writeBytes(run / "checkpoint-8", "a file");
  std::vector<int64_t> steps;
  for (const auto &[step, path] : listCheckpoints(run))
    steps.push_back(step);
  EXPECT_EQ(steps, (std::vector<int64_t>{3, 10, 200}));
  removeCheckpoint(run / "checkpoint-10/");
  EXPECT_EQ(listCheckpoints(run).size(), 2u);
  EXPECT_TRUE(listCheckpoints(directory / "nowhere").empty());
}

// Every byte of the tensors counts, and every file.
TEST_F(CheckpointTest, SaysWhichFileIsDamaged) {
  state.step = 5;
  saveCheckpoint(run, *model, state);
  state.step = 10;
  fs::path path = saveCheckpoint(run, *model, state);
  ASSERT_EQ(load(path), "(no error)");
  using ::testing::IsSubstring;
  for (const auto &[name, bytes] : readAll(path)) {
    std::string cut = bytes.substr(0, bytes.size() - 5);
    writeBytes(path / name, cut);
    std::string text = load(path);
    EXPECT_PRED_FORMAT2(IsSubstring, "checkpoint-10: the checkpoint is damaged",
                        text);
    EXPECT_PRED_FORMAT2(IsSubstring, name.c_str(), text);
    EXPECT_PRED_FORMAT2(
        IsSubstring,
        "--resume_from_checkpoint " + (run / "checkpoint-5").string(), text);
    std::string flipped = bytes;
    // Of the state, a digit: a loss.
    size_t at = name == "trainer_state.json" ? bytes.find(": 0.3333") + 4
                                             : bytes.size() - 1;
    flipped[at] ^= 1;
    writeBytes(path / name, flipped);
    EXPECT_PRED_FORMAT2(
        IsSubstring, name + " holds other bytes than were written", load(path));
    fs::remove(path / name);
    EXPECT_NE(load(path), "(no error)");
    writeBytes(path / name, bytes);
  }
  ASSERT_EQ(load(path), "(no error)");
  fs::remove(run / "checkpoint-5/trainable.safetensors");
  EXPECT_PRED_FORMAT2(IsSubstring, "there is no earlier checkpoint",
                      load(run / "checkpoint-5"));
  EXPECT_PRED_FORMAT2(IsSubstring, "not a checkpoint", load(run));
}

// Whoever makes a digest that fits is told by the values what cannot be.
TEST_F(CheckpointTest, SaysWhatNoRunHasWritten) {
  fs::path path = saveCheckpoint(run, *model, state);
  using Json = nlohmann::ordered_json;
  const std::string whole = readBytes(path / "trainer_state.json");
  auto loadWith = [&](auto change) {
    writeBytes(path / "trainer_state.json", whole);
    changeState(path, change);
    return load(path);
  };
  EXPECT_EQ(loadWith([](Json &) {}), "(no error)");
  auto expect = [&](const char *key, Json value, const std::string &message) {
    EXPECT_PRED_FORMAT2(::testing::IsSubstring,
                        "the checkpoint is damaged: trainer_state.json: " +
                            message,
                        loadWith([&](Json &json) { json[key] = value; }));
  };
  std::string range = "\"step\" must be a whole number from 0 to 17, but is ";
  expect("step", -3, range + "-3");
  expect("step", 3.7, range + "3.7");
  expect("step", 1e300, range + "1e+300");
  expect("step", uint64_t(1) << 63, range + "9223372036854775808");
  expect("step", 18, range + "18");
  expect("step", "10", range + "\"10\"");
  expect("step", 9, "\"step\" is 9, but the directory is that of step 10");
  expect("total_steps", 1e12 + 0.5, "\"total_steps\" must be a whole number");
  expect("loss_count", "",
         "\"loss_count\" must be a whole number from 0 to 10");
  expect("history", {{{"step", 11}}},
         "\"step\" must be a whole number from 0 to 10, but is 11");
  expect("options", 3, "");
  EXPECT_PRED_FORMAT2(
      ::testing::IsSubstring,
      "checkpoint-10: a checkpoint of format 1; this runtime reads format 2",
      loadWith([](Json &json) { json["format"] = 1; }));
  writeBytes(path / "trainer_state.json", std::string(100'000, '['));
  EXPECT_PRED_FORMAT2(::testing::IsSubstring,
                      "trainer_state.json is not valid JSON: objects and lists "
                      "lie more than 100 deep",
                      load(path));
  // A directory of another name has no step of its own.
  saveCheckpoint(run, *model, state);
  fs::rename(path, run / "best");
  EXPECT_EQ(load(run / "best/"), "(no error)");
  fs::rename(run / "best", run / "checkpoint-11");
  EXPECT_PRED_FORMAT2(::testing::IsSubstring, "is that of step 11",
                      load(run / "checkpoint-11/"));
}

TEST_F(CheckpointTest, SaysHowModelsDiffer) {
  fs::path path = saveCheckpoint(run, *model, state);
  auto loadAs = [&](auto change) {
    Manifest manifest = makeManifest();
    change(manifest);
    std::map<std::string, EntryFunction> functions;
    auto program = makeProgram();
    for (const auto &[name, entry] : manifest.entryPoints)
      functions[name] = program->function(name);
    Model other(Program::create(manifest, functions),
                std::make_shared<const ModelFiles>(directory / "model"), 1);
    return errorOf([&] { loadCheckpoint(path, other); });
  };
  using ::testing::IsSubstring;
  EXPECT_PRED_FORMAT2(IsSubstring, "(no error)",
                      loadAs([](Manifest &m) { m.cpu = "another"; }));
  std::string text = loadAs([](Manifest &m) {
    m.method = "movement";
    m.hyperparameters = {{"weight_rank", 4}};
  });
  EXPECT_PRED_FORMAT2(IsSubstring, "a checkpoint of another model or method",
                      text);
  EXPECT_PRED_FORMAT2(
      IsSubstring,
      "the method is pst in the checkpoint, movement in the program", text);
  EXPECT_PRED_FORMAT2(
      IsSubstring, "weight_rank is 2.0 in the checkpoint, 4.0 in the program",
      text);
  EXPECT_PRED_FORMAT2(IsSubstring,
                      "mask_alpha2 is 1.0 in the checkpoint, absent", text);
  EXPECT_PRED_FORMAT2(IsSubstring,
                      "the program trains \"tiny.dense.weight.pst_V2\", which "
                      "the checkpoint does not hold",
                      loadAs([](Manifest &m) {
                        m.parameters[4].name += "2";
                        m.sparseLayers[0].factors[1].tensors[1] += "2";
                      }));
}

TEST_F(CheckpointTest, BelongsToItsPretrainedWeights) {
  fs::path path = saveCheckpoint(run, *model, state);
  fs::path file = directory / "model" / "model.safetensors";
  std::string bytes = readBytes(file);
  size_t at = bytes.size() - 9 * 4 - 4; // the last element of dense.bias
  bytes[at] ^= 1;
  fs::remove(file); // the old one is mapped
  writeBytes(file, bytes);
  EXPECT_PRED_FORMAT2(::testing::IsSubstring,
                      "the run started from other pretrained weights",
                      load(path));
}

TEST(Files, StagedDirectoriesAppearWhole) {
  TemporaryDirectory directory;
  fs::path target = directory / "a" / "b";
  {
    StagedDirectory staged(target);
    writeFile(staged.path() / "x", "1");
    EXPECT_FALSE(fs::exists(target));
    // Nobody else may take it for a leftover.
    EXPECT_EQ(removeLeftovers(directory / "a"), 0);
    staged.commit();
  }
  EXPECT_EQ(readBytes(target / "x"), "1");
  {
    StagedDirectory staged(target.string() + "/");
    writeFile(staged.path() / "y", "2");
    staged.commit();
  }
  EXPECT_EQ(readAll(target).size(), 1u);
  EXPECT_EQ(readBytes(target / "y"), "2");
  {
    StagedDirectory abandoned(target);
    writeFile(abandoned.path() / "z", "3");
  }
  EXPECT_EQ(readBytes(target / "y"), "2");
  EXPECT_EQ(std::distance(fs::directory_iterator(directory / "a"), {}), 1);
}

TEST(Files, LeftoversOfOneTargetAreTold) {
  TemporaryDirectory directory;
  for (const char *name : {".m.pst-tmp-1-0", ".n.pst-tmp-1-0", ".other", "m"})
    fs::create_directories(directory / name);
  EXPECT_EQ(removeLeftovers(directory.path(), "m"), 1);
  EXPECT_FALSE(fs::exists(directory / ".m.pst-tmp-1-0"));
  EXPECT_TRUE(fs::exists(directory / ".n.pst-tmp-1-0"));
  EXPECT_EQ(removeLeftovers(directory.path()), 1);
  EXPECT_TRUE(fs::exists(directory / ".other"));
}
