//===- TokenLines.cpp - Texts as JSON lines of tokens ---------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TokenLines.h"
#include "../ModelConfig.h"
#include "pst/Bundle/ParseJson.h"
#include "pst/Runtime/Error.h"
#include "pst/Runtime/Files.h"

#include <algorithm>
#include <iostream>
#include <limits>

using namespace pst;
using namespace pst::runtime;
using Json = nlohmann::json;

std::istream &pst::runtime::openLines(const std::string &file,
                                      std::ifstream &opened) {
  if (file == "-")
    return std::cin;
  std::error_code unknown;
  opened.open(file);
  if (!opened || std::filesystem::is_directory(file, unknown))
    throw Error(file + ": cannot be read");
  return opened;
}

TokenLines::TokenLines(std::istream &stream, const std::string &file,
                       const Model &model)
    : stream(stream), name(file == "-" ? "standard input" : file),
      padding(static_cast<int32_t>(
          configNumber(model.manifest(), "pad_token_id"))) {
  bool generates = model.program().has("decode");
  for (const Argument &argument :
       model.program().entryPoint(generates ? "decode" : "forward").arguments)
    if (argument.kind == Argument::Kind::input &&
        !argument.type.shape.empty()) {
      // Of a program that generates, tokens are one at a time.
      if (argument.name == (generates ? "slots" : "input_ids"))
        width = argument.type.shape.back();
      if (argument.name == "input_ids") {
        numIds = argument.ids;
      } else if (argument.name == "token_type_ids") {
        hasTypes = true;
        numTypes = argument.ids;
      }
    }
  if (width <= 0)
    throw Error("the program reads no \"input_ids\": it is none of a model "
                "that reads texts");
}

void TokenLines::fail(const std::string &what) const {
  throw Error(name + ":" + std::to_string(number) + ": " + what);
}

/// The whole numbers of an array.
static std::optional<std::vector<int32_t>> readNumbers(const Json &array) {
  if (!array.is_array())
    return std::nullopt;
  std::vector<int32_t> numbers;
  for (const Json &element : array) {
    // Beyond 2^63 numbers have no sign, and would come to one by conversion.
    if (!element.is_number_integer() ||
        (element.is_number_unsigned() && element.get<uint64_t>() >> 31) ||
        element.get<int64_t>() < std::numeric_limits<int32_t>::min())
      return std::nullopt;
    numbers.push_back(element.get<int32_t>());
  }
  return numbers;
}

void TokenLines::checkIds(const std::vector<int32_t> &ids, int64_t count,
                          const char *key) const {
  for (int32_t id : ids)
    if (count && (id < 0 || id >= count))
      fail(std::string("\"") + key + "\" has " + std::to_string(id) +
           ", but the model's are 0 to " + std::to_string(count - 1));
}

/// The line's ids, and after them as many types, if the program has them.
std::vector<int32_t> TokenLines::readTokens(const std::string &line) const {
  Json object;
  try {
    object = parseJson<Json>(line);
  } catch (const JsonError &error) {
    fail(std::string("no valid JSON: ") + error.what());
  }
  if (!object.is_object() || !object.contains("input_ids"))
    fail("expected an object with \"input_ids\", the numbers of a text's "
         "tokens; texts themselves are read by 'pst predict'");
  auto ids = readNumbers(object["input_ids"]);
  if (!ids || ids->empty())
    fail("\"input_ids\" must be an array of one whole number of 32 bits or "
         "more");
  checkIds(*ids, numIds, "input_ids");
  size_t count = ids->size();
  if (static_cast<int64_t>(count) > width)
    fail("the text has " + std::to_string(count) +
         " tokens, but the program has room for " + std::to_string(width) +
         ": cut it, or compile with a larger --max_seq_length");
  std::vector<int32_t> tokens = *ids;
  tokens.resize(hasTypes ? 2 * count : count, 0);
  if (object.contains("token_type_ids")) {
    auto types = readNumbers(object["token_type_ids"]);
    if (!types || types->size() != count)
      fail("\"token_type_ids\" must be an array of " + std::to_string(count) +
           " whole numbers, as many as \"input_ids\" has");
    checkIds(*types, numTypes, "token_type_ids");
    if (hasTypes)
      std::ranges::copy(*types, tokens.begin() + static_cast<int64_t>(count));
    else if (std::ranges::any_of(*types, [](int32_t type) { return type; }))
      fail("\"token_type_ids\" are not all 0, but the model has none");
  }
  return tokens;
}

bool TokenLines::next(std::string &line) {
  line.clear();
  ++number;
  try {
    std::streambuf &buffer = *stream.rdbuf();
    for (int c; (c = buffer.sbumpc()) != std::char_traits<char>::eof();) {
      if (c == '\n')
        return true;
      // Of a device one might read for ever.
      if (static_cast<int64_t>(line.size()) == kMaxTextBytes)
        fail("the line has more than " + std::to_string(kMaxTextBytes) +
             " bytes");
      line += static_cast<char>(c);
    }
  } catch (const std::ios_base::failure &) {
    throw Error(name + ": cannot be read");
  }
  return !line.empty();
}

std::optional<std::vector<int32_t>> TokenLines::nextTokens() {
  std::string line;
  if (!next(line))
    return std::nullopt;
  if (line.find_first_not_of(" \t\r") == line.npos)
    fail("an empty line: each line is a text, and has a line of the result");
  return readTokens(line);
}

std::optional<std::vector<int32_t>> TokenLines::readIds() {
  std::optional<std::vector<int32_t>> tokens = nextTokens();
  if (tokens && hasTypes)
    tokens->resize(tokens->size() / 2);
  return tokens;
}

std::optional<Dataset> TokenLines::read(int64_t most) {
  lengths.clear();
  auto ids = std::make_shared<std::vector<int32_t>>();
  auto mask = std::make_shared<std::vector<int32_t>>();
  auto types = std::make_shared<std::vector<int32_t>>();
  while (static_cast<int64_t>(lengths.size()) < most) {
    std::optional<std::vector<int32_t>> read = nextTokens();
    if (!read)
      break;
    const std::vector<int32_t> &tokens = *read;
    size_t count = hasTypes ? tokens.size() / 2 : tokens.size();
    auto append = [&](std::vector<int32_t> &array, auto begin, int32_t filler) {
      array.insert(array.end(), begin, begin + static_cast<int64_t>(count));
      array.resize(array.size() + static_cast<size_t>(width) - count, filler);
    };
    append(*ids, tokens.begin(), padding);
    std::vector<int32_t> ones(count, 1);
    append(*mask, ones.begin(), 0);
    if (hasTypes)
      append(*types, tokens.begin() + static_cast<int64_t>(count), 0);
    lengths.push_back(static_cast<int64_t>(count));
  }
  if (lengths.empty())
    return std::nullopt;
  std::vector<DataArray> arrays;
  auto add = [&](const char *of, std::shared_ptr<std::vector<int32_t>> values) {
    TensorType type{ElementType::i32,
                    {static_cast<int64_t>(lengths.size()), width}};
    arrays.push_back({of, type, values->data(), values});
  };
  add("input_ids", ids);
  add("attention_mask", mask);
  if (hasTypes)
    add("token_type_ids", types);
  return Dataset(std::move(arrays), name);
}
