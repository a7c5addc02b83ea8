//===- DatasetTest.cpp - Examples, and batches of them --------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TinyProgram.h"
#include "pst/Runtime/Error.h"
#include "pst/Runtime/SafeTensorsWriter.h"

#include <cmath>
#include <cstring>

using namespace pst;
using namespace pst::runtime;
using namespace tiny;

namespace {

/// Arrays of three examples that the tiny program accepts, to be damaged.
struct Arrays {
  std::vector<int32_t> ids = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0, 1, 2, 3};
  std::vector<int32_t> mask = {1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 0, 0};
  std::vector<int32_t> labels = {0, 2, 1};
  std::vector<float> values = {0.5, 2, 1};
  int64_t length = 5;
  bool withLabels = true, regression = false;

  Dataset make() const {
    TensorType rows{ElementType::i32,
                    {static_cast<int64_t>(ids.size()) / length, length}};
    std::vector<DataArray> list{{"input_ids", rows, ids.data(), nullptr},
                                {"attention_mask", rows, mask.data(), nullptr}};
    if (withLabels && regression)
      list.push_back({"labels",
                      {ElementType::f32, {int64_t(values.size())}},
                      values.data(),
                      nullptr});
    else if (withLabels)
      list.push_back({"labels",
                      {ElementType::i32, {int64_t(labels.size())}},
                      labels.data(),
                      nullptr});
    return Dataset(std::move(list), "x.csv");
  }
  std::string check(Variant variant = {}, bool needLabels = true) const {
    return errorOf(
        [&] { make().check(makeManifest(variant), "forward", needLabels); });
  }
};

} // namespace

TEST(Dataset, AcceptsWhatFits) {
  EXPECT_EQ(Arrays().check(), "(no error)");
  Arrays regression;
  regression.regression = true;
  EXPECT_EQ(regression.check({4, true}), "(no error)");
  Arrays unlabelled;
  unlabelled.withLabels = false;
  EXPECT_EQ(unlabelled.check({}, /*needLabels=*/false), "(no error)");
}

TEST(Dataset, NamesTheRowAtFault) {
  struct Case {
    std::function<void(Arrays &)> damage;
    std::string message;
    Variant variant = {};
  };
  std::vector<Case> cases = {
      {[](Arrays &a) { a.ids[12] = 11; },
       "x.csv: \"input_ids\" of example 2 is 11 at position 2; the vocabulary "
       "has 11 entries"},
      {[](Arrays &a) { a.ids[0] = -1; }, "of example 0 is -1 at position 0"},
      {[](Arrays &a) { a.mask[5] = 2; },
       "\"attention_mask\" of example 1 is 2 at position 0; a mask is 0 or 1"},
      {[](Arrays &a) { a.mask[10] = 0; },
       "x.csv: example 2 is empty: its attention_mask has no 1"},
      {[](Arrays &a) { a.labels[1] = 3; },
       "x.csv: \"labels\" of example 1 is 3; the model has 3 classes: labels "
       "go "
       "from 0 to 2"},
      {[](Arrays &a) { a.labels[2] = -100; },
       "\"labels\" of example 2 is -100"},
      {[](Arrays &a) { a.withLabels = false; },
       "x.csv: lacks \"labels\", which the program reads as i32[N]"},
      {[](Arrays &a) { a.regression = true; },
       "\"labels\" is f32[N], but the program was compiled for i32[N]"},
      {[](Arrays &a) { a.length = 3; },
       "\"input_ids\" is i32[N,3], but the program was compiled for i32[N,5]"},
      {[](Arrays &a) {
         a.regression = true;
         a.values[1] = NAN;
       },
       "\"labels\" of example 1 is nan; a number is expected",
       {4, true}},
      {[](Arrays &a) {
         a.regression = true;
         a.values[2] = INFINITY;
       },
       "\"labels\" of example 2 is inf",
       {4, true}},
  };
  for (const Case &c : cases) {
    Arrays arrays;
    c.damage(arrays);
    if (arrays.length == 3)
      arrays.labels = {0, 0, 0, 0, 0};
    EXPECT_PRED_FORMAT2(::testing::IsSubstring, c.message,
                        arrays.check(c.variant));
  }
}

