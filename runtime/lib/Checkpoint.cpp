//===- Checkpoint.cpp - The state of a run on disk ------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Runtime/Checkpoint.h"
#include "pst/Bundle/ParseJson.h"
#include "pst/Runtime/Digest.h"
#include "pst/Runtime/Error.h"
#include "pst/Runtime/Files.h"
#include "pst/Runtime/Philox.h"
#include "pst/Runtime/SafeTensorsWriter.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <optional>
#include <set>

using namespace pst;
using namespace pst::runtime;
using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

/// Of trainer_state.json and the three files beside it.
static constexpr int kFormat = 2;
static constexpr std::string_view kPrefix = "checkpoint-";
static constexpr const char *kStateFile = "trainer_state.json";
static constexpr const char *kTrainable = "trainable.safetensors";
/// Of a run: as many as the names of checkpoints can count.
static constexpr int64_t kMostSteps = 999'999'999'999'999;

double EvaluationRecord::value(const std::string &metric) const {
  if (metric == "loss")
    return loss;
  auto found = metrics.find(metric);
  return found == metrics.end() ? std::numeric_limits<double>::quiet_NaN()
                                : found->second;
}

//===----------------------------------------------------------------------===//
// What lies in which file
//===----------------------------------------------------------------------===//

namespace {

/// A tensor of a checkpoint, and where it lives.
struct Slot {
  std::string name;
  DType dtype;
  const std::vector<int64_t> *shape;
  void *data;
  int64_t numBytes;
};

DType fileType(ElementType element) {
  switch (element) {
  case ElementType::f32:
    return DType::F32;
  case ElementType::f64:
    return DType::F64;
  case ElementType::bf16:
    return DType::BF16;
  case ElementType::i8:
    return DType::I8;
  case ElementType::i32:
    return DType::I32;
  case ElementType::i64:
    return DType::I64;
  }
  return DType::F32;
}

/// Every file of a checkpoint but trainer_state.json, with its tensors.
std::vector<std::pair<std::string, std::vector<Slot>>>
layoutOf(const Model &model) {
  const ParameterStore &store = model.parameters();
  std::vector<Slot> trainable, optimizer, state;
  auto add = [&](std::vector<Slot> &slots, const Parameter &parameter,
                 const char *space, const std::string &prefix) {
    slots.push_back({prefix + parameter.name, fileType(parameter.type.element),
                     &parameter.type.shape, store.data(parameter, space),
                     parameter.type.numBytes()});
  };
  for (const Parameter &parameter : model.manifest().parameters) {
    if (parameter.role == Role::state)
      add(state, parameter, "state", "");
    if (parameter.role != Role::trainable)
      continue;
    add(trainable, parameter, "trainable", "");
    add(optimizer, parameter, "moment1", "moment1.");
    add(optimizer, parameter, "moment2", "moment2.");
  }
  return {{kTrainable, std::move(trainable)},
          {"optimizer.safetensors", std::move(optimizer)},
          {"state.safetensors", std::move(state)}};
}

uint64_t slotDigest(const Slot &slot, const void *data) {
  return digestBytes(data, slot.numBytes,
                     hashName(slot.name + describe(slot.dtype, *slot.shape)));
}

//===----------------------------------------------------------------------===//
// trainer_state.json
//===----------------------------------------------------------------------===//

Json toJson(const EvaluationRecord &record) {
  return {{"step", record.step},         {"epoch", record.epoch},
          {"sparsity", record.sparsity}, {"loss", record.loss},
          {"metrics", record.metrics},   {"num_examples", record.numExamples},
          {"eligible", record.eligible}, {"best", record.best}};
}

/// A number; JSON has no NaN, so that null stands for it.
double number(const Json &json) {
  return json.is_null() ? std::numeric_limits<double>::quiet_NaN()
                        : json.get<double>();
}

/// A whole number from `least` to `most`. Throws JsonError for anything else,
/// which a conversion would make one in silence.
int64_t wholeNumber(const Json &json, const char *key, int64_t least,
                    int64_t most) {
  const Json &value = json.at(key);
  if (!value.is_number_unsigned() ||
      value.get<uint64_t>() < static_cast<uint64_t>(least) ||
      value.get<uint64_t>() > static_cast<uint64_t>(most))
    throw JsonError("\"" + std::string(key) +
                    "\" must be a whole number from " + std::to_string(least) +
                    " to " + std::to_string(most) + ", but is " + value.dump());
  return value.get<int64_t>();
}

/// An evaluation in a run that has completed `steps` steps.
EvaluationRecord recordFromJson(const Json &json, int64_t steps) {
  EvaluationRecord record;
  record.step = wholeNumber(json, "step", 0, steps);
  record.epoch = json.at("epoch").get<double>();
  record.sparsity = json.at("sparsity").get<double>();
  record.loss = number(json.at("loss"));
  for (const auto &[name, value] : json.at("metrics").items())
    record.metrics[name] = number(value);
  record.numExamples = wholeNumber(json, "num_examples", 0, kMostSteps);
  record.eligible = json.at("eligible").get<bool>();
  record.best = json.at("best").get<bool>();
  return record;
}

/// "; resume from an earlier one: ..."
std::string earlierCheckpoint(const fs::path &checkpoint) {
  fs::path path =
      checkpoint.has_filename() ? checkpoint : checkpoint.parent_path();
  std::string earlier;
  for (const auto &[step, candidate] : listCheckpoints(path.parent_path())) {
    if (candidate.filename() == path.filename())
      break;
    earlier = candidate.string();
  }
  return earlier.empty()
             ? "there is no earlier checkpoint beside it"
             : "an earlier one is whole, perhaps: --resume_from_checkpoint " +
                   earlier;
}

[[noreturn]] void damaged(const fs::path &checkpoint, const std::string &what) {
  throw Error(checkpoint.string() + ": the checkpoint is damaged: " + what +
              "; " + earlierCheckpoint(checkpoint));
}

/// The first of what is trained in one of the two and not, or in another shape,
/// in the other; "" where that is the same, or the file cannot be read.
std::string compareTrained(const fs::path &checkpoint, const Model &model) {
  // The first file is kTrainable.
  auto ours = std::move(layoutOf(model).front().second);
  try {
    SafeTensorsFile theirs(checkpoint / kTrainable);
    std::set<std::string_view> names;
    for (const Slot &slot : ours) {
      names.insert(slot.name);
      std::string name = "\"" + slot.name + "\"";
      const TensorView *found = theirs.find(slot.name);
      if (!found)
        return "the program trains " + name +
               ", which the checkpoint does not hold";
      if (found->dtype != slot.dtype || found->shape != *slot.shape)
        return name + " is " + describe(found->dtype, found->shape) +
               " in the checkpoint, " + describe(slot.dtype, *slot.shape) +
               " in the program";
    }
    for (const auto &[name, ignored] : theirs.tensors())
      if (!names.contains(name))
        return "the checkpoint holds \"" + name +
               "\", which the program does not train";
  } catch (const Error &) {
  }
  return "";
}

/// What is different about two models, as far as a checkpoint tells.
std::string compareModels(const Json &json, const fs::path &checkpoint,
                          const Model &model) {
  const Manifest &manifest = model.manifest();
  std::string text;
  auto compare = [&](const std::string &what, const std::string &theirs,
                     const std::string &ours) {
    if (theirs != ours)
      text += (text.empty() ? "" : ", ") + what + " is " + theirs +
              " in the checkpoint, " + ours + " in the program";
  };
  compare("the architecture", json.at("architecture").get<std::string>(),
          manifest.architecture);
  compare("the method", json.at("method").get<std::string>(), manifest.method);
  std::map<std::string, double> theirs = json.at("hyperparameters");
  std::map<std::string, double> all = theirs;
  all.insert(manifest.hyperparameters.begin(), manifest.hyperparameters.end());
  auto find = [](const std::map<std::string, double> &values,
                 const std::string &key) {
    auto found = values.find(key);
    return found == values.end() ? "absent" : Json(found->second).dump();
  };
  for (const auto &[key, ignored] : all)
    compare(key, find(theirs, key), find(manifest.hyperparameters, key));
  if (text.empty())
    text = compareTrained(checkpoint, model);
  return text.empty() ? "the names or shapes of their parameters differ, or "
                        "their criteria"
                      : text;
}

/// Of all that the file holds but this digest itself.
std::string stateDigest(Json json) {
  json.at("digests").erase(kStateFile);
  std::string text = json.dump();
  return hexDigest(digestBytes(text.data(), static_cast<int64_t>(text.size()),
                               hashName(kStateFile)));
}

/// The completed steps that the name of a checkpoint tells.
std::optional<int64_t> stepOfName(const std::string &name) {
  if (!name.starts_with(kPrefix))
    return std::nullopt;
  std::string digits = name.substr(kPrefix.size());
  if (digits.empty() || digits.size() > 15 ||
      digits.find_first_not_of("0123456789") != std::string::npos)
    return std::nullopt;
  return std::stoll(digits);
}

Json readJson(const fs::path &checkpoint) {
  fs::path file = checkpoint / kStateFile;
  if (!isNamed(file))
    throw Error(checkpoint.string() +
                ": not a checkpoint: it holds no trainer_state.json");
  try {
    return parseJson(readFile(file));
  } catch (const JsonError &error) {
    damaged(checkpoint, "trainer_state.json is not valid JSON: " +
                            std::string(error.what()));
  }
}

TrainerState stateFromJson(const Json &json, const fs::path &checkpoint,
                           const Model &model) {
  try {
    if (int64_t format = wholeNumber(json, "format", 0, kMostSteps);
        format != kFormat)
      throw Error(checkpoint.string() + ": a checkpoint of format " +
                  std::to_string(format) + "; this runtime reads format " +
                  std::to_string(kFormat));
    if (json.at("digests").at(kStateFile) != stateDigest(json))
      damaged(checkpoint,
              std::string(kStateFile) + " holds other bytes than were written");
    const Manifest &manifest = model.manifest();
    if (json.at("fingerprint").get<std::string>() != manifest.fingerprint())
      throw Error(checkpoint.string() +
                  ": a checkpoint of another model or method: " +
                  compareModels(json, checkpoint, model));
    if (json.at("pretrained_weights").get<std::string>() !=
        model.parameters().modelDigest())
      throw Error(checkpoint.string() +
                  ": the run started from other pretrained weights than those "
                  "of " +
                  (model.parameters().files()
                       ? model.parameters().files()->path().string()
                       : std::string("this model")));
    TrainerState state;
    state.totalSteps = wholeNumber(json, "total_steps", 0, kMostSteps);
    state.step = wholeNumber(json, "step", 0, state.totalSteps);
    fs::path path =
        checkpoint.has_filename() ? checkpoint : checkpoint.parent_path();
    if (auto step = stepOfName(path.filename().string());
        step.value_or(state.step) != state.step)
      throw JsonError("\"step\" is " + std::to_string(state.step) +
                      ", but the directory is that of step " +
                      std::to_string(*step));
    state.epoch = json.at("epoch").get<double>();
    state.sparsity = json.at("sparsity").get<double>();
    for (const auto &[flag, value] : json.at("options").items())
      state.options[flag] = value.get<std::string>();
    state.lossSum = json.at("loss_sum").get<double>();
    state.lossCount = wholeNumber(json, "loss_count", 0, state.step);
    for (const Json &record : json.at("history"))
      state.history.push_back(recordFromJson(record, state.step));
    return state;
  } catch (const Json::exception &error) {
    damaged(checkpoint, "trainer_state.json: " + std::string(error.what()));
  } catch (const JsonError &error) {
    damaged(checkpoint, "trainer_state.json: " + std::string(error.what()));
  }
}

} // namespace

