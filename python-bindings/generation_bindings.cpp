//===- generation_bindings.cpp - Generation as Python sees it -------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Bindings.h"
#include "Strings.h"
#include "Turns.h"

#include "pst/Runtime/Generation.h"

#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/vector.h>

namespace nb = nanobind;
using namespace nb::literals;
using namespace pst;
using namespace pst::runtime;
using namespace pst::python;

/// Python's signals (Ctrl-C) are heard between two tokens.
static bool hearSignals() {
  nb::gil_scoped_acquire acquire;
  if (PyErr_CheckSignals() != 0)
    throw nb::python_error();
  return false;
}

static nb::dict generateTexts(SharedModel &model,
                              const std::vector<std::vector<int32_t>> &prompts,
                              GenerationOptions options,
                              const std::filesystem::path &directory,
                              nb::object onToken) {
  GenerationCallbacks callbacks;
  callbacks.shouldStop = hearSignals;
  if (!onToken.is_none()) // which the caller keeps alive
    callbacks.onToken = [function = nb::handle(onToken)](int64_t prompt,
                                                         int32_t token) {
      nb::gil_scoped_acquire acquire;
      function(prompt, token);
    };
  Generation made = inTurn(model.turns, [&] {
    resolveEndTokens(options, model.manifest(), directory);
    return generate(model, prompts, options, callbacks);
  });
  nb::list continuations;
  for (const Continuation &found : made.continuations) {
    nb::dict dict;
    dict["output_ids"] = found.tokens;
    dict["finish_reason"] = finishReason(found);
    if (options.numBeams > 1)
      dict["score"] = found.score;
    continuations.append(dict);
  }
  nb::dict result;
  result["continuations"] = continuations;
  result["prompt_tokens"] = made.promptTokens;
  result["new_tokens"] = made.newTokens;
  result["steps"] = made.steps;
  result["prompt_seconds"] = made.promptSeconds;
  result["step_seconds"] = made.stepSeconds;
  return result;
}

void pst::python::bindGeneration(nb::module_ &module) {
  module.def("generate", &generateTexts, "model"_a, "prompts"_a, "options"_a,
             "model_dir"_a, "on_token"_a = nb::none(),
             "Goes on with prompts, lists of tokens. `on_token(prompt, token)` "
             "is called for each token as soon as it is chosen, but not of "
             "beams.");
}
