//===- WarpBuilder.h - The tensor cores as warps see them -------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// ldmatrix, mma.sync, bar.warp and cp.async, in the words of PTX (ISA 8.7), on
// sm_80 and newer. MMALayout.h says which element is where; lib/Emulator what
// each does.

#ifndef PST_LIB_CODEGEN_GPU_WARPBUILDER_H
#define PST_LIB_CODEGEN_GPU_WARPBUILDER_H

#include "MMALayout.h"
#include "ThreadBuilder.h"

namespace pst::cuda {

/// Accumulators that a lane has of 16 x 8.
inline constexpr int64_t kMmaSums = 4;

/// The address of a buffer's first element in global memory.
Value globalPointer(ThreadBuilder &b, Value buffer);
/// The address `offset` elements further.
Value advance(ThreadBuilder &b, Value pointer, mlir::Type element,
              Value offset);

/// Copies 4, 8 or 16 bytes to shared memory; if `read` (i32) is given, so many
/// of them, and zeros.
void copyAsync(ThreadBuilder &b, Value target, Value source, int64_t bytes,
               Value read = nullptr);
/// Copies issued since the last call become a group.
void commitCopies(ThreadBuilder &b);
/// Waits until all of this thread's groups but the last `pending` are done.
void awaitCopies(ThreadBuilder &b, int64_t pending);

/// Four registers: ldmatrix.x4 of rows of 16 bytes in shared memory, of which
/// each lane names one.
llvm::SmallVector<Value> loadMatrices(ThreadBuilder &b, Value row,
                                      bool transposed);
/// sums += left * right, of 16 x 8: four accumulators, four and two registers,
/// of 16 of k of bf16 or 8 of tf32.
void multiply(ThreadBuilder &b, llvm::MutableArrayRef<Value> sums,
              ValueRange left, ValueRange right, int64_t depth = kMmaDepth);
/// Two f32 as the bf16 halves of a register, the first one below.
Value packBF16(ThreadBuilder &b, Value low, Value high);
/// The lanes of a warp wait here for each other, and see what the others wrote
/// to memory before.
void warpBarrier(ThreadBuilder &b);
/// The bits of an f32, rounded to 10 of mantissa: to nearest, ties away from
/// zero.
Value roundToTF32(ThreadBuilder &b, Value bits);

} // namespace pst::cuda

#endif // PST_LIB_CODEGEN_GPU_WARPBUILDER_H
