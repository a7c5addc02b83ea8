//===- Digest.cpp - Digests of bytes --------------------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Runtime/Digest.h"
#include "pst/Runtime/Philox.h"

#include <cstdio>
#include <cstring>

using namespace pst::runtime;

uint64_t pst::runtime::digestBytes(const void *bytes, size_t count,
                                   uint64_t seed) {
  const char *data = static_cast<const char *>(bytes);
  // Four independent lanes hide the latency of the multiplication.
  uint64_t lanes[4] = {seed + 1, seed + 2, seed + 3, seed + 4};
  size_t i = 0;
  for (; i + 32 <= count; i += 32) {
    uint64_t words[4];
    std::memcpy(words, data + i, 32);
    for (int lane = 0; lane < 4; ++lane) {
      uint64_t mixed = (lanes[lane] ^ words[lane]) * 0x9E3779B97F4A7C15;
      lanes[lane] = mixed ^ (mixed >> 32);
    }
  }
  uint64_t digest = splitMix(count);
  for (uint64_t lane : lanes)
    digest = splitMix(digest ^ lane);
  for (; i < count; ++i)
    digest = splitMix(digest ^ static_cast<unsigned char>(data[i]));
  return digest;
}

std::string pst::runtime::hexDigest(uint64_t digest) {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx",
                static_cast<unsigned long long>(digest));
  return text;
}
