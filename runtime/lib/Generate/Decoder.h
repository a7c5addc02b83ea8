//===- Decoder.h - Tokens read, one after the other -------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_RUNTIME_LIB_GENERATE_DECODER_H
#define PST_RUNTIME_LIB_GENERATE_DECODER_H

#include "pst/Runtime/Model.h"

namespace pst::runtime {

/// The program's @prefill and @decode over the rows of its batch, and what each
/// row has read.
///
/// The token at position p of row r is stored in slot `r * capacity() + p`, and
/// the row's table says for each position in which slot its token lies. So a
/// row that becomes another one's continuation takes over its table, and no
/// key or value moves: slots of a position are written when that is read, by
/// all rows, and what a row has read lies at positions before.
class Decoder {
public:
  /// Throws Error if the program does not generate texts.
  explicit Decoder(Model &model);

  int64_t rows() const { return numRows; }
  int64_t capacity() const { return numPositions; } ///< tokens of a row
  int64_t vocabulary() const { return numWords; }
  int64_t numIds() const { return ids; } ///< of tokens; 0: unknown

  /// A row forgets what it has read, and reads these tokens.
  struct Reading {
    int64_t row = 0;
    std::span<const int32_t> tokens;
  };
  void read(std::span<const Reading> readings);
  /// Row `first + i` continues what row `first + parents[i]` has read.
  void follow(int64_t first, std::span<const int64_t> parents);
  /// Each row reads a token, those of `rest` excepted. Returns the logits of
  /// the next one, rows() x vocabulary(), until the next call.
  const float *step(std::span<const int32_t> tokens);
  static constexpr int32_t rest = -1;

private:
  /// A call for as many tokens as it has room for.
  struct Call {
    Call(Model &model, const char *entry);
    size_t room;
    std::vector<int32_t> ids, sequences, positions;
    Invocation invocation;
  };
  /// Appends the row's next token to a call.
  void add(Call &call, int32_t token, int64_t row);
  int32_t &slotOf(int64_t row, int64_t position) {
    return slots[static_cast<size_t>(row * numPositions + position)];
  }

  Call prefill, decode;
  int64_t numRows = 0, numPositions = 0, numWords = 0, ids = 0;
  std::vector<int32_t> slots; ///< rows x positions
  std::vector<int64_t> lengths;
  std::vector<float> logits;
};

} // namespace pst::runtime

#endif // PST_RUNTIME_LIB_GENERATE_DECODER_H
