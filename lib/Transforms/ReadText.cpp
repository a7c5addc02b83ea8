//===- ReadText.cpp - Files that options name -----------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ReadText.h"
#include "mlir/IR/Diagnostics.h"
#include "pst/Runtime/Error.h"
#include "pst/Runtime/Files.h"

using namespace mlir;

FailureOr<std::string> pst::readText(MLIRContext *context, StringRef path) {
  try {
    return runtime::readFile(path.str(), int64_t(16) << 20);
  } catch (const runtime::Error &error) {
    StringRef text = error.what();
    // The place of the diagnostic says it already.
    text.consume_front((path + ": ").str());
    emitError(FileLineColLoc::get(context, path, 0, 0)) << text;
    return failure();
  }
}
