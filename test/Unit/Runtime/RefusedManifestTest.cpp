//===- RefusedManifestTest.cpp - Manifests that no bundle may have --------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TinyProgram.h"

#include <nlohmann/json.hpp>

#include <limits>

using namespace pst;
using namespace tiny;
using Json = nlohmann::ordered_json;

namespace {
/// One malformation, made in the JSON of a good manifest; the error names the
/// key.
struct Case {
  std::string name;
  std::function<void(Json &)> damage;
  std::string message;
};
} // namespace

static void expectErrors(const Manifest &good, const std::vector<Case> &cases) {
  for (const Case &c : cases) {
    Json json = Json::parse(good.toJson());
    c.damage(json);
    EXPECT_ERROR(Manifest::fromJson(json.dump()), c.message) << c.name;
  }
}

TEST(Manifest, RefusesWhatIsMalformed) {
  std::vector<Case> cases = {
      {"version", [](Json &j) { j["version"] = 6; },
       "version: this runtime reads version 5, but the bundle is of version 6"},
      {"missing", [](Json &j) { j.erase("spaces"); },
       "spaces: the key is missing"},
      {"unknown", [](Json &j) { j["colour"] = 1; }, "colour: unknown key"},
      {"string", [](Json &j) { j["cpu"] = 3; },
       "cpu: expected a string, but got number"},
      {"number", [](Json &j) { j["hyperparameters"]["weight_rank"] = "8"; },
       "hyperparameters.weight_rank: expected a number"},
      {"negative", [](Json &j) { j["spaces"]["state"] = -4; },
       "spaces.state: expected a whole number, not negative, but got -4"},
      {"fraction", [](Json &j) { j["memory"]["arena"] = 1.5; },
       "memory.arena: expected a whole number"},
      {"role", [](Json &j) { j["parameters"][0]["role"] = "solid"; },
       "parameters[0].role: expected one of \"frozen\", \"trainable\", "
       "\"state\", \"cache\", but got \"solid\""},
      {"type", [](Json &j) { j["parameters"][1]["type"] = "f32[7,]"; },
       "parameters[1].type: expected a type such as \"f32[3,5]\", but got "
       "\"f32[7,]\""},
      {"element", [](Json &j) { j["parameters"][1]["type"] = "f31[7]"; },
       "but got \"f31[7]\""},
      {"overlong", [](Json &j) { j["parameters"][1]["type"] = "f32[7]]"; },
       "but got \"f32[7]]\""},
      {"huge",
       [](Json &j) {
         j["parameters"][1]["type"] = "f32[999999999999999,99999]";
       },
       "is absurdly large"},
      {"empty size", [](Json &j) { j["parameters"][1]["type"] = "f32[0,6]"; },
       "sizes must be positive"},
      {"initializer",
       [](Json &j) { j["parameters"][3]["initializer"].erase("stddev"); },
       "parameters[3].initializer.stddev: the key is missing"},
      {"stray",
       [](Json &j) { j["parameters"][4]["initializer"]["stddev"] = 1; },
       "parameters[4].initializer.stddev: unknown key"},
      {"decay", [](Json &j) { j["parameters"][3]["decay"] = 1; },
       "parameters[3].decay: expected true or false, but got 1"},
      {"source", [](Json &j) { j["parameters"][0]["source"] = ""; },
       "\"source\" must be given if, and only if, the initializer is \"file\""},
      {"twice",
       [](Json &j) { j["parameters"][1]["name"] = "tiny.embeddings.weight"; },
       "names must be unique"},
      {"overlap", [](Json &j) { j["parameters"][4]["offset"] = 52; },
       "overlaps another parameter at offset 52"},
      {"past", [](Json &j) { j["spaces"]["trainable"] = 100; },
       "past the end of the space \"trainable\""},
      {"misaligned", [](Json &j) { j["parameters"][3]["offset"] = 2; },
       "offset 2 is not aligned"},
      {"unequal", [](Json &j) { j["spaces"]["moment1"] = 8; },
       "spaces.moment1: must be as large as the space \"trainable\""},
      {"layer", [](Json &j) { j["sparse_layers"][0]["rows"] = 9; },
       "sparse layer \"tiny.dense.weight\": there must be a parameter"},
      {"state", [](Json &j) { j["sparse_layers"][0]["state"][1] = "nothing"; },
       "\"nothing\" must be a state parameter"},
      {"state's names", [](Json &j) { j["sparse_layers"][0]["state"][1] = 1; },
       "sparse_layers[0].state[1]: expected a string, but got 1"},
      {"pruned",
       [](Json &j) { j["sparse_layers"][0]["pruned"] = "classifier.bias"; },
       "\"classifier.bias\" must be a state parameter of type i64"},
      {"task", [](Json &j) { j["task"] = "chess"; },
       "task: expected one of \"none\", \"classification\", "
       "\"multi_label_classification\", \"token_classification\", "
       "\"regression\", \"lm\", but got "
       "\"chess\""},
      {"factor",
       [](Json &j) {
         j["sparse_layers"][0]["factors"][2]["tensors"][0] = "nothing";
       },
       "has the factor \"nothing\", which is no parameter"},
      {"rank",
       [](Json &j) { j["sparse_layers"][0]["factors"][1]["tensors"].erase(1); },
       "its factor of \"tiny.dense.weight.pst_U\" has not the shapes of its "
       "kind"},
      {"weight", [](Json &j) { j["sparse_layers"][0]["factors"].erase(0); },
       "its weight must be one of its dense factors"},
      {"argument",
       [](Json &j) {
         j["entry_points"]["select"]["arguments"][0]["name"] = "x";
       },
       "entry point \"select\", argument \"x\": there must be a frozen "
       "parameter"},
      {"space",
       [](Json &j) {
         j["entry_points"]["apply"]["arguments"][1]["name"] = "x";
       },
       "needs the space \"x\", which \"spaces\" lacks"},
      {"repeated",
       [](Json &j) {
         auto &list = j["entry_points"]["apply"]["arguments"];
         list.push_back(list[4]);
       },
       "argument \"learning_rate\": is listed twice"},
      {"list", [](Json &j) { j["parameters"] = Json::object(); },
       "parameters: expected a list, but got object"},
  };
  expectErrors(makeManifest(), cases);
  EXPECT_ERROR(Manifest::fromJson("{\"version\": 1"), "not valid JSON");
  EXPECT_ERROR(Manifest::fromJson("[]"), "expected an object, but got array");
}

