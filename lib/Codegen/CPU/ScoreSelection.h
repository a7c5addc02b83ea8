//===- ScoreSelection.h - Counts and keeps scores ---------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// What a selection does with the scores of a layer's virtual weight, which it
// evaluates: keeping those of a bracket (KeptScores.h), and counting keys.

#ifndef PST_LIB_CODEGEN_CPU_SCORESELECTION_H
#define PST_LIB_CODEGEN_CPU_SCORESELECTION_H

#include "../Kernel/VirtualWeight.h"
#include "KeptScores.h"

namespace pst::cpu {

/// How a selection among rows x columns scores is divided: by the shape, and
/// by how many scores compete.
struct SelectionSizes {
  int64_t rows, columns, lanes;
  int64_t rowsPerChunk, chunks; ///< Chunks of rows may run in parallel.
  bool isSampled; ///< Only the scores of a bracket are kept, not all.
  int64_t sampleVectors = 0;
  int64_t capacity; ///< Scores that a chunk can keep.

  /// Of a weight that competes with others, if `competitors` are more elements
  /// than its own.
  SelectionSizes(int64_t rows, int64_t columns, int64_t lanes,
                 int64_t competitors = 0);

  int64_t elements() const { return rows * columns; }
  int64_t sampleSize() const { return sampleVectors * lanes; }
  /// f32 elements from a chunk's kept scores to the next chunk's: one vector
  /// may be stored behind the last score, and one that closes them.
  int64_t segment() const { return capacity + 2 * lanes; }
};

/// The workspaces of a selection among the scores of all these weights.
llvm::SmallVector<mlir::RankedTensorType>
selectionWorkspaces(mlir::Builder &builder,
                    llvm::ArrayRef<SelectionSizes> sizes);

class ScoreSelection {
public:
  using State = KeptScores::State;
  using Found = RadixSelect::Found;

  /// Of a weight whose chunks are those of `kept` from `firstChunk` on, and
  /// whose segments begin at `firstValue`.
  ScoreSelection(KernelBuilder &b, const VirtualWeight &weight,
                 const SelectionSizes &sizes, KeptScores &kept,
                 Value firstChunk, Value firstValue);

  /// Counts the scores above `high`, and keeps those from `low` to `high` and
  /// the NaNs, each chunk its own.
  void gather(Value low, Value high);
  /// The same for a sample of the scores, evenly spread, behind those of
  /// `state`: how many are kept, from the first place on, and how many above.
  State gatherSample(Value low, Value high, ValueRange state);

  /// The `wanted`-th largest of all scores, by three passes over them; tallies
  /// those of its key, and stores to `nan` (i64) how many are NaN.
  Found selectByRadix(Value wanted, Value nan);
  /// Adds the counts of all scores' keys to the totals, as RadixSelect asks.
  void countAll(Value low, Value range, Value shift);
  /// Tallies the scores of that key, and those above it, by a pass over all.
  void tallyAll(Value key);
  /// Over the weight's chunks, an i64.
  Value sumOfTallies(Tally tally);
  /// The linear index after the `wanted`-th element of that key, which has
  /// been tallied; 0 if none is wanted.
  Value findCut(Value key, Value wanted);

private:
  Value endOfChunk(Value begin);
  Value tallied(Value chunk) { return b.addi(firstChunk, chunk); }
  State forScores(Value begin, Value end, State state,
                  llvm::function_ref<State(Value, ValueRange)> visit);

  KernelBuilder &b;
  const VirtualWeight &weight;
  const SelectionSizes &s;
  KeptScores &kept;
  Value firstChunk, firstValue;
  Value totals, counts;
};

} // namespace pst::cpu

#endif // PST_LIB_CODEGEN_CPU_SCORESELECTION_H
