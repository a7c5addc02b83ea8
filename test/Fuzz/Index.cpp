//===- Index.cpp - The index of a model in several files ------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Fuzz.h"

using namespace pst::runtime;
namespace fs = std::filesystem;

/// The shards that there are: "model.safetensors" of the model, and a copy
/// with the same tensors.
static fs::path shards() {
  fs::path folder = fuzz::directory() / "shards";
  if (fs::create_directory(folder))
    for (const char *name : {"a.safetensors", "b.safetensors"})
      fs::copy(fuzz::directory() / "model" / "model.safetensors",
               folder / name);
  return folder;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const fs::path folder = shards();
  tiny::writeBytes(folder / "model.safetensors.index.json",
                   fuzz::text(data, size));
  fuzz::expectErrorsOnly([&] {
    ModelFiles files(folder);
    for (const auto &[name, header] : files.tensors())
      fuzz::readAll(*files.find(name));
  });
  return 0;
}
