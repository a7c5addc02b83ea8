//===- Program.h - A compiled program and its entry points ------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_RUNTIME_PROGRAM_H
#define PST_RUNTIME_PROGRAM_H

#include "pst/Bundle/Manifest.h"

#include <filesystem>
#include <map>
#include <memory>
#include <string>

namespace pst::runtime {

/// An entry point: docs/BundleFormat.md, "Calling convention".
using EntryFunction = void (*)(void *const *arguments);

/// A manifest and the code that it speaks of.
class Program {
public:
  /// Loads the bundle in `directory`. Throws Error if it is not a bundle, is of
  /// another version, lacks a symbol, or was compiled for another machine.
  static std::shared_ptr<const Program>
  load(const std::filesystem::path &directory);

  /// A program compiled in this process: one function per entry point, by the
  /// entry point's name ("select", ...). `code` is kept alive as long as the
  /// program. Throws Error if the manifest contradicts itself or a function is
  /// missing.
  static std::shared_ptr<const Program>
  create(Manifest manifest, std::map<std::string, EntryFunction> functions,
         std::shared_ptr<const void> code = nullptr);

  /// The same for a GPU: `kernels` is the PTX of the manifest's launches.
  static std::shared_ptr<const Program> createForGPU(Manifest manifest,
                                                     std::string kernels);

  const Manifest &manifest() const { return description; }
  /// PTX; empty for a program of this machine's processor.
  const std::string &gpuCode() const { return kernels; }
  bool has(std::string_view entry) const;
  /// Throws Error if the program has no such entry point.
  const EntryPoint &entryPoint(std::string_view entry) const;
  /// Throws Error for a program for a GPU, whose entry points are no functions
  /// (openGPU).
  EntryFunction function(std::string_view entry) const;

private:
  Program() = default;
  Manifest description;
  std::map<std::string, EntryFunction, std::less<>> functions;
  std::shared_ptr<const void> code;
  std::string kernels;
};

/// Number of threads that the kernels use from now on; 0 leaves it as it is.
void setNumThreads(int count);
int numThreads();

} // namespace pst::runtime

#endif // PST_RUNTIME_PROGRAM_H
