//===- AsyncUnits.cpp - What runs beside a block's threads ----------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "AsyncUnits.h"
#include "AsyncModel.h"
#include "Machine.h"

#include <algorithm>
#include <bit>
#include <cstring>

using namespace pst::emulator;

static constexpr int64_t kWarpgroup = 128;
static constexpr int64_t kRows = 64, kDepth = 16; // of a product
static constexpr int64_t kRegisters = 65536;      // of a multiprocessor
/// What lies in memory where a barrier is.
static constexpr uint64_t kBarrierBits = 0x7265697272616226;

/// An accumulator of a product that was not waited for: a NaN that tells which
/// product.
static constexpr uint32_t kToken = 0x7fd00000, kTokenMask = 0xfff00000;
static float makeToken(int64_t product) {
  return std::bit_cast<float>(kToken | uint32_t(product));
}
/// The product; -1: a plain value.
static int64_t productOf(float value) {
  uint32_t bits = std::bit_cast<uint32_t>(value);
  return (bits & kTokenMask) == kToken ? int64_t(bits & ~kTokenMask) : -1;
}

static float fromBF16(uint16_t bits) {
  return std::bit_cast<float>(uint32_t(bits) << 16);
}

void AsyncUnits::start(char *shared, int64_t sharedBytes, int64_t threads,
                       bool eager) {
  this->shared = shared;
  this->sharedBytes = sharedBytes;
  this->eager = eager;
  barriers.clear();
  barriersFenced = true;
  copies.clear();
  written.clear();
  warpgroups.resize((threads + kWarpgroup - 1) / kWarpgroup);
  for (Warpgroup &warpgroup : warpgroups)
    warpgroup.issued.clear();
  issuers.resize(threads);
  for (Issuer &issuer : issuers)
    issuer.start(std::min<int64_t>(kRegisters / threads, 255) / 8 * 8);
  // What the threads of a block take they must have given: the rest of the
  // multiprocessor is not theirs, and a block that waits for it never ends.
  freeRegisters = 0;
}

bool AsyncUnits::deliver() {
  if (copies.empty())
    return false;
  Copy copy = copies.back();
  copies.pop_back();
  perform(copy);
  return true;
}

void AsyncUnits::finish() {
  if (!copies.empty())
    fail("a block has ended, and a copy to its shared memory has not");
  for (const Issuer &issuer : issuers)
    if (!issuer.stores.empty())
      fail("a block has ended, and a copy from its shared memory has not");
  for (auto &[at, barrier] : barriers)
    if (barrier.bytes != 0)
      fail("a block has ended, and " + describe(barrier, at));
  for (Warpgroup &group : warpgroups)
    for (Issued &issued : group.issued)
      if (!issued.done)
        fail("a block has ended, and nobody waited for a wgmma");
}

uint32_t AsyncUnits::addressOf(const char *pointer) const {
  return uint32_t(reinterpret_cast<uintptr_t>(pointer) % kSharedWindow);
}

char *AsyncUnits::pointerTo(uint32_t address) const {
  int64_t offset = int64_t(address) - addressOf(shared);
  if (offset < 0 || offset >= sharedBytes)
    fail("shared address " + std::to_string(address) +
         " is outside of the block's memory");
  return shared + offset;
}

//===----------------------------------------------------------------------===//
// Barriers
//===----------------------------------------------------------------------===//

std::string AsyncUnits::describe(Barrier &barrier, char *at) {
  return "the barrier at shared address " + std::to_string(addressOf(at)) +
         " in phase " + std::to_string(barrier.phase) + " lacks " +
         std::to_string(barrier.pending) + " of " +
         std::to_string(barrier.expected) + " arrivals and " +
         std::to_string(barrier.bytes) + " bytes";
}

void AsyncUnits::initBarrier(char *barrier, int64_t count) {
  if (reinterpret_cast<uintptr_t>(barrier) % 8)
    fail("a barrier must be at a multiple of 8 bytes");
  machine.checkShared(barrier, sizeof(kBarrierBits));
  std::memcpy(barrier, &kBarrierBits, sizeof(kBarrierBits));
  barriers[barrier] = Barrier{count, count};
  barriersFenced = false;
}

