//===- Fuzz.h - What fuzz targets share ----------------------- -*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A target is one file with LLVMFuzzerTestOneInput, which reads a file as the
// product would and may throw what the product tells its users, an Error; any
// other end is a fault. libFuzzer calls it with inputs of its making, and
// Replay.cpp with those of the corpus.
//
//===----------------------------------------------------------------------===//

#ifndef PST_TEST_FUZZ_FUZZ_H
#define PST_TEST_FUZZ_FUZZ_H

#include "TinyProgram.h"

#include <string>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

namespace fuzz {

/// Runs `action`, and takes errors for users as an answer.
void expectErrorsOnly(const std::function<void()> &action);

/// A directory of the process, removed at its end, which a model of
/// tiny::writeModel lies in under "model".
const std::filesystem::path &directory();

/// Reads all values of a tensor, as numbers where it holds some.
void readAll(const pst::runtime::TensorView &tensor);

inline std::string text(const uint8_t *data, size_t size) {
  return {reinterpret_cast<const char *>(data), size};
}

} // namespace fuzz

#endif // PST_TEST_FUZZ_FUZZ_H
