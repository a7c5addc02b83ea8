//===- ParameterStoreTest.cpp - The memory of a program's parameters ------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TinyProgram.h"
#include "pst/Runtime/Error.h"
#include "pst/Runtime/Philox.h"
#include "pst/Runtime/SafeTensorsWriter.h"

#include <cmath>
#include <cstring>
#include <fstream>
#include <utility>

using namespace pst;
using namespace pst::runtime;
using namespace tiny;

namespace {

/// The tensors of the tiny model's file, to be changed and written.
struct Tensors {
  std::map<std::string, std::pair<TensorSpec, std::vector<std::byte>>> all;

  explicit Tensors(const std::filesystem::path &directory) {
    SafeTensorsFile file(directory / "model.safetensors");
    for (const auto &[name, view] : file.tensors())
      all[name] = {{name, view.dtype, view.shape},
                   {view.data, view.data + view.numBytes}};
  }
  float *floats(const std::string &name) {
    return reinterpret_cast<float *>(all.at(name).second.data());
  }
  void write(const std::filesystem::path &directory) const {
    std::vector<TensorData> list;
    for (const auto &[name, entry] : all)
      list.push_back({entry.first, entry.second.data()});
    writeSafeTensors(directory / "model.safetensors", list);
  }
};

class ParameterStoreTest : public ::testing::Test {
protected:
  ParameterStoreTest() { writeModel(directory.path()); }

  ParameterStore make(std::shared_ptr<const Program> program = makeProgram(),
                      uint64_t seed = 7) {
    return {program, std::make_shared<const ModelFiles>(directory.path()),
            seed};
  }
  std::string error() {
    return errorOf([&] { make(); });
  }
  TemporaryDirectory directory;
};

} // namespace

TEST_F(ParameterStoreTest, MapsFrozenAndInitialisesTheRest) {
  ParameterStore store = make();
  const TensorView *weight = store.files()->find("dense.weight");
  EXPECT_EQ(store.data("tiny.dense.weight") == weight->data,
            tiny::kReadsFrozenInPlace);
  for (const auto &[name, bytes] : makeManifest().spaces) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>(store.space(name)) % 64, 0u);
    EXPECT_EQ(store.spaceBytes(name), bytes);
  }
  const float *trainable = static_cast<const float *>(store.space("trainable"));
  std::vector<float> u(kHidden * kRank), head(3 * kHidden);
  fillNormal(u, 1, 7, "tiny.dense.weight.pst_U");
  fillNormal(head, 0.5, 7, "classifier.weight");
  for (int i = 0; i < numTrainable(3); ++i) {
    float expected = i < kV ? u[i - kU] : 0;
    if (i >= kHeadWeight && i < headBias(3))
      expected = head[i - kHeadWeight];
    EXPECT_EQ(trainable[i], expected) << i;
  }
  for (const char *space : {"gradient", "moment1", "moment2"})
    for (int i = 0; i < numTrainable(3); ++i)
      EXPECT_EQ(static_cast<const float *>(store.space(space))[i], 0);
}

TEST_F(ParameterStoreTest, InitialisesConstantsAndFilesOfTrainables) {
  Manifest manifest = makeManifest();
  manifest.parameters[5].initializer = {Initializer::Kind::constant, 0, 0.25};
  manifest.parameters[7].initializer = {Initializer::Kind::file, 0, 0};
  manifest.parameters[7].source = "tail";
  manifest.parameters.back().initializer = {Initializer::Kind::constant, 0, 9};
  Tensors tensors(directory.path());
  std::vector<uint16_t> half{0x3c00, 0xc000, 0x3800};
  std::vector<std::byte> bytes(6);
  std::memcpy(bytes.data(), half.data(), 6);
  tensors.all["tail"] = {{"tail", DType::F16, {3}}, bytes};
  tensors.write(directory.path());
  std::map<std::string, EntryFunction> none;
  for (const auto &[name, entry] : manifest.entryPoints)
    none[name] = [](void *const *) {};
  ParameterStore store = make(Program::create(manifest, none));
  const float *p = static_cast<const float *>(store.space("trainable"));
  for (int i = 0; i < kHidden; ++i)
    EXPECT_EQ(p[kR + i], 0.25f);
  EXPECT_EQ(p[headBias(3)], 1);
  EXPECT_EQ(p[headBias(3) + 1], -2);
  EXPECT_EQ(p[headBias(3) + 2], 0.5f);
  EXPECT_EQ(
      *static_cast<const int64_t *>(store.data("tiny.dense.weight.pst_pruned")),
      9);
}

