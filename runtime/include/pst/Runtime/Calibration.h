//===- Calibration.h - What layers read on some data ------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_RUNTIME_CALIBRATION_H
#define PST_RUNTIME_CALIBRATION_H

#include "pst/Runtime/Model.h"

#include <map>
#include <string>
#include <vector>

namespace pst::runtime {

/// Runs `calibrate` over `data`: for each linear layer, by its weight's name,
/// the sums of the squares of the columns of its input, over all tokens. Throws
/// Error if the program has no such entry point, or the data do not fit it.
std::map<std::string, std::vector<double>> calibrate(Model &model,
                                                     const Dataset &data);

} // namespace pst::runtime

#endif // PST_RUNTIME_CALIBRATION_H
