//===- Fuzz.cpp - What fuzz targets share ---------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Fuzz.h"
#include "pst/Runtime/Error.h"

#include <numeric>

using namespace pst;
using namespace pst::runtime;

void fuzz::expectErrorsOnly(const std::function<void()> &action) {
  try {
    action();
  } catch (const Error &) {
  } catch (const ManifestError &) {
  }
}

const std::filesystem::path &fuzz::directory() {
  static const tiny::TemporaryDirectory temporary;
  static const bool written = [] {
    tiny::writeModel(temporary / "model");
    return true;
  }();
  (void)written;
  return temporary.path();
}

void fuzz::readAll(const TensorView &tensor) {
  volatile unsigned sum =
      std::accumulate(tensor.data, tensor.data + tensor.numBytes, 0u,
                      [](unsigned sum, std::byte byte) {
                        return sum + std::to_integer<unsigned>(byte);
                      });
  (void)sum;
  std::vector<float> values(tensor.numElements());
  std::vector<uint16_t> narrow(tensor.numElements());
  expectErrorsOnly([&] { convertToF32(tensor, values.data()); });
  expectErrorsOnly([&] { convertToBF16(tensor, narrow.data()); });
  (void)findNonFinite(values.data(), tensor.numElements());
}