TEST_F(ParameterStoreTest, ReadsParametersFromFilesOfTheirOwn) {
  std::filesystem::path own = directory / "norms.safetensors";
  std::vector<float> norms(kElements, 0.75f);
  Manifest manifest = makeManifest();
  Parameter &weight = manifest.parameters[1];
  writeSafeTensors(own,
                   {{{"norms", DType::F32, weight.type.shape}, norms.data()}});
  weight.source = "norms";
  weight.sourceFile = own.string();
  std::map<std::string, EntryFunction> none;
  for (const auto &[name, entry] : manifest.entryPoints)
    none[name] = [](void *const *) {};
  ParameterStore store = make(Program::create(manifest, none));
  const float *values = static_cast<const float *>(store.data(weight.name));
  for (int i = 0; i < kElements; ++i)
    EXPECT_EQ(values[i], 0.75f);
  EXPECT_NE(store.modelDigest(), make().modelDigest());
  weight.source = "others";
  EXPECT_ERROR(make(Program::create(manifest, none)),
               own.string() + ": tensor \"others\" is missing: the criterion "
                              "reads one such tensor for each sparse layer");
}

TEST_F(ParameterStoreTest, ConvertsHalfPrecisionFiles) {
  Tensors tensors(directory.path());
  auto &[spec, bytes] = tensors.all.at("dense.weight");
  spec.dtype = DType::BF16;
  std::vector<float> expected;
  std::vector<std::byte> brain;
  const float *values = tensors.floats("dense.weight");
  for (int i = 0; i < kElements; ++i) {
    uint32_t bits;
    std::memcpy(&bits, &values[i], 4);
    bits &= 0xffff0000;
    float value;
    std::memcpy(&value, &bits, 4);
    expected.push_back(value);
    brain.push_back(std::byte(bits >> 16 & 0xff));
    brain.push_back(std::byte(bits >> 24));
  }
  bytes = brain;
  tensors.write(directory.path());
  ParameterStore store = make();
  const float *weight =
      static_cast<const float *>(store.data("tiny.dense.weight"));
  EXPECT_EQ(std::vector<float>(weight, weight + kElements), expected);
}

TEST_F(ParameterStoreTest, KeepsFrozenWeightsInBrainFloat) {
  Manifest manifest = makeManifest();
  for (Parameter &parameter : manifest.parameters)
    if (parameter.name == "tiny.dense.weight")
      parameter.type.element = ElementType::bf16;
  std::map<std::string, EntryFunction> functions;
  for (auto &[name, entry] : manifest.entryPoints) {
    functions[name] = [](void *const *) {};
    for (Argument &argument : entry.arguments)
      if (argument.name == "tiny.dense.weight" &&
          argument.kind == Argument::Kind::parameter)
        argument.type.element = ElementType::bf16;
  }
  auto program = Program::create(manifest, functions);
  Tensors tensors(directory.path());
  auto &[spec, bytes] = tensors.all.at("dense.weight");
  std::vector<uint16_t> expected(kElements);
  convertToBF16({"w", spec.dtype, spec.shape, bytes.data(),
                 static_cast<int64_t>(bytes.size())},
                expected.data());
  auto check = [&](const ParameterStore &store) {
    const uint16_t *weight =
        static_cast<const uint16_t *>(store.data("tiny.dense.weight"));
    EXPECT_EQ(std::vector<uint16_t>(weight, weight + kElements), expected);
  };
  { // a file of F32 is rounded
    ParameterStore store = make(program);
    check(store);
    EXPECT_EQ(store.numRounded(), 1);
  }
  { // one of F64 as its F32 would be: of the first, a tie by then
    std::vector<double> wide(kElements);
    for (int i = 0; i < kElements; ++i)
      wide[i] = tensors.floats("dense.weight")[i];
    wide[0] = 1 + 0x1p-8 + 0x1p-40;
    uint16_t first = std::exchange(expected[0], 0x3f80);
    spec.dtype = DType::F64;
    const std::byte *data = reinterpret_cast<const std::byte *>(wide.data());
    bytes.assign(data, data + 8 * kElements);
    tensors.write(directory.path());
    ParameterStore store = make(program);
    check(store);
    EXPECT_EQ(store.numRounded(), 1);
    expected[0] = first;
  }
  // one of BF16 is used in place
  spec.dtype = DType::BF16;
  const std::byte *narrow =
      reinterpret_cast<const std::byte *>(expected.data());
  bytes.assign(narrow, narrow + 2 * kElements);
  tensors.write(directory.path());
  {
    ParameterStore store = make(program);
    check(store);
    EXPECT_EQ(store.numRounded(), 0);
    EXPECT_EQ(store.data("tiny.dense.weight") ==
                  store.files()->find("dense.weight")->data,
              tiny::kReadsFrozenInPlace);
  }
  bytes[1] = std::byte(0x7f);
  bytes[0] = std::byte(0x80);
  tensors.write(directory.path());
  EXPECT_ERROR(make(program), "holds inf at [0, 0]");
}

