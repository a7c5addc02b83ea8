//===- ManifestText.h - Words of the manifest's errors ----------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_LIB_BUNDLE_MANIFESTTEXT_H
#define PST_LIB_BUNDLE_MANIFESTTEXT_H

#include "pst/Bundle/Manifest.h"

#include <string>
#include <string_view>

namespace pst::manifest {

inline std::string quote(std::string_view text) {
  return '"' + std::string(text) + '"';
}

[[noreturn]] inline void fail(const std::string &where,
                              const std::string &what) {
  throw ManifestError("manifest: " + where + ": " + what);
}

inline std::string spell(const TensorType &type) { return type.text(); }

} // namespace pst::manifest

#endif // PST_LIB_BUNDLE_MANIFESTTEXT_H
