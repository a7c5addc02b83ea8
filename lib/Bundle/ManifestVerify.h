//===- ManifestVerify.h - Whether a manifest contradicts itself -*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_LIB_BUNDLE_MANIFESTVERIFY_H
#define PST_LIB_BUNDLE_MANIFESTVERIFY_H

#include "ManifestText.h"

#include <map>

namespace pst::manifest {

/// Bytes of anything: far below overflow, far above any memory.
inline constexpr int64_t kMostBytes = int64_t(1) << 52;

/// A manifest, and its parameters by name: a manifest of many layers asks for
/// each of them many times.
struct Verified {
  const Manifest &manifest;
  std::map<std::string_view, const Parameter *> parameters;

  const Parameter *find(std::string_view name) const {
    auto found = parameters.find(name);
    return found == parameters.end() ? nullptr : found->second;
  }
};

/// The functions below throw ManifestError, which names the key.
void verifyText(const std::string &text, const std::string &where);
void verifyType(const TensorType &type, const std::string &where);
/// The bytes of a space that something at `where` needs.
int64_t spaceBytes(const Manifest &manifest, const std::string &space,
                   const std::string &where);
void verifySparseLayers(const Verified &verified);
void verifyEntryPoints(const Verified &verified);
void verifyLaunches(const Manifest &manifest, const EntryPoint &entry,
                    const std::string &where);

} // namespace pst::manifest

#endif // PST_LIB_BUNDLE_MANIFESTVERIFY_H
