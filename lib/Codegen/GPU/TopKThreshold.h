//===- TopKThreshold.h - Selection of scores, kernel by kernel --*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// What the kernels of pst.topk_threshold share (TopKThreshold.cpp tells how
// they work together) with those of pst.common_threshold, for which all layers'
// elements, one layer behind the other, are those of one weight. Keys, counts
// and indices of elements are i32, taken as unsigned.

#ifndef PST_LIB_CODEGEN_GPU_TOPKTHRESHOLD_H
#define PST_LIB_CODEGEN_GPU_TOPKTHRESHOLD_H

#include "MaskedWeight.h"
#include "RadixSelect.h"
#include "WeightTiles.h"

namespace pst::cuda {

/// How a selection among the scores of a weight is divided.
struct SelectionSizes {
  static constexpr int64_t kSample = 1 << 13;
  static constexpr int64_t kSampleThreads = 256;
  static constexpr int64_t kSampleBlocks = kSample / kSampleThreads;
  static constexpr int64_t kBracketThreads = 512;
  /// Of the one block that selects in a small weight.
  static constexpr int64_t kThreads = 512;
  /// Parts of the bracket, in which keys are counted.
  static constexpr int64_t kPartBits = 9;
  static constexpr int64_t kParts = int64_t(1) << kPartBits;
  /// What a search narrows the place of the threshold by, and how often.
  static constexpr int64_t kSearchBits = 13;
  static constexpr int64_t kBins = int64_t(1) << kSearchBits;
  static constexpr int64_t kSearches = 4;
  /// So many scores one block selects among, and so many it evaluates for that.
  static constexpr int64_t kListed = kBins / 2;
  static constexpr int64_t kEvaluated = 4096;

  /// Of one of so many `layers` that are selected in at once.
  SelectionSizes(mlir::ShapedType weight, int64_t layers);

  int64_t elements() const { return tiles.rows * tiles.columns; }
  /// i32 of the layer's workspace.
  int64_t workspaceSize() const;

  WeightTiles tiles;
  /// Scores in the sample: of layers of equal types that compete with others,
  /// the most that one has, of which another may have one less.
  int64_t sampled = kSample;
  bool isSampled;
  int64_t searchBlocks;
  int64_t capacity; ///< of what is kept of a tile: an eighth of its elements
};

/// Of layers that compete with each other: all of them together.
struct CommonSizes {
  int64_t layers, elements, sampled, tiles, searchBlocks;
  static constexpr int64_t kSearches = 5; ///< 65 bits
};

/// One layer after another of equal types, for which a kernel has the same
/// code.
struct SelectionRun {
  SelectionSizes sizes;
  int64_t firstLayer, layers;
  int64_t workspace; ///< where theirs begin, in i32
};

/// i32 that blocks add to, and what they tell each other.
enum Tally {
  Above,    ///< keys above the bracket
  Nan,      ///< not 0: there are scores that are NaN
  Overflow, ///< tiles of which not all was kept
  ListSize,
  Ticket,
  BracketLow, ///< the bracket's lowest key, and its highest
  BracketHigh,
  Done, ///< not 0: the results are written
  /// Where the element is that stays last: the `Wanted`-th largest, the first
  /// of equal ones being the largest, of `Count` whose keys lie in 2^RangeBits
  /// from RangeLow, and whose indices in RangeSize from RangeFirst.
  RangeLow,
  RangeBits,
  RangeFirst,
  RangeSize,
  Wanted,
  Count,
  kTallies
};

/// i32 that the blocks of a layer add to, if it competes with others.
enum LayerCount {
  LayerAbove,
  LayerStays,
  LayerAfter,
  LayerTicket,
  kLayerCounts
};

/// The buffers of a layer's selection.
struct SelectionBuffers {
  /// Places the workspaces from `workspace`, a pointer, on.
  void placeWorkspaces(ThreadBuilder &b, const SelectionSizes &sizes,
                       Value workspace);
  /// Those of layers that compete: what they share, and, from the `own`-th
  /// (i64) i32 on, the layer's.
  void placeShared(ThreadBuilder &b, const CommonSizes &common,
                   Value workspace);
  void placeOwn(ThreadBuilder &b, const SelectionSizes &sizes, Value workspace,
                Value own);
  /// i32 that what they share takes, and what is a layer's own.
  static int64_t sharedSize(const CommonSizes &common);
  static int64_t ownSize(const SelectionSizes &sizes);

