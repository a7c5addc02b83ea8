//===- WriteBundle.h - A program to files -----------------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_BUNDLE_WRITEBUNDLE_H
#define PST_BUNDLE_WRITEBUNDLE_H

#include "mlir/IR/Location.h"
#include "pst/Bundle/CompiledProgram.h"

namespace pst {

/// Links object code to a shared library. Emits an error at `loc` if it cannot.
mlir::LogicalResult writeLibrary(llvm::ArrayRef<std::string> objects,
                                 llvm::StringRef file, mlir::Location loc);

/// Emits an error at `loc` if no bundle can be written to `directory`: known
/// before anything is compiled.
mlir::LogicalResult verifyBundlePlace(llvm::StringRef directory,
                                      mlir::Location loc);

/// Writes `program` as a bundle (docs/BundleFormat.md) to `directory`: aside
/// first, then renamed. Emits an error at `loc` if it cannot.
mlir::LogicalResult writeBundle(const CompiledProgram &program,
                                llvm::StringRef directory, mlir::Location loc);

} // namespace pst

#endif // PST_BUNDLE_WRITEBUNDLE_H
