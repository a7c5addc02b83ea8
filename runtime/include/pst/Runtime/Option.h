//===- Option.h - An option, as all faces know it ---------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A table of options is a .def file with one line for each; from it come the
// members of a struct, and the struct's OptionTable. Command lines, Python and
// docs/generated/Options.md are made from the table: they set and get options
// as text, and repeat nothing.
//
//===----------------------------------------------------------------------===//

#ifndef PST_RUNTIME_OPTION_H
#define PST_RUNTIME_OPTION_H

#include "pst/Runtime/Error.h"

#include <charconv>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace pst::runtime {

/// The words of a choice: `list`, in the order of its enumerators. Each enum
/// that is an option specialises it.
template <typename EnumT> struct Words;

/// The word of an enumerator.
template <typename EnumT>
  requires std::is_enum_v<EnumT>
constexpr const char *spell(EnumT value) {
  return Words<EnumT>::list[static_cast<size_t>(value)];
}

/// The shortest of the usual notations that reads back to the same double.
std::string spell(double value);

/// Numbers that an option may have; never those that are not finite.
struct Range {
  double low = -std::numeric_limits<double>::infinity();
  double high = std::numeric_limits<double>::infinity();
  bool withLow = true, withHigh = true;

  bool contains(double value) const;
  /// "in [0, 1)", "positive", "0 or more", ...
  std::string text() const;
};
inline constexpr double kUnbounded = std::numeric_limits<double>::infinity();
inline constexpr Range anyValue{};
inline constexpr Range positive{0, kUnbounded, false};
inline constexpr Range notNegative{0};
inline constexpr Range share{0, 1};
inline constexpr Range positiveShare{0, 1, false};
inline constexpr Range belowOne{0, 1, true, false};

enum class OptionType { flag, integer, number, text, choice, integers, texts };
template <> struct Words<OptionType> {
  static constexpr const char *list[] = {"flag",   "integer",  "number", "text",
                                         "choice", "integers", "texts"};
};

struct OptionInfo {
  std::string name; ///< as users spell it: "mask_rank"
  OptionType type;
  bool isOptional; ///< may be left unset, which is the empty text
  std::vector<std::string> words;
  Range range;
  std::string initial; ///< the default, as text
  std::string group;   ///< which faces have it: see the .def file
  std::string help;

  /// "--mask_rank must be EXPECTED, but is 'VALUE'".
  [[noreturn]] void refuse(const std::string &expected,
                           std::string_view value) const;
  /// The help, with the words and the default.
  std::string describe() const;
};

namespace detail {

template <typename T> struct Wrapped {
  using Element = T;
  static constexpr bool isOptional = false, isList = false;
};
template <typename T> struct Wrapped<std::optional<T>> {
  using Element = T;
  static constexpr bool isOptional = true, isList = false;
};
template <typename T> struct Wrapped<std::vector<T>> {
  using Element = T;
  static constexpr bool isOptional = false, isList = true;
};

bool parseFlag(const OptionInfo &info, std::string_view text);
double parseNumber(const OptionInfo &info, std::string_view text);
size_t parseWord(const OptionInfo &info, std::string_view text);
std::vector<std::string> splitList(std::string_view text);

template <typename T> constexpr OptionType typeOf() {
  using Element = typename Wrapped<T>::Element;
  constexpr bool isList = Wrapped<T>::isList;
  if constexpr (std::is_same_v<Element, bool>)
    return OptionType::flag;
  else if constexpr (std::is_integral_v<Element>)
    return isList ? OptionType::integers : OptionType::integer;
  else if constexpr (std::is_floating_point_v<Element>)
    return OptionType::number;
  else if constexpr (std::is_enum_v<Element>)
    return OptionType::choice;
  else
    return isList ? OptionType::texts : OptionType::text;
}

template <typename T> T parse(const OptionInfo &info, std::string_view text) {
  using Element = typename Wrapped<T>::Element;
  if constexpr (Wrapped<T>::isList) {
    T values;
    for (const std::string &part : splitList(text))
      values.push_back(parse<Element>(info, part));
    return values;
  } else if constexpr (Wrapped<T>::isOptional) {
    return text.empty() ? T() : T(parse<Element>(info, text));
  } else if constexpr (std::is_same_v<T, bool>) {
    return parseFlag(info, text);
  } else if constexpr (std::is_integral_v<T>) {
    T value = 0;
    auto [end, error] =
        std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size())
      info.refuse("a whole number", text);
    return value;
  } else if constexpr (std::is_floating_point_v<T>) {
    return parseNumber(info, text);
  } else if constexpr (std::is_enum_v<T>) {
    return static_cast<T>(parseWord(info, text));
  } else {
    return T(std::string(text));
  }
}

