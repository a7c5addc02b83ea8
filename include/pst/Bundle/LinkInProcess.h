//===- LinkInProcess.h - A program into this process ------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_BUNDLE_LINKINPROCESS_H
#define PST_BUNDLE_LINKINPROCESS_H

#include "mlir/IR/Location.h"
#include "pst/Bundle/CompiledProgram.h"

#include <map>
#include <memory>

namespace pst {

/// The program's entry points, linked into this process.
class JitCode {
public:
  virtual ~JitCode() = default;
  using Function = void (*)(void *const *arguments);
  /// By entry point, as in the manifest.
  std::map<std::string, Function> functions;
};

/// Emits an error at `loc` if the program cannot run here.
mlir::FailureOr<std::shared_ptr<JitCode>>
linkInProcess(const CompiledProgram &program, mlir::Location loc);

} // namespace pst

#endif // PST_BUNDLE_LINKINPROCESS_H