//===----------------------------------------------------------------------===//
// Saving and loading
//===----------------------------------------------------------------------===//

fs::path pst::runtime::saveCheckpoint(const fs::path &outputDir,
                                      const Model &model,
                                      const TrainerState &state) {
  const Manifest &manifest = model.manifest();
  Json json;
  json["format"] = kFormat;
  json["fingerprint"] = manifest.fingerprint();
  json["architecture"] = manifest.architecture;
  json["method"] = manifest.method;
  json["hyperparameters"] = manifest.hyperparameters;
  json["pretrained_weights"] = model.parameters().modelDigest();
  json["step"] = state.step;
  json["total_steps"] = state.totalSteps;
  json["epoch"] = state.epoch;
  json["sparsity"] = state.sparsity;
  json["options"] = state.options;
  json["loss_sum"] = state.lossSum;
  json["loss_count"] = state.lossCount;
  json["history"] = Json::array();
  for (const EvaluationRecord &record : state.history)
    json["history"].push_back(toJson(record));

  fs::path path =
      outputDir / (std::string(kPrefix) + std::to_string(state.step));
  try {
    StagedDirectory staged(path);
    for (const auto &[file, slots] : layoutOf(model)) {
      std::vector<TensorData> tensors;
      uint64_t digest = 0;
      for (const Slot &slot : slots) {
        tensors.push_back({{slot.name, slot.dtype, *slot.shape}, slot.data});
        digest += slotDigest(slot, slot.data);
      }
      json["digests"][file] = hexDigest(digest);
      writeSafeTensors(staged.path() / file, tensors);
    }
    // As it will be read: a number's text may say less than the number.
    json = Json::parse(json.dump());
    json["digests"][kStateFile] = stateDigest(json);
    writeFile(staged.path() / kStateFile, json.dump(1) + "\n");
    staged.commit();
  } catch (const Error &error) {
    throw Error(path.string() +
                ": cannot save the checkpoint (those before it "
                "are untouched): " +
                error.what());
  }
  return path;
}

