//===- SafeTensorsTest.cpp - Reading and writing safetensors files --------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TinyProgram.h"
#include "pst/Runtime/CompressedWeight.h"
#include "pst/Runtime/SafeTensorsWriter.h"

#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>
#include <random>
#include <sys/stat.h>

using namespace pst::runtime;
using namespace tiny;

/// A file with this header and so many bytes of data.
static std::string makeFile(const std::string &header, size_t dataBytes) {
  uint64_t length = header.size();
  std::string bytes(reinterpret_cast<const char *>(&length), 8);
  return bytes + header + std::string(dataBytes, '\1');
}

TEST(SafeTensors, ReadsBackWhatItWrites) {
  TemporaryDirectory directory;
  std::vector<float> weight{1.5f, -2, 3, 4, 5, 6e-39f};
  std::vector<int64_t> ids{-1, int64_t(1) << 40};
  std::vector<uint8_t> bytes{1, 2, 255};
  writeSafeTensors(directory / "a.safetensors",
                   {{{"ids", DType::I64, {2}}, ids.data()},
                    {{"weight", DType::F32, {2, 3}}, weight.data()},
                    {{"empty", DType::F32, {0, 3}}, nullptr},
                    {{"scalar", DType::F32, {}}, weight.data()},
                    {{"bytes", DType::U8, {3}}, bytes.data()}},
                   {{"format", "pt"}});
  SafeTensorsFile file(directory / "a.safetensors");
  EXPECT_EQ(file.tensors().size(), 5u);
  EXPECT_EQ(file.metadata().at("format"), "pt");
  const TensorView *view = file.find("weight");
  ASSERT_NE(view, nullptr);
  EXPECT_EQ(describe(view->dtype, view->shape), "F32[2, 3]");
  EXPECT_EQ(reinterpret_cast<uintptr_t>(view->data) % 4, 0u);
  EXPECT_EQ(std::memcmp(view->data, weight.data(), 24), 0);
  EXPECT_EQ(std::memcmp(file.find("ids")->data, ids.data(), 16), 0);
  EXPECT_EQ(std::memcmp(file.find("bytes")->data, bytes.data(), 3), 0);
  EXPECT_EQ(file.find("empty")->numElements(), 0);
  EXPECT_EQ(file.find("scalar")->numElements(), 1);
  EXPECT_EQ(file.find("nothing"), nullptr);
  EXPECT_EQ(readAll(directory.path()).size(), 1u) << "leftovers";
}

TEST(SafeTensors, MappedWriterWritesInPlace) {
  TemporaryDirectory directory;
  auto path = directory / "a.safetensors";
  writeBytes(path, "the old file");
  {
    MappedSafeTensorsWriter writer(
        path, {{"a", DType::F32, {3}}, {"b", DType::F32, {1, 2}}});
    static_cast<float *>(writer.data("b"))[1] = 7;
    static_cast<float *>(writer.data("a"))[2] = 5;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(writer.data("a")) % 64, 0u);
    EXPECT_ERROR(writer.data("c"), "no tensor \"c\" was announced");
    EXPECT_EQ(readBytes(path), "the old file");
    writer.commit();
  }
  SafeTensorsFile file(path);
  const float *a = reinterpret_cast<const float *>(file.find("a")->data);
  const float *b = reinterpret_cast<const float *>(file.find("b")->data);
  EXPECT_EQ(std::vector<float>(a, a + 3), (std::vector<float>{0, 0, 5}));
  EXPECT_EQ(std::vector<float>(b, b + 2), (std::vector<float>{0, 7}));
  {
    MappedSafeTensorsWriter abandoned(path, {{"a", DType::F32, {3}}});
  }
  EXPECT_EQ(readAll(directory.path()).size(), 1u) << "leftovers";
  EXPECT_NE(SafeTensorsFile(path).find("b"), nullptr);
}