TEST(Dataset, RefusesWhatIsEmptyOrUneven) {
  Arrays arrays;
  EXPECT_ERROR(Dataset({}), "there are no arrays");
  arrays.labels.push_back(0);
  EXPECT_ERROR(arrays.make(),
               "\"labels\" has 4 examples, but \"input_ids\" has 3");
  arrays.ids.clear();
  arrays.labels.clear();
  EXPECT_ERROR(arrays.make(), "x.csv: holds no example");
  EXPECT_ERROR(Dataset({{"a", {ElementType::i32, {}}, arrays.mask.data(), {}}}),
               "is a scalar");
  EXPECT_ERROR(
      Dataset({{"a", {ElementType::f64, {1}}, arrays.mask.data(), {}}}),
      "must be i32 or f32, but is f64");
}

TEST(Dataset, LoadsASafetensorsFile) {
  TemporaryDirectory directory;
  std::vector<int64_t> ids{1, 2, 3, 4, 5, -6};
  std::vector<float> labels{0.5, 1};
  auto path = directory / "d.safetensors";
  writeSafeTensors(path, {{{"input_ids", DType::I64, {2, 3}}, ids.data()},
                          {{"labels", DType::F32, {2}}, labels.data()}});
  Dataset data = Dataset::load(path);
  EXPECT_EQ(data.size(), 2);
  const DataArray *array = data.find("input_ids");
  ASSERT_NE(array, nullptr);
  EXPECT_EQ(array->type, (TensorType{ElementType::i32, {2, 3}}));
  const int32_t *values = static_cast<const int32_t *>(array->data);
  EXPECT_EQ(std::vector<int32_t>(values, values + 6),
            (std::vector<int32_t>{1, 2, 3, 4, 5, -6}));
  EXPECT_EQ(std::memcmp(data.find("labels")->data, labels.data(), 8), 0);

  ids[3] = int64_t(1) << 31;
  writeSafeTensors(path, {{{"input_ids", DType::I64, {2, 3}}, ids.data()}});
  EXPECT_ERROR(Dataset::load(path),
               "holds 2147483648, which does not fit into 32 bits");
  writeSafeTensors(path, {{{"input_ids", DType::U8, {2}}, ids.data()}});
  EXPECT_ERROR(Dataset::load(path), "is U8[2]; data must be I32, I64 or F32");
  writeSafeTensors(path, {});
  EXPECT_ERROR(Dataset::load(path), "there are no arrays");
}

TEST(Dataset, CopiesWhatIsNotAligned) {
  TemporaryDirectory directory;
  auto path = directory / "d.safetensors";
  std::string header = R"({"pad":{"dtype":"I32","shape":[1],"data_offsets":)"
                       R"([0,4]},"x":{"dtype":"F32","shape":[1],)"
                       R"("data_offsets":[4,8]}})";
  while (header.size() % 4 != 1)
    header += ' ';
  uint64_t length = header.size();
  float value = 2.5f;
  std::string bytes(reinterpret_cast<char *>(&length), 8);
  bytes += header + std::string(4, '\0');
  bytes.append(reinterpret_cast<char *>(&value), 4);
  writeBytes(path, bytes);
  Dataset data = Dataset::load(path);
  const void *place = data.find("x")->data;
  EXPECT_EQ(reinterpret_cast<uintptr_t>(place) % 4, 0u);
  EXPECT_EQ(*static_cast<const float *>(place), 2.5f);
}

TEST(Dataset, DigestTellsDataApart) {
  Arrays arrays;
  std::string digest = arrays.make().digest();
  EXPECT_EQ(arrays.make().digest(), digest);
  arrays.ids[7] ^= 1;
  EXPECT_NE(arrays.make().digest(), digest);
  arrays.ids[7] ^= 1;
  std::swap(arrays.labels[0], arrays.labels[1]);
  EXPECT_NE(arrays.make().digest(), digest);
}

template <typename T>
static std::vector<T> values(const Batch &batch, const std::string &name) {
  for (const Batch::Buffer &buffer : batch.buffers())
    if (buffer.name == name) {
      std::vector<T> list(buffer.bytes.size() / sizeof(T));
      std::memcpy(list.data(), buffer.bytes.data(), buffer.bytes.size());
      return list;
    }
  return {};
}

