//===- Kernel.h - A compiled function with its arguments --------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_BENCH_KERNEL_H
#define PST_BENCH_KERNEL_H

#include "pst/Runtime/Invocation.h"

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace pst {
struct CompilerOptions;
}

namespace pst::bench {

/// Memory of one argument, at a cache line.
class Buffer {
public:
  explicit Buffer(const TensorType &type);
  const TensorType &type() const { return description; }
  float *f32() { return static_cast<float *>(memory.get()); }
  void *data() { return memory.get(); }
  /// f32: uniform in [-1, 1), by `seed`; others stay zero.
  void fill(uint64_t seed);

private:
  TensorType description;
  std::unique_ptr<void, void (*)(void *)> memory;
};

/// A program of MLIR text, linked into this process, with memory for the
/// arguments of its functions.
class Kernel {
public:
  /// Compiles `text`; `name` stands in its errors. Throws runtime::Error with
  /// the first diagnostic.
  Kernel(const std::string &text, const std::string &name,
         const CompilerOptions &options);

  std::vector<std::string> functions() const;
  /// Its inputs and outputs by name. Throws runtime::Error if there is no such
  /// function. Functions share no arguments.
  std::map<std::string, Buffer> &arguments(const std::string &function);
  void run(const std::string &function) const;

private:
  struct Function {
    std::unique_ptr<runtime::Invocation> call;
    std::map<std::string, Buffer> arguments;
  };
  std::unique_ptr<runtime::ParameterStore> store;
  std::map<std::string, Function> all;
};

/// Compiles the model in `directory`. Throws runtime::Error.
std::shared_ptr<const runtime::Program>
compileModel(const std::string &directory, const CompilerOptions &options);

} // namespace pst::bench

#endif // PST_BENCH_KERNEL_H