TEST(Manifest, RefusesNumbersThatNothingCanBe) {
  static constexpr int64_t most = std::numeric_limits<int64_t>::max();
  auto parameter = [](int i, auto change) {
    return [=](Json &j) { change(j["parameters"][i]); };
  };
  auto constant = [&](int i, Json value) {
    return parameter(i, [=](Json &p) {
      p["initializer"] = {{"kind", "constant"}, {"value", value}};
    });
  };
  // 3: a trainable factor, 8: an f32 of the state, 9: an i64.
  expectErrors(
      makeManifest(),
      {{"place of a trainable",
        parameter(7, [](Json &p) { p["offset"] = most - 3; }),
        "parameter \"classifier.bias\": at offset 9223372036854775804 ends at "
        "byte 2^63 or more, past the end of the space \"trainable\""},
       {"place of state",
        parameter(10, [](Json &p) { p["offset"] = most - 7; }),
        "at offset 9223372036854775800 ends at byte 2^63 or more, past the end "
        "of the space \"state\""},
       {"space", [](Json &j) { j["spaces"]["state"] = most; },
        "spaces.state: 9223372036854775807 bytes are absurdly many"},
       {"memory", [](Json &j) { j["memory"]["frozen"] = most; },
        "memory.frozen: 9223372036854775807 bytes are absurdly many"},
       {"columns", parameter(1, [](Json &p) { p["source_columns"] = most; }),
        "parameter \"tiny.dense.weight\", \"source_columns\": the type "
        "f32[7,9223372036854775807] is absurdly large"},
       {"f32", constant(8, 1e308),
        "parameter \"tiny.dense.weight.pst_threshold\": its initializer "
        "\"constant\" has the value 1e+308, but its type is f32"},
       {"i64", constant(9, 0x1p63),
        "has the value 9.22337e+18, but its type "
        "is i64"},
       {"fraction", constant(9, 0.5), "has the value 0.5, but its type is i64"},
       {"infinity", constant(9, "inf"),
        "has the value inf, but its type is "
        "i64"},
       {"deviation",
        parameter(3, [](Json &p) { p["initializer"]["stddev"] = 1e300; }),
        "the \"stddev\" of its initializer must lie between 0 and 1e30, but is "
        "1e+300"},
       {"normal",
        parameter(9,
                  [](Json &p) {
                    p["initializer"] = {{"kind", "normal"}, {"stddev", 1}};
                  }),
        "its initializer \"normal\" gives f32, but its type is i64"},
       {"bf16",
        parameter(8,
                  [](Json &p) {
                    p["type"] = "bf16[7,6]";
                    p["initializer"] = {{"kind", "file"}};
                    p["source"] = "dense.weight";
                  }),
        "its initializer \"file\" gives f32, f64, i32 or i64, but its type is "
        "bf16[7,6]"},
       {"hyperparameter",
        [](Json &j) { j["hyperparameters"]["weight_rank"] = "inf"; },
        "hyperparameters.weight_rank: expected a number, but got \"inf\""},
       {"rate", [](Json &j) { j["rates"]["mask"] = -1; },
        "rates: must be numbers from 0, but one is -1"},
       {"one_shot", [](Json &j) { j["one_shot"] = 1; },
        "one_shot: expected true or false, but got 1"}});
  // Of a program that was never JSON.
  Manifest manifest = makeManifest();
  manifest.hyperparameters["weight_rank"] = HUGE_VAL;
  EXPECT_ERROR(
      manifest.verify(),
      "hyperparameters.weight_rank: expected a finite number, but got inf");
}