TEST(Batch, GathersRowsAndMarksThePadding) {
  Arrays arrays;
  Dataset data = arrays.make();
  Batch batch(makeManifest().entryPoints.at("forward"));
  EXPECT_EQ(batch.capacity(), 4);
  EXPECT_EQ(batch.buffers().size(), 3u); // not the scalars
  std::vector<int64_t> rows{2, 0, 1};
  batch.gather(data, {rows.data(), 2});
  EXPECT_EQ(batch.numExamples(), 2);
  EXPECT_EQ(batch.numTokens(), 1 + 5);
  EXPECT_EQ(values<int32_t>(batch, "labels"),
            (std::vector<int32_t>{1, 0, kNoExample, kNoExample}));
  EXPECT_EQ(values<int32_t>(batch, "input_ids"),
            (std::vector<int32_t>{10, 0, 1, 2, 3, 0, 1, 2, 3, 4,
                                  0,  1, 2, 3, 4, 0, 1, 2, 3, 4}));
  batch.gather(data, rows);
  EXPECT_EQ(batch.numTokens(), 1 + 5 + 2);
  EXPECT_EQ(values<int32_t>(batch, "labels"),
            (std::vector<int32_t>{1, 0, 2, kNoExample}));
  std::vector<int64_t> many{0, 1, 2, 0, 1};
  EXPECT_ERROR(batch.gather(data, many), "of 4 rows cannot hold 5");
}

TEST(Batch, WithoutPaddingOtherRowsAreEmpty) {
  Arrays arrays; // of 5, 2 and 1 tokens
  Dataset data = arrays.make();
  Batch batch(makeManifest().entryPoints.at("forward"), /*tokenCapacity=*/6);
  std::vector<int64_t> rows{2, 0, 1};
  EXPECT_EQ(batch.countFitting(data, rows), 2);
  EXPECT_EQ(batch.countFitting(data, {rows.data() + 1, 2}), 1);
  EXPECT_EQ(batch.countFitting(data, {rows.data() + 2, 1}), 1);
  EXPECT_ERROR(batch.gather(data, rows),
               "x.csv: the 3 rows have more tokens than the 6 that a batch has "
               "room for");
  batch.gather(data, {rows.data(), 2}, /*first=*/1);
  EXPECT_EQ(batch.numExamples(), 2);
  EXPECT_EQ(batch.numTokens(), 1 + 5);
  EXPECT_EQ(values<int32_t>(batch, "labels"),
            (std::vector<int32_t>{kNoExample, 1, 0, kNoExample}));
  EXPECT_EQ(values<int32_t>(batch, "attention_mask"),
            (std::vector<int32_t>{0, 0, 0, 0, 0, 1, 0, 0, 0, 0,
                                  1, 1, 1, 1, 1, 0, 0, 0, 0, 0}));
  EXPECT_ERROR(batch.gather(data, {rows.data(), 2}, /*first=*/3),
               "of 4 rows cannot hold 2 from row 3 on");
}

TEST(Dataset, WithoutPaddingTokensComeFirst) {
  Manifest manifest = makeManifest();
  manifest.tokenCapacity = 7;
  EXPECT_EQ(errorOf([&] { Arrays().make().check(manifest, "forward", true); }),
            "(no error)");
  Arrays arrays;
  arrays.mask[8] = 1; // 1 1 0 1 0
  std::string error =
      errorOf([&] { arrays.make().check(manifest, "forward", true); });
  EXPECT_NE(error.find("\"attention_mask\" of example 1 is 1 at position 3; a "
                       "program without padding"),
            std::string::npos)
      << error;
}

TEST(Batch, MarksRegressionPaddingWithNaN) {
  Arrays arrays;
  arrays.regression = true;
  Dataset data = arrays.make();
  Batch batch(makeManifest({4, true}).entryPoints.at("forward"));
  std::vector<int64_t> rows{1};
  batch.gather(data, rows);
  std::vector<float> labels = values<float>(batch, "labels");
  EXPECT_EQ(labels[0], 2);
  for (int i = 1; i < 4; ++i)
    EXPECT_TRUE(std::isnan(labels[i]));
}

