//===- pst-bench.cpp - Times kernels and steps against rivals -------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Bench/Command.h"

int main(int argc, char **argv) {
  return pst::bench::runBenchCommand(argc, argv);
}
