//===- ModelConfig.cpp - Values of config.json ----------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ModelConfig.h"

#include <nlohmann/json.hpp>

#include <limits>

using namespace pst;
using Json = nlohmann::json;

/// Null if there is none. That the text is a JSON object, or empty, is verified
/// with the manifest.
static Json find(const Manifest &manifest, const char *key) {
  Json config =
      Json::parse(manifest.config, nullptr, /*allow_exceptions=*/false);
  auto found = config.is_object() ? config.find(key) : config.end();
  return found == config.end() ? Json() : *found;
}

int64_t runtime::configNumber(const Manifest &manifest, const char *key) {
  Json value = find(manifest, key);
  return value.is_number_unsigned() &&
                 value.get<uint64_t>() <= std::numeric_limits<int32_t>::max()
             ? value.get<int64_t>()
             : 0;
}

bool runtime::configSwitch(const Manifest &manifest, const char *key,
                           bool otherwise) {
  Json value = find(manifest, key);
  return value.is_boolean() ? value.get<bool>() : otherwise;
}

std::vector<std::string> runtime::configLabels(const Manifest &manifest,
                                               int64_t count) {
  Json known = find(manifest, "id2label");
  std::vector<std::string> names;
  for (int64_t i = 0; i < count; ++i) {
    std::string number = std::to_string(i);
    auto found = known.is_object() ? known.find(number) : known.end();
    names.push_back(found != known.end() && found->is_string()
                        ? found->get<std::string>()
                        : "LABEL_" + number);
  }
  return names;
}