void AsyncUnits::fenceBarrierInit() { barriersFenced = true; }

AsyncUnits::Barrier &AsyncUnits::find(char *barrier) {
  auto found = barriers.find(barrier);
  if (found == barriers.end())
    fail("there is no initialised barrier at shared address " +
         std::to_string(addressOf(barrier)));
  if (std::memcmp(barrier, &kBarrierBits, sizeof(kBarrierBits)))
    fail("the barrier at shared address " + std::to_string(addressOf(barrier)) +
         " was overwritten");
  return found->second;
}

void AsyncUnits::settle(Barrier &barrier) {
  if (barrier.pending != 0 || barrier.bytes != 0)
    return;
  barrier.pending = barrier.expected;
  ++barrier.phase;
}

void AsyncUnits::arrive(char *at, int64_t expectedBytes) {
  Barrier &barrier = find(at);
  if (barrier.pending == 0)
    fail("one arrival too many: " + describe(barrier, at));
  barrier.bytes += expectedBytes;
  --barrier.pending;
  settle(barrier);
}

void AsyncUnits::waitParity(char *at, int64_t parity) {
  find(at);
  machine.waitUntil([&] { return int64_t(find(at).phase % 2) != parity; },
                    [&] {
                      return "parity " + std::to_string(parity) + ", but " +
                             describe(find(at), at);
                    });
}

//===----------------------------------------------------------------------===//
// Copies
//===----------------------------------------------------------------------===//

/// Of a map and the place in shared memory that it is used with.
static void checkTensorMap(const TensorMap &map, uint32_t address) {
  int64_t rowBytes = map.box[0] * map.elementBytes;
  if (map.swizzle != TensorMap::kSwizzle128 || rowBytes != 128)
    fail("only tensor maps with rows of 128 bytes and 128-byte swizzle are "
         "emulated");
  // What cuTensorMapEncodeTiled wants.
  if (reinterpret_cast<uintptr_t>(map.base) % 16 || map.strideBytes % 16 ||
      map.box[1] < 1 || map.box[1] > 256)
    fail("a tensor map's base and stride must be multiples of 16 bytes, its "
         "box at most 256 high");
  if (address % 128)
    fail("a copy with swizzle must be at a multiple of 128 bytes");
}

void AsyncUnits::loadTensor(char *target, const TensorMap &map, char *barrier,
                            int64_t x, int64_t y) {
  checkTensorMap(map, addressOf(target));
  if (!barriersFenced)
    fail("a copy reports to a barrier whose initialisation was not fenced");
  machine.checkShared(target, 1);
  find(barrier);
  copies.push_back({target, map, barrier, x, y});
  if (eager)
    deliver();
}

void AsyncUnits::perform(const Copy &copy) {
  const TensorMap &map = copy.map;
  int64_t bytes = map.elementBytes;
  const char *base = static_cast<const char *>(map.base);
  uint32_t address = addressOf(copy.target);
  for (int64_t row = 0; row < map.box[1]; ++row)
    for (int64_t i = 0; i < map.box[0]; ++i, address += bytes) {
      char *to = pointerTo(swizzle128(address));
      int64_t x = copy.x + i, y = copy.y + row;
      if (x < 0 || x >= map.size[0] || y < 0 || y >= map.size[1])
        std::memset(to, 0, bytes);
      else
        std::memcpy(to, base + y * map.strideBytes + x * bytes, bytes);
    }
  Barrier &barrier = find(copy.barrier);
  barrier.bytes -= map.box[0] * map.box[1] * bytes;
  settle(barrier);
}

/// What is known of shared memory is known of each two bytes.
static constexpr uintptr_t kUnit = 2;

void AsyncUnits::writeShared(const char *pointer, int64_t bytes) {
  Issuer &issuer = issuers[machine.thread()];
  auto begin = reinterpret_cast<uintptr_t>(pointer);
  for (uintptr_t at = begin; at < begin + bytes; at += kUnit) {
    written[at] = false;
    issuer.unfenced.push_back(at);
  }
}

