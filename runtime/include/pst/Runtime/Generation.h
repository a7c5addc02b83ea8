//===- Generation.h - Texts that a language model goes on with --*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_RUNTIME_GENERATION_H
#define PST_RUNTIME_GENERATION_H

#include "pst/Runtime/Model.h"
#include "pst/Runtime/Option.h"

#include <functional>

namespace pst::runtime {

enum class EarlyStopping { no, yes, never };
template <> struct Words<EarlyStopping> {
  static constexpr const char *list[] = {"false", "true", "never"};
};

struct GenerationOptions {
#define PST_GENERATION_OPTION(type, member, name, initial, range, help)        \
  type member = initial;
#include "pst/Runtime/GenerationOptions.def"
};

const OptionTable<GenerationOptions> &generationOptions();
/// Throws Error if an option is out of its range, or does not go with others.
void check(const GenerationOptions &options);

/// Sets `eosTokenId` to the tokens that end a text. If the options name none,
/// the model's files do: generation_config.json in `directory` if that is there
/// and has an `eos_token_id`, else config.json. What is negative is no token.
/// Throws Error for a file that cannot be read.
void resolveEndTokens(GenerationOptions &options, const Manifest &manifest,
                      const std::filesystem::path &directory);

/// What follows a prompt.
struct Continuation {
  std::vector<int32_t> tokens; ///< With the one that ended it.
  bool ended = false;          ///< By such a token, not by its length.
  /// Of the best beam: the sum of its tokens' log-probabilities, divided by its
  /// length to the power of the length penalty; else 0.
  double score = 0;
};

/// "stop" or "length".
inline const char *finishReason(const Continuation &found) {
  return found.ended ? "stop" : "length";
}

struct Generation {
  std::vector<Continuation> continuations; ///< One for each prompt.
  int64_t promptTokens = 0, newTokens = 0;
  int64_t steps = 0; ///< Calls for one more token of each.
  double promptSeconds = 0, stepSeconds = 0;
};

/// How a generation speaks to its caller.
struct GenerationCallbacks {
  /// A token of a prompt's continuation, as soon as it is chosen; not of beams.
  std::function<void(int64_t prompt, int32_t token)> onToken;
  /// A prompt's continuation is complete. In the order in which they end.
  std::function<void(int64_t prompt, const Continuation &)> onEnd;
  /// Whether to end now, with what there is.
  std::function<bool()> shouldStop;
};

/// Goes on with each prompt, as many at once as the program has room for (each
/// takes `numBeams` rows of its batch); what follows one does not depend on the
/// others. `options.eosTokenId` is what ends a text: none if it is empty.
///
/// Greedy and beam search choose as transformers' generate() does. A draw
/// depends on the seed, the prompt's number and the token's, and on the
/// probabilities.
///
/// Throws Error for a program that does not generate, options out of range, and
/// prompts that are empty, have ids that are none, or have no room together
/// with `maxNewTokens`.
Generation generate(Model &model, std::span<const std::vector<int32_t>> prompts,
                    const GenerationOptions &options,
                    const GenerationCallbacks &callbacks = {});

} // namespace pst::runtime

#endif // PST_RUNTIME_GENERATION_H