// One malformation a row; each has one clear error.
TEST(SafeTensors, RefusesWhatIsMalformed) {
  auto tensor = [](std::string dtype, std::string shape, std::string offsets) {
    return "{\"dtype\":\"" + dtype + "\",\"shape\":" + shape +
           ",\"data_offsets\":" + offsets + "}";
  };
  std::string a = "\"a\":" + tensor("F32", "[2]", "[0,8]");
  struct Case {
    std::string name, bytes, message;
  };
  std::string good = makeFile("{" + a + "}", 8);
  std::string hugeLength = good, longLength = good;
  hugeLength.replace(0, 8, std::string("\xff\xff\xff\xff\xff\xff\xff\xff"));
  uint64_t length = good.size();
  std::memcpy(longLength.data(), &length, 8);
  std::vector<Case> cases = {
      {"empty file", "", "it has 0 bytes"},
      {"seven bytes", "1234567", "it has 7 bytes"},
      {"header length absurd", hugeLength, "its header would have"},
      {"header longer than the file", longLength,
       "past the end of the file (" + std::to_string(length) +
           " bytes): the file is cut short"},
      {"header cut short", good.substr(0, 20), "the file is cut short"},
      {"data cut short", good.substr(0, good.size() - 1),
       "tensor \"a\" ends at byte 8 of the data, past the end of the file (7"},
      {"not JSON", makeFile("this is text", 0), "not valid JSON"},
      {"a pickle", std::string("\x80\x02}q\0(X\x0c\0\0", 10),
       "not a safetensors file"},
      {"invalid UTF-8", makeFile("{\"a\xff\":1}", 0), "not valid JSON"},
      {"a list", makeFile("[]", 0), "must be a JSON object"},
      {"trailing comma", makeFile("{" + a + ",}", 8), "not valid JSON"},
      {"duplicate name", makeFile("{" + a + "," + a + "}", 8),
       "\"a\" occurs twice"},
      {"duplicate key",
       makeFile("{\"a\":{\"dtype\":\"F32\",\"dtype\":\"I32\",\"shape\":[2],"
                "\"data_offsets\":[0,8]}}",
                8),
       "\"dtype\" occurs twice"},
      {"overlap",
       makeFile("{" + a + ",\"b\":" + tensor("F32", "[2]", "[4,12]") + "}", 12),
       "tensor \"b\" overlaps tensor \"a\""},
      {"same place",
       makeFile("{" + a + ",\"b\":" + tensor("F32", "[2]", "[0,8]") + "}", 8),
       "overlaps"},
      {"gap",
       makeFile("{" + a + ",\"b\":" + tensor("F32", "[1]", "[12,16]") + "}",
                16),
       "tensor \"b\" begins 4 bytes after the end of tensor \"a\""},
      {"gap at first",
       makeFile("{\"a\":" + tensor("F32", "[1]", "[4,8]") + "}", 8),
       "tensor \"a\" begins 4 bytes after the end of the header"},
      {"bytes left over", makeFile("{" + a + "}", 11),
       "3 bytes at the end of the file belong to no tensor"},
      {"data without tensors", makeFile("{}", 4), "4 bytes at the end"},
      {"offsets backwards",
       makeFile("{\"a\":" + tensor("F32", "[2]", "[8,0]") + "}", 8),
       "begin <= end, but has [8,0]"},
      {"one offset", makeFile("{\"a\":" + tensor("F32", "[2]", "[8]") + "}", 8),
       "must have two data_offsets"},
      {"negative offset",
       makeFile("{\"a\":" + tensor("F32", "[2]", "[-8,0]") + "}", 8),
       "has -8 in \"data_offsets\""},
      {"fractional offset",
       makeFile("{\"a\":" + tensor("F32", "[2]", "[0,8.0]") + "}", 8),
       "has 8.0 in \"data_offsets\""},
      {"absurd offset",
       makeFile("{\"a\":" + tensor("F32", "[2]", "[18446744073709551608,8]") +
                    "}",
                8),
       "has 18446744073709551608 in"},
      {"offset beyond 64 bits",
       makeFile("{\"a\":" +
                    tensor("F32", "[2]", "[0,99999999999999999999999]") + "}",
                8),
       "in \"data_offsets\""},
      {"size", makeFile("{\"a\":" + tensor("F32", "[3]", "[0,8]") + "}", 8),
       "occupies 8 bytes, but F32[3] needs 12"},
      {"negative size",
       makeFile("{\"a\":" + tensor("F32", "[-2]", "[0,8]") + "}", 8),
       "has -2 in \"shape\""},
      {"size as text",
       makeFile("{\"a\":" + tensor("F32", "[\"2\"]", "[0,8]") + "}", 8),
       "has \"2\" in \"shape\""},
      {"overflow",
       makeFile("{\"a\":" +
                    tensor("F32", "[4611686018427387904,4,2]", "[0,8]") + "}",
                8),
       "overflows 64 bits"},
      {"overflow to the right size",
       makeFile("{\"a\":" + tensor("F32", "[4611686018427387905,4]", "[0,8]") +
                    "}",
                8),
       "overflows 64 bits"},
      {"dtype", makeFile("{\"a\":" + tensor("F33", "[2]", "[0,8]") + "}", 8),
       "has the unknown dtype \"F33\""},
      {"no dtype",
       makeFile("{\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}}", 8),
       "tensor \"a\" has no \"dtype\""},
      {"no shape",
       makeFile("{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", 8),
       "has no list \"shape\""},
      {"unknown key",
       makeFile(
           "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],"
           "\"strides\":[1]}}",
           8),
       "has an unknown key \"strides\""},
      {"not an object", makeFile("{\"a\":5}", 0), "tensor \"a\" must be"},
      {"metadata of numbers", makeFile("{\"__metadata__\":{\"a\":1}}", 0),
       "\"__metadata__\": the value of \"a\" must be a string"},
      {"metadata a list", makeFile("{\"__metadata__\":[]}", 0),
       "\"__metadata__\" must be an object"},
      {"deeply nested", makeFile(std::string(100000, '['), 0),
       "not valid JSON: objects and lists lie more than 100 deep"},
      // A message shows what was found.
      {"deep value",
       makeFile("{\"a\":{\"dtype\":" + std::string(100000, '[') +
                    std::string(100000, ']') + "}}",
                0),
       "not valid JSON: objects and lists lie more than 100 deep"},
      {"brackets in text",
       makeFile("{\"a\":\"" + std::string(1000, '[') + "\\\"\"}", 0),
       "tensor \"a\" must be an object"},
  };
  TemporaryDirectory directory;
  auto path = directory / "x.safetensors";
  writeBytes(path, good);
  EXPECT_EQ(errorOf([&] { SafeTensorsFile file(path); }), "(no error)");
  for (const Case &c : cases) {
    writeBytes(path, c.bytes);
    EXPECT_ERROR(SafeTensorsFile file(path), c.message) << c.name;
    EXPECT_ERROR(SafeTensorsFile file(path), path.string()) << c.name;
  }
}

