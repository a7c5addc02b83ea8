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

} // namespace pst::runtime

#endif // PST_RUNTIME_LIB_MODELCONFIG_H
