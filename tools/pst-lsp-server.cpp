//===- pst-lsp-server.cpp - Shows editors what MLIR text means ------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Driver/LanguageServer.h"

int main(int argc, char **argv) { return pst::runLanguageServer(argc, argv); }
