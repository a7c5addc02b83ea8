//===- AttentionMMA.h - Attention on the tensor cores -----------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_LIB_CODEGEN_GPU_ATTENTIONMMA_H
#define PST_LIB_CODEGEN_GPU_ATTENTIONMMA_H

#include "Attention.h"
#include "WarpMatrix.h"
#include <optional>

namespace pst::cuda {

/// Attention over bf16 by mma.sync, for heads of 16, 32, ... 128 columns. A
/// block has 64 queries (or keys) of a head, each of its four warps 16 of them,
/// and takes the keys (or queries) some at a time, which cp.async brings a step
/// ahead where shared memory allows it.
class AttentionMMA {
public:
  /// What the kernels have as arguments, in this order; then come workspaces
  /// and results. All are matrices of tokens x columns, but for the mask of
  /// batch x length.
  enum Argument { Queries, Keys, Values, Mask, Gradient };
  using Dropout = std::optional<DropoutMask>;

  static bool suits(const AttentionShape &shape, mlir::Type element);
  static constexpr int64_t kRows = 64;
  static constexpr int64_t kThreads = kRows / kMmaRows * kWarp;
  static int64_t blocks(const AttentionShape &shape, Side side) {
    return shape.batch * shape.headsOf(side) * numTiles(shape);
  }

  AttentionMMA(ThreadBuilder &b, const AttentionShape &shape, Side side,
               ValueRange values, const Dropout &dropout,
               const PackedRows *packed);

  /// The block's queries of the attention, to `result`.
  void forward(Value result);
  /// The statistics (RowStatistic) of the block's queries, and their gradient.
  void queryGradients(Value statistics, Value result);
  /// The gradients of the block's keys and values.
  void keyGradients(Value statistics, Value keys, Value values);

  BlockPlace place;

private:
  static int64_t numTiles(const AttentionShape &shape) {
    return (shape.length + kRows - 1) / kRows;
  }
  int64_t steps() const { return shape.width / kMmaDepth; }
  /// Rows that are taken at a time of what a loop goes over, and how many of
  /// them lie in shared memory.
  int64_t taken() const { return shape.width <= 64 ? 32 : 16; }
  int64_t stages() const { return shape.width <= 64 ? 2 : 1; }
  int64_t scoreBlocks() const { return taken() / kMmaColumns; }

  /// Loops over [begin, end) in steps of `taken`: the parts of two matrices
  /// there lie in shared memory as `body` runs.
  using Pair = std::array<SharedMatrix, 2>;
  using TileBody = llvm::function_ref<llvm::SmallVector<Value>(
      Value first, const Pair &pair, ValueRange)>;
  llvm::SmallVector<Value> forTiles(Value begin, Value end, Argument one,
                                    Argument two, ValueRange carried,
                                    TileBody body);
  void load(const SharedMatrix &matrix, Argument which, Value first);
  /// left (the block's rows) * right^T, for the warp's rows.
  WarpSums scores(const SharedMatrix &left, const SharedMatrix &right);
  /// sums += left * right
  void accumulate(WarpSums &sums, const WarpSums &left,
                  const SharedMatrix &right);
  /// The score of a pair with scale and masks; -inf if the query does not see
  /// the key.
  Value masked(Value score, Value query, Value key);
  Value exponential(Value score, Value maximum);
  /// The gradient of a probability, dropped out, and whether it is kept (null:
  /// always).
  struct Dropped {
    Value gradient, kept;
  };
  Dropped dropped(Value gradient, Value query, Value key);
  /// Place in the sequence of the lane's row `half`, and of a column of a tile.
  Value rowOf(int64_t half);
  Value columnOf(Value first, int64_t block, int64_t e);
  void store(Side side, const WarpSums &sums,
             llvm::function_ref<Value(int64_t)> factor, Value result);
  llvm::SmallVector<Value> emitStatistics(const SharedMatrix &queries,
                                          const SharedMatrix &gradients,
                                          Value statistics);

  ThreadBuilder &b;
  AttentionShape shape;
  ValueRange values;
  const Dropout &dropout;
  Value warpRow; ///< of the warp in the block
  /// Shared memory for what a loop takes: the rows of all stages.
  std::optional<Pair> tiles;
};

} // namespace pst::cuda

#endif // PST_LIB_CODEGEN_GPU_ATTENTIONMMA_H
