//===- pst-run.cpp - Runs a bundle: train, evaluate, export ---------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Runtime/Commands.h"

int main(int argc, char **argv) { return pst::runtime::runCommand(argc, argv); }
