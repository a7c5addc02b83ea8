//===- option_bindings.cpp - Options as Python sees them ------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Bindings.h"
#include "Strings.h"
#include "pst/Options/CompilerOptions.h"
#include "pst/Runtime/Generation.h"
#include "pst/Runtime/TrainingOptions.h"

#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

namespace nb = nanobind;
using namespace nb::literals;
using namespace pst;
using namespace pst::runtime;
using namespace pst::python;

/// The text that an option reads: numbers as Python prints them, lists with
/// commas, nothing for None.
static std::string textOf(nb::handle value) {
  if (value.is_none())
    return "";
  if (nb::isinstance<nb::bool_>(value))
    return nb::cast<bool>(value) ? "true" : "false";
  if (nb::isinstance<nb::list>(value) || nb::isinstance<nb::tuple>(value)) {
    std::string text;
    for (nb::handle part : value)
      text += (text.empty() ? "" : ",") + textOf(part);
    return text;
  }
  return nb::cast<std::string>(nb::str(value));
}

/// What `text` of an option is in Python.
static nb::object valueOf(const OptionInfo &option, const std::string &text) {
  if (option.isOptional && text.empty())
    return nb::none();
  auto number = [](std::string_view digits) {
    return nb::object(nb::int_(nb::str(digits.data(), digits.size())));
  };
  nb::list parts;
  switch (option.type) {
  case OptionType::flag:
    return nb::bool_(text == "true");
  case OptionType::integer:
    return number(text);
  case OptionType::number:
    return nb::float_(std::stod(text));
  case OptionType::text:
  case OptionType::choice:
    return toPython(text);
  case OptionType::integers:
  case OptionType::texts:
    for (const std::string &part : runtime::detail::splitList(text))
      parts.append(option.type == OptionType::integers
                       ? number(part)
                       : nb::object(toPython(part)));
    return std::move(parts);
  }
  return nb::none();
}

static nb::dict describe(const OptionInfo &option, const char *table) {
  nb::dict dict;
  dict["name"] = option.name;
  dict["table"] = table;
  dict["group"] = option.group;
  dict["type"] = spell(option.type);
  dict["choices"] = option.words;
  dict["default"] = valueOf(option, option.initial);
  dict["help"] = option.help;
  return dict;
}

/// Throws ValueError where the options throw Error.
template <typename FunctionT> static void asValueError(FunctionT &&function) {
  try {
    function();
  } catch (const Error &error) {
    raise(PyExc_ValueError, error.what());
  }
}

bool pst::python::setOption(CompilerOptions &options, const std::string &name,
                            nb::handle value) {
  if (!compilerOptions().find(name))
    return false;
  asValueError([&] { compilerOptions().set(options, name, textOf(value)); });
  return true;
}

/// A class whose attributes are the options of a table, by name.
template <typename Options>
static void bindStruct(nb::module_ &module, const char *name,
                       const OptionTable<Options> &table,
                       void (*check)(const Options &)) {
  nb::class_<Options>(module, name)
      .def(nb::init<>())
      .def(
          "__setattr__",
          [&table](Options &self, const std::string &name, nb::handle value) {
            asValueError([&] { table.set(self, name, textOf(value)); });
          },
          "name"_a, "value"_a.none())
      .def("__getattr__",
           [&table](const Options &self, const std::string &name) {
             const auto *option = table.find(name);
             if (!option)
               raise(PyExc_AttributeError, name);
             return valueOf(*option, option->text(self));
           })
      .def("check", [check](const Options &self) {
        asValueError([&] { check(self); });
      });
}

void pst::python::bindOptions(nb::module_ &module) {
  module.attr("OWN_ZEROS") = kOwnZeros;
  module.attr("NO_MODULES") = kNoModules;
  module.def(
      "is_measured",
      [](std::string_view method) {
        CompilerOptions options;
        compilerOptions().set(options, "method", std::string(method));
        return isMeasured(options.recipe.method);
      },
      "method"_a,
      "Whether the method's score has norms of what layers have read.");
  module.def(
      "option_table",
      [] {
        nb::list list;
        for (const auto &option : compilerOptions())
          list.append(describe(option, "compiler"));
        for (const auto &option : trainingOptions())
          list.append(describe(option, "training"));
        return list;
      },
      "All options of the compiler and of training.");
  module.def(
      "check_compiler_options",
      [](const nb::dict &given) {
        CompilerOptions options;
        for (auto [name, value] : given)
          setOption(options, nb::cast<std::string>(name), value);
        asValueError([&] { check(options); });
      },
      "options"_a, "Raises ValueError for options that cannot be.");

  module.def(
      "generation_option_table",
      [] {
        nb::list list;
        for (const auto &option : generationOptions())
          list.append(describe(option, "generation"));
        return list;
      },
      "All options of a generation.");
  bindStruct<TrainingOptions>(
      module, "TrainingOptions", trainingOptions(),
      [](const auto &options) { trainingOptions().check(options); });
  bindStruct<GenerationOptions>(module, "GenerationOptions",
                                generationOptions(),
                                [](const auto &options) { check(options); });
}
