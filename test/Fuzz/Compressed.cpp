//===- Compressed.cpp - Weights stored in parts ---------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Fuzz.h"

using namespace pst::runtime;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  std::filesystem::path file = fuzz::directory() / "compressed.safetensors";
  tiny::writeBytes(file, fuzz::text(data, size));
  fuzz::expectErrorsOnly([&] {
    ModelFiles files(file);
    for (const auto &[name, header] : files.tensors())
      fuzz::expectErrorsOnly([&] {
        const TensorView &tensor = *files.find(name);
        fuzz::readAll(tensor);
        files.forget(tensor);
      });
  });
  return 0;
}
