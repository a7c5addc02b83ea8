//===- Emulator.cpp - What emulated code calls ----------------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "pst/Emulator/Emulator.h"
#include "Machine.h"

using namespace pst::emulator;

static AsyncUnits &units() { return Machine::get().units(); }

// For others to find: kernels that are a shared library call them by name.
extern "C" {
void pst_emulate_launch(Kernel kernel, const int64_t *arguments, int64_t blocks,
                        int64_t threads, int64_t sharedBytes) {
  Machine::get().launch(kernel, arguments, blocks, threads, sharedBytes);
}
void pst_emulate_barrier() { Machine::get().barrier(); }
void pst_emulate_barrier_part(int32_t number, int32_t count) {
  Machine::get().barrier(number, count);
}
void pst_emulate_barrier_warp() { Machine::get().warpBarrier(); }
uint64_t pst_emulate_shuffle_xor(uint64_t value, uint32_t mask) {
  return Machine::get().shuffleXor(value, mask);
}
void pst_emulate_copy_async(char *target, const char *source, int32_t size,
                            int32_t bytes) {
  Machine::get().warpUnits().copy(target, source, size, bytes);
}
void pst_emulate_copy_commit() { Machine::get().warpUnits().commitCopies(); }
void pst_emulate_copy_wait(int32_t pending) {
  Machine::get().warpUnits().waitCopies(pending);
}
void pst_emulate_load_matrices(const char *row, int32_t trans,
                               uint32_t *registers) {
  Machine::get().warpUnits().loadMatrices(row, trans != 0, registers);
}
void pst_emulate_mma(const uint32_t *a, const uint32_t *b, float *accumulators,
                     int32_t isTF32) {
  Machine::get().warpUnits().multiply(a, b, accumulators, isTF32 != 0);
}
uint32_t pst_emulate_round_tf32(float value) { return roundToTF32(value); }
void pst_emulate_mbarrier_init(char *barrier, int32_t count) {
  units().initBarrier(barrier, count);
}
void pst_emulate_mbarrier_fence() { units().fenceBarrierInit(); }
void pst_emulate_mbarrier_arrive(char *barrier, int32_t bytes) {
  units().arrive(barrier, bytes);
}
void pst_emulate_mbarrier_wait(char *barrier, int32_t parity) {
  units().waitParity(barrier, parity);
}
void pst_emulate_tensor_load(char *target, const TensorMap *map, char *barrier,
                             int32_t x, int32_t y) {
  units().loadTensor(target, *map, barrier, x, y);
}
void pst_emulate_shared_write(const char *pointer, int32_t bytes) {
  units().writeShared(pointer, bytes);
}
void pst_emulate_proxy_fence() { units().fenceWrites(); }
void pst_emulate_tensor_store(const TensorMap *map, const char *source,
                              int32_t x, int32_t y) {
  units().storeTensor(*map, source, x, y);
}
void pst_emulate_store_commit() { units().commitStores(); }
void pst_emulate_store_wait(int32_t pending) { units().waitStores(pending); }
void pst_emulate_wgmma_fence() { units().fenceProducts(); }
void pst_emulate_wgmma(float *accumulators, uint64_t a, uint64_t b, int32_t n,
                       int32_t aDepthMajor, int32_t bDepthMajor,
                       int32_t accumulates) {
  units().multiply(
      {a, b, n, aDepthMajor != 0, bDepthMajor != 0, accumulates != 0},
      accumulators);
}
void pst_emulate_wgmma_commit() { units().commitProducts(); }
void pst_emulate_wgmma_wait(int32_t pending, float *accumulators,
                            int32_t count) {
  units().waitProducts(pending, accumulators, count);
}
void pst_emulate_set_max_registers(int32_t count) {
  units().setMaxRegisters(count);
}
}

std::vector<std::pair<std::string_view, void *>> pst::emulatorSymbols() {
  std::vector<std::pair<std::string_view, void *>> symbols;
  auto add = [&](std::string_view name, auto *function) {
    symbols.emplace_back(name, reinterpret_cast<void *>(function));
  };
#define PST_ADD(name) add(#name, &name)
  PST_ADD(pst_emulate_launch);
  PST_ADD(pst_emulate_barrier);
  PST_ADD(pst_emulate_barrier_part);
  PST_ADD(pst_emulate_barrier_warp);
  PST_ADD(pst_emulate_shuffle_xor);
  PST_ADD(pst_emulate_copy_async);
  PST_ADD(pst_emulate_copy_commit);
  PST_ADD(pst_emulate_copy_wait);
  PST_ADD(pst_emulate_load_matrices);
  PST_ADD(pst_emulate_mma);
  PST_ADD(pst_emulate_round_tf32);
  PST_ADD(pst_emulate_mbarrier_init);
  PST_ADD(pst_emulate_mbarrier_fence);
  PST_ADD(pst_emulate_mbarrier_arrive);
  PST_ADD(pst_emulate_mbarrier_wait);
  PST_ADD(pst_emulate_tensor_load);
  PST_ADD(pst_emulate_shared_write);
  PST_ADD(pst_emulate_proxy_fence);
  PST_ADD(pst_emulate_tensor_store);
  PST_ADD(pst_emulate_store_commit);
  PST_ADD(pst_emulate_store_wait);
  PST_ADD(pst_emulate_wgmma_fence);
  PST_ADD(pst_emulate_wgmma);
  PST_ADD(pst_emulate_wgmma_commit);
  PST_ADD(pst_emulate_wgmma_wait);
  PST_ADD(pst_emulate_set_max_registers);
#undef PST_ADD
  return symbols;
}