/// Pages of this process.
static int64_t pages() {
  int64_t count = 0;
  std::ifstream("/proc/self/statm") >> count;
  return count;
}

TEST_F(ParameterStoreTest, LeavesNoMemoryBehindIfItCannotBeMade) {
  Tensors tensors(directory.path());
  tensors.all.erase("dense.weight");
  tensors.write(directory.path());
  (void)error();
  int64_t before = pages();
  for (int i = 0; i < 200; ++i)
    EXPECT_NE(error(), "");
  // Of each store there would be five spaces, of a page at least.
  EXPECT_LT(pages() - before, 200);
}

TEST_F(ParameterStoreTest, FindsParametersByName) {
  ParameterStore store = make();
  for (const Parameter &parameter : store.manifest().parameters)
    EXPECT_EQ(store.find(parameter.name), &parameter);
  EXPECT_EQ(store.find("none"), nullptr);
}

// As GPT-2's query, key and value, which are one tensor of its file.
TEST_F(ParameterStoreTest, TakesColumnsOfATensor) {
  constexpr int kRows = 5, kAll = 9, kFirst = 2, kOurs = 4;
  Manifest manifest = makeManifest();
  auto columns = [&](const char *name, Role role, ElementType element,
                     std::vector<int64_t> shape) {
    Parameter parameter;
    parameter.name = name;
    parameter.role = role;
    parameter.type = {element, std::move(shape)};
    parameter.initializer.kind = Initializer::Kind::file;
    parameter.source = parameter.type.shape.size() == 2 ? "wide" : "bias";
    parameter.sourceColumns = kAll;
    parameter.column = kFirst;
    if (role == Role::trainable) {
      parameter.offset = manifest.spaces["trainable"];
      for (const char *space : {"trainable", "gradient", "moment1", "moment2"})
        manifest.spaces[space] += parameter.type.numBytes();
    }
    manifest.parameters.push_back(parameter);
  };
  columns("wide:frozen", Role::frozen, ElementType::f32, {kRows, kOurs});
  columns("wide:narrow", Role::frozen, ElementType::bf16, {kRows, kOurs});
  columns("wide:trained", Role::trainable, ElementType::f32, {kRows, kOurs});
  columns("bias:frozen", Role::frozen, ElementType::f32, {kOurs});
  std::map<std::string, EntryFunction> none;
  for (const auto &[name, entry] : manifest.entryPoints)
    none[name] = [](void *const *) {};
  auto program = Program::create(manifest, none);

  // As f32 and as bf16 in the file: whole numbers are the same in both.
  for (DType dtype : {DType::F32, DType::BF16}) {
    Tensors tensors(directory.path());
    auto add = [&](const char *name, std::vector<int64_t> shape, int count) {
      std::vector<float> values;
      for (int i = 0; i < count; ++i)
        values.push_back(static_cast<float>(i + 1));
      std::vector<std::byte> bytes(count * byteSize(dtype));
      if (dtype == DType::F32)
        std::memcpy(bytes.data(), values.data(), bytes.size());
      else
        convertToBF16({name, DType::F32, shape,
                       reinterpret_cast<const std::byte *>(values.data()),
                       count * 4},
                      reinterpret_cast<uint16_t *>(bytes.data()));
      tensors.all[name] = {{name, dtype, std::move(shape)}, bytes};
    };
    add("wide", {kRows, kAll}, kRows * kAll);
    add("bias", {kAll}, kAll);
    tensors.write(directory.path());
    ParameterStore store = make(program);
    auto *frozen = static_cast<const float *>(store.data("wide:frozen"));
    auto *narrow = static_cast<const uint16_t *>(store.data("wide:narrow"));
    auto *trained = static_cast<const float *>(store.data("wide:trained"));
    auto *bias = static_cast<const float *>(store.data("bias:frozen"));
    for (int i = 0; i < kRows; ++i)
      for (int j = 0; j < kOurs; ++j) {
        int at = i * kOurs + j;
        float wanted = static_cast<float>(i * kAll + kFirst + j + 1);
        uint32_t wide = uint32_t(narrow[at]) << 16;
        float widened;
        std::memcpy(&widened, &wide, 4);
        EXPECT_TRUE(frozen[at] == wanted && widened == wanted &&
                    trained[at] == wanted)
            << i << ", " << j;
        EXPECT_EQ(bias[j], static_cast<float>(kFirst + j + 1));
      }
    if (dtype != DType::F32)
      continue;
    // What is no number is named by its place in the file; that beside the
    // columns is nobody's.
    Tensors good = tensors;
    tensors.floats("wide")[3 * kAll + kFirst - 1] = NAN;
    tensors.write(directory.path());
    make(program);
    tensors.floats("wide")[3 * kAll + kFirst + 1] = NAN;
    tensors.write(directory.path());
    EXPECT_ERROR(make(program), "tensor \"wide\" holds nan at [3, 3]");
    good.all.at("wide").first.shape = {kAll, kRows};
    good.write(directory.path());
    EXPECT_ERROR(make(program), "tensor \"wide\" is F32[9, 5], but the program "
                                "was compiled for F32[5, 9]");
  }
}