TEST(Batch, WithoutLabelsThereAreNoExamples) {
  Arrays arrays;
  arrays.withLabels = false;
  Dataset data = arrays.make();
  Batch batch(makeManifest().entryPoints.at("forward"));
  std::vector<int64_t> rows{1, 0};
  batch.gather(data, rows);
  EXPECT_EQ(batch.numExamples(), 0);
  EXPECT_EQ(values<int32_t>(batch, "labels"),
            std::vector<int32_t>(4, kNoExample));
}

TEST(Dataset, ClassesOfTokens) {
  Manifest manifest = makeManifest();
  manifest.task = ModelTask::tokenClasses;
  for (Argument &argument : manifest.entryPoints["forward"].arguments)
    if (argument.name == "labels")
      argument.type = {ElementType::i32, {4, 5}};
  std::vector<int32_t> ids(15, 1), labels(15, kNoExample);
  labels[0] = 2;
  labels[3] = labels[12] = 0;
  TensorType rows{ElementType::i32, {3, 5}};
  auto make = [&] {
    return Dataset({{"input_ids", rows, ids.data(), nullptr},
                    {"attention_mask", rows, ids.data(), nullptr},
                    {"labels", rows, labels.data(), nullptr}},
                   "x.csv");
  };
  auto check = [&] {
    return errorOf([&] { make().check(manifest, "forward", true); });
  };
  EXPECT_EQ(check(), "(no error)");
  // The first token's label counts, but not as one to be predicted.
  std::vector<int64_t> all{0, 1, 2}, first{0};
  EXPECT_EQ(make().countTargets(all, ModelTask::tokenClasses), 3);
  EXPECT_EQ(make().countTargets(first, ModelTask::tokenClasses), 2);
  EXPECT_EQ(make().countTargets(all, ModelTask::lm), 2);
  EXPECT_EQ(make().countTargets(all, ModelTask::classification), 3);
  labels[12] = 3;
  EXPECT_EQ(check(), "x.csv: \"labels\" of example 2 is 3 at position 2; the "
                     "model has 3 classes: labels go from 0 to 2, and -100 is "
                     "no label");
}

TEST(Dataset, SeveralLabelsAnExample) {
  Manifest manifest = makeManifest();
  manifest.task = ModelTask::multiLabel;
  for (Argument &argument : manifest.entryPoints["forward"].arguments)
    if (argument.name == "labels")
      argument.type = {ElementType::f32, {4, 3}};
  std::vector<float> labels{1, 0, 1, 0, 0, 0, 1, 1, 0};
  std::vector<int32_t> ids(15, 1);
  auto make = [&](int64_t columns) {
    TensorType rows{ElementType::i32, {3, 5}};
    return Dataset(
        {{"input_ids", rows, ids.data(), nullptr},
         {"attention_mask", rows, ids.data(), nullptr},
         {"labels", {ElementType::f32, {3, columns}}, labels.data(), nullptr}},
        "x.csv");
  };
  auto check = [&](int64_t columns) {
    return errorOf([&] { make(columns).check(manifest, "forward", true); });
  };
  EXPECT_EQ(check(3), "(no error)");
  // Every example counts once, whatever labels it has.
  EXPECT_EQ(make(3).countTargets(std::vector<int64_t>{0, 1, 2}, manifest.task),
            3);
  EXPECT_EQ(check(2), "x.csv: \"labels\" is f32[N,2], but the program was "
                      "compiled for f32[N,3]");
  for (auto [value, text] : {std::pair(0.5f, "0.500000"), std::pair(NAN, "nan"),
                             std::pair(-1.0f, "-1.0")}) {
    labels[7] = value;
    EXPECT_PRED_FORMAT2(
        ::testing::IsSubstring,
        "x.csv: \"labels\" of example 2 is " + std::string(text), check(3));
  }
  EXPECT_PRED_FORMAT2(::testing::IsSubstring,
                      "at position 1; each of an example's labels is 0 or 1",
                      check(3));

  // Places of a batch without an example are none of any label.
  labels[7] = 1;
  Batch batch(manifest.entryPoints["forward"]);
  batch.gather(make(3), std::vector<int64_t>{2, 0});
  std::vector<float> gathered = values<float>(batch, "labels");
  EXPECT_EQ(std::vector<float>(gathered.begin(), gathered.begin() + 6),
            (std::vector<float>{1, 1, 0, 1, 0, 1}));
  for (size_t i = 6; i < 12; ++i)
    EXPECT_TRUE(std::isnan(gathered[i]));
}
