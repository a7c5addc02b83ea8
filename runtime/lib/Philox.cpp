//===- Philox.cpp - Counter-based random numbers --------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Runtime/Philox.h"

#include <cmath>
#include <numbers>
#include <numeric>

using namespace pst::runtime;

std::array<uint32_t, 4> pst::runtime::philox(std::array<uint32_t, 4> counter,
                                             std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    uint64_t first = uint64_t(0xD2511F53) * counter[0];
    uint64_t second = uint64_t(0xCD9E8D57) * counter[2];
    counter = {static_cast<uint32_t>(second >> 32) ^ counter[1] ^ key[0],
               static_cast<uint32_t>(second),
               static_cast<uint32_t>(first >> 32) ^ counter[3] ^ key[1],
               static_cast<uint32_t>(first)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

uint64_t pst::runtime::splitMix(uint64_t value) {
  value += 0x9E3779B97F4A7C15;
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EB;
  return value ^ (value >> 31);
}

uint64_t pst::runtime::hashName(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325;
  for (unsigned char c : text)
    hash = (hash ^ c) * 0x100000001b3;
  return hash;
}

namespace {

/// One stream of random blocks: a key made of the run's seed and of what the
/// stream is for.
class Stream {
public:
  Stream(uint64_t seed, uint64_t purpose) {
    uint64_t bits = splitMix(splitMix(seed) ^ purpose);
    key = {static_cast<uint32_t>(bits), static_cast<uint32_t>(bits >> 32)};
  }
  std::array<uint32_t, 4> block(uint64_t index) const {
    return philox({static_cast<uint32_t>(index),
                   static_cast<uint32_t>(index >> 32), 0, 0},
                  key);
  }

private:
  std::array<uint32_t, 2> key;
};

/// In (0, 1]: the centre of one of 2^32 intervals, so that the logarithm is
/// finite.
double unit(uint32_t bits) { return (bits + 0.5) * 0x1p-32; }

} // namespace

void pst::runtime::fillNormal(std::span<float> values, double stddev,
                              uint64_t seed, std::string_view name) {
  Stream stream(seed, hashName(name));
  // Each four values come from a number of theirs, so threads change no bit.
  constexpr size_t kForThreads = 1 << 16;
#pragma omp parallel for if (values.size() > kForThreads)
  for (size_t i = 0; i < values.size(); i += 4) {
    std::array<uint32_t, 4> bits = stream.block(i / 4);
    double normal[4];
    for (int pair = 0; pair < 4; pair += 2) {
      double radius = std::sqrt(-2.0 * std::log(unit(bits[pair])));
      double angle = 2.0 * std::numbers::pi * unit(bits[pair + 1]);
      normal[pair] = radius * std::cos(angle);
      normal[pair + 1] = radius * std::sin(angle);
    }
    for (size_t j = 0; j < 4 && i + j < values.size(); ++j)
      values[i + j] = static_cast<float>(stddev * normal[j]);
  }
}

std::vector<int64_t> pst::runtime::shuffledOrder(int64_t count, uint64_t seed,
                                                 int64_t epoch) {
  std::vector<int64_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  Stream stream(seed, hashName("shuffle") + static_cast<uint64_t>(epoch));
  for (int64_t i = count - 1; i > 0; --i) {
    std::array<uint32_t, 4> block = stream.block(i);
    uint64_t bits = uint64_t(block[0]) << 32 | block[1];
    // 64 bits leave the bias of the remainder below 2^-30 for any data set.
    std::swap(order[i], order[bits % static_cast<uint64_t>(i + 1)]);
  }
  return order;
}

int64_t pst::runtime::microBatchSeed(uint64_t seed, int64_t index) {
  uint64_t purpose = hashName("dropout") + static_cast<uint64_t>(index);
  return static_cast<int64_t>(splitMix(splitMix(seed) ^ purpose));
}
