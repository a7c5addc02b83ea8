//===- Digest.h - Digests of bytes ------------------------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Not cryptographic: they tell damage and mix-ups, not forgery.
//
//===----------------------------------------------------------------------===//

#ifndef PST_RUNTIME_DIGEST_H
#define PST_RUNTIME_DIGEST_H

#include <cstddef>
#include <cstdint>
#include <string>

namespace pst::runtime {

/// 64-bit digest of `count` bytes, at about the speed of memory.
uint64_t digestBytes(const void *bytes, size_t count, uint64_t seed = 0);

/// 16 hexadecimal digits.
std::string hexDigest(uint64_t digest);

} // namespace pst::runtime

#endif // PST_RUNTIME_DIGEST_H
