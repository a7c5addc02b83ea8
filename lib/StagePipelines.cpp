//===- StagePipelines.cpp - The stages, as pipelines of pst-opt -----------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassOptions.h"
#include "mlir/Pass/PassRegistry.h"
#include "pst/Pipelines.h"

using namespace mlir;
using namespace pst;

namespace {
/// The options of the compiler, as text.
struct StageOptions : PassPipelineOptions<StageOptions> {
  StageOptions() {
    for (const auto &option : compilerOptions())
      texts.push_back(std::make_unique<Option<std::string>>(
          *this, option.name, llvm::cl::desc(option.help),
          llvm::cl::init(option.initial)));
  }

  /// Throws runtime::Error.
  CompilerOptions read() const {
    CompilerOptions options;
    for (const auto &text : texts)
      compilerOptions().set(options, text->ArgStr, text->getValue());
    check(options);
    return options;
  }

  std::vector<std::unique_ptr<Option<std::string>>> texts;
};
} // namespace

static LogicalResult
addStage(OpPassManager &passes, Stage stage, StringRef text,
         llvm::function_ref<LogicalResult(const Twine &)> complain) {
  StageOptions given;
  if (failed(given.parseFromString(text)))
    return failure();
  try {
    buildStage(passes, stage, given.read());
  } catch (const runtime::Error &error) {
    return complain(error.what());
  }
  return success();
}

void pst::registerStagePipelines() {
  for (int i = 0; i < static_cast<int>(std::size(runtime::Words<Stage>::list));
       ++i) {
    auto stage = static_cast<Stage>(i);
    std::string name = runtime::spell(stage);
    registerPassPipeline(
        "pst-stage-" + name,
        "Takes a module from the stage before to the stage " + name,
        [stage](OpPassManager &passes, StringRef text,
                llvm::function_ref<LogicalResult(const Twine &)> complain) {
          return addStage(passes, stage, text, complain);
        },
        [](llvm::function_ref<void(const mlir::detail::PassOptions &)> take) {
          take(StageOptions());
        });
  }
}
