//===- GemmOverride.h - Plans of products that someone asks for -*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_LIB_CODEGEN_GPU_GEMMOVERRIDE_H
#define PST_LIB_CODEGEN_GPU_GEMMOVERRIDE_H

#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include <optional>
#include <string>

namespace pst::cuda {

struct GemmPlan;

/// What of the plans of products by TMA and wgmma is not left to the cost
/// model, such as `columns=128,stages=3`, to be measured. The names are those
/// of the plan's fields.
struct GemmOverride {
  std::optional<int64_t> columns, stages, release, band;

  /// Reads the text; empty: nothing. An error says what is wrong with it.
  static llvm::Expected<GemmOverride> parse(llvm::StringRef text);

  /// Changes the plan as far as its shape and its memory allow.
  void applyTo(GemmPlan &plan, int64_t mostColumns) const;
};

} // namespace pst::cuda

#endif // PST_LIB_CODEGEN_GPU_GEMMOVERRIDE_H
