//===- KernelBuilder.h - Builds loops over vectors and scalars --*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// A thin layer over OpBuilder in which kernels are written: loops, and values
// of a number of lanes (`vector<lanes x f32>`, or plain f32 for one lane), so
// that a vector loop and its scalar remainder are one piece of code.

#ifndef PST_LIB_CODEGEN_CPU_KERNELBUILDER_H
#define PST_LIB_CODEGEN_CPU_KERNELBUILDER_H

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace pst::cpu {

using mlir::Value;
using mlir::ValueRange;

class KernelBuilder : public mlir::ImplicitLocOpBuilder {
public:
  /// Builds kernels of `module`.
  KernelBuilder(mlir::Location loc, mlir::ModuleOp module)
      : ImplicitLocOpBuilder(loc, module.getContext()), module(module) {}

  //===--------------------------------------------------------------------===//
  // Constants and index arithmetic (never wraps: marked nsw)
  //===--------------------------------------------------------------------===//

  Value index(int64_t value);
  Value i32(int64_t value);
  Value i64(int64_t value);
  Value f64(double value);
  /// `value` in every one of `lanes` f32 lanes.
  Value f32(double value, int64_t lanes = 1);
  Value addi(Value lhs, Value rhs);
  Value addi(Value lhs, int64_t rhs);
  Value subi(Value lhs, Value rhs);
  Value muli(Value lhs, int64_t rhs);
  Value divi(Value lhs, int64_t rhs);
  Value remi(Value lhs, int64_t rhs);
  Value mini(Value lhs, Value rhs);

  //===--------------------------------------------------------------------===//
  // Loops
  //===--------------------------------------------------------------------===//

  /// for (iv = lower; iv < upper; iv += step) body(iv)
  void loop(Value lower, Value upper, int64_t step,
            llvm::function_ref<void(Value)> body);
  void loop(int64_t lower, int64_t upper, int64_t step,
            llvm::function_ref<void(Value)> body) {
    loop(index(lower), index(upper), step, body);
  }
  /// The same, carrying values; `body` returns their next state.
  llvm::SmallVector<Value>
  loop(Value lower, Value upper, int64_t step, ValueRange carried,
       llvm::function_ref<llvm::SmallVector<Value>(Value, ValueRange)> body);
  /// Iterations may run on several threads; they must not depend on each
  /// other, nor may the result depend on how many threads there are.
  void parallel(int64_t count, llvm::function_ref<void(Value)> body);
  /// for each i in [0, count): `lanes` at a time, then one at a time; `body`
  /// is called twice (or once), with the lanes of that loop.
  void vectorLoop(int64_t count, int64_t lanes,
                  llvm::function_ref<void(Value, int64_t)> body);
  /// The same, in chunks of `chunk` that may run on several threads; what is
  /// left of `count` runs after them.
  void parallelVectorLoop(int64_t count, int64_t chunk, int64_t lanes,
                          llvm::function_ref<void(Value, int64_t)> body);
  /// body(begin, end) for each `chunk` of [0, count), the last one perhaps
  /// shorter; chunks may run on several threads.
  void parallelChunks(int64_t count, int64_t chunk,
                      llvm::function_ref<void(Value, Value)> body);
  /// Sums `element(i, lanes)` over [0, count): one accumulator of `lanes`
  /// lanes, added up lane by lane in ascending order, then the remainder.
  Value vectorSum(int64_t count, int64_t lanes,
                  llvm::function_ref<Value(Value, int64_t)> element);
  void ifThen(Value condition, llvm::function_ref<void()> body);
  void ifElse(Value condition, llvm::function_ref<void()> then,
              llvm::function_ref<void()> otherwise);

  //===--------------------------------------------------------------------===//
  // Values of several lanes
  //===--------------------------------------------------------------------===//

  static int64_t lanesOf(Value value);
  /// f32 for one lane, else vector<lanes x f32>.
  mlir::Type lanesType(int64_t lanes, mlir::Type element = {});
  /// Elements of a bf16 buffer become f32, exactly.
  Value load(Value memref, ValueRange indices, int64_t lanes = 1);
  /// f32 is rounded to nearest even where the buffer is bf16.
  void store(Value value, Value memref, ValueRange indices);
  /// A scalar in every lane.
  Value splat(Value scalar, int64_t lanes);
  /// Loads one element and puts it in every lane.
  Value loadSplat(Value memref, ValueRange indices, int64_t lanes);
  Value addf(Value lhs, Value rhs);
  Value subf(Value lhs, Value rhs);
  Value mulf(Value lhs, Value rhs);
  Value divf(Value lhs, Value rhs);
  /// lhs * rhs + acc, rounded once.
  Value fma(Value lhs, Value rhs, Value acc);
  /// lhs if lhs > rhs, else rhs.
  Value maxf(Value lhs, Value rhs);
  Value absf(Value value);
  Value sqrt(Value value);
  Value cmpf(mlir::arith::CmpFPredicate predicate, Value lhs, Value rhs);
  Value cmpi(mlir::arith::CmpIPredicate predicate, Value lhs, Value rhs);
  Value select(Value condition, Value lhs, Value rhs);
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
  /// Scratch on the stack of the executing thread, 64-byte aligned.
  Value stackBuffer(llvm::ArrayRef<int64_t> shape, mlir::Type element = {});
  /// The same buffer (of static shape) as one row.
  Value flatten(Value memref);

  /// Whether loads of several lanes are aligned to their size, as what they are
  /// made of is on GPUs.
  bool hasAlignedVectors() const { return alignedVectors; }

protected:
  Value widen(Value value);
  bool alignedVectors = false;

private:
  llvm::MaybeAlign alignmentOf(int64_t lanes, mlir::Type element) const;

  mlir::ModuleOp module;
};

} // namespace pst::cpu

#endif // PST_LIB_CODEGEN_CPU_KERNELBUILDER_H
