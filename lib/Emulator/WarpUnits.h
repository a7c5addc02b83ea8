//===- WarpUnits.h - mma.sync, ldmatrix and cp.async ------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// The tensor cores as warps see them since sm_80, and copies to shared memory
// beside the threads. As in AsyncUnits.h, a copy happens at once or as late as
// its thread waits for it, by turns from launch to launch.

#ifndef PST_LIB_EMULATOR_WARPUNITS_H
#define PST_LIB_EMULATOR_WARPUNITS_H

#include <cstdint>
#include <deque>
#include <vector>

namespace pst::emulator {

class Machine;

/// cvt.rna.tf32.f32: to nearest, ties away from zero; the other 13 bits are
/// zeros.
uint32_t roundToTF32(float value);

class WarpUnits {
public:
  explicit WarpUnits(Machine &machine) : machine(machine) {}

  /// A block begins; `eager`: copies happen at once.
  void start(int64_t threads, bool eager);
  /// The block has ended.
  void finish();

  /// cp.async.ca or .cg: `size` bytes of shared memory, of which `bytes` come
  /// from `source` and the rest are zeros.
  void copy(char *target, const char *source, int64_t size, int64_t bytes);
  void commitCopies();
  /// All of the thread's groups but the last `pending` are done.
  void waitCopies(int64_t pending);

  /// ldmatrix.m8n8.x4(.trans).b16, by all lanes: `row` is the address that the
  /// lane gives, `registers` its four.
  void loadMatrices(const char *row, bool trans, uint32_t *registers);

  /// mma.sync.m16n8k16.f32.bf16, or m16n8k8.f32.tf32, by all lanes:
  /// accumulators += A B, for the lane's 4 registers of A, 2 of B and 4
  /// accumulators. Elements of tf32 must have been rounded to it.
  void multiply(const uint32_t *a, const uint32_t *b, float *accumulators,
                bool isTF32);

private:
  struct Copy {
    char *target;
    const char *source;
    int64_t size, bytes;
    int64_t group;
  };
  /// What a thread has not waited for.
  struct Issuer {
    std::deque<Copy> copies;
    int64_t groups = 0; ///< committed
  };
  static void perform(const Copy &copy);

  Machine &machine;
  bool eager = false;
  std::vector<Issuer> issuers;
};

} // namespace pst::emulator

#endif // PST_LIB_EMULATOR_WARPUNITS_H