// Whatever bytes a file has, it is refused or it is safe to read all of it.
TEST(SafeTensors, SurvivesDamageAnywhere) {
  TemporaryDirectory directory;
  writeModel(directory.path());
  auto path = directory / "x.safetensors";
  std::string good = readBytes(directory / "model.safetensors");
  uint64_t header;
  std::memcpy(&header, good.data(), 8);
  writeBytes(path, good);
  int refused = 0, read = 0;
  for (size_t at = 0; at < 8 + header; ++at)
    for (char value : {'\0', '9', '-', '"', '\x7f', '\xff'}) {
      std::fstream damaged(path, std::ios::in | std::ios::out);
      damaged.seekp(static_cast<std::streamoff>(at)).put(value);
      damaged.flush();
      try {
        SafeTensorsFile file(path);
        unsigned sum = 0;
        for (const auto &[name, view] : file.tensors())
          for (int64_t i = 0; i < view.numBytes; ++i)
            sum += static_cast<unsigned>(view.data[i]);
        read += sum != 0;
      } catch (const std::runtime_error &) {
        ++refused;
      }
      damaged.seekp(static_cast<std::streamoff>(at)).put(good[at]);
    }
  EXPECT_GT(refused, 1000);
  EXPECT_GT(read, 100); // names may be anything
}

TEST(SafeTensors, RefusesWhatIsNoRegularFile) {
  TemporaryDirectory directory;
  EXPECT_ERROR(SafeTensorsFile(directory.path()), "not a regular file");
  EXPECT_ERROR(SafeTensorsFile(directory / "none"),
               "cannot open: No such file or directory");
  ASSERT_EQ(::mkfifo((directory / "pipe").c_str(), 0600), 0);
  EXPECT_ERROR(SafeTensorsFile(directory / "pipe"), "not a regular file");
}

