//===- Data.cpp - Files of examples ---------------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Fuzz.h"

#include <numeric>

using namespace pst::runtime;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const pst::Manifest manifest = tiny::makeManifest();
  std::filesystem::path file = fuzz::directory() / "data.safetensors";
  tiny::writeBytes(file, fuzz::text(data, size));
  fuzz::expectErrorsOnly([&] {
    Dataset examples = Dataset::load(file);
    (void)examples.digest();
    examples.check(manifest, "forward_backward", /*needLabels=*/false);
    std::vector<int64_t> rows(examples.size());
    std::iota(rows.begin(), rows.end(), 0);
    (void)examples.countTargets(rows, pst::ModelTask::lm);
    Batch batch(manifest.entryPoints.at("forward_backward"));
    for (size_t from = 0; from < rows.size(); from += batch.capacity())
      batch.gather(examples, std::span(rows).subspan(
                                 from, std::min<size_t>(batch.capacity(),
                                                        rows.size() - from)));
  });
  return 0;
}
