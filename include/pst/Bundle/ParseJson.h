//===- ParseJson.h - JSON from files ----------------------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_BUNDLE_PARSEJSON_H
#define PST_BUNDLE_PARSEJSON_H

#include "pst/Bundle/JsonText.h"

#include <nlohmann/json.hpp>

#include <stdexcept>
#include <string>
#include <string_view>

namespace pst {

/// Text from a file is no JSON that we read: the message says why.
struct JsonError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// A parser's message, which may quote what is no UTF-8: with the numbers of
/// bytes that are no ASCII in their place.
inline std::string spellBytes(std::string_view message) {
  std::string text;
  for (unsigned char byte : message)
    if (byte < 0x80)
      text += static_cast<char>(byte);
    else
      text.append("\\x")
          .append(1, "0123456789abcdef"[byte >> 4])
          .append(1, "0123456789abcdef"[byte & 15]);
  return text;
}

/// Parses JSON. `Json` is one of nlohmann's types. Throws JsonError.
template <typename Json = nlohmann::ordered_json>
Json parseJson(std::string_view text,
               const typename Json::parser_callback_t &callback = nullptr) {
  if (nestsTooDeep(text))
    throw JsonError(tooDeepMessage());
  // The library takes a zero byte for the end of the text.
  if (text.find('\0') != text.npos)
    throw JsonError("a zero byte in the text");
  try {
    return Json::parse(text, callback);
  } catch (const typename Json::exception &error) {
    throw JsonError(spellBytes(error.what()));
  }
}

} // namespace pst

#endif // PST_BUNDLE_PARSEJSON_H