void AsyncUnits::fenceWrites() {
  std::vector<uintptr_t> &unfenced = issuers[machine.thread()].unfenced;
  for (uintptr_t at : unfenced)
    written[at] = true;
  unfenced.clear();
}

/// body(in shared memory, in the matrix) for the elements of the box that lie
/// in the matrix.
template <typename Body>
void AsyncUnits::forElements(const Store &store, Body body) {
  const TensorMap &map = store.map;
  char *base = static_cast<char *>(const_cast<void *>(map.base));
  uint32_t address = addressOf(store.source);
  for (int64_t row = 0; row < map.box[1]; ++row)
    for (int64_t i = 0; i < map.box[0]; ++i, address += map.elementBytes) {
      int64_t x = store.x + i, y = store.y + row;
      if (x >= 0 && x < map.size[0] && y >= 0 && y < map.size[1])
        body(pointerTo(swizzle128(address)),
             base + y * map.strideBytes + x * map.elementBytes);
    }
}

void AsyncUnits::storeTensor(const TensorMap &map, const char *source,
                             int64_t x, int64_t y) {
  checkTensorMap(map, addressOf(source));
  machine.checkShared(source, 1);
  Issuer &issuer = issuers[machine.thread()];
  Store store{map, source, x, y, issuer.storeGroups};
  forElements(store, [&](const char *from, char *) {
    for (int64_t i = 0; i < map.elementBytes; i += kUnit) {
      auto found = written.find(reinterpret_cast<uintptr_t>(from + i));
      if (found == written.end() || !found->second)
        fail("a copy reads shared memory that no thread has written and then "
             "fenced (fence.proxy.async)");
    }
  });
  if (eager)
    perform(store);
  else
    issuer.stores.push_back(store);
}

void AsyncUnits::perform(const Store &store) {
  forElements(store, [&](const char *from, char *to) {
    std::memcpy(to, from, store.map.elementBytes);
  });
}

void AsyncUnits::commitStores() { ++issuers[machine.thread()].storeGroups; }

void AsyncUnits::waitStores(int64_t pending) {
  Issuer &issuer = issuers[machine.thread()];
  while (!issuer.stores.empty() &&
         issuer.stores.front().group < issuer.storeGroups - pending) {
    perform(issuer.stores.front());
    issuer.stores.pop_front();
  }
}

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

void AsyncUnits::fenceProducts() { issuers[machine.thread()].fenced = true; }

/// Where a thread's i-th accumulator is in a product of n columns.
static int64_t placeOf(int64_t thread, int64_t i, int64_t n) {
  AccumulatorPlace place = accumulatorPlace(thread % kWarpgroup, i);
  return place.row * n + place.column;
}

void AsyncUnits::multiply(const Product &product, float *accumulators) {
  int64_t thread = machine.thread();
  Issuer &issuer = issuers[thread];
  std::vector<Issued> &all = warpgroups[thread / kWarpgroup].issued;
  int64_t number = issuer.issued++;
  bool first = number == int64_t(all.size());
  if (first)
    all.emplace_back().product = product;
  Issued &issued = all[number];
  if (issued.product != product)
    fail("the threads of a warpgroup differ in the operands of a wgmma");
  int64_t previous =
      product.accumulates ? productOf(accumulators[0]) : int64_t(-1);
  if (previous < 0 && !issuer.fenced)
    fail("a wgmma uses registers that were used before, without a fence");
  if (previous >= 0 && all[previous].product.n != product.n)
    fail("a wgmma goes on with accumulators of another shape");
  if (!first && issued.previous != previous)
    fail("the threads of a warpgroup go on with different accumulators");
  issued.previous = previous;
  if (previous < 0 && product.accumulates) {
    issued.result.resize(kRows * product.n);
    for (int64_t i = 0; i < product.n / 2; ++i)
      issued.result[placeOf(thread, i, product.n)] = accumulators[i];
  }
  std::fill_n(accumulators, product.n / 2, makeToken(number));
  if (++issued.threads == kWarpgroup && eager)
    execute(thread / kWarpgroup, number);
}

