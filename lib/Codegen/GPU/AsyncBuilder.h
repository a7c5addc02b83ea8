//===- AsyncBuilder.h - The asynchronous instructions of sm_90a -*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// Barriers in shared memory, copies by tensor maps, products of warpgroups, in
// the words of PTX (ISA 8.7): mbarrier, cp.async.bulk.tensor, wgmma,
// setmaxnreg. lib/Emulator says what each does.

#ifndef PST_LIB_CODEGEN_GPU_ASYNCBUILDER_H
#define PST_LIB_CODEGEN_GPU_ASYNCBUILDER_H

#include "IndexCode.h"
#include "SharedLayout.h"

namespace pst::cuda {

/// A matrix of bf16 or f32 as TMA moves boxes of it, of `rows` rows of 128
/// bytes: the host's side, a `!nvgpu.tensormap.descriptor` that a launch takes.
/// The matrix's rows must begin at multiples of 16 bytes.
Value createTensorMap(CodeBuilder &host, Value matrix, int64_t rows);

/// Emits these instructions.
class AsyncBuilder {
public:
  /// For a kernel that is launched with dynamic shared memory.
  explicit AsyncBuilder(ThreadBuilder &b);

  /// An address in the dynamic shared memory, `offset` bytes from its start,
  /// which is a multiple of 1024.
  Value shared(Code offset);
  Code sharedStart() { return start; }
  /// f32 in shared memory, from an address (a multiple of 16) on.
  static Value bufferAt(ThreadBuilder &b, Value address,
                        llvm::ArrayRef<int64_t> shape);

  void initBarrier(Value barrier, int64_t arrivals);
  /// Makes initialisations visible to copies; the block's barrier must follow.
  void fenceBarrierInit();
  void arrive(Value barrier);
  /// Arrives, and tells of bytes that copies will bring.
  void arriveExpecting(Value barrier, int64_t bytes);
  /// Until the barrier's phase of this parity (0 or 1) has passed.
  void waitParity(Value barrier, Code parity);

  /// The kernel's side of a tensor map: where it is.
  Value tensorMapAddress(Value argument);
  void prefetch(Value tensorMap);
  /// Loads the box at (x, y), x being the inner dimension; the barrier gets its
  /// bytes.
  void load(Value target, Value tensorMap, Value barrier, Code x, Code y);

  /// What this thread wrote to shared memory is there for copies.
  void fenceWrites();
  /// Stores the box at (x, y) from shared memory; what of it is outside of the
  /// matrix is left out.
  void store(Value tensorMap, Value source, Code x, Code y);
  /// Stores issued since the last call become a group.
  void commitStores();
  /// Until all of this thread's groups but the last `pending` have read what
  /// they store.
  void awaitStores(int64_t pending);

  /// Accumulators of m64nNk16, without a value.
  Value noAccumulators(int64_t n);
  void fenceProducts();
  /// accumulators + left right, or the product alone if `first`; both are
  /// matrix descriptors. There is no value before it is waited for.
  Value multiply(Value accumulators, Value left, Value right, int64_t n,
                 bool leftDepthIsInner, bool rightDepthIsInner, bool first);
  /// The matrix descriptor of what begins at `address` of a tile.
  Value descriptor(const OperandTile &tile, Code address);
  /// That of what begins `bytes` later.
  Value advance(Value descriptor, int64_t bytes);
  void commitProducts();
  /// Until all but the last `pending` groups are done.
  void waitProducts(int64_t pending);
  /// Until all are; the accumulators' values.
  llvm::SmallVector<Value> finishProducts(Value accumulators, int64_t n);

  void increaseRegisters(int64_t count);
  void decreaseRegisters(int64_t count);

private:
  mlir::gpu::GPUFuncOp kernel();
  mlir::Type accumulatorsType(int64_t n);

  ThreadBuilder &b;
  Value memory; ///< !llvm.ptr<3>
  Code start;
};

} // namespace pst::cuda

#endif // PST_LIB_CODEGEN_GPU_ASYNCBUILDER_H
