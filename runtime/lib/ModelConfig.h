//===- ModelConfig.h - Values of config.json ------------------ -*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_RUNTIME_LIB_MODELCONFIG_H
#define PST_RUNTIME_LIB_MODELCONFIG_H

#include "pst/Bundle/Manifest.h"

namespace pst::runtime {

/// A positive number of the model's config.json that fits into 32 bits, or 0.
int64_t configNumber(const Manifest &manifest, const char *key);

/// A switch of the model's config.json.
bool configSwitch(const Manifest &manifest, const char *key, bool otherwise);

/// The names of `count` labels: "id2label", or LABEL_0, LABEL_1, ... of which
/// it says nothing.
std::vector<std::string> configLabels(const Manifest &manifest, int64_t count);

} // namespace pst::runtime

#endif // PST_RUNTIME_LIB_MODELCONFIG_H
