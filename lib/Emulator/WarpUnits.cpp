//===- WarpUnits.cpp - mma.sync, ldmatrix and cp.async --------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "WarpUnits.h"
#include "Machine.h"
#include "WarpModel.h"

#include <bit>
#include <cstring>

using namespace pst::emulator;

/// Bits of an f32's mantissa that tf32 does not have.
static constexpr uint32_t kBeyondTF32 = 0x1fff;

void WarpUnits::start(int64_t threads, bool eager) {
  this->eager = eager;
  issuers.resize(threads);
  for (Issuer &issuer : issuers) {
    issuer.copies.clear();
    issuer.groups = 0;
  }
}

void WarpUnits::finish() {
  for (const Issuer &issuer : issuers)
    if (!issuer.copies.empty())
      fail("a block has ended, and a thread has not waited for its cp.async");
}

static bool isAligned(const char *pointer, int64_t bytes) {
  return reinterpret_cast<uintptr_t>(pointer) % bytes == 0;
}

void WarpUnits::copy(char *target, const char *source, int64_t size,
                     int64_t bytes) {
  if (size != 4 && size != 8 && size != 16)
    fail("cp.async copies 4, 8 or 16 bytes");
  if (bytes < 0 || bytes > size)
    fail("cp.async is to read " + std::to_string(bytes) + " of " +
         std::to_string(size) + " bytes");
  // Frozen weights lie here where their file has them; a GPU's copy does not.
  if (!isAligned(target, size) || !isAligned(source, 4))
    fail("cp.async of " + std::to_string(size) +
         " bytes at an address that is no multiple of them");
  machine.checkShared(target, size);
  Issuer &issuer = issuers[machine.thread()];
  Copy copy{target, source, size, bytes, issuer.groups};
  if (eager)
    perform(copy);
  else
    issuer.copies.push_back(copy);
}

void WarpUnits::perform(const Copy &copy) {
  std::memcpy(copy.target, copy.source, copy.bytes);
  std::memset(copy.target + copy.bytes, 0, copy.size - copy.bytes);
}

void WarpUnits::commitCopies() { ++issuers[machine.thread()].groups; }

void WarpUnits::waitCopies(int64_t pending) {
  Issuer &issuer = issuers[machine.thread()];
  while (!issuer.copies.empty() &&
         issuer.copies.front().group < issuer.groups - pending) {
    perform(issuer.copies.front());
    issuer.copies.pop_front();
  }
}

void WarpUnits::loadMatrices(const char *row, bool trans, uint32_t *registers) {
  if (!isAligned(row, 16))
    fail("ldmatrix reads a row at an address that is no multiple of 16");
  machine.checkShared(row, 16);
  int64_t lane = machine.thread() % kWarp;
  machine.exchange({reinterpret_cast<uintptr_t>(row)}, "an ldmatrix",
                   [&](const LaneWords *lanes) {
                     for (int64_t matrix = 0; matrix < 4; ++matrix) {
                       uint16_t pair[2];
                       for (int64_t i = 0; i < 2; ++i) {
                         FragmentPlace place = loadedElement(lane, i, trans);
                         auto *from = reinterpret_cast<const char *>(
                             lanes[laneOfRow(matrix, place.row)][0]);
                         std::memcpy(&pair[i], from + 2 * place.column, 2);
                       }
                       registers[matrix] = uint32_t(pair[1]) << 16 | pair[0];
                     }
                   });
}

uint32_t pst::emulator::roundToTF32(float value) {
  auto bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffff) > 0x7f800000)
    return 0x7fffffff; // any NaN
  return (bits + 0x1000) & ~kBeyondTF32;
}

namespace {
/// Which lane has an element, and as which of its elements.
struct Holder {
  int64_t lane, element;
};
struct Holders {
  Holder a[16][16], b[16][8];

  explicit Holders(bool isTF32) {
    for (int64_t lane = 0; lane < kWarp; ++lane) {
      for (int64_t i = 0; i < (isTF32 ? 4 : 8); ++i) {
        auto [row, k] =
            isTF32 ? fragmentOfWordsA(lane, i) : fragmentOfA(lane, i);
        a[row][k] = {lane, i};
      }
      for (int64_t i = 0; i < (isTF32 ? 2 : 4); ++i) {
        auto [k, column] =
            isTF32 ? fragmentOfWordsB(lane, i) : fragmentOfB(lane, i);
        b[k][column] = {lane, i};
      }
    }
  }
};
} // namespace

/// A register that holds tf32.
static float word(const LaneWords &words, int64_t firstWord, int64_t i) {
  auto bits = uint32_t(words[firstWord + i / 2] >> (i % 2 * 32));
  float value = std::bit_cast<float>(bits);
  if (value == value && (bits & kBeyondTF32))
    fail("mma.sync multiplies an f32 that was not rounded to tf32");
  return value;
}

/// The `i`-th element of 16 bits, of a register of two; words hold two
/// registers each.
static float element(const LaneWords &words, int64_t firstWord, int64_t i) {
  uint64_t bits = words[firstWord + i / 4] >> (i % 4 * 16);
  return std::bit_cast<float>(uint32_t(bits & 0xffff) << 16);
}

void WarpUnits::multiply(const uint32_t *a, const uint32_t *b,
                         float *accumulators, bool isTF32) {
  static const Holders ofBF16(/*isTF32=*/false), ofTF32(/*isTF32=*/true);
  const Holders &holders = isTF32 ? ofTF32 : ofBF16;
  auto *read = isTF32 ? word : element;
  auto pack = [](const uint32_t *registers) {
    return uint64_t(registers[1]) << 32 | registers[0];
  };
  int64_t lane = machine.thread() % kWarp;
  machine.exchange({pack(a), pack(a + 2), pack(b)}, "an mma.sync",
                   [&](const LaneWords *lanes) {
                     for (int64_t i = 0; i < 4; ++i) {
                       FragmentPlace place = fragmentOfC(lane, i);
                       double sum = accumulators[i];
                       for (int64_t k = 0; k < (isTF32 ? 8 : 16); ++k) {
                         const Holder &left = holders.a[place.row][k];
                         const Holder &right = holders.b[k][place.column];
                         sum +=
                             double(read(lanes[left.lane], 0, left.element)) *
                             read(lanes[right.lane], 2, right.element);
                       }
                       accumulators[i] = float(sum);
                     }
                   });
}
