//===- ThreadBuilder.h - Builds the code of one GPU thread ------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// What kernels for GPUs are written in: beside the arithmetic of all kernels,
// what a thread knows and shares. Grids and blocks have one dimension.

#ifndef PST_LIB_CODEGEN_GPU_THREADBUILDER_H
#define PST_LIB_CODEGEN_GPU_THREADBUILDER_H

#include "../Kernel/CodeBuilder.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"

namespace pst::cuda {

using namespace kernel;

/// Threads that run in lockstep and can shuffle.
inline constexpr int64_t kWarp = 32;

class ThreadBuilder : public CodeBuilder {
public:
  /// Appends to `kernel`, whose blocks have `threads` threads, a multiple of
  /// the warp.
  ThreadBuilder(mlir::Location loc, mlir::gpu::GPUFuncOp kernel,
                int64_t threads);

  int64_t threads() const { return numThreads; }
  /// Registers may be used as if a multiprocessor had no more blocks than that;
  /// by itself ptxas rather spills than have fewer.
  void setBlocksPerMultiprocessor(int64_t blocks);
  /// This thread's index in its block, and the block's in the grid.
  Value thread() const { return threadIndex; }
  Value block() const { return blockIndex; }
  Value lane();
  /// body() on the blocks of which `condition` (the same in all threads of a
  /// block) says so; there block() is `block`. Parts of a grid exclude each
  /// other, and have their shared memory in the same places.
  void onPart(Value condition, Value block, llvm::function_ref<void()> body);

  /// Memory that the block's threads share, 16-byte aligned. Its contents are
  /// undefined at first.
  Value sharedBuffer(llvm::ArrayRef<int64_t> shape, mlir::Type element = {});
  /// All threads of the block wait here for each other.
  void barrier();
  /// What this thread has written to memory can be seen by all blocks before
  /// what it writes from now on; and the other way round for what it reads.
  void fence();
  /// Whether this block is the last of `blocks` to come by (i1, the same in all
  /// of its threads): it then sees what the others wrote before. `tickets`, an
  /// i32 buffer, has a 0 at `place` before.
  Value isLastBlock(int64_t blocks, Value tickets, Value place);

  /// body(i) for i = begin + thread, begin + thread + threads, ... below end
  void strided(Value begin, Value end, llvm::function_ref<void(Value)> body);
  void strided(int64_t count, llvm::function_ref<void(Value)> body) {
    strided(index(0), index(count), body);
  }
  /// Sums `element(i)` over the thread's share of [0, count), then over the
  /// block: every thread has the sum. The order is fixed by the shape.
  Value sumOverBlock(int64_t count, llvm::function_ref<Value(Value)> element);
  /// The same for groups of adjacent elements: `terms(i)` are those of group i,
  /// in the order in which a thread adds them.
  Value
  sumGroupsOverBlock(int64_t groups,
                     llvm::function_ref<llvm::SmallVector<Value>(Value)> terms);
  /// The sum, or the largest, of all threads' values (f32 or f64; for the
  /// largest i32 as well, unsigned), in every thread. All threads of the block
  /// must come by.
  Value blockSum(Value value);
  Value blockMax(Value value);
  /// body() where i < size; null: in any case.
  void ifBelow(Value i, Value size, llvm::function_ref<void()> body);
  /// body() on thread 0 alone.
  void onFirstThread(llvm::function_ref<void()> body);
  /// then() where the condition holds, else `otherwise`.
  Value choose(Value condition, llvm::function_ref<Value()> then,
               Value otherwise);
  /// `value` of the lane whose number differs in the bits of `mask`.
  Value shuffleXor(Value value, int64_t mask);
  /// 32-bit addition to an element of a buffer that other threads add to as
  /// well; returns what was there. Orders no other access.
  Value atomicAdd(Value value, Value memref, ValueRange indices);

  /// `count` adjacent elements of a row, by accesses of 16 bytes (or fewer, of
  /// all of them) where they are aligned to their size: the innermost index is
  /// a multiple of `count`, and the rows' length too, else one by one. Those of
  /// bf16 are widened, and rounded, as `load` and `store` do.
  Group loadGroup(Value memref, ValueRange indices, int64_t count) override;
  void storeGroup(ValueRange values, Value memref, ValueRange indices) override;
  Group zeroGroup(int64_t size) override { return Group(size, f32(0.0)); }
  /// The address of a buffer's first element, in its space; and the buffer of
  /// that type at an address.
  Value pointer(Value memref);
  Value bufferAt(Value pointer, mlir::MemRefType type);

  /// 16 bytes of f32.
  int64_t splatsPerLoad() const override { return 4; }

private:
  /// Vectors lie aligned to their size, as what they are made of does.
  llvm::MaybeAlign alignmentOf(int64_t lanes,
                               mlir::Type element) const override;
  Value elementPointer(Value memref, ValueRange indices);
  Value reduceBlock(Value value,
                    llvm::function_ref<Value(Value, Value)> combine);

  mlir::gpu::GPUFuncOp kernel;
  int64_t numThreads;
  Value threadIndex, blockIndex;
  llvm::DenseMap<mlir::Type, Value> reductionBuffers;
  /// The shared buffers of parts of the grid, and those that the part which is
  /// being built has not taken yet.
  llvm::SmallVector<Value> ofParts, free;
  bool inPart = false;
};

} // namespace pst::cuda

#endif // PST_LIB_CODEGEN_GPU_THREADBUILDER_H
