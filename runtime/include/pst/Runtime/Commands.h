//===- Commands.h - The command pst-run -------------------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_RUNTIME_COMMANDS_H
#define PST_RUNTIME_COMMANDS_H

namespace pst::runtime {

/// Does what the command line asks for: train, eval, export, check, bench,
/// info. Flags are spelled as in Hugging Face's TrainingArguments. Returns the
/// exit status.
int runCommand(int argc, char **argv);

} // namespace pst::runtime

#endif // PST_RUNTIME_COMMANDS_H
