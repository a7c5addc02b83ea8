//===- KeptScores.h - The scores near a threshold ---------------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// What a selection knows of the scores that compete, of one layer or several,
// once they have been evaluated (ScoreSelection.h): the tallies of each chunk
// of rows, and the scores of a bracket, which are kept. A key is the bits of a
// score in an order in which unsigned numbers compare as the scores do; equal
// scores (0.0 and -0.0) have equal keys, and NaNs have the largest.

#ifndef PST_LIB_CODEGEN_CPU_KEPTSCORES_H
#define PST_LIB_CODEGEN_CPU_KEPTSCORES_H

#include "../Kernel/ScoreKey.h"
#include "KernelBuilder.h"
#include "RadixSelect.h"

namespace pst::cpu {

/// What is known of a chunk: how many scores lie in the bracket (and NaNs), how
/// many of these found no room, how many lie above, whether one is NaN, how
/// many equal the threshold, and where those that are kept begin.
enum Tally { kInside, kLeftOut, kAbove, kNaN, kEqual, kBegin, kTallies };

/// The workspaces of a selection, as buffers.
struct SelectionBuffers {
  explicit SelectionBuffers(ValueRange workspaces);

  Value values;  ///< f32: the kept scores, a segment for each chunk.
  Value tallies; ///< i64, chunks x kTallies.
  Value totals;  ///< i64: keys in each bin.
  Value counts;  ///< i32, chunks of a layer x bins, for the radix; or null.
};

class KeptScores {
public:
  using State = llvm::SmallVector<Value>;
  using Found = RadixSelect::Found;

  KeptScores(KernelBuilder &b, const SelectionBuffers &buffers, int64_t lanes);

  const SelectionBuffers &getBuffers() const { return buffers; }
  int64_t getChunks() const;

  Value loadTally(Value chunk, Tally tally);
  void storeTally(Value value, Value chunk, Tally tally);
  /// Over `count` chunks, an i64.
  Value sumOfTallies(Tally tally, Value first, int64_t count);

  /// State: how many are kept, and how many lie above. Keeps `score` if it is
  /// in [low, high], or NaN, behind those kept at `base`; beyond `capacity`
  /// they are counted, but overwrite each other.
  State keep(Value score, ValueRange state, Value low, Value high, Value base,
             int64_t capacity);
  /// Kept scores are read by whole vectors: what follows them is no score.
  void closeSegment(Value end);

  /// Two scores between which the one of rank `keep` among `elements` lies
  /// unless the sample, of `sampleSize` scores, is very unlike the whole.
  /// `gather(low, high)` keeps those of the sample from `low` to `high`, from
  /// the first place on, and tells how many these are, and how many lie above.
  /// `previous` (or null) is a guess.
  std::pair<Value, Value>
  findBracket(int64_t elements, int64_t sampleSize, Value keep, Value previous,
              llvm::function_ref<State(Value low, Value high)> gather);

  struct Selected {
    Value key;    ///< i32
    Value wanted; ///< i64: how many of that key, from the first on, are kept.
    Value hasNaN; ///< i1
  };
  /// The `keep`-th largest of all scores, of which those in [low, high] were
  /// kept; tallies those of its key. If it is not among them, or if there was
  /// no room for some, `otherwise` finds it and does the same, and stores how
  /// many are NaN (i64, to its argument); without it, all were kept.
  ///
  /// Unless `otherwise` was called, kAbove are those above the key.
  Selected select(Value low, Value high, Value keep,
                  llvm::function_ref<Found(Value nan)> otherwise);

private:
  void forKept(llvm::function_ref<void(Value chunk, Value key)> visit);
  Found selectKept(Value low, Value high, Value wanted);
  void tallyKept(Value key);

  KernelBuilder &b;
  SelectionBuffers buffers;
  int64_t lanes;
  RadixSelect radix;
  Value bins; ///< Stack buffer of one vector.
};

} // namespace pst::cpu

#endif // PST_LIB_CODEGEN_CPU_KEPTSCORES_H
