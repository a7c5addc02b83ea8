//===- Command.h - The command pst-bench ------------------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_BENCH_COMMAND_H
#define PST_BENCH_COMMAND_H

namespace pst::bench {

/// Times what the command line names. Returns the exit status.
int runBenchCommand(int argc, char **argv);

} // namespace pst::bench

#endif // PST_BENCH_COMMAND_H
