//===- Timing.cpp - Interleaved timings and the peak ----------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Bench/Timing.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <ctime>
#include <omp.h>
#include <thread>

using namespace pst::bench;

static double wallSeconds() {
  return std::chrono::duration<double>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

static double processSeconds() {
  timespec time;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * time.tv_nsec;
}

Quartiles pst::bench::quartiles(std::vector<double> values) {
  if (values.empty())
    return {};
  std::sort(values.begin(), values.end());
  auto at = [&](double share) {
    double place = share * static_cast<double>(values.size() - 1);
    size_t below = static_cast<size_t>(place);
    size_t above = std::min(below + 1, values.size() - 1);
    double part = place - std::floor(place);
    return values[below] * (1 - part) + values[above] * part;
  };
  return {at(0.25), at(0.5), at(0.75)};
}

double Samples::median() const { return quartiles(seconds).median; }

Quartiles pst::bench::ratio(const Samples &numerator,
                            const Samples &denominator) {
  std::vector<double> ratios;
  for (size_t i = 0; i < numerator.seconds.size(); ++i)
    ratios.push_back(numerator.seconds[i] / denominator.seconds[i]);
  return quartiles(std::move(ratios));
}

std::vector<Samples>
pst::bench::takeTurns(const std::vector<Contestant> &contestants,
                      const TimingOptions &options) {
  auto now = options.threads == 1 ? processSeconds : wallSeconds;
  auto rest = [&] {
    std::this_thread::sleep_for(
        std::chrono::duration<double>(options.quietSeconds));
  };
  // How often a call is repeated in a sample; the second call is its measure,
  // as the first one touches memory that nobody has used before.
  std::vector<int> repeats;
  for (const Contestant &contestant : contestants) {
    rest();
    contestant.run();
    double begin = wallSeconds();
    contestant.run();
    double took = std::max(wallSeconds() - begin, 1e-7);
    repeats.push_back(
        static_cast<int>(std::clamp(options.sampleSeconds / took, 1.0, 1e5)));
  }
  std::vector<Samples> results(contestants.size());
  for (int sample = 0; sample < options.samples; ++sample)
    for (size_t i = 0; i < contestants.size(); ++i) {
      size_t turn = sample % 2 ? contestants.size() - 1 - i : i;
      rest();
      // Wakes the threads, of which the second comes late after a rest, and
      // fills the caches; with one thread a long call does so itself.
      if (repeats[turn] > 2 || options.threads > 1)
        contestants[turn].run();
      double begin = now();
      for (int call = 0; call < repeats[turn]; ++call)
        contestants[turn].run();
      results[turn].seconds.push_back((now() - begin) / repeats[turn]);
    }
  return results;
}

//===----------------------------------------------------------------------===//
// Peak
//===----------------------------------------------------------------------===//

// Twelve independent chains: more than the latency of a multiply-add (4 cycles)
// on two units asks for, few enough for sixteen registers.
#define PST_FMA_LOOP(NAME, TARGET, LANES)                                      \
  TARGET static double NAME(int64_t rounds) {                                  \
    typedef float Vector __attribute__((vector_size(4 * LANES)));              \
    Vector sums[12], factor, addend;                                           \
    for (int lane = 0; lane < LANES; ++lane) {                                 \
      factor[lane] = 0.999f;                                                   \
      addend[lane] = 0.001f;                                                   \
      for (Vector &sum : sums)                                                 \
        sum[lane] = static_cast<float>(lane);                                  \
    }                                                                          \
    for (int64_t round = 0; round < rounds; ++round)                           \
      for (Vector &sum : sums)                                                 \
        sum = __builtin_elementwise_fma(sum, factor, addend);                  \
    volatile float sink = 0;                                                   \
    for (Vector &sum : sums)                                                   \
      sink = sink + sum[0];                                                    \
    return 2.0 * 12 * LANES * static_cast<double>(rounds);                     \
  }

#if defined(__x86_64__)
PST_FMA_LOOP(fmaLoop16, __attribute__((target("avx512f"))), 16)
PST_FMA_LOOP(fmaLoop8, __attribute__((target("avx2,fma"))), 8)
#endif
PST_FMA_LOOP(fmaLoop4, , 4)

/// Runs the loop; returns its floating-point operations.
static double fmaLoop(int64_t rounds) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f"))
    return fmaLoop16(rounds);
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    return fmaLoop8(rounds);
#endif
  return fmaLoop4(rounds);
}

double pst::bench::measurePeak(int threads, double seconds) {
  constexpr int64_t rounds = 1 << 16; // well under a millisecond
  std::vector<double> rates(threads);
  auto work = [&](int thread) {
    timespec begin, now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &begin);
    double operations = 0, took = 0;
    while (took < seconds) {
      operations += fmaLoop(rounds);
      clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
      took = static_cast<double>(now.tv_sec - begin.tv_sec) +
             1e-9 * static_cast<double>(now.tv_nsec - begin.tv_nsec);
    }
    rates[thread] = operations / took * 1e-9;
  };
  std::vector<std::thread> others;
  for (int thread = 1; thread < threads; ++thread)
    others.emplace_back(work, thread);
  work(0);
  for (std::thread &other : others)
    other.join();
  double sum = 0;
  for (double rate : rates)
    sum += rate;
  return sum;
}

void pst::bench::setKernelThreads(int threads) {
  omp_set_num_threads(threads);
  kmp_set_blocktime(20);
}