TEST_F(ParameterStoreTest, RefusesFilesThatDoNotFit) {
  Tensors good(directory.path());
  Tensors bad = good;
  bad.all.erase("dense.bias");
  bad.write(directory.path());
  EXPECT_PRED_FORMAT2(::testing::IsSubstring,
                      "tensor \"dense.bias\" is missing", error());
  bad = good;
  bad.all.at("dense.weight").first.shape = {kWidth, kHidden};
  bad.write(directory.path());
  EXPECT_PRED_FORMAT2(
      ::testing::IsSubstring,
      "tensor \"dense.weight\" is F32[6, 7], but the program was compiled for "
      "F32[7, 6]",
      error());
  bad = good;
  bad.all.at("dense.weight").first.dtype = DType::I32;
  bad.write(directory.path());
  EXPECT_PRED_FORMAT2(
      ::testing::IsSubstring,
      "is I32[7, 6], but the program was compiled for F32[7, 6]", error());
  for (float value : {NAN, INFINITY}) {
    bad = good;
    bad.floats("dense.weight")[3 * kWidth + 5] = value;
    bad.write(directory.path());
    std::string text =
        "tensor \"dense.weight\" holds " + std::to_string(value) + " at [3, 5]";
    EXPECT_PRED_FORMAT2(::testing::IsSubstring, text, error());
  }
  EXPECT_ERROR(ParameterStore(makeProgram(), nullptr, 1),
               "from the model's files, but none were given");
}

TEST_F(ParameterStoreTest, DigestTellsPretrainedWeightsApart) {
  std::string digest = make().modelDigest();
  EXPECT_EQ(make(makeProgram(), 99).modelDigest(), digest) << "the seed counts";
  Tensors tensors(directory.path());
  tensors.floats("pooler.weight")[0] += 1; // not used
  tensors.write(directory.path());
  EXPECT_EQ(make().modelDigest(), digest);
  tensors.floats("dense.weight")[17] += 1;
  tensors.write(directory.path());
  EXPECT_NE(make().modelDigest(), digest);
}

TEST_F(ParameterStoreTest, NamesWhatIsNotThere) {
  ParameterStore store = make();
  EXPECT_ERROR(store.space("attic"), "no space \"attic\"");
  EXPECT_ERROR(store.data("attic"), "no parameter \"attic\"");
}
