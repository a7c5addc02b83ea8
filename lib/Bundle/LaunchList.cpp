//===- LaunchList.cpp - Launches as text ----------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A step has hundreds of launches with a dozen arguments each; as JSON objects
// they would be most of a bundle. So a launch is a line of words, and an
// argument a word.
//
//===----------------------------------------------------------------------===//

#include "ManifestText.h"

#include <charconv>

using namespace pst;
using namespace pst::manifest;

//===----------------------------------------------------------------------===//
// Writing
//===----------------------------------------------------------------------===//

static std::string join(const auto &numbers, char separator) {
  std::string text;
  for (int64_t number : numbers)
    text += (text.empty() ? "" : std::string(1, separator)) +
            std::to_string(number);
  return text;
}

static std::string spell(const Place &place) {
  return "#" + std::to_string(place.argument) + "+" +
         std::to_string(place.offset);
}

static std::string spell(const LaunchArgument &argument) {
  switch (argument.kind) {
  case LaunchArgument::Kind::address:
    return spell(argument.place);
  case LaunchArgument::Kind::value: {
    char digits[17] = "";
    std::to_chars(digits, digits + 16, argument.bits, 16);
    return std::to_string(argument.bytes) + ":" + digits;
  }
  case LaunchArgument::Kind::map:
    return "map" + spell(argument.place) + "/" +
           spell(TensorType{argument.map.element, argument.map.shape}) + "/" +
           join(argument.map.strides, ',') + "/" + join(argument.map.box, ',') +
           "/" + std::to_string(argument.map.swizzle);
  }
  return "";
}

std::string Launch::toText() const {
  std::string text = isCopy() ? "copy bytes " + std::to_string(copyBytes)
                              : kernel + " grid " + join(grid, 'x') +
                                    " block " + join(block, 'x');
  if (sharedBytes)
    text += " shared " + std::to_string(sharedBytes);
  if (!op.empty())
    text += " for " + op;
  if (flops)
    text += " flops " + std::to_string(flops);
  if (bytes)
    text += " bytes " + std::to_string(bytes);
  text += " :";
  for (const LaunchArgument &argument : arguments)
    text += " " + spell(argument);
  return text;
}

//===----------------------------------------------------------------------===//
// Reading
//===----------------------------------------------------------------------===//

namespace {
/// Takes a launch apart, from its beginning to its end.
class Scanner {
public:
  Scanner(std::string_view text, const std::string &where)
      : text(text), rest(text), where(where) {}

  [[noreturn]] void failAt(const std::string &expected) const {
    fail(where, "expected " + expected + " at character " +
                    std::to_string(text.size() - rest.size() + 1) + " of " +
                    quote(text));
  }

  bool done() const { return rest.empty(); }

  /// What comes before the next space, which goes too.
  std::string_view word() {
    size_t end = std::min(rest.find(' '), rest.size());
    std::string_view result = rest.substr(0, end);
    if (result.empty())
      failAt("a word");
    rest.remove_prefix(std::min(end + 1, rest.size()));
    return result;
  }

  /// What comes before the next space, which stays.
  std::string_view upToSpace() {
    std::string_view result = rest.substr(0, rest.find(' '));
    if (result.empty())
      failAt("a name");
    rest.remove_prefix(result.size());
    return result;
  }

  bool take(std::string_view what) {
    if (!rest.starts_with(what))
      return false;
    rest.remove_prefix(what.size());
    return true;
  }
  void expect(std::string_view what) {
    if (!take(what))
      failAt(quote(what));
  }

  template <typename T = int64_t> T number(int base = 10) {
    T value = 0;
    auto [end, error] =
        std::from_chars(rest.data(), rest.data() + rest.size(), value, base);
    if (error != std::errc() || value < 0)
      failAt("a whole number");
    rest.remove_prefix(end - rest.data());
    return value;
  }

  std::vector<int64_t> numbers(std::string_view separator) {
    std::vector<int64_t> result{number()};
    while (take(separator))
      result.push_back(number());
    return result;
  }

  Launch::Extent extent() {
    std::vector<int64_t> sizes = numbers("x");
    if (sizes.size() != 3)
      failAt("three sizes");
    return {sizes[0], sizes[1], sizes[2]};
  }

  Place place() {
    expect("#");
    Place result;
    result.argument = number();
    expect("+");
    result.offset = number();
    return result;
  }

  TensorMap map() {
    TensorMap result;
    expect("/");
    bool known = false;
    for (ElementType element :
         {ElementType::f32, ElementType::f64, ElementType::bf16,
          ElementType::i32, ElementType::i64})
      if (!known && take(std::string(name(element)) + "[")) {
        result.element = element;
        known = true;
      }
    if (!known)
      failAt("a type such as bf16[64,32]");
    result.shape = numbers(",");
    expect("]/");
    if (result.shape.size() > 1)
      result.strides = numbers(",");
    expect("/");
    result.box = numbers(",");
    expect("/");
    result.swizzle = number();
    if (result.box.size() != result.shape.size() ||
        result.strides.size() + 1 != result.shape.size())
      failAt("as many sizes as the tensor has dimensions, and one stride "
             "fewer, in the map that ends");
    return result;
  }

  LaunchArgument argument() {
    LaunchArgument result;
    if (rest.starts_with('#')) {
      result.place = place();
    } else if (take("map")) {
      result.kind = LaunchArgument::Kind::map;
      result.bytes = 128;
      result.place = place();
      result.map = map();
    } else {
      result.kind = LaunchArgument::Kind::value;
      result.bytes = number();
      expect(":");
      result.bits = number<uint64_t>(16);
    }
    return result;
  }

private:
  std::string_view text, rest;
  const std::string &where;
};
} // namespace

Launch Launch::fromText(std::string_view text, const std::string &where) {
  Scanner scan(text, where);
  Launch launch;
  if (scan.take("copy bytes ")) {
    launch.copyBytes = scan.number();
  } else {
    launch.kernel = scan.word();
    scan.expect("grid ");
    launch.grid = scan.extent();
    scan.expect(" block ");
    launch.block = scan.extent();
    if (scan.take(" cluster "))
      fail(where, "forms clusters of blocks, as an older compiler made them: "
                  "compile it anew");
    if (scan.take(" shared "))
      launch.sharedBytes = scan.number();
    if (scan.take(" for "))
      launch.op = scan.upToSpace();
    if (scan.take(" flops "))
      launch.flops = scan.number();
    if (scan.take(" bytes "))
      launch.bytes = scan.number();
  }
  scan.expect(" :");
  while (!scan.done()) {
    scan.expect(" ");
    launch.arguments.push_back(scan.argument());
  }
  return launch;
}
