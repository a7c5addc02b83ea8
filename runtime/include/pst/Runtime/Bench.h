//===- Bench.h - How long a program takes -----------------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_RUNTIME_BENCH_H
#define PST_RUNTIME_BENCH_H

#include "pst/Runtime/Accelerator.h"
#include "pst/Runtime/SafeTensors.h"
#include "pst/Runtime/Samples.h"

#include <vector>

namespace pst::runtime {

struct BenchOptions {
  /// The entry points to call; empty: those of a training step, or if the
  /// program does not train, all.
  std::vector<std::string> entries;
  int repetitions = 20;
  double sparsity = 0.9;
  uint64_t seed = 1; ///< of the random inputs
  /// Inputs that are zero instead, as some factors are before they learn: then
  /// many scores are equal.
  std::vector<std::string> zero;
  /// Bytes of the copy within the GPU's memory that tells its rate.
  int64_t copyBytes = 512 << 20;
  /// Operations per second of the fastest matrix product known of this GPU; 0:
  /// unknown.
  double matrixCeiling = 0;
};

/// What the launches of one kind of op took, in one call.
struct OpTime {
  /// Of the launches of one kernel ("copy": a copy).
  struct Kernel {
    int64_t launches = 0;
    double seconds = 0;
  };
  int64_t count = 0; ///< ops
  double seconds = 0;
  double flops = 0, bytes = 0; ///< Launch::flops, bytes
  /// The shortest time that the ceilings allow for each op, summed; 0 if that
  /// is not known.
  double floor = 0;
  std::map<std::string, Kernel> kernels;
};

struct EntryTime {
  std::string entry; ///< "step": select, forward_backward and apply
  Samples seconds;   ///< of a call; on a GPU, of the GPU
  /// By name of the op; on a GPU only. Each launch was measured by itself.
  std::map<std::string, OpTime> ops;
};

struct BenchResult {
  std::string device; ///< empty: this processor
  /// Ceilings; 0: unknown. Of a copy, bytes read and written per second.
  double copyRate = 0, matrixRate = 0;
  std::vector<EntryTime> entries;
  /// Of a training step as it is driven from here, which waits for the loss.
  Samples wallSeconds;
  float loss = 0; ///< of the first step
  MemoryPlan memory;

  std::string toText() const;
  std::string toJson() const;
};

/// Calls entry points of `program` with random inputs, again and again. `files`
/// may be null if no parameter comes from a file. On a GPU calls follow each
/// other without a pause; those of small programs take turns among several
/// copies of the inputs and outputs, so that these do not stay in the cache.
/// Throws Error: as ParameterStore does, of an entry point or an input that is
/// not there, or if the loss is not finite.
BenchResult bench(std::shared_ptr<const Program> program,
                  std::shared_ptr<const ModelFiles> files,
                  const BenchOptions &options);

} // namespace pst::runtime

#endif // PST_RUNTIME_BENCH_H
