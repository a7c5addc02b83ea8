//===- MutateText.cpp - Changes words of a program ------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "MutateText.h"

#include <algorithm>
#include <cctype>
#include <cstring>
#include <random>
#include <string>
#include <vector>

/// What stands where a number may stand.
static constexpr const char *kNumbers[] = {"0",
                                           "1",
                                           "2",
                                           "3",
                                           "4",
                                           "5",
                                           "7",
                                           "8",
                                           "15",
                                           "16",
                                           "17",
                                           "31",
                                           "33",
                                           "64",
                                           "65",
                                           "-1",
                                           "100",
                                           "1021",
                                           "65537",
                                           "2147483647",
                                           "2147483648",
                                           "?",
                                           "9223372036854775807",
                                           "4294967296",
                                           "1.0e308",
                                           "-0.0"};

/// What stands where a word may stand.
static constexpr const char *kWords[] = {
    "f32",       "f64",         "bf16",     "i1",         "i32",
    "i64",       "index",       "tensor",   "memref",     "frozen",
    "trainable", "state",       "zeros",    "normal",     "dense",
    "lowrank",   "row",         "col",      "transposed", "gelu",
    "relu",      "silu",        "tanh",     "topk",       "#nn",
    "packed",    "private",     "decay",    "offset",     "cpu",
    "cuda",      "emulated",    "lora",     "map",        "mvp",
    "import",    "sparsify",    "autodiff", "optimizer",  "kernels",
    "memory",    "compressed",  "buffer",   "none",       "cheap",
    "all",       "block:16x16", "2:4",      "rows",       "global",
    "bitmask",   "quantized",   "i8"};

namespace {
using Lines = std::vector<std::string>;

/// The pieces of a text: words, numbers, and all else byte by byte. Of a type
/// such as 2x3xf32 each dimension is a piece.
std::vector<std::string> split(const std::string &text) {
  std::vector<std::string> pieces;
  auto isWord = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '.';
  };
  for (size_t i = 0; i < text.size();) {
    size_t end = i + 1;
    if (std::isdigit(static_cast<unsigned char>(text[i])))
      while (end < text.size() &&
             std::isdigit(static_cast<unsigned char>(text[end])))
        ++end;
    else if (text[i] == 'x' && end < text.size() && i > 0 &&
             std::isdigit(static_cast<unsigned char>(text[i - 1])))
      ; // between two dimensions
    else if (isWord(text[i]))
      while (end < text.size() && isWord(text[end]))
        ++end;
    pieces.push_back(text.substr(i, end - i));
    i = end;
  }
  return pieces;
}

std::string join(const std::vector<std::string> &pieces) {
  std::string text;
  for (const std::string &piece : pieces)
    text += piece;
  return text;
}

class Mutator {
public:
  explicit Mutator(unsigned seed) : random(seed) {}

  std::string mutate(std::string text) {
    for (size_t rounds = 1 + below(3); rounds; --rounds)
      text = below(4) == 0 ? changeLines(text) : changePiece(text);
    return text;
  }

private:
  size_t below(size_t bound) { return bound ? random() % bound : 0; }

  template <typename T> const T &any(const std::vector<T> &values) {
    return values[below(values.size())];
  }

  /// Another number, or another word, once or everywhere.
  std::string changePiece(const std::string &text) {
    std::vector<std::string> pieces = split(text), chosen;
    bool number = below(2);
    for (const std::string &piece : pieces) {
      auto first = static_cast<unsigned char>(piece.front());
      if (number ? std::isdigit(first) : std::isalpha(first) && piece != "x")
        chosen.push_back(piece);
    }
    if (chosen.empty())
      return text;
    std::string from = any(chosen), to = any(chosen);
    if (below(2))
      to = number ? kNumbers[below(std::size(kNumbers))]
                  : kWords[below(std::size(kWords))];
    if (below(2)) {
      std::replace(pieces.begin(), pieces.end(), from, to);
    } else {
      size_t skip = below(std::count(pieces.begin(), pieces.end(), from));
      for (std::string &piece : pieces)
        if (piece == from && skip-- == 0) {
          piece = to;
          break;
        }
    }
    return join(pieces);
  }

  /// Leaves a line out, writes it twice, or moves it.
  std::string changeLines(const std::string &text) {
    Lines lines;
    for (size_t i = 0; i < text.size();) {
      size_t end = std::min(text.find('\n', i), text.size() - 1) + 1;
      lines.push_back(text.substr(i, end - i));
      i = end;
    }
    if (lines.empty())
      return text;
    size_t from = below(lines.size());
    std::string line = lines[from];
    if (below(3))
      lines.erase(lines.begin() + from);
    if (below(3))
      lines.insert(lines.begin() + below(lines.size() + 1), line);
    return join(lines);
  }

  std::minstd_rand random;
};
} // namespace

size_t fuzz::mutateText(uint8_t *data, size_t size, size_t limit,
                        unsigned seed) {
  std::string text = Mutator(seed).mutate(
      std::string(reinterpret_cast<const char *>(data), size));
  size = std::min(text.size(), limit);
  std::memcpy(data, text.data(), size);
  return size;
}