TEST(SafeTensors, ReadsShards) {
  TemporaryDirectory directory;
  float one = 1, two = 2;
  writeSafeTensors(directory / "m-1.safetensors",
                   {{{"a", DType::F32, {1}}, &one}});
  writeSafeTensors(directory / "m-2.safetensors",
                   {{{"b", DType::F32, {1}}, &two}});
  auto index = directory / "model.safetensors.index.json";
  auto map = [&](const std::string &text) {
    writeBytes(index, "{\"metadata\":{},\"weight_map\":" + text + "}");
  };
  map(R"({"a":"m-1.safetensors","b":"m-2.safetensors"})");
  for (const auto &path : {directory.path(), index}) {
    ModelFiles files(path);
    EXPECT_EQ(files.tensors().size(), 2u);
    EXPECT_EQ(std::memcmp(files.find("b")->data, &two, 4), 0);
    EXPECT_EQ(files.directory(), directory.path());
  }
  map(R"({"a":"m-1.safetensors","b":"m-1.safetensors"})");
  EXPECT_ERROR(ModelFiles(directory.path()),
               "tensor \"b\" is not in its shard m-1.safetensors");
  map(R"({"a":"m-1.safetensors","b":"m-3.safetensors"})");
  EXPECT_ERROR(ModelFiles(directory.path()), "m-3.safetensors: cannot open");
  map(R"({"a":"../m-1.safetensors"})");
  EXPECT_ERROR(ModelFiles(directory.path()),
               "must lie in the directory of the index");
  map(R"({"a":5})");
  EXPECT_ERROR(ModelFiles(directory.path()), "must be a file's name, but is 5");
  map("[]");
  EXPECT_ERROR(ModelFiles(directory.path()), "no object \"weight_map\"");
  writeBytes(index, "{");
  EXPECT_ERROR(ModelFiles(directory.path()), "not valid JSON");
  writeSafeTensors(
      directory / "m-2.safetensors",
      {{{"a", DType::F32, {1}}, &one}, {{"b", DType::F32, {1}}, &two}});
  map(R"({"a":"m-1.safetensors","b":"m-2.safetensors"})");
  EXPECT_ERROR(ModelFiles(directory.path()),
               "tensor \"a\" is in another shard too");
}

TEST(SafeTensors, ExpandsWhatIsStoredInParts) {
  TemporaryDirectory directory;
  // Of 2 x 9 elements the first of the one row and the last of the other.
  std::vector<float> values{-0.0f, 3};
  std::vector<uint8_t> bitmask{1, 0, 0, 1};
  std::vector<int64_t> offsets{0, 1}, shape{2, 9};
  auto path = directory / "model.safetensors";
  writeSafeTensors(path, {{{"m.compressed", DType::F32, {2}}, values.data()},
                          {{"m.bitmask", DType::U8, {2, 2}}, bitmask.data()},
                          {{"m.row_offsets", DType::I64, {2}}, offsets.data()},
                          {{"m.shape", DType::I64, {2}}, shape.data()},
                          {{"v", DType::F32, {2}}, values.data()}});
  ModelFiles files(directory.path());
  EXPECT_EQ(files.tensors().size(), 2u);
  // The header alone expands nothing.
  EXPECT_EQ(files.tensors().at("m.weight")->data, nullptr);
  std::vector<float> expected(18);
  expected[0] = -0.0f;
  expected[17] = 3;
  for (int i = 0; i < 2; ++i) {
    const TensorView *weight = files.find("m.weight");
    ASSERT_NE(weight->data, nullptr);
    EXPECT_EQ(weight->shape, shape);
    EXPECT_EQ(std::memcmp(weight->data, expected.data(), 72), 0);
    files.forget(*weight);
    EXPECT_EQ(weight->data, nullptr);
  }
  const TensorView *kept = files.find("m.weight");
  files.keep(*kept);
  files.forget(*kept);
  EXPECT_EQ(std::memcmp(kept->data, expected.data(), 72), 0);
  EXPECT_NE(files.compressed("m.weight"), nullptr);
  EXPECT_EQ(files.compressed("v"), nullptr);
  EXPECT_EQ(files.find("m.compressed"), nullptr);
  EXPECT_EQ(files.numBytes(),
            static_cast<int64_t>(std::filesystem::file_size(path)));
}

