//===- VirtualLayer.h - A layer of PST as plain loops -----------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_BENCH_VIRTUALLAYER_H
#define PST_BENCH_VIRTUALLAYER_H

#include <cstdint>
#include <vector>

namespace pst::bench {

/// The factors of one layer with random values, and what follows from them,
/// computed by plain loops in the order that Criterion.cpp fixes: W' and S in
/// f32 have the kernels' bits.
struct VirtualLayer {
  VirtualLayer(int64_t rows, int64_t columns, int64_t rank, double sparsity);

  int64_t rows, columns, rank;
  std::vector<float> w, u, v, a, b, r, c; // the factors
  std::vector<float> weight, score;       // W', S
  float threshold;                        // of the last element kept
  int64_t cut;                            // end of the kept ones that equal it
  int64_t keep;
  std::vector<float> masked; // M * W'

  /// The gradients of u, v, a, b, r, c (design: straight-through estimator)
  /// from G = dY^T X, in double precision.
  std::vector<std::vector<double>> gradients(const float *g) const;
};

} // namespace pst::bench

#endif // PST_BENCH_VIRTUALLAYER_H
