//===- Targets.h - Where programs run ---------------------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_OPTIONS_TARGETS_H
#define PST_OPTIONS_TARGETS_H

#include "pst/Options/CompilerOptions.h"

#include <span>
#include <string_view>

namespace pst {

/// Which kernels ops become.
enum class KernelFamily { CPU, GPU };

/// What becomes of kernels and entry points.
enum class CodeForm {
  Object,          // machine code
  PTX,             // kernels for a driver, entry points as lists of launches
  EmulatedObject,  // machine code, whose launches the emulator runs
  EmulatedKernels, // machine code of kernels for the emulator, and lists
};

/// Values of an option that a target has no use for.
struct Refusal {
  std::string_view option;
  /// Empty: all but the default.
  std::vector<std::string_view> values;
  /// What is so about the target: "whose ...".
  std::string_view why;
};

/// A row of the table.
struct Target {
  TargetKind kind; // its word is the target's name
  std::string_view description;
  KernelFamily kernels;
  CodeForm code;
  std::vector<Refusal> refuses;
};

/// In the order of the kinds.
std::span<const Target> targets();
const Target &targetOf(const CompilerOptions &options);

/// Throws runtime::Error if the target has no use for a value of an option.
void checkTarget(const CompilerOptions &options);

/// A Markdown table of the targets.
std::string formatTargets();

} // namespace pst

#endif // PST_OPTIONS_TARGETS_H
