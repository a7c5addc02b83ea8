//===- TableFlags.cpp - Flags for the options of the compiler -------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TableFlags.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/Support/CommandLine.h"

using namespace pst;
using runtime::OptionInfo;
using runtime::OptionType;
namespace cl = llvm::cl;

/// What is true unless a flag says otherwise has a flag that says otherwise.
static bool isNegated(const OptionInfo &option) {
  return option.initial == "true";
}

static std::string spelling(const OptionInfo &option) {
  std::string dashed = llvm::join(llvm::split(option.name, '_'), "-");
  return llvm::StringSwitch<std::string>(option.name)
      .Cases({"cpu", "triple"}, "m" + dashed) // as clang and llc have it
      .Case("training", "inference")
      .Default(isNegated(option) ? "no-" + dashed : dashed);
}

struct TableFlags::Flag {
  explicit Flag(const OptionInfo &info)
      : option(info), name(spelling(info)),
        help((isNegated(info) ? "switches off: " : "") + info.describe()) {
    llvm::StringRef value = runtime::spell(info.type);
    if (info.type == OptionType::flag)
      given = std::make_unique<cl::opt<bool>>(llvm::StringRef(name),
                                              cl::desc(help));
    else
      text = std::make_unique<cl::opt<std::string>>(
          llvm::StringRef(name), cl::desc(help), cl::value_desc(value));
    if (!isNegated(info) && name != option.name)
      alias = std::make_unique<cl::alias>(llvm::StringRef(option.name),
                                          cl::aliasopt(flag()), cl::Hidden);
  }

  cl::Option &flag() const {
    return text ? static_cast<cl::Option &>(*text) : *given;
  }
  std::string value() const {
    return text ? text->getValue()
                : runtime::detail::format(*given != isNegated(option));
  }

  OptionInfo option;
  std::string name, help;
  std::unique_ptr<cl::opt<bool>> given;
  std::unique_ptr<cl::opt<std::string>> text;
  std::unique_ptr<cl::alias> alias;
};

TableFlags::TableFlags() {
  for (const auto &option : compilerOptions())
    flags.push_back(std::make_unique<Flag>(option));
}

TableFlags::~TableFlags() {
  for (auto &flag : flags) {
    if (flag->alias)
      flag->alias->removeArgument();
    flag->flag().removeArgument();
  }
}

void TableFlags::readTo(CompilerOptions &options) const {
  for (const auto &flag : flags)
    if (flag->flag().getNumOccurrences() ||
        (flag->alias && flag->alias->getNumOccurrences()))
      compilerOptions().set(options, flag->option.name, flag->value());
}
