//===- ReadText.h - Files that options name ---------------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_LIB_TRANSFORMS_READTEXT_H
#define PST_LIB_TRANSFORMS_READTEXT_H

#include "mlir/IR/MLIRContext.h"

#include <string>

namespace pst {

/// The text of a file that the user wrote: a regular one of at most 16 MiB.
/// Errors name the file.
mlir::FailureOr<std::string> readText(mlir::MLIRContext *context,
                                      llvm::StringRef path);

} // namespace pst

#endif // PST_LIB_TRANSFORMS_READTEXT_H
