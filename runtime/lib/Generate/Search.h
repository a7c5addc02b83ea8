//===- Search.h - Which token comes next ------------------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_RUNTIME_LIB_GENERATE_SEARCH_H
#define PST_RUNTIME_LIB_GENERATE_SEARCH_H

#include "pst/Runtime/Generation.h"

#include <memory>

namespace pst::runtime {

/// What is looked for after one prompt, over one row of a batch or several.
class Search {
public:
  virtual ~Search() = default;

  /// Chooses by the logits of the rows, rows x words, and says for each row of
  /// which one it is the continuation, and by which token.
  virtual void advance(const float *logits) = 0;
  std::span<const int64_t> parents() const { return rowParents; }
  std::span<const int32_t> tokens() const { return rowTokens; }
  bool isDone() const { return done; }
  /// What was found, or the best so far.
  virtual Continuation result() const = 0;

protected:
  std::vector<int64_t> rowParents;
  std::vector<int32_t> rowTokens;
  bool done = false;
};

/// A prompt, and how to go on with it. What it refers to must outlive a search.
struct SearchTask {
  std::span<const int32_t> prompt;
  uint64_t number; ///< The prompt's, for draws.
  int64_t words;   ///< Of the vocabulary.
  const GenerationOptions &options;

  bool ends(int32_t token) const;
};

/// The most probable token, or one that is drawn.
std::unique_ptr<Search> makeSingleSearch(const SearchTask &task);
/// Beam search, as transformers has it.
std::unique_ptr<Search> makeBeamSearch(const SearchTask &task);

/// Sets to -inf the scores of tokens with which the last `size` tokens would
/// be such as have been in a row before.
void banRepeated(std::span<float> scores, std::span<const int32_t> tokens,
                 int64_t size);

} // namespace pst::runtime

#endif // PST_RUNTIME_LIB_GENERATE_SEARCH_H
