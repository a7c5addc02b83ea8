//===- ScoreSelection.h - Counts and keeps scores ---------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// What a selection among the scores of a virtual weight is made of: evaluating
// them, keeping those of a bracket in a buffer, and counting keys. A key is the
// bits of a score in an order in which unsigned numbers compare as the scores
// do; equal scores (0.0 and -0.0) have equal keys, and NaNs have the largest.

#ifndef PST_LIB_CODEGEN_CPU_SCORESELECTION_H
#define PST_LIB_CODEGEN_CPU_SCORESELECTION_H

#include "../Kernel/ScoreKey.h"
#include "../Kernel/VirtualWeight.h"
#include "KernelBuilder.h"
#include "RadixSelect.h"

namespace pst::cpu {

/// How a selection among rows x columns scores is divided: by the shape alone.
struct SelectionSizes {
  int64_t rows, columns, lanes;
  int64_t rowsPerChunk, chunks; ///< Chunks of rows may run in parallel.
  bool isSampled; ///< Only the scores of a bracket are kept, not all.
  int64_t sampleVectors = 0;
  int64_t capacity; ///< Scores that a chunk can keep.

  SelectionSizes(int64_t rows, int64_t columns, int64_t lanes);

  int64_t sampleSize() const { return sampleVectors * lanes; }
  /// f32 elements from a chunk's kept scores to the next chunk's: one vector
  /// may be stored behind the last score, and one that closes them.
  int64_t segment() const { return capacity + 2 * lanes; }
  /// Those of a selection that keeps scores.
  llvm::SmallVector<mlir::RankedTensorType>
  workspaces(mlir::Builder &builder) const;
  /// Those of one that only counts, in as many chunks at most.
  static llvm::SmallVector<mlir::RankedTensorType>
  countingWorkspaces(mlir::Builder &builder, int64_t chunks);
};

/// The workspaces of a selection, as buffers.
struct SelectionBuffers {
  SelectionBuffers(ValueRange workspaces, bool keepsScores);

  Value values;  ///< f32: the kept scores, a segment for each chunk; or null.
  Value tallies; ///< i64, chunks x kTallies.
  Value totals;  ///< i64: keys in each bin.
  Value counts;  ///< i32, chunks x bins, for the radix; or null.
};

/// What is known of a chunk: how many scores were kept, how many lie above the
/// bracket, whether one is NaN, and how many equal the threshold.
enum Tally { kInside, kAbove, kNaN, kEqual, kTallies };

class ScoreSelection {
public:
  using State = llvm::SmallVector<Value>;

  using Found = RadixSelect::Found;

  ScoreSelection(KernelBuilder &b, const VirtualWeight &weight,
                 const SelectionSizes &sizes, const SelectionBuffers &buffers);

  Value loadTally(Value chunk, Tally tally);
  void storeTally(Value value, Value chunk, Tally tally);

  /// Counts the scores above `high`, and keeps those from `low` to `high` and
  /// the NaNs, each chunk its own.
  void gather(Value low, Value high);
  /// The same for a sample of the scores, evenly spread; all are kept in the
  /// first segment (and what follows it). Returns the number of those kept,
  /// and of those above.
  State gatherSample(Value low, Value high);

  /// The `wanted`-th largest of the kept scores, which lie in [low, high].
  Found selectKept(Value low, Value high, Value wanted);
  /// Tallies the kept scores of that key.
  void tallyKept(Value key);
  /// The `wanted`-th largest of all scores, by three passes over them; tallies
  /// those of its key, and stores to `nan` (i64) how many are NaN.
  Found selectByRadix(Value wanted, Value nan);
  /// Adds the counts of all scores' keys to the totals, as RadixSelect asks.
  void countAll(Value low, Value range, Value shift);
  /// Tallies the scores of that key, and those above it, by a pass over all.
  void tallyAll(Value key);
  /// Over all chunks, an i64.
  Value sumOfTallies(Tally tally);
  /// The linear index after the `wanted`-th element of that key, which has
  /// been tallied; 0 if none is wanted.
  Value findCut(Value key, Value wanted);

private:
  Value endOfChunk(Value begin);
  State forScores(Value begin, Value end, State state,
                  llvm::function_ref<State(Value, ValueRange)> visit);
  State keep(Value score, ValueRange state, Value low, Value high, Value base,
             int64_t capacity);
  void closeSegment(Value end);
  void forKept(llvm::function_ref<void(Value chunk, Value key)> visit);

  KernelBuilder &b;
  const VirtualWeight &weight;
  const SelectionSizes &s;
  Value values, tallies, totals, counts;
  RadixSelect radix;
  Value bins; ///< Stack buffer of one vector.
};

} // namespace pst::cpu

#endif // PST_LIB_CODEGEN_CPU_SCORESELECTION_H
