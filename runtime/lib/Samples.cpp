//===- Samples.cpp - A number that was measured several times -------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Runtime/Samples.h"

#include <algorithm>
#include <cmath>

using namespace pst::runtime;

Samples::Samples(std::vector<double> values) {
  if (values.empty())
    return;
  std::sort(values.begin(), values.end());
  auto at = [&](double share) {
    double place = share * static_cast<double>(values.size() - 1);
    size_t below = static_cast<size_t>(place);
    size_t above = std::min(below + 1, values.size() - 1);
    return std::lerp(values[below], values[above],
                     place - static_cast<double>(below));
  };
  low = at(0.25);
  median = at(0.5);
  high = at(0.75);
}
