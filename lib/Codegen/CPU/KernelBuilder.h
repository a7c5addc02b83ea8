//===- KernelBuilder.h - Builds loops over cores and vectors ----*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// What kernels for CPUs are written in: beside the arithmetic of all kernels,
// loops over threads and over vectors, scratch on the stack, and what needs the
// lanes of a vector to meet.

#ifndef PST_LIB_CODEGEN_CPU_KERNELBUILDER_H
#define PST_LIB_CODEGEN_CPU_KERNELBUILDER_H

#include "../Kernel/CodeBuilder.h"

namespace pst::cpu {

using namespace kernel;

class KernelBuilder : public CodeBuilder {
public:
  /// Goes on where `builder` is, in a function of a module.
  explicit KernelBuilder(const CodeBuilder &builder);

  /// Iterations may run on several threads; they must not depend on each
  /// other, nor may the result depend on how many threads there are.
  void parallel(int64_t count, llvm::function_ref<void(Value)> body);
  void parallel(Value count, llvm::function_ref<void(Value)> body);
  /// for each i in [0, count): `lanes` at a time, then one at a time; `body`
  /// is called twice (or once), with the lanes of that loop.
  void vectorLoop(int64_t count, int64_t lanes,
                  llvm::function_ref<void(Value, int64_t)> body);
  /// The same, in chunks of `chunk` that may run on several threads; what is
  /// left of `count` runs after them.
  void parallelVectorLoop(int64_t count, int64_t chunk, int64_t lanes,
                          llvm::function_ref<void(Value, int64_t)> body);
  /// The same for a count that is not known before; what is left of a chunk
  /// runs in it.
  void parallelVectorLoop(Value count, int64_t chunk, int64_t lanes,
                          llvm::function_ref<void(Value, int64_t)> body);
  /// body(begin, end) for each `chunk` of [0, count), the last one perhaps
  /// shorter; chunks may run on several threads.
  void parallelChunks(Value count, int64_t chunk,
                      llvm::function_ref<void(Value, Value)> body);
  /// Sums `element(i, lanes)` over [0, count): one accumulator of `lanes`
  /// lanes, added up lane by lane in ascending order, then the remainder.
  Value vectorSum(int64_t count, int64_t lanes,
                  llvm::function_ref<Value(Value, int64_t)> element);

  /// Lanes of `value` added from lane 0 upwards.
  Value sumLanes(Value value);
  /// The largest lane.
  Value maxLanes(Value value);
  /// The lanes of `value` where `mask` is set, moved to the front; the lanes
  /// after them are of no meaning.
  Value compress(Value value, Value mask);
  /// A mask as an integer: lane 0 is the lowest bit.
  Value bitsOf(Value mask);
  /// How many lanes of a mask are set, an index.
  Value countLanes(Value mask);
  /// The first `there` of `lanes` elements, as they lie there, and zeros in the
  /// other lanes, which are not read.
  Value loadFirst(Value memref, ValueRange indices, int64_t lanes,
                  int64_t there);
  /// Writes the first `there` lanes, as they are.
  void storeFirst(Value value, Value memref, ValueRange indices, int64_t there);
  /// Scratch on the stack of the executing thread, 64-byte aligned.
  Value stackBuffer(llvm::ArrayRef<int64_t> shape, mlir::Type element = {});

private:
  /// An i1 in each lane, set in the first `there`.
  Value firstLanes(int64_t lanes, int64_t there);

  mlir::ModuleOp module;
};

/// An index as an integer, and an integer that is not negative as an index.
Value toI32(KernelBuilder &b, Value index);
Value toI64(KernelBuilder &b, Value index);
Value toIndex(KernelBuilder &b, Value integer);

} // namespace pst::cpu

#endif // PST_LIB_CODEGEN_CPU_KERNELBUILDER_H