float AsyncUnits::operand(uint64_t descriptor, bool depthMajor, int64_t row,
                          int64_t depth) const {
  MatrixDescriptor matrix = MatrixDescriptor::decode(descriptor);
  uint16_t bits;
  std::memcpy(&bits, pointerTo(matrix.address(depthMajor, row, depth)),
              sizeof(bits));
  return fromBF16(bits);
}

void AsyncUnits::execute(int64_t warpgroup, int64_t number) {
  Warpgroup &group = warpgroups[warpgroup];
  Issued &issued = group.issued[number];
  if (issued.done)
    return;
  const Product &product = issued.product;
  for (uint64_t bits : {product.a, product.b}) {
    MatrixDescriptor matrix = MatrixDescriptor::decode(bits);
    if (matrix.swizzleMode != MatrixDescriptor::kSwizzle128 ||
        matrix.baseOffset != 0)
      fail("only descriptors with 128-byte swizzle and base offset 0 are "
           "emulated");
  }
  int64_t n = product.n;
  if (issued.previous >= 0) {
    execute(warpgroup, issued.previous);
    issued.result = std::move(group.issued[issued.previous].result);
    group.issued[issued.previous].result.clear();
    if (issued.result.empty())
      fail("two wgmmas go on with the same accumulators");
  }
  issued.result.resize(kRows * n, 0.0f);
  std::vector<float> b(kDepth * n);
  for (int64_t depth = 0; depth < kDepth; ++depth)
    for (int64_t column = 0; column < n; ++column)
      b[depth * n + column] =
          operand(product.b, product.bDepthMajor, column, depth);
  for (int64_t row = 0; row < kRows; ++row) {
    float *result = issued.result.data() + row * n;
    std::vector<double> sums(result, result + n);
    for (int64_t depth = 0; depth < kDepth; ++depth) {
      double a = operand(product.a, product.aDepthMajor, row, depth);
      for (int64_t column = 0; column < n; ++column)
        sums[column] += a * b[depth * n + column];
    }
    std::copy(sums.begin(), sums.end(), result);
  }
  issued.done = true;
}

void AsyncUnits::commitProducts() {
  Issuer &issuer = issuers[machine.thread()];
  issuer.groups.push_back(issuer.issued);
}

void AsyncUnits::waitProducts(int64_t pending, float *accumulators,
                              int64_t count) {
  int64_t thread = machine.thread();
  Issuer &issuer = issuers[thread];
  Warpgroup &group = warpgroups[thread / kWarpgroup];
  int64_t groups = issuer.groups.size();
  int64_t end = groups > pending ? issuer.groups[groups - 1 - pending] : 0;
  if (end > 0) {
    machine.waitUntil(
        [&] { return group.issued[end - 1].threads == kWarpgroup; },
        [] { return "a wgmma that not all of its warpgroup have reached"; });
    int64_t first = end;
    while (first > 0 && !group.issued[first - 1].done)
      --first;
    for (int64_t number = first; number < end; ++number)
      execute(thread / kWarpgroup, number);
  }
  if (count == 0)
    return;
  issuer.fenced = false;
  int64_t number = productOf(accumulators[0]);
  if (number < 0 || number >= end)
    return;
  Issued &issued = group.issued[number];
  if (count * 2 != issued.product.n || issued.result.empty())
    fail("a wait is tied to what are not the accumulators of a wgmma");
  for (int64_t i = 0; i < count; ++i) {
    if (productOf(accumulators[i]) != number)
      fail("a wait is tied to accumulators of several wgmmas");
    accumulators[i] = issued.result[placeOf(thread, i, issued.product.n)];
  }
}

void AsyncUnits::setMaxRegisters(int64_t count) {
  if (count % 8 || count < 24 || count > 256)
    fail("setmaxnreg wants a multiple of 8 from 24 to 256");
  int64_t &own = issuers[machine.thread()].registers;
  int64_t more = count - own;
  machine.waitUntil([&] { return more <= freeRegisters; },
                    [&] {
                      return std::to_string(more) + " more registers, of " +
                             std::to_string(freeRegisters) + " that are free";
                    });
  freeRegisters -= more;
  own = count;
}