TEST(Manifest, RefusesTextThatIsNone) {
  Manifest manifest = makeManifest();
  manifest.architecture = "\xff";
  EXPECT_ERROR(manifest.verify(),
               "architecture: the text is not UTF-8, and JSON holds no other");
  std::string deep(100'000, '[');
  EXPECT_ERROR(Manifest::fromJson(deep), "not valid JSON: objects and lists "
                                         "lie more than 100 deep");
  auto config = [](std::string text) {
    return [=](Json &j) { j["config"] = text; };
  };
  expectErrors(
      makeManifest(),
      {{"a word", config("\xf0\x9f\x98\x80"), "config: is not valid JSON: "},
       {"a list", config("[]"),
        "config: must be empty, or the text of a JSON object"},
       {"deep", config(deep), "config: is not valid JSON: objects "}});
}

TEST(Manifest, RefusesEntryPointsOfAnotherConvention) {
  auto argument = [](const char *entry, const char *name, const char *type) {
    return [=](Json &j) {
      for (Json &a : j["entry_points"][entry]["arguments"])
        if (a["name"] == name && a["kind"] != "parameter")
          a["type"] = type;
    };
  };
  auto ids = [](const char *name, int64_t count) {
    return [=](Json &j) {
      for (Json &a : j["entry_points"]["forward"]["arguments"])
        if (a["name"] == name)
          a["ids"] = count;
    };
  };
  auto input = [](const char *name, const char *type) {
    return [=](Json &j) {
      j["entry_points"]["forward"]["arguments"].push_back(
          {{"name", name}, {"kind", "input"}, {"type", type}});
    };
  };
  expectErrors(
      makeManifest(),
      {{"logits", argument("forward", "logits", "f32"),
        "entry point \"forward\": argument \"logits\" must be a matrix of "
        "f32, rows x classes, but is f32"},
       {"rows", argument("forward", "logits", "f32[5,3]"),
        "argument \"input_ids\" is i32[4,5], but \"logits\" has 5 rows"},
       {"labels", argument("forward_backward", "labels", "f32[4]"),
        "entry point \"forward_backward\": argument \"labels\" of the task "
        "\"classification\" must be i32[B], but is f32[4]"},
       {"several labels",
        [&](Json &j) {
          j["task"] = "multi_label_classification";
          for (const char *entry : {"forward", "forward_backward"})
            argument(entry, "labels", "f32[4]")(j);
        },
        "argument \"labels\" of the task \"multi_label_classification\" must "
        "be f32[B,C], but is f32[4]"},
       {"more labels than logits",
        [&](Json &j) {
          j["task"] = "multi_label_classification";
          for (const char *entry : {"forward", "forward_backward"})
            argument(entry, "labels", "f32[4,5]")(j);
        },
        "entry point \"forward\": argument \"labels\" must be f32[4,3], as the "
        "logits are, but is f32[4,5]"},
       {"classes of tokens",
        [&](Json &j) {
          j["task"] = "token_classification";
          for (const char *entry : {"forward", "forward_backward"})
            argument(entry, "labels", "i32[4,5]")(j);
        },
        "argument \"input_ids\" is i32[4,5], but \"logits\" has 4 rows"},
       {"ids of floats", ids("logits", 3),
        "argument \"logits\": has \"ids\", which only inputs of i32 hold"},
       {"too many ids", ids("input_ids", int64_t(1) << 31),
        "argument \"input_ids\": has 2147483648 ids, which i32 cannot tell "
        "apart"},
       {"class weights", input("class_weights", "f32[2]"),
        "argument \"class_weights\" must be f32[3], one for each class, but "
        "is f32[2]"},
       {"a teacher of other classes", input("teacher_logits", "f32[4,2]"),
        "argument \"teacher_logits\" must be f32[4,3], as the logits are, but "
        "is f32[4,2]"},
       {"a teacher of tokens",
        [&](Json &j) {
          input("teacher_logits", "f32[4,3]")(j);
          j["task"] = "lm";
          for (const char *entry : {"forward", "forward_backward"})
            argument(entry, "labels", "i32[4,5]")(j);
        },
        "argument \"teacher_logits\" is of a model that classifies texts or "
        "predicts a number, by the \"logits\" of \"forward\""},
       {"weight", argument("materialize", "tiny.dense.weight", "f32[70,6]"),
        "argument \"tiny.dense.weight\" must be f32[7,6], as the layer is, but "
        "is f32[70,6]"}});
}

TEST(Manifest, RefusesPiecesThatAreNoRows) {
  Manifest manifest = makeManifest();
  const Parameter &weight = *manifest.findParameter("tiny.dense.weight");
  Parameter stored;
  stored.name = "tiny.dense.weight.pst_values";
  stored.role = Role::state;
  stored.type = {ElementType::i8, weight.type.shape};
  stored.initializer.kind = Initializer::Kind::zeros;
  stored.offset = manifest.spaces["state"];
  manifest.spaces["state"] += 64;
  manifest.memory.state += 64;
  EntryPoint pack;
  pack.symbol = "tiny_pack";
  pack.arguments = {
      {Argument::Kind::input, weight.name, {ElementType::f32, {5, 6}}},
      {Argument::Kind::output, stored.name, {ElementType::i8, {5, 6}}}};
  manifest.parameters.push_back(stored);
  manifest.entryPoints["pack.0"] = pack;
  manifest.verify();
  auto type = [](int i, const char *text) {
    return [=](Json &j) {
      j["entry_points"]["pack.0"]["arguments"][i]["type"] = text;
    };
  };
  auto name = [](int i, const char *text) {
    return [=](Json &j) {
      j["entry_points"]["pack.0"]["arguments"][i]["name"] = text;
    };
  };
  std::string rows = "argument \"tiny.dense.weight\" is ",
              ofWeight = ", but must be rows of a frozen matrix of this name",
              values = "argument \"tiny.dense.weight.pst_values\" is ";
  expectErrors(
      manifest,
      {{"more", type(0, "f32[8,6]"), rows + "f32[8,6]" + ofWeight},
       {"wider", type(0, "f32[5,7]"), rows + "f32[5,7]" + ofWeight},
       {"element", type(0, "bf16[5,6]"), rows + "bf16[5,6]" + ofWeight},
       {"other", name(0, "tiny.dense.weight.pst_values"),
        "argument \"tiny.dense.weight.pst_values\" is f32[5,6]" + ofWeight},
       {"fewer", type(1, "i8[4,6]"),
        values + "i8[4,6], but must be 5 rows of a parameter of role state"},
       {"types", type(1, "f32[5,6]"),
        values + "f32[5,6], but must be 5 rows of a parameter of role state"},
       {"nobody", name(1, "somewhere"),
        "argument \"somewhere\" is i8[5,6], but must be 5 rows of a "
        "parameter of role state"},
       {"two",
        [](Json &j) {
          j["entry_points"]["pack.0"]["arguments"].push_back(
              {{"name", "x"}, {"kind", "input"}, {"type", "f32"}});
        },
        "entry point \"pack.0\": has more than one input, but stores one "
        "weight"}});
}

TEST(Manifest, RefusesLayersThatCannotBe) {
  auto layer = [](const char *key, Json value) {
    return [=](Json &j) { j["sparse_layers"][0][key] = value; };
  };
  std::vector<Case> cases = {
      {"row", layer("selection", "topk row"),
       "\"tiny.dense.weight.pst_threshold\" must be a state parameter of type "
       "f32[7]"},
      {"block", layer("selection", "block 2x2 max"),
       "its \"state\" has 2 parameters, but \"block 2x2 max\" leaves 3"},
      {"factor",
       [](Json &j) {
         Json other = j["sparse_layers"][0];
         other["weight"] = "classifier.weight";
         other["rows"] = 3, other["columns"] = 7;
         other["factors"] = {
             {{"kind", "dense"}, {"tensors", {"classifier.weight"}}}};
         j["sparse_layers"].push_back(other);
         j["parameters"][6]["type"] = "f32[7,6]";
         j["sparse_layers"][1]["rows"] = 7;
         j["sparse_layers"][1]["columns"] = 6;
         j["sparse_layers"][0]["factors"].push_back(
             {{"kind", "dense"}, {"tensors", {"classifier.weight"}}});
         for (const char *space :
              {"trainable", "gradient", "moment1", "moment2"})
           j["spaces"][space] = 4096;
         j["parameters"][7]["offset"] = 2048;
       },
       "its factor \"classifier.weight\" is the weight of another layer"}};
  for (const char *selection :
       {"topk", "nm 0:0", "nm 4:2", "nm 2:4x", "block 0x0 mean", "block 2x2",
        "block 99999999999999999999x1 mean", "rows", "some"})
    cases.push_back(
        {selection, layer("selection", selection),
         "there is no \"selection\" \"" + std::string(selection) + "\""});
  expectErrors(makeManifest(), cases);
}

TEST(Manifest, RefusesLaunchesThatWrap) {
  Manifest manifest = makeManifest();
  manifest.triple = kGPUTriple;
  for (auto &[name, entry] : manifest.entryPoints)
    entry.symbol.clear();
  auto launch = [](const char *text) {
    return [=](Json &j) { j["entry_points"]["forward"]["launches"] = {text}; };
  };
  std::string where = "entry point \"forward\", launch 0: ";
  expectErrors(
      manifest,
      {{"block", launch("k grid 1x1x1 block 1073741824x1073741824x16 : #0+0"),
        where + "a block has at most 1024 threads"},
       {"cluster", launch("k grid 8x1x1 block 1x1x1 cluster 2x1x1 : #0+0"),
        "forms clusters of blocks, as an older compiler made them: compile it "
        "anew"},
       {"shared", launch("k grid 1x1x1 block 1x1x1 shared 4294967296 : #0+0"),
        where + "a block has at most 262144 bytes of shared memory, not "
                "4294967296"},
       {"strides",
        launch("k grid 1x1x1 block 32x1x1 : "
               "map#0+0/f32[4294967296,4294967296,6]/"
               "4611686018427387904,4611686018427387904/1,1,6/0"),
        where + "a tensor map's strides are below 2^40 bytes, but one is "
                "4611686018427387904"},
       {"sizes",
        launch("k grid 1x1x1 block 32x1x1 : "
               "map#0+0/f32[4294967296,4294967296,6]/"
               "1099511627760,16/1,1,6/0"),
        where + "2^63 or more bytes at offset 0 end past"},
       {"offset", launch("k grid 1x1x1 block 32x1x1 : #0+9223372036854775807"),
        where + "1 bytes at offset 9223372036854775807 end past"}});
}