TEST(SafeTensors, PartsOfWideRowsAreExpandedAndCounted) {
  // Of 7 x 150 elements, so that words of the mask end within a row; some that
  // are stored are zeros.
  constexpr int64_t rows = 7, columns = 150, maskBytes = 19;
  std::vector<float> dense(rows * columns), values;
  std::vector<uint8_t> bitmask(rows * maskBytes);
  std::vector<int32_t> offsets, shape{rows, columns};
  std::mt19937 random(5);
  for (int64_t row = 0; row < rows; ++row) {
    offsets.push_back(static_cast<int32_t>(values.size()));
    for (int64_t column = 0; column < columns; ++column) {
      if (row == 3 || random() % 3) // one row has none
        continue;
      bitmask[row * maskBytes + column / 8] |= 1 << column % 8;
      float value = random() % 5 ? static_cast<float>(random() % 100) : -0.0f;
      dense[row * columns + column] = value;
      values.push_back(value);
    }
  }
  auto kept = static_cast<int64_t>(values.size());
  TemporaryDirectory directory;
  auto open = [&] {
    writeSafeTensors(
        directory / "model.safetensors",
        {{{"m.compressed", DType::F32, {kept}}, values.data()},
         {{"m.bitmask", DType::U8, {rows, maskBytes}}, bitmask.data()},
         {{"m.row_offsets", DType::I32, {rows}}, offsets.data()},
         {{"m.shape", DType::I32, {2}}, shape.data()}});
    return std::make_unique<ModelFiles>(directory.path());
  };
  auto files = open();
  const CompressedWeight &weight = *files->compressed("m.weight");
  weight.check("m");
  for (auto [first, count] : {std::pair(0, 7), {2, 3}, {6, 1}, {7, 0}}) {
    std::vector<float> found(count * columns, 9.0f);
    weight.expand(first, count, /*isZero=*/false,
                  reinterpret_cast<std::byte *>(found.data()));
    EXPECT_EQ(std::memcmp(found.data(), dense.data() + first * columns,
                          found.size() * sizeof(float)),
              0)
        << first;
    weight.forgetPages(first, count);
  }
  for (auto [first, count] :
       {std::pair(0, 150), {0, 50}, {50, 50}, {63, 66}, {128, 22}, {5, 1}}) {
    int64_t expected = 0;
    for (int64_t i = 0; i < rows * columns; ++i)
      expected +=
          dense[i] != 0 && i % columns >= first && i % columns < first + count;
    EXPECT_EQ(weight.countNonZero("m", first, count), expected) << first;
  }
  EXPECT_TRUE(weight.isFinite());
  for (float bad : {HUGE_VALF, -HUGE_VALF, std::nanf("")}) {
    values[kept - 2] = bad;
    EXPECT_FALSE(open()->compressed("m.weight")->isFinite());
  }
}

TEST(SafeTensors, SaysWhatAModelDirectoryLacks) {
  TemporaryDirectory directory;
  EXPECT_ERROR(ModelFiles(directory.path()),
               "holds neither model.safetensors nor");
  EXPECT_ERROR(ModelFiles(directory / "none"), "no such file or directory");
}

TEST(SafeTensors, ConvertsHalfPrecision) {
  // Values from IEEE 754: one, -2, the largest, the smallest normal, the
  // smallest subnormal, -0, infinity, NaN.
  std::vector<uint16_t> half{0x3c00, 0xc000, 0x7bff, 0x0400,
                             0x0001, 0x8000, 0x7c00, 0x7e01};
  TensorView view{"h",
                  DType::F16,
                  {8},
                  reinterpret_cast<const std::byte *>(half.data()),
                  16};
  float values[8];
  convertToF32(view, values);
  EXPECT_EQ(values[0], 1);
  EXPECT_EQ(values[1], -2);
  EXPECT_EQ(values[2], 65504);
  EXPECT_EQ(values[3], 0x1p-14f);
  EXPECT_EQ(values[4], 0x1p-24f);
  EXPECT_EQ(values[5], 0);
  EXPECT_TRUE(std::signbit(values[5]));
  EXPECT_EQ(values[6], std::numeric_limits<float>::infinity());
  EXPECT_TRUE(std::isnan(values[7]));
}

// All 65536 halves against the compiler's own conversion.
TEST(SafeTensors, ConvertsEveryHalf) {
  std::vector<uint16_t> bits(65536);
  std::iota(bits.begin(), bits.end(), 0);
  TensorView view{"h",
                  DType::F16,
                  {65536},
                  reinterpret_cast<const std::byte *>(bits.data()),
                  131072};
  std::vector<float> values(65536);
  convertToF32(view, values.data());
  for (uint32_t i = 0; i < 65536; ++i) {
    _Float16 half;
    std::memcpy(&half, &bits[i], 2);
    float expected = static_cast<float>(half);
    if (std::isnan(expected))
      EXPECT_TRUE(std::isnan(values[i])) << i;
    else
      EXPECT_EQ(values[i], expected) << i;
  }
}

