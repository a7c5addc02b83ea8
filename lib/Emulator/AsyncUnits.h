//===- AsyncUnits.h - What runs beside a block's threads --------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// The asynchronous parts of sm_90: barriers in shared memory with phases and
// counts of bytes, copies by tensor maps, products of warpgroups.
//
// What is asynchronous happens at one of two extremes, by turns from launch to
// launch: at once, or as late as somebody waits for it. A kernel that does not
// wait, or lets a buffer be overwritten too early, computes with what is not
// there yet. An accumulator that is read before its product was waited for is
// a NaN. What the PTX ISA forbids ends the program with a message.

#ifndef PST_LIB_EMULATOR_ASYNCUNITS_H
#define PST_LIB_EMULATOR_ASYNCUNITS_H

#include "pst/Emulator/Emulator.h"

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

namespace pst::emulator {

class Machine;

/// Addresses of shared memory have 18 bits.
inline constexpr int64_t kSharedWindow = int64_t(1) << 18;

class AsyncUnits {
public:
  explicit AsyncUnits(Machine &machine) : machine(machine) {}

  /// A block of `threads` threads begins, with its shared memory; `eager`:
  /// everything happens at once.
  void start(char *shared, int64_t sharedBytes, int64_t threads, bool eager);
  /// Something that was put off happens, if there is anything.
  bool deliver();
  /// The block has ended.
  void finish();

  // mbarrier
  void initBarrier(char *barrier, int64_t count);
  void fenceBarrierInit();
  void arrive(char *barrier, int64_t expectedBytes);
  void waitParity(char *barrier, int64_t parity);

  /// cp.async.bulk.tensor, two dimensions, x being the inner one.
  void loadTensor(char *target, const TensorMap &map, char *barrier, int64_t x,
                  int64_t y);

  /// A thread has written to shared memory, where bulk copies will read it only
  /// after a fence of its own (fence.proxy.async). Writes that nobody tells of
  /// are never there for them.
  void writeShared(const char *pointer, int64_t bytes);
  void fenceWrites();
  /// cp.async.bulk.tensor from shared memory.
  void storeTensor(const TensorMap &map, const char *source, int64_t x,
                   int64_t y);
  void commitStores();
  /// All of the thread's groups but the last `pending` have read what they
  /// store.
  void waitStores(int64_t pending);

  // wgmma, m64nNk16 of bf16. `accumulators` are the thread's N / 2.
  struct Product {
    uint64_t a, b; ///< matrix descriptors
    int64_t n;
    bool aDepthMajor, bDepthMajor;
    bool accumulates; ///< scale-d is 1
    bool operator==(const Product &) const = default;
  };
  void fenceProducts();
  void multiply(const Product &product, float *accumulators);
  void commitProducts();
  /// All groups but the last `pending` are done; `accumulators`, of which
  /// there may be none, are tied to the wait.
  void waitProducts(int64_t pending, float *accumulators, int64_t count);

  /// setmaxnreg, by every thread of a warp.
  void setMaxRegisters(int64_t count);

private:
  struct Barrier {
    int64_t expected, pending; ///< arrivals
    int64_t bytes = 0;         ///< expected and not yet complete
    uint64_t phase = 0;
  };
  struct Copy {
    char *target;
    TensorMap map;
    char *barrier;
    int64_t x, y;
  };
  struct Store {
    TensorMap map;
    const char *source;
    int64_t x, y;
    int64_t group;
  };
  /// A product of one warpgroup.
  struct Issued {
    Product product;
    int64_t threads = 0;   ///< that have issued it
    int64_t previous = -1; ///< whose result it adds to; -1: to `result`
    bool done = false;
    std::vector<float> result; ///< 64 x n
  };
  struct Warpgroup {
    std::vector<Issued> issued; ///< in order
  };
  /// What a thread knows of its products and its stores.
  struct Issuer {
    int64_t issued = 0;
    std::vector<int64_t> groups; ///< committed: `issued` at their ends
    bool fenced = false;
    int64_t registers;
    std::vector<uintptr_t> unfenced; ///< units of memory that it wrote
    std::deque<Store> stores;        ///< not yet done
    int64_t storeGroups = 0;         ///< committed

    /// Begins anew, in the memory that it has.
    void start(int64_t registers) {
      issued = storeGroups = 0;
      groups.clear();
      fenced = false;
      this->registers = registers;
      unfenced.clear();
      stores.clear();
    }
  };

  uint32_t addressOf(const char *pointer) const;
  char *pointerTo(uint32_t address) const;
  Barrier &find(char *barrier);
  std::string describe(Barrier &barrier, char *at);
  void settle(Barrier &barrier);
  void perform(const Copy &copy);
  template <typename Body> void forElements(const Store &store, Body body);
  void perform(const Store &store);
  void execute(int64_t warpgroup, int64_t number);
  float operand(uint64_t descriptor, bool depthMajor, int64_t row,
                int64_t depth) const;

  Machine &machine;
  char *shared = nullptr;
  int64_t sharedBytes = 0;
  bool eager = false;
  std::map<char *, Barrier> barriers;
  bool barriersFenced = true;
  std::deque<Copy> copies;
  /// Units of shared memory that were written, and whether copies see it.
  std::unordered_map<uintptr_t, bool> written;
  std::vector<Warpgroup> warpgroups;
  std::vector<Issuer> issuers;
  int64_t freeRegisters = 0;
};

} // namespace pst::emulator

#endif // PST_LIB_EMULATOR_ASYNCUNITS_H
