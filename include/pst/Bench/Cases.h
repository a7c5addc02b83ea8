//===- Cases.h - The named kernels of pst-bench -----------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_BENCH_CASES_H
#define PST_BENCH_CASES_H

#include "pst/Bench/Rivals.h"
#include "pst/Bench/Timing.h"

#include <string>
#include <vector>

namespace pst::bench {

/// Which way the matrices of a product lie; X is tokens x in, W out x in.
///  - nt: Y = X W^T   (forward)
///  - nn: dX = dY W   (gradient of the input)
///  - tn: G = dY^T X  (gradient of the weight)
enum class Form { nt, nn, tn };

/// One kernel of one shape.
struct CaseOptions {
  /// "gemm": a dense product; "masked": the same with the virtual weight of PST
  /// (rank 8 twice, rows, columns) under its mask, in place of W; "accumulate":
  /// G folded into the gradients of the factors; "topk": the exact threshold;
  /// "layer": selection, masked Y and dX, accumulation.
  std::string name = "gemm";
  Form form = Form::nt;
  int64_t tokens = 4096, out = 768, in = 768;
  int64_t rank = 8;
  double sparsity = 0.9;
  /// How masked weights enter products: auto, packed, buffer or compressed.
  std::string products = "auto";
  std::string cpu;
  TimingOptions timing;
};

struct ContestantResult {
  std::string name;
  Samples samples;
  /// Of `CaseResult::operations`; 0 where that is 0.
  double gflops = 0;
  double shareOfPeak = 0;
};

struct CaseResult {
  std::string title; // "masked nt 4096x3072x768, 2 threads"
  /// Floating-point operations of the dense products of a call; a selection has
  /// none.
  double operations = 0;
  double peak = 0; // GFLOP/s of all threads
  /// Ours first, then the rivals.
  std::vector<ContestantResult> contestants;
  /// rival's time / ours, in the order of the rivals.
  std::vector<Quartiles> ratios;
  /// Largest difference between our result and one computed otherwise, over
  /// the largest magnitude in it.
  double error = 0;
};

/// Compiles the kernel, compares its result with one computed otherwise (the
/// first rival's product, or loops in double precision), and times it against
/// the rivals. Throws runtime::Error if the results differ by more than
/// rounding explains: a wrong kernel is not timed.
CaseResult runCase(const CaseOptions &options, const Rivals &rivals);

/// Times the function `function` of the MLIR file `file` against the functions
/// `rivals` of the same file. Inputs of equal name get equal random values;
/// nothing is compared.
CaseResult runFile(const std::string &file, const std::string &function,
                   const std::vector<std::string> &rivals,
                   const CaseOptions &options);

} // namespace pst::bench

#endif // PST_BENCH_CASES_H
