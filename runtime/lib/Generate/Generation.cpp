//===- Generation.cpp - Texts that a language model goes on with ----------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Runtime/Generation.h"
#include "Decoder.h"
#include "Search.h"
#include "pst/Runtime/Error.h"
#include "pst/Runtime/SafeTensors.h"

#include <algorithm>
#include <chrono>
#include <cmath>

using namespace pst;
using namespace pst::runtime;

namespace {

using Clock = std::chrono::steady_clock;

double secondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

void checkPrompts(std::span<const std::vector<int32_t>> prompts,
                  const GenerationOptions &options, const Decoder &decoder) {
  int64_t ids = decoder.vocabulary();
  if (decoder.numIds())
    ids = std::min(ids, decoder.numIds());
  for (size_t i = 0; i < prompts.size(); ++i) {
    auto fail = [&](const std::string &what) {
      throw Error("prompt " + std::to_string(i) + " " + what);
    };
    auto count = static_cast<int64_t>(prompts[i].size());
    if (count == 0)
      fail("has no token: a model goes on from one at least, such as that "
           "which begins a text");
    if (options.maxNewTokens > decoder.capacity() - count)
      fail("has " + std::to_string(count) + " tokens, and " +
           std::to_string(options.maxNewTokens) +
           " are to follow (--max_new_tokens), but the program has room for " +
           std::to_string(decoder.capacity()) + " (--cache_length)");
    for (int32_t id : prompts[i])
      if (id < 0 || id >= ids)
        fail("has the token " + std::to_string(id) +
             ", but the model's are 0 to " + std::to_string(ids - 1));
  }
}

/// Rows of the decoder that go on with one prompt.
struct Group {
  int64_t firstRow = 0, prompt = -1;
  std::unique_ptr<Search> search; ///< Null: the rows rest.
};

class Generator {
public:
  Generator(Model &model, std::span<const std::vector<int32_t>> prompts,
            const GenerationOptions &options,
            const GenerationCallbacks &callbacks)
      : decoder(model), prompts(prompts), options(options),
        callbacks(callbacks) {
    check(options);
    checkPrompts(prompts, options, decoder);
    if (options.numBeams > decoder.rows())
      throw Error("--num_beams is " + std::to_string(options.numBeams) +
                  ", but the program follows " +
                  std::to_string(decoder.rows()) +
                  " texts at once (--batch_size)");
    for (int64_t row = 0; row + options.numBeams <= decoder.rows();
         row += options.numBeams)
      groups.push_back({row, -1, nullptr});
    result.continuations.resize(prompts.size());
    tokens.assign(static_cast<size_t>(decoder.rows()), Decoder::rest);
  }

  Generation run() {
    while (beginPrompts()) {
      Clock::time_point start = Clock::now();
      const float *logits = decoder.step(tokens);
      for (Group &group : groups)
        if (group.search)
          advance(group, logits + group.firstRow * decoder.vocabulary());
      result.stepSeconds += secondsSince(start);
      ++result.steps;
      if (callbacks.shouldStop && callbacks.shouldStop())
        break;
    }
    for (Group &group : groups)
      if (group.search)
        end(group);
    return std::move(result);
  }

private:
  /// Gives rows that rest to the next prompts; whether any row does not rest.
  bool beginPrompts() {
    std::vector<Decoder::Reading> readings;
    bool any = false;
    Clock::time_point start = Clock::now();
    std::vector<Group *> begun;
    for (Group &group : groups) {
      if (!group.search && nextPrompt < prompts.size()) {
        const std::vector<int32_t> &prompt = prompts[nextPrompt];
        SearchTask task{prompt, nextPrompt, decoder.vocabulary(), options};
        group.search = options.numBeams > 1 ? makeBeamSearch(task)
                                            : makeSingleSearch(task);
        group.prompt = static_cast<int64_t>(nextPrompt++);
        // The last token is the first step's.
        readings.push_back(
            {group.firstRow, std::span(prompt).first(prompt.size() - 1)});
        result.promptTokens += static_cast<int64_t>(prompt.size());
        begun.push_back(&group);
      }
      any |= group.search != nullptr;
    }
    decoder.read(readings);
    for (Group *group : begun)
      place(*group);
    result.promptSeconds += secondsSince(start);
    return any;
  }

  /// What the rows of a group read next.
  void place(Group &group) {
    decoder.follow(group.firstRow, group.search->parents());
    std::ranges::copy(group.search->tokens(), tokens.begin() + group.firstRow);
  }

  void advance(Group &group, const float *logits) {
    size_t count = static_cast<size_t>(options.numBeams * decoder.vocabulary());
    if (int64_t bad = findNonFinite(logits, static_cast<int64_t>(count));
        bad >= 0)
      throw Error("the model gives " + std::to_string(logits[bad]) +
                  " for a token after prompt " + std::to_string(group.prompt) +
                  ": its parameters are none of a model that was trained");
    group.search->advance(logits);
    if (options.numBeams == 1 && callbacks.onToken)
      callbacks.onToken(group.prompt, group.search->tokens().front());
    if (group.search->isDone())
      end(group);
    else
      place(group);
  }

  void end(Group &group) {
    Continuation found = group.search->result();
    result.newTokens += static_cast<int64_t>(found.tokens.size());
    if (callbacks.onEnd)
      callbacks.onEnd(group.prompt, found);
    result.continuations[static_cast<size_t>(group.prompt)] = std::move(found);
    group.search = nullptr;
    std::fill_n(tokens.begin() + group.firstRow, options.numBeams,
                Decoder::rest);
  }

  Decoder decoder;
  std::span<const std::vector<int32_t>> prompts;
  const GenerationOptions &options;
  const GenerationCallbacks &callbacks;
  std::vector<Group> groups;
  std::vector<int32_t> tokens; ///< Of each row, what it reads next.
  size_t nextPrompt = 0;
  Generation result;
};

} // namespace

Generation pst::runtime::generate(Model &model,
                                  std::span<const std::vector<int32_t>> prompts,
                                  const GenerationOptions &options,
                                  const GenerationCallbacks &callbacks) {
  return Generator(model, prompts, options, callbacks).run();
}
