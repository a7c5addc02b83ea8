//===- TokenLines.h - Texts as JSON lines of tokens -------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_RUNTIME_LIB_COMMANDS_TOKENLINES_H
#define PST_RUNTIME_LIB_COMMANDS_TOKENLINES_H

#include "pst/Runtime/Model.h"

#include <fstream>
#include <optional>

namespace pst::runtime {

/// The lines of a file, which `opened` keeps open; "-" is standard input. So a
/// file that cannot be read is told before a model is. Throws Error.
std::istream &openLines(const std::string &file, std::ifstream &opened);

/// Reads JSON lines of tokens as batches for a program:
///   {"input_ids": [101, 2023, 102], "token_type_ids": [0, 0, 0]}
/// Other keys of an object are nobody's. Errors name the line.
class TokenLines {
public:
  /// `file` is what the stream is of; both outlive this.
  TokenLines(std::istream &stream, const std::string &file, const Model &model);

  /// So many lines at most as the arrays of a data set, padded to the program's
  /// length; nothing after the last one. Throws Error.
  std::optional<Dataset> read(int64_t most);
  /// The tokens of the next line alone; nothing after the last one. Throws
  /// Error.
  std::optional<std::vector<int32_t>> readIds();
  /// Tokens of a row of what was read last.
  int64_t length(int64_t row) const { return lengths[row]; }

private:
  /// Reads the next line; whether there is one. Throws Error.
  bool next(std::string &line);
  /// Its tokens, and their types if the model has them.
  std::optional<std::vector<int32_t>> nextTokens();
  std::vector<int32_t> readTokens(const std::string &line) const;
  /// `count`: how many ids there are, or 0 where nobody knows.
  void checkIds(const std::vector<int32_t> &ids, int64_t count,
                const char *key) const;
  [[noreturn]] void fail(const std::string &what) const;

  std::istream &stream;
  std::string name;
  int64_t number = 0; ///< Of the line that was read last.
  int64_t width = 0;  ///< Tokens that the program has room for.
  int64_t numIds = 0, numTypes = 0;
  int32_t padding = 0;
  bool hasTypes = false;
  std::vector<int64_t> lengths;
};

} // namespace pst::runtime

#endif // PST_RUNTIME_LIB_COMMANDS_TOKENLINES_H
