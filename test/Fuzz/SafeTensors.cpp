//===- SafeTensors.cpp - Files of tensors ---------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Fuzz.h"

using namespace pst::runtime;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  std::filesystem::path file = fuzz::directory() / "x.safetensors";
  tiny::writeBytes(file, fuzz::text(data, size));
  fuzz::expectErrorsOnly([&] {
    SafeTensorsFile tensors(file);
    for (const auto &[name, tensor] : tensors.tensors())
      fuzz::readAll(tensor);
  });
  return 0;
}
