//===- TopKThreshold.h - Selection of scores, kernel by kernel --*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// What the kernels of pst.topk_threshold share (TopKThreshold.cpp tells how
// they work together). Keys, counts and indices of elements are i32, taken as
// unsigned.

#ifndef PST_LIB_CODEGEN_GPU_TOPKTHRESHOLD_H
#define PST_LIB_CODEGEN_GPU_TOPKTHRESHOLD_H

#include "MaskedWeight.h"
#include "RadixSelect.h"

namespace pst::cuda {

/// How a selection among rows x columns scores is divided.
struct SelectionSizes {
  static constexpr int64_t kThreads = 512;
  static constexpr int64_t kSample = 1 << 14;
  static constexpr int64_t kSampleThreads = 256;
  static constexpr int64_t kFinishBlocks = 64;

  SelectionSizes(int64_t rows, int64_t columns);

  int64_t elements() const { return rows * columns; }
  /// Places of `unit` rows and a column, each evaluated by a thread at once.
  int64_t items() const { return llvm::divideCeil(rows, unit) * columns; }

  int64_t rows, columns;
  bool isSampled;
  int64_t unit;
  int64_t tiles;    ///< of items, for a block's threads
  int64_t blocks;   ///< that gather, tile by tile in turns
  int64_t capacity; ///< of what a block can keep: an eighth of its elements
  int64_t listCapacity;
};

/// i32 that blocks add to, and what they tell each other.
enum Tally {
  Above,    ///< keys above the bracket
  Nan,      ///< scores that are NaN
  Overflow, ///< blocks that could not keep all
  ListSize,
  GatherTicket,
  FinishTicket,
  BracketLow, ///< the bracket's lowest key, and its highest
  BracketHigh,
  PartLow, ///< the part of it that has the threshold: 2^bits keys from low
  PartBits,
  PartWanted, ///< the rank in that part; 0: it has none
  kTallies
};

/// The buffers of a selection, which all of its kernels have as arguments.
struct SelectionBuffers {
  /// Factors, sparsity (an f64), threshold (f32), cut and the number pruned
  /// (i64); then, if the
  /// selection is sampled, its workspaces.
  SelectionBuffers(ValueRange arguments, size_t numFactors);
  static llvm::SmallVector<mlir::RankedTensorType>
  workspaces(const SelectionSizes &sizes, mlir::Builder &builder);

  ValueRange factors;
  Value sparsity, threshold, cut, pruned;
  Value tallies, sample, parts;           ///< of kTallies, kSample, kBins
  Value keptSizes, keptKeys, keptIndices; ///< of each block that gathers
  Value listKeys, listIndices;
};

class ScoreSelection {
public:
  /// `arguments` are those of SelectionBuffers.
  ScoreSelection(KernelContext &context, CodeBuilder &host,
                 CriterionOp criterion, const SelectionSizes &sizes,
                 ValueRange arguments)
      : context(context), host(host), criterion(criterion), s(sizes),
        arguments(arguments) {}

  /// Launches all kernels that it takes.
  void launch();

private:
  using Buffers = SelectionBuffers;
  using Element = llvm::function_ref<Value(Value)>;

  void
  launchKernel(const char *part, int64_t blocks, int64_t threads,
               llvm::function_ref<void(ThreadBuilder &, const Buffers &)> body);
  void launchAmongAll();
  void launchSample();
  void launchBracket();
  void launchGather();
  void launchFinish();

  Value keyAt(ThreadBuilder &b, const Buffers &w, Value row, Value column);
  Value keyOfElement(ThreadBuilder &b, const Buffers &w, Value i);
  Value numPruned(ThreadBuilder &b, const Buffers &w); ///< i64
  Value numKept(ThreadBuilder &b, const Buffers &w);
  void gatherTiles(ThreadBuilder &b, const Buffers &w, Value counts,
                   Value parts);
  void findPart(ThreadBuilder &b, const Buffers &w, RadixSelect &radix);
  void collectPart(ThreadBuilder &b, const Buffers &w);
  void finish(ThreadBuilder &b, const Buffers &w, Value known, Value wanted);
  void selectAmong(ThreadBuilder &b, const Buffers &w, RadixSelect &radix,
                   Value size, Value low, Value bits, Value wanted,
                   Element keyOf, Element indexOf, Value nan);

  KernelContext &context;
  CodeBuilder &host;
  CriterionOp criterion;
  const SelectionSizes &s;
  ValueRange arguments;
};

// Short forms of arithmetic on keys and counts.
inline Value isEqual(ThreadBuilder &b, Value lhs, Value rhs) {
  return b.cmpi(mlir::arith::CmpIPredicate::eq, lhs, rhs);
}
inline Value isBelow(ThreadBuilder &b, Value lhs, Value rhs) {
  return b.cmpi(mlir::arith::CmpIPredicate::ult, lhs, rhs);
}
inline Value both(ThreadBuilder &b, Value lhs, Value rhs) {
  return mlir::arith::AndIOp::create(b, lhs, rhs);
}
inline Value either(ThreadBuilder &b, Value lhs, Value rhs) {
  return mlir::arith::OrIOp::create(b, lhs, rhs);
}
/// These wrap.
inline Value plus(ThreadBuilder &b, Value lhs, Value rhs) {
  return mlir::arith::AddIOp::create(b, lhs, rhs);
}
inline Value minus(ThreadBuilder &b, Value lhs, Value rhs) {
  return mlir::arith::SubIOp::create(b, lhs, rhs);
}
inline Value shiftRight(ThreadBuilder &b, Value value, Value bits) {
  return mlir::arith::ShRUIOp::create(b, value, bits);
}
inline Value complement(ThreadBuilder &b, Value value) {
  return mlir::arith::XOrIOp::create(b, value, b.i32(-1));
}
inline Value toI32(ThreadBuilder &b, Value index) {
  return mlir::arith::IndexCastOp::create(b, b.getI32Type(), index);
}
inline Value toIndex(ThreadBuilder &b, Value i32) {
  return mlir::arith::IndexCastUIOp::create(b, b.getIndexType(), i32);
}
/// NaNs have a key that no number has (ScoreKey.h).
inline Value isNaNKey(ThreadBuilder &b, Value key) {
  return isEqual(b, key, b.i32(-1));
}
inline Value loadTally(ThreadBuilder &b, Value tallies, Tally tally) {
  return b.load(tallies, b.index(tally));
}
inline void storeTally(ThreadBuilder &b, Value value, Value tallies,
                       Tally tally) {
  b.store(value, tallies, b.index(tally));
}

} // namespace pst::cuda

#endif // PST_LIB_CODEGEN_GPU_TOPKTHRESHOLD_H
