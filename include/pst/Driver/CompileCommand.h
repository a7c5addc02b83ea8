//===- CompileCommand.h - The command pst-compile ---------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_DRIVER_COMPILECOMMAND_H
#define PST_DRIVER_COMPILECOMMAND_H

namespace pst {

/// Compiles what the command line names. Returns the exit status.
int runCompileCommand(int argc, char **argv);

} // namespace pst

#endif // PST_DRIVER_COMPILECOMMAND_H
