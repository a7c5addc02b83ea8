//===- Philox.h - Counter-based random numbers ------------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Philox 4x32-10 of Salmon et al., "Parallel random numbers: as easy as
// 1, 2, 3" (SC 2011): every block of four words is a pure function of a counter
// and a key, so that no generator has a state that a checkpoint would have to
// hold, and values do not depend on the order in which they are drawn.
//
//===----------------------------------------------------------------------===//

#ifndef PST_RUNTIME_PHILOX_H
#define PST_RUNTIME_PHILOX_H

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace pst::runtime {

/// Ten rounds of Philox over `counter` with `key`.
std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter,
                               std::array<uint32_t, 2> key);

/// The finaliser of SplitMix64 (Steele et al., OOPSLA 2014): a bijection that
/// spreads every bit of `value` over the result.
uint64_t splitMix(uint64_t value);

/// 64-bit FNV-1a of `text`.
uint64_t hashName(std::string_view text);

/// Fills `values` with independent normal values of mean 0 and `stddev`
/// (Box-Muller in double). The values depend on `seed`, `name` and the
/// element's position alone.
void fillNormal(std::span<float> values, double stddev, uint64_t seed,
                std::string_view name);

/// The order in which epoch `epoch` visits `count` examples: a Fisher-Yates
/// shuffle of 0 .. count-1 that depends on the arguments alone.
std::vector<int64_t> shuffledOrder(int64_t count, uint64_t seed, int64_t epoch);

/// The seed handed to `forward_backward` for micro-batch `index` of a run,
/// counted from 0 over all of its epochs.
int64_t microBatchSeed(uint64_t seed, int64_t index);

} // namespace pst::runtime

#endif // PST_RUNTIME_PHILOX_H
