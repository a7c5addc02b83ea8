//===- OptionTest.cpp -----------------------------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Runtime/Option.h"
#include "TinyProgram.h"
#include "pst/Runtime/TrainingOptions.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

using namespace pst;
using namespace pst::runtime;

namespace {
enum class Color { red, green };
struct Paint {
  Color color = Color::green;
  bool wet = true;
  int64_t coats = 2;
  double share = 0.25;
  std::optional<double> price;
  std::string maker = "us";
  std::vector<int64_t> sizes;
  std::vector<std::string> places;
};
} // namespace

template <> struct pst::runtime::Words<Color> {
  static constexpr const char *list[] = {"red", "green"};
};

static OptionTable<Paint> makeTable() {
  OptionTable<Paint> table;
  auto add = [&]<typename T>(const char *name, T Paint::*member, Range range) {
    table.add<T>(
        name, [member](auto &o) -> auto & { return o.*member; }, range, "group",
        "help");
  };
  add("color", &Paint::color, anyValue);
  add("wet", &Paint::wet, anyValue);
  add("coats", &Paint::coats, positive);
  add("share", &Paint::share, belowOne);
  add("price", &Paint::price, notNegative);
  add("maker", &Paint::maker, anyValue);
  add("sizes", &Paint::sizes, notNegative);
  add("places", &Paint::places, anyValue);
  return table;
}

TEST(Option, DefaultsAreTheStructs) {
  std::map<std::string, std::string> found;
  for (const auto &option : makeTable())
    found[option.name] = option.initial;
  EXPECT_EQ(found, (std::map<std::string, std::string>{{"color", "green"},
                                                       {"wet", "true"},
                                                       {"coats", "2"},
                                                       {"share", "0.25"},
                                                       {"price", ""},
                                                       {"maker", "us"},
                                                       {"sizes", ""},
                                                       {"places", ""}}));
}

TEST(Option, ReadsBackWhatItWrites) {
  OptionTable<Paint> table = makeTable();
  for (auto [name, text] :
       std::map<std::string, std::string>{{"color", "red"},
                                          {"wet", "false"},
                                          {"coats", "9007199254740993"},
                                          {"share", "0.10000000000000001"},
                                          {"price", "1e-300"},
                                          {"maker", "a, b"},
                                          {"sizes", "3,0,17"},
                                          {"places", "attention,output"}}) {
    Paint paint;
    table.set(paint, name, text);
    std::string written = table.get(name).text(paint);
    EXPECT_EQ(written, name == "share" ? "0.1" : text);
    Paint again;
    table.set(again, name, written);
    EXPECT_EQ(table.get(name).text(again), written);
  }
  Paint paint;
  paint.price = 3;
  table.set(paint, "price", "");
  EXPECT_FALSE(paint.price);
}

TEST(Option, ErrorsNameTheOptionTheValueAndWhatIsKnown) {
  OptionTable<Paint> table = makeTable();
  Paint paint;
  EXPECT_ERROR(table.set(paint, "color", "blue"),
               "--color must be one of red, green, but is 'blue'");
  EXPECT_ERROR(table.set(paint, "wet", "yes"),
               "--wet must be true or false, but is 'yes'");
  EXPECT_ERROR(table.set(paint, "coats", "2.5"),
               "--coats must be a whole number, but is '2.5'");
  EXPECT_ERROR(table.set(paint, "coats", "99999999999999999999"),
               "--coats must be a whole number");
  EXPECT_ERROR(table.set(paint, "share", "half"),
               "--share must be a number, but is 'half'");
  EXPECT_ERROR(table.set(paint, "sizes", "3,x"),
               "--sizes must be a whole number, but is 'x'");
  EXPECT_ERROR(table.set(paint, "gloss", "1"), "there is no option --gloss");
}

TEST(Option, RangesAreChecked) {
  OptionTable<Paint> table = makeTable();
  EXPECT_NO_THROW(table.check(Paint()));
  auto refuse = [&](auto change, const std::string &message) {
    Paint paint;
    change(paint);
    EXPECT_ERROR(table.check(paint), message);
  };
  refuse([](Paint &p) { p.coats = 0; }, "--coats must be positive, but is 0");
  refuse([](Paint &p) { p.share = 1; }, "--share must be in [0, 1), but is 1");
  refuse([](Paint &p) { p.share = NAN; }, "--share must be in [0, 1)");
  refuse([](Paint &p) { p.price = -1; },
         "--price must be 0 or more, but is -1");
  refuse([](Paint &p) { p.sizes = {1, -2}; },
         "--sizes must be 0 or more, but is -2");
}

TEST(Option, TrainingOptionsHaveNamesOfTheirOwnAndHelp) {
  std::set<std::string> names;
  for (const auto &option : trainingOptions()) {
    EXPECT_TRUE(names.insert(option.name).second) << option.name;
    EXPECT_FALSE(option.help.empty()) << option.name;
  }
  EXPECT_NO_THROW(trainingOptions().check(TrainingOptions()));
}
