//===- Options.cpp - The options of a generation --------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Bundle/ParseJson.h"
#include "pst/Runtime/Error.h"
#include "pst/Runtime/Files.h"
#include "pst/Runtime/Generation.h"

#include <nlohmann/json.hpp>

using namespace pst;
using namespace pst::runtime;
using Json = nlohmann::json;

const OptionTable<GenerationOptions> &pst::runtime::generationOptions() {
  static const auto *table = [] {
    auto *options = new OptionTable<GenerationOptions>();
#define PST_GENERATION_OPTION(type, member, name, initial, range, help)        \
  options->add<type>(                                                          \
      name, [](auto &o) -> auto & { return o.member; }, range, "generation",   \
      help);
#include "pst/Runtime/GenerationOptions.def"
    return options;
  }();
  return *table;
}

void pst::runtime::check(const GenerationOptions &options) {
  generationOptions().check(options);
  if (options.doSample && options.numBeams > 1)
    throw Error("--do_sample is given with --num_beams " +
                std::to_string(options.numBeams) +
                ", but beams are the most probable texts, none that are drawn: "
                "leave one of them out");
}

/// The numbers of a key: one, or an array.
static std::vector<int64_t> numbersOf(const Json &object, const char *key) {
  std::vector<int64_t> numbers;
  if (!object.is_object() || !object.contains(key))
    return numbers;
  const Json &value = object[key];
  for (const Json &number : value.is_array() ? value : Json::array({value}))
    if (number.is_number_unsigned())
      numbers.push_back(number.get<int64_t>());
  return numbers;
}

static std::vector<int64_t> findEndTokens(const Manifest &manifest,
                                          const std::filesystem::path &folder) {
  constexpr const char *key = "eos_token_id";
  std::filesystem::path file = folder / "generation_config.json";
  std::error_code unknown;
  if (std::filesystem::is_regular_file(file, unknown)) {
    try {
      auto found = numbersOf(parseJson<Json>(readFile(file)), key);
      if (!found.empty())
        return found;
    } catch (const JsonError &error) {
      throw Error(file.string() + ": no valid JSON: " + error.what());
    }
  }
  return numbersOf(
      Json::parse(manifest.config, nullptr, /*allow_exceptions=*/false), key);
}

void pst::runtime::resolveEndTokens(GenerationOptions &options,
                                    const Manifest &manifest,
                                    const std::filesystem::path &directory) {
  if (options.eosTokenId.empty())
    options.eosTokenId = findEndTokens(manifest, directory);
  std::erase_if(options.eosTokenId, [](int64_t id) { return id < 0; });
}
