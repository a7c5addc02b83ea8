//===- Rivals.h - Libraries of dense products -------------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_BENCH_RIVALS_H
#define PST_BENCH_RIVALS_H

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace pst::bench {

/// A product C = op(A) op(B) of dense row-major f32 matrices: C is m x n, the
/// sums run over k, and an operand that is `transposed` is stored as k x m or
/// n x k.
struct Product {
  bool transposeA = false, transposeB = false;
  int64_t m = 0, n = 0, k = 0;
  const float *a = nullptr, *b = nullptr;
  float *c = nullptr;

  double operations() const { return 2.0 * m * n * k; }
};

/// A library that others wrote.
class Rival {
public:
  virtual ~Rival() = default;
  /// With version and the processor it was made for, as far as it tells.
  virtual std::string name() const = 0;
  virtual void setThreads(int threads) = 0;
  /// A call that computes the product; what can be done once is done here.
  virtual std::function<void()> prepare(const Product &product) = 0;
};

struct Rivals {
  std::vector<std::unique_ptr<Rival>> present;
  /// One sentence for each that is not there.
  std::vector<std::string> absent;
};

/// Loads OpenBLAS (the system's, or each of `openBlasFiles`: NumPy's wheels
/// bring one, too) and oneDNN, if it was there when this was built.
///
/// OpenBLAS has threads of its own, which spin for some 25 ms after a call;
/// oneDNN's OpenMP calls resolve to libomp, which this process links, so that
/// it shares the kernels' threads. See TimingOptions::quietSeconds.
Rivals findRivals(const std::vector<std::string> &openBlasFiles = {});

/// oneDNN, or null with a reason.
std::unique_ptr<Rival> makeOneDnn(std::string &reason);

} // namespace pst::bench

#endif // PST_BENCH_RIVALS_H
