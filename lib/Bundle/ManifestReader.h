//===- ManifestReader.h - Reads the manifest's JSON ------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_LIB_BUNDLE_MANIFESTREADER_H
#define PST_LIB_BUNDLE_MANIFESTREADER_H

#include "ManifestText.h"
#include "pst/Bundle/ParseJson.h"

#include <algorithm>
#include <array>
#include <limits>
#include <set>

namespace pst::manifest {

using Json = nlohmann::ordered_json;

/// A value of an enumeration and its word.
template <typename Enum> struct Spelling {
  Enum value;
  std::string_view text;
};

template <typename Enum, size_t N>
std::string_view spell(const std::array<Spelling<Enum>, N> &table, Enum value) {
  return std::find_if(table.begin(), table.end(),
                      [&](auto &entry) { return entry.value == value; })
      ->text;
}

inline constexpr std::array<Spelling<ElementType>, 6> kElements{
    {{ElementType::f32, "f32"},
     {ElementType::f64, "f64"},
     {ElementType::bf16, "bf16"},
     {ElementType::i8, "i8"},
     {ElementType::i32, "i32"},
     {ElementType::i64, "i64"}}};

/// A JSON object being read: every key must be asked for, exactly those must be
/// there, and errors say where they are.
class Reader {
public:
  Reader(const Json &json, std::string where)
      : json(json), where(std::move(where)) {
    if (!json.is_object())
      fail(this->where,
           "expected an object, but got " + std::string(json.type_name()));
  }

  /// Reports keys that nobody asked for.
  void finish() const {
    for (const auto &[key, value] : json.items())
      if (!seen.contains(key))
        fail(path(key), "unknown key");
  }

  std::string path(std::string_view key) const {
    return where.empty() ? std::string(key) : where + "." + std::string(key);
  }

  bool has(std::string_view key) const { return json.contains(key); }

  const Json &at(std::string_view key) {
    seen.emplace(key);
    auto found = json.find(key);
    if (found == json.end())
      fail(path(key), "the key is missing");
    return *found;
  }

  std::string string(std::string_view key) {
    const Json &value = at(key);
    if (!value.is_string())
      fail(path(key),
           "expected a string, but got " + std::string(value.type_name()));
    return value.get<std::string>();
  }

  int64_t integer(std::string_view key) { return integer(at(key), path(key)); }

  static int64_t integer(const Json &value, const std::string &where) {
    constexpr uint64_t limit = std::numeric_limits<int64_t>::max();
    if (!value.is_number_unsigned() || value.get<uint64_t>() > limit)
      fail(where,
           "expected a whole number, not negative, but got " + value.dump());
    return value.get<int64_t>();
  }

  /// A number, or "inf" or "-inf".
  double numberOrInfinity(std::string_view key) {
    const Json &value = at(key);
    if (value == "inf" || value == "-inf")
      return (value == "inf" ? 1 : -1) *
             std::numeric_limits<double>::infinity();
    return number(key);
  }

  double number(std::string_view key) {
    const Json &value = at(key);
    if (!value.is_number())
      fail(path(key), "expected a number, but got " + value.dump());
    return value.get<double>();
  }

  bool boolean(std::string_view key) {
    const Json &value = at(key);
    if (!value.is_boolean())
      fail(path(key), "expected true or false, but got " + value.dump());
    return value.get<bool>();
  }

  template <typename Enum, size_t N>
  Enum keyword(std::string_view key,
               const std::array<Spelling<Enum>, N> &table) {
    std::string text = string(key), choices;
    for (const Spelling<Enum> &entry : table) {
      if (entry.text == text)
        return entry.value;
      choices += (choices.empty() ? "" : ", ") + quote(entry.text);
    }
    fail(path(key), "expected one of " + choices + ", but got " + quote(text));
  }

  TensorType type(std::string_view key) {
    return parseType(string(key), path(key));
  }

  const Json &array(std::string_view key) {
    const Json &value = at(key);
    if (!value.is_array())
      fail(path(key),
           "expected a list, but got " + std::string(value.type_name()));
    return value;
  }

  /// Hands a reader of each object of the list to `read`, which reads all of
  /// it.
  template <typename Read> void forObjects(std::string_view key, Read read) {
    const Json &values = array(key);
    for (size_t i = 0; i < values.size(); ++i) {
      Reader item(values[i], path(key) + "[" + std::to_string(i) + "]");
      read(item);
      item.finish();
    }
  }

  std::vector<std::string> strings(std::string_view key) {
    const Json &values = array(key);
    std::vector<std::string> texts;
    for (size_t i = 0; i < values.size(); ++i) {
      if (!values[i].is_string())
        fail(path(key) + "[" + std::to_string(i) + "]",
             "expected a string, but got " + values[i].dump());
      texts.push_back(values[i].get<std::string>());
    }
    return texts;
  }

  const Json &object(std::string_view key) {
    const Json &value = at(key);
    if (!value.is_object())
      fail(path(key),
           "expected an object, but got " + std::string(value.type_name()));
    return value;
  }

private:
  static TensorType parseType(const std::string &text,
                              const std::string &where) {
    auto malformed = [&]() {
      fail(where,
           "expected a type such as \"f32[3,5]\", but got " + quote(text));
    };
    TensorType type;
    size_t bracket = text.find('[');
    std::string element = text.substr(0, bracket);
    auto found =
        std::find_if(kElements.begin(), kElements.end(),
                     [&](auto &entry) { return entry.text == element; });
    if (found == kElements.end())
      malformed();
    type.element = found->value;
    if (bracket == std::string::npos)
      return type;
    size_t at = bracket + 1;
    while (true) {
      size_t end = text.find_first_of(",]", at);
      if (end == std::string::npos || end == at || end - at > 18)
        malformed();
      int64_t size = 0;
      for (; at < end; ++at) {
        if (text[at] < '0' || text[at] > '9')
          malformed();
        size = size * 10 + (text[at] - '0');
      }
      type.shape.push_back(size);
      ++at;
      if (text[end] == ']')
        break;
    }
    if (at != text.size())
      malformed();
    return type;
  }

  const Json &json;
  std::string where;
  std::set<std::string, std::less<>> seen;
};

} // namespace pst::manifest

#endif // PST_LIB_BUNDLE_MANIFESTREADER_H
