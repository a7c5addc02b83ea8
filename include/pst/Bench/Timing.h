//===- Timing.h - Interleaved timings and the peak --------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_BENCH_TIMING_H
#define PST_BENCH_TIMING_H

#include <functional>
#include <string>
#include <vector>

namespace pst::bench {

/// Something to be timed.
struct Contestant {
  std::string name;
  std::function<void()> run;
};

struct TimingOptions {
  int threads = 1;
  int samples = 9;
  /// A sample repeats the call until it has taken about so long.
  double sampleSeconds = 0.05;
  /// Before each sample nobody computes for so long: threads that still spin
  /// for their last call's sake, in this pool or another, go to sleep.
  double quietSeconds = 0.05;
};

/// Seconds of one call, one value for each sample.
struct Samples {
  std::vector<double> seconds;
  double median() const;
};

/// The quartiles of a set of values.
struct Quartiles {
  double low = 0, median = 0, high = 0;
};
Quartiles quartiles(std::vector<double> values);

/// Times all contestants in turns, in an order that is reversed every round,
/// after one call of each that does not count. With one thread the clock is the
/// processor time of the process, which other processes do not add to; with
/// more it is the wall's.
std::vector<Samples> takeTurns(const std::vector<Contestant> &contestants,
                               const TimingOptions &options);

/// Quartiles of the ratios `numerator / denominator` of the same round.
Quartiles ratio(const Samples &numerator, const Samples &denominator);

/// GFLOP/s in f32 that `threads` threads reach with nothing but fused
/// multiply-adds on the widest vectors, for about `seconds`.
double measurePeak(int threads, double seconds = 0.1);

/// Threads of the kernels' pool (libomp) from now on, which go to sleep after
/// 20 ms without work instead of libomp's 200 ms, so that a quiet moment can be
/// short. (0 ms would let them sleep between two kernels of one call.)
void setKernelThreads(int threads);

} // namespace pst::bench

#endif // PST_BENCH_TIMING_H