TEST(SafeTensors, ConvertsOtherFloats) {
  std::vector<uint16_t> brain{0x3f80, 0xc049, 0x0001};
  TensorView view{"b",
                  DType::BF16,
                  {3},
                  reinterpret_cast<const std::byte *>(brain.data()),
                  6};
  float values[3];
  convertToF32(view, values);
  EXPECT_EQ(values[0], 1);
  EXPECT_EQ(values[1], -3.140625f);
  EXPECT_EQ(values[2], 0x1p-133f);
  double wide[2] = {0.1, -1e300};
  TensorView f64{"d", DType::F64, {2}, reinterpret_cast<std::byte *>(wide), 16};
  convertToF32(f64, values);
  EXPECT_EQ(values[0], 0.1f);
  EXPECT_EQ(values[1], -std::numeric_limits<float>::infinity());
  TensorView integers{
      "i", DType::I32, {2}, reinterpret_cast<std::byte *>(wide), 8};
  EXPECT_ERROR(convertToF32(integers, values), "where floating-point numbers");
}

static float fromBits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

TEST(SafeTensors, RoundsToBrainFloat) {
  // Bits of an f32, and of the nearest bf16: below, at and above the middle of
  // an even and of an odd one, a carry into the exponent, the largest finite, a
  // subnormal, -0.
  std::vector<std::pair<uint32_t, uint16_t>> cases{
      {0x3f800000, 0x3f80}, {0x3f807fff, 0x3f80}, {0x3f808000, 0x3f80},
      {0x3f808001, 0x3f81}, {0x3f817fff, 0x3f81}, {0x3f818000, 0x3f82},
      {0xbfffffff, 0xc000}, {0x7f7fffff, 0x7f80}, {0x00018000, 0x0002},
      {0x80000000, 0x8000}, {0xff800000, 0xff80}};
  std::vector<float> values;
  for (auto [bits, expected] : cases)
    values.push_back(fromBits(bits));
  values.push_back(fromBits(0x7f800001)); // NaN in the lower half only
  int64_t count = static_cast<int64_t>(values.size());
  TensorView view{"f",
                  DType::F32,
                  {count},
                  reinterpret_cast<const std::byte *>(values.data()),
                  4 * count};
  std::vector<uint16_t> rounded(count);
  convertToBF16(view, rounded.data());
  for (size_t i = 0; i < cases.size(); ++i)
    EXPECT_EQ(rounded[i], cases[i].second) << std::hex << cases[i].first;
  EXPECT_TRUE(std::isnan(fromBits(uint32_t(rounded.back()) << 16)));

  uint16_t half[2] = {0x3c01, 0xc000}; // 1 + 2^-10, which bf16 lacks; -2
  TensorView halves{
      "h", DType::F16, {2}, reinterpret_cast<std::byte *>(half), 4};
  convertToBF16(halves, rounded.data());
  EXPECT_EQ(rounded[0], 0x3f80);
  EXPECT_EQ(rounded[1], 0xc000);
  double wide[2] = {1 + 0x1p-8 + 0x1p-40, -2}; // as f32, in the middle
  TensorView doubles{
      "d", DType::F64, {2}, reinterpret_cast<std::byte *>(wide), 16};
  convertToBF16(doubles, rounded.data());
  EXPECT_EQ(rounded[0], 0x3f80);
  EXPECT_EQ(rounded[1], 0xc000);
  TensorView whole{"i", DType::I32, {1}, halves.data, 4};
  EXPECT_ERROR(convertToBF16(whole, rounded.data()), "floating-point numbers");
}

TEST(SafeTensors, FindsWhatIsNoNumber) {
  float infinity = std::numeric_limits<float>::infinity();
  for (int64_t count : {1, 5, 4096, 4097, 10000})
    for (float bad : {infinity, -infinity, NAN}) {
      std::vector<float> values(count, 3e38f);
      EXPECT_EQ(findNonFinite(values.data(), count), -1);
      for (int64_t at : {count - 1, count / 2, int64_t(0)}) {
        values[at] = bad;
        EXPECT_EQ(findNonFinite(values.data(), count), at);
      }
    }
  for (uint16_t bad : {0x7f80, 0xff80, 0x7fc0}) {
    std::vector<uint16_t> values(4097, 0xff7f); // the largest, negative
    EXPECT_EQ(findNonFinite(values.data(), 4097), -1);
    values[4096] = bad;
    EXPECT_EQ(findNonFinite(values.data(), 4097), 4096);
  }
}
