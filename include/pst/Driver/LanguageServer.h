//===- LanguageServer.h - What editors are told of MLIR text ----*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_DRIVER_LANGUAGESERVER_H
#define PST_DRIVER_LANGUAGESERVER_H

namespace pst {

/// The command pst-lsp-server: MLIR's language server for the dialects of MLIR
/// and of the project, with the documentation of the latter's ops where an
/// editor hovers over one. Returns the exit status.
int runLanguageServer(int argc, char **argv);

} // namespace pst

#endif // PST_DRIVER_LANGUAGESERVER_H
