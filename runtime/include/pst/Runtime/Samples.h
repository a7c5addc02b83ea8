//===- Samples.h - A number that was measured several times -----*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_RUNTIME_SAMPLES_H
#define PST_RUNTIME_SAMPLES_H

#include <vector>

namespace pst::runtime {

/// One number, measured several times.
struct Samples {
  explicit Samples(std::vector<double> values = {});
  double median = 0, low = 0, high = 0; ///< low and high: the quartiles
};

} // namespace pst::runtime

#endif // PST_RUNTIME_SAMPLES_H