  /// Of the layer's counts.
  Value placeOf(ThreadBuilder &b, LayerCount which) const {
    return b.addi(b.muli(layer, kLayerCounts), which);
  }

  llvm::SmallVector<Value> factors;
  Value threshold, cut, pruned; ///< f32, i64, i64
  Value sparsity;               ///< f64
  // Only if the selection is sampled; all of i32:
  Value tallies, sample; ///< of kTallies, the sample's size
  Value parts, bins;     ///< of kParts, kBins
  Value keptSizes, kept; ///< of each tile: keys, indices
  Value list;            ///< kListed of them
  // Only of a layer that competes with others:
  Value counts;      ///< i32, of each layer kLayerCounts
  Value layer;       ///< its number (index)
  Value firstIndex;  ///< of its first element among those of all (i32)
  Value firstSample; ///< the place of its first one in the sample (index)
  Value sampled;     ///< how many it has there (index)
};

/// What the kernels of a selection do for a layer.
class ScoreSelection {
public:
  using Buffers = SelectionBuffers;

  /// Of a layer by itself, or of one that competes with others.
  ScoreSelection(CriterionOp criterion, const SelectionSizes &sizes,
                 const CommonSizes *common = nullptr)
      : criterion(criterion), s(sizes), common(common) {}

  // A kernel each. ThreadBuilder::block() counts the layer's blocks.
  void selectAmongAll(ThreadBuilder &b, const Buffers &w);
  void sample(ThreadBuilder &b, const Buffers &w);
  void findBracket(ThreadBuilder &b, const Buffers &w);
  void gather(ThreadBuilder &b, const Buffers &w);
  void search(ThreadBuilder &b, const Buffers &w);
  /// Of a layer that competes: writes its cut and how many are pruned.
  void countStaying(ThreadBuilder &b, const Buffers &w);

private:
  using Element = llvm::function_ref<Value(Value)>;
  struct Range;

  /// Of all that compete.
  int64_t elements() const { return common ? common->elements : s.elements(); }
  Value numPruned(ThreadBuilder &b, const Buffers &w); ///< i64
  Value keyAt(ThreadBuilder &b, const Buffers &w, Value row, Value column);
  Value keyOfElement(ThreadBuilder &b, const Buffers &w, Value i);
  Value numKept(ThreadBuilder &b, const Buffers &w);
  void writeResults(ThreadBuilder &b, const Buffers &w, Value key, Value index,
                    Value nan);
  // Of the kernel that gathers:
  void countTies(ThreadBuilder &b, const Buffers &w, Value counts);
  void keepInside(ThreadBuilder &b, const Buffers &w, Value counts,
                  Value parts);
  void findPart(ThreadBuilder &b, const Buffers &w);
  // Of the one that searches:
  void collect(ThreadBuilder &b, const Buffers &w, const Range &range);
  void selectCollected(ThreadBuilder &b, const Buffers &w, const Range &range,
                       RadixSelect &radix, Value list);
  void countInRange(ThreadBuilder &b, const Buffers &w, const Range &range,
                    Value isKept, Value bins);
  void narrow(ThreadBuilder &b, const Buffers &w, const Range &range,
              RadixSelect &bins, RadixSelect &radix);
  static Value entry(ThreadBuilder &b, Value key, Value index);
  void forKept(ThreadBuilder &b, const Buffers &w,
               llvm::function_ref<void(Value, Value)> body);
  void forElements(ThreadBuilder &b, const Buffers &w, Value begin, Value end,
                   llvm::function_ref<void(Value, Value)> body);
  void selectAmong(ThreadBuilder &b, const Buffers &w, RadixSelect &radix,
                   Value size, const Range &range, Element keyOf,
                   Element indexOf, Value nan);

  CriterionOp criterion;
  const SelectionSizes &s;
  const CommonSizes *common;
};

/// Where the element is that stays last, as the tallies tell it.
struct ScoreSelection::Range {
  Range(ThreadBuilder &b, Value tallies);
  Range(Value low, Value bits, Value first, Value size, Value wanted)
      : low(low), bits(bits), first(first), size(size), wanted(wanted) {}
  void store(ThreadBuilder &b, Value tallies) const;

  Value low, bits, first, size, wanted;
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
inline Value shiftLeft(ThreadBuilder &b, Value value, Value bits) {
  return mlir::arith::ShLIOp::create(b, value, bits);
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