TrainerState pst::runtime::readTrainerState(const fs::path &checkpoint,
                                            const Model &model) {
  return stateFromJson(readJson(checkpoint), checkpoint, model);
}

TrainerState pst::runtime::loadCheckpoint(const fs::path &checkpoint,
                                          Model &model) {
  Json json = readJson(checkpoint);
  TrainerState state = stateFromJson(json, checkpoint, model);
  for (const auto &[file, slots] : layoutOf(model)) {
    try {
      SafeTensorsFile tensors(checkpoint / file);
      uint64_t digest = 0;
      for (const Slot &slot : slots) {
        const TensorView *tensor = tensors.find(slot.name);
        if (!tensor || tensor->dtype != slot.dtype ||
            tensor->shape != *slot.shape)
          throw Error(file + " lacks the tensor \"" + slot.name + "\", " +
                      describe(slot.dtype, *slot.shape));
        std::memcpy(slot.data, tensor->data, slot.numBytes);
        digest += slotDigest(slot, slot.data);
      }
      if (!json.contains("digests") || !json["digests"].contains(file) ||
          json["digests"][file] != hexDigest(digest))
        throw Error(file + " holds other bytes than were written");
    } catch (const Error &error) {
      damaged(checkpoint, error.what());
    }
  }
  model.restoreSelection(state.sparsity);
  return state;
}

std::vector<std::pair<int64_t, fs::path>>
pst::runtime::listCheckpoints(const fs::path &outputDir) {
  std::vector<std::pair<int64_t, fs::path>> checkpoints;
  std::error_code code;
  for (const fs::directory_entry &entry :
       fs::directory_iterator(outputDir, code)) {
    auto step = stepOfName(entry.path().filename().string());
    if (step && entry.is_directory())
      checkpoints.emplace_back(*step, entry.path());
  }
  std::sort(checkpoints.begin(), checkpoints.end());
  return checkpoints;
}

void pst::runtime::removeCheckpoint(const fs::path &checkpoint) {
  removeDirectory(checkpoint);
}