template <typename T> std::string format(const T &value) {
  if constexpr (Wrapped<T>::isList) {
    std::string text;
    for (const auto &part : value)
      text += (text.empty() ? "" : ",") + format(part);
    return text;
  } else if constexpr (Wrapped<T>::isOptional) {
    return value ? format(*value) : "";
  } else if constexpr (std::is_same_v<T, bool>) {
    return value ? "true" : "false";
  } else if constexpr (std::is_integral_v<T>) {
    return std::to_string(value);
  } else if constexpr (std::is_floating_point_v<T> || std::is_enum_v<T>) {
    return spell(value);
  } else if constexpr (std::is_same_v<T, std::filesystem::path>) {
    return value.string();
  } else {
    return value;
  }
}

/// Throws Error if a number of `value` is out of the option's range.
template <typename T> void checkRange(const OptionInfo &info, const T &value) {
  if constexpr (Wrapped<T>::isList) {
    for (const auto &part : value)
      checkRange(info, part);
  } else if constexpr (Wrapped<T>::isOptional) {
    if (value)
      checkRange(info, *value);
  } else if constexpr (std::is_arithmetic_v<T> && !std::is_same_v<T, bool>) {
    if (!info.range.contains(static_cast<double>(value)))
      throw Error("--" + info.name + " must be " + info.range.text() +
                  ", but is " + format(value));
  }
}

} // namespace detail

/// The options that a struct has.
template <typename StructT> class OptionTable {
public:
  struct Option : OptionInfo {
    std::function<void(StructT &, const Option &, std::string_view)> setText;
    std::function<std::string(const StructT &)> text;
    std::function<void(const StructT &, const Option &)> check;
  };

  /// `access` gives the member of a struct.
  template <typename T, typename Access>
  void add(const char *name, Access access, Range range, const char *group,
           const char *help) {
    Option option;
    option.name = name;
    option.type = detail::typeOf<T>();
    option.isOptional = detail::Wrapped<T>::isOptional;
    using Element = typename detail::Wrapped<T>::Element;
    if constexpr (std::is_enum_v<Element>)
      option.words.assign(std::begin(Words<Element>::list),
                          std::end(Words<Element>::list));
    option.range = range;
    StructT defaults;
    option.initial = detail::format<T>(access(defaults));
    option.group = group;
    option.help = help;
    option.setText = [access](StructT &options, const Option &self,
                              std::string_view text) {
      access(options) = detail::parse<T>(self, text);
    };
    option.text = [access](const StructT &options) {
      return detail::format<T>(access(options));
    };
    option.check = [access](const StructT &options, const Option &self) {
      detail::checkRange<T>(self, access(options));
    };
    options.push_back(std::move(option));
  }

  std::vector<OptionInfo> infos() const {
    return {options.begin(), options.end()};
  }
  auto begin() const { return options.begin(); }
  auto end() const { return options.end(); }

  /// The option of that name, or null.
  const Option *find(std::string_view name) const {
    for (const Option &option : options)
      if (option.name == name)
        return &option;
    return nullptr;
  }
  const Option &get(std::string_view name) const {
    if (const Option *option = find(name))
      return *option;
    throw Error("there is no option --" + std::string(name));
  }

  /// Throws Error if there is no such option, or the text does not say one of
  /// its values.
  void set(StructT &values, std::string_view name,
           std::string_view text) const {
    const Option &option = get(name);
    option.setText(values, option, text);
  }

  /// Throws Error if an option is out of its range.
  void check(const StructT &values) const {
    for (const Option &option : options)
      option.check(values, option);
  }

private:
  std::vector<Option> options;
};

/// A Markdown table for each group of the options, under its name.
std::string formatOptions(const std::vector<OptionInfo> &options);

} // namespace pst::runtime

#endif // PST_RUNTIME_OPTION_H
