//===- Option.cpp - An option, as all faces know it -----------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Runtime/Option.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

using namespace pst::runtime;

std::string pst::runtime::spell(double value) {
  char text[32];
  for (int digits : {6, 17}) {
    std::snprintf(text, sizeof text, "%.*g", digits, value);
    if (std::strtod(text, nullptr) == value)
      break;
  }
  return text;
}

bool Range::contains(double value) const {
  return std::isfinite(value) && (withLow ? value >= low : value > low) &&
         (withHigh ? value <= high : value < high);
}

std::string Range::text() const {
  if (std::isfinite(high))
    return (withLow ? "in [" : "in (") + spell(low) + ", " + spell(high) +
           (withHigh ? "]" : ")");
  if (!std::isfinite(low))
    return "a number";
  if (!withLow && low == 0)
    return "positive";
  return (withLow ? "" : "more than ") + spell(low) +
         (withLow ? " or more" : "");
}

/// As text of a table's cell.
static std::string escape(std::string text) {
  for (size_t at = 0; (at = text.find('|', at)) != text.npos; at += 2)
    text.insert(at, "\\");
  return text;
}

/// "a, b, c"
static std::string join(const std::vector<std::string> &words) {
  std::string list;
  for (const std::string &word : words)
    if (!word.empty())
      list += (list.empty() ? "" : ", ") + word;
  return list;
}

void OptionInfo::refuse(const std::string &expected,
                        std::string_view value) const {
  throw Error("--" + name + " must be " + expected + ", but is '" +
              std::string(value) + "'");
}

std::string OptionInfo::describe() const {
  std::string text = help;
  if (type == OptionType::choice)
    text += ": " + join(words);
  if (!initial.empty() && type != OptionType::flag)
    text += " (default: " + initial + ")";
  return text;
}

bool detail::parseFlag(const OptionInfo &info, std::string_view text) {
  if (text != "true" && text != "false")
    info.refuse("true or false", text);
  return text == "true";
}

double detail::parseNumber(const OptionInfo &info, std::string_view text) {
  std::string copy(text);
  char *end = nullptr;
  double value = std::strtod(copy.c_str(), &end);
  if (copy.empty() || end != copy.c_str() + copy.size())
    info.refuse("a number", text);
  return value;
}

size_t detail::parseWord(const OptionInfo &info, std::string_view text) {
  auto found = std::find(info.words.begin(), info.words.end(), text);
  if (found == info.words.end())
    info.refuse("one of " + join(info.words), text);
  return static_cast<size_t>(found - info.words.begin());
}

std::vector<std::string> detail::splitList(std::string_view text) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    size_t comma = text.find(',');
    parts.emplace_back(text.substr(0, comma));
    text = comma == text.npos ? "" : text.substr(comma + 1);
  }
  return parts;
}

std::string
pst::runtime::formatOptions(const std::vector<OptionInfo> &options) {
  std::vector<std::string> groups;
  for (const OptionInfo &option : options)
    if (std::find(groups.begin(), groups.end(), option.group) == groups.end())
      groups.push_back(option.group);
  std::string text;
  for (const std::string &group : groups) {
    text += "\n### " + group +
            "\n\n| option | values | default | what it is |\n"
            "|---|---|---|---|\n";
    for (const OptionInfo &option : options) {
      if (option.group != group)
        continue;
      std::string values = option.type == OptionType::choice
                               ? join(option.words)
                               : spell(option.type);
      if (std::isfinite(option.range.low) || std::isfinite(option.range.high))
        values += ", " + option.range.text();
      text += "| `" + option.name + "` | " + values + " | " +
              (option.initial.empty() ? "" : "`" + option.initial + "`") +
              " | " + escape(option.help) + " |\n";
    }
  }
  return text;
}
