//===- CodeBuilder.h - What all kernels are written in ----------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// A thin layer over OpBuilder in which kernels are written, for a core of a CPU
// and for a thread of a GPU alike: arithmetic, loads, stores and loops over
// values of a number of lanes (`vector<lanes x f32>`, or plain f32 for one
// lane), so that a vector loop and its scalar remainder are one piece of code.

#ifndef PST_LIB_CODEGEN_KERNEL_CODEBUILDER_H
#define PST_LIB_CODEGEN_KERNEL_CODEBUILDER_H

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace pst::kernel {

using mlir::Value;
using mlir::ValueRange;

/// Adjacent elements of a row that are computed together: a vector's lanes on a
/// CPU, one value; on a GPU as many values as an access moves.
using Group = llvm::SmallVector<Value>;

class CodeBuilder : public mlir::ImplicitLocOpBuilder {
public:
  using ImplicitLocOpBuilder::ImplicitLocOpBuilder;
  virtual ~CodeBuilder() = default;

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
  // Loops and choices
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
  void ifThen(Value condition, llvm::function_ref<void()> body);
  void ifElse(Value condition, llvm::function_ref<void()> then,
              llvm::function_ref<void()> otherwise);

  //===--------------------------------------------------------------------===//
  // Values of several lanes
  //===--------------------------------------------------------------------===//

  static int64_t lanesOf(Value value);
  /// f32 for one lane, else vector<lanes x f32>.
  mlir::Type lanesType(int64_t lanes, mlir::Type element = {});
  /// Elements of a bf16 or i8 buffer become f32, exactly.
  Value load(Value memref, ValueRange indices, int64_t lanes = 1);
  /// The same as they lie there.
  Value loadAsStored(Value memref, ValueRange indices, int64_t lanes = 1);
  /// f32 is rounded to nearest even where the buffer is bf16, and a whole
  /// number where it is i8.
  void store(Value value, Value memref, ValueRange indices);
  /// bf16 or i8, signed, as f32, exactly.
  Value widen(Value value);
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
  /// The same buffer (of static shape) as one row.
  Value flatten(Value memref);

  //===--------------------------------------------------------------------===//
  // Groups
  //===--------------------------------------------------------------------===//

  /// `size` elements from the place `indices` on.
  virtual Group loadGroup(Value memref, ValueRange indices, int64_t size) {
    return {load(memref, indices, size)};
  }
  virtual void storeGroup(ValueRange group, Value memref, ValueRange indices) {
    store(group[0], memref, indices);
  }
  virtual Group zeroGroup(int64_t size) { return {f32(0.0, size)}; }

  /// Of adjacent elements that are splatted one after the other, so many are
  /// best loaded at once, aligned to their size.
  virtual int64_t splatsPerLoad() const { return 1; }

protected:
  /// What a load or store of `lanes` elements may count on.
  virtual llvm::MaybeAlign alignmentOf(int64_t lanes,
                                       mlir::Type element) const {
    return std::nullopt;
  }
};

} // namespace pst::kernel

#endif // PST_LIB_CODEGEN_KERNEL_CODEBUILDER_H
