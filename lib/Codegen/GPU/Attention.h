//===- Attention.h - What attention and its backward share ------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_LIB_CODEGEN_GPU_ATTENTION_H
#define PST_LIB_CODEGEN_GPU_ATTENTION_H

#include "../Kernel/Dropout.h"
#include "KernelContext.h"
#include <optional>

namespace pst::cuda {

/// Whose heads, rows and columns are meant: those of query, result and their
/// gradients, or those of key, value and theirs, which may have fewer heads.
enum class Side { queries, keys };

struct AttentionShape {
  int64_t batch, length, heads, width; ///< `width` columns for each head.
  int64_t keyHeads;                    ///< Heads of keys and values.
  bool causal;
  int64_t window; ///< Keys that a query sees, or 0 for all before it.
  /// Heads of queries that share one of keys.
  int64_t groups() const { return heads / keyHeads; }
  int64_t headsOf(Side side) const {
    return side == Side::queries ? heads : keyHeads;
  }
  /// Queries, and keys, that a block handles at a time.
  int64_t tile() const;
  int64_t tiles() const { return (length + tile() - 1) / tile(); }
  /// A block for each tile of each head of each sequence.
  int64_t blocks(Side side) const { return batch * headsOf(side) * tiles(); }
  static constexpr int64_t kThreads = 128;
  /// Fails, with an error at `op`, if no tile of such heads fits.
  llvm::LogicalResult check(mlir::Operation *op) const;
};

/// The element type of a tensor.
inline mlir::Type elementType(Value tensor) {
  return mlir::getElementTypeOrSelf(tensor.getType());
}

template <typename OpT> AttentionShape attentionShape(OpT op) {
  auto mask = llvm::cast<mlir::RankedTensorType>(op.getMask().getType());
  auto query = llvm::cast<mlir::RankedTensorType>(op.getQuery().getType());
  auto key = llvm::cast<mlir::RankedTensorType>(op.getKey().getType());
  int64_t heads = op.getHeads(), width = query.getDimSize(1) / heads;
  return {mask.getDimSize(0),
          mask.getDimSize(1),
          heads,
          width,
          key.getDimSize(1) / width,
          op.getCausal(),
          int64_t(op.getWindow().value_or(0))};
}

/// What the gradients' first kernel leaves for the second one of each row of
/// probabilities: its maximum score, the reciprocal of its sum, and
/// rowsum(dP * P).
enum RowStatistic { Maximum, Reciprocal, Product, RowStatistics };

/// The body of a kernel that runs `emit` on a Block of a side's heads, made of
/// the kernel's arguments: an op's operands, then, if it drops out, the site.
/// Blocks beyond a packed sequence's tokens have nothing to do.
template <typename Block, typename OpT, typename EmitT>
auto emitBlock(KernelContext &context, OpT op, const AttentionShape &shape,
               Side side, EmitT emit) {
  return [&context, op, &shape, side, emit](ThreadBuilder &b,
                                            ValueRange values) mutable {
    std::optional<DropoutMask> dropout;
    if (op.getSeed()) {
      unsigned seed = op->getNumOperands() - 1;
      dropout.emplace(b, values[seed], values[seed + 1],
                      op.getProbability()->convertToDouble());
    }
    Block block(b, shape, side, values, dropout, context.packedRows());
    b.ifBelow(block.place.first, block.place.count,
              [&] { emit(block, values); });
  };
}

/// The place of a block: one tile of queries, or of keys, of one head.
class BlockPlace {
public:
  BlockPlace(ThreadBuilder &b, const AttentionShape &shape, Side side,
             int64_t tile, const PackedRows *packed);
  /// Of a block of keys: goes on to the queries of the group's `index`th head.
  void setGroup(ThreadBuilder &b, Value index);
  Value column(Side side) const {
    return side == Side::queries ? queryColumn : keyColumn;
  }
  /// The tiles of keys (queries) that the block's queries (keys) see (are seen
  /// by): from a multiple of the tile on, up to an end.
  Value keysBegin(ThreadBuilder &b) const;
  Value keysEnd(ThreadBuilder &b) const;
  Value queriesBegin(ThreadBuilder &b) const;
  Value queriesEnd(ThreadBuilder &b) const;
  /// The sequence's end: behind its padding, of which packed ones have none.
  Value end(ThreadBuilder &b) const;
  /// Whether a query sees a key, neither behind the sequence's end.
  Value sees(ThreadBuilder &b, Value query, Value key) const;
  /// loop(carried) for each head of queries that shares a block's keys, each
  /// with what the one before has returned.
  llvm::SmallVector<Value>
  forGroup(ThreadBuilder &b, ValueRange carried,
           llvm::function_ref<llvm::SmallVector<Value>(ValueRange)> loop);

  Value batch;
  Value task;  ///< batch * heads + the queries' head
  Value row;   ///< The sequence's first.
  Value count; ///< Its tokens, if it is packed; else null.
  Value first; ///< The block's first query (or key) in the sequence.

private:
  AttentionShape shape;
  int64_t tile;
  Value firstHead; ///< Of the queries, the first one that shares the keys.
  Value queryColumn, keyColumn;
};

/// Emits a block by fused multiply-adds.
class AttentionBlock {
public:
  AttentionBlock(ThreadBuilder &b, const AttentionShape &shape, Side side,
                 Value mask, const PackedRows *packed);

  ThreadBuilder &b;
  AttentionShape shape;
  BlockPlace place;

  /// Shared memory for a tile of a matrix (tile x width), or of scores.
  Value matrixBuffer();
  Value scoreBuffer();
  /// shared = rows first, ... of the head's part of `matrix`; zero behind the
  /// sequence's end.
  void load(Side side, Value matrix, Value first, Value shared);
  /// body(i, j) for the thread's elements of a tile of scores.
  void forScores(llvm::function_ref<void(Value, Value)> body);
  /// The score of query `firstQuery` + `i` and key `firstKey` + `j` with the
  /// padding mask; -inf behind the sequence's end and where the query does not
  /// see the key.
  Value score(Value queries, Value keys, Value firstQuery, Value i,
              Value firstKey, Value j);
  /// sum over c ascending of left[i, c] * right[j, c]
  Value dot(Value left, Value i, Value right, Value j);
  /// The thread's elements of a tile x width matrix: their number, and
  /// body(e, i, c) for each.
  int64_t elements() const;
  void forElements(llvm::function_ref<void(int64_t, Value, Value)> body);
  /// sums[e] + sum over s ascending of scores[i, s] * matrix[s, c], or of
  /// scores[s, i] if transposed
  Value accumulate(Value scores, bool transposed, Value matrix, Value i,
                   Value c, Value sum);
  /// result[first + i, c] = value, if that is a row of the sequence.
  void store(Side side, Value value, Value result, Value i, Value c);

  /// The row of scores that this thread works on with its neighbours, its
  /// columns' first and step, and their number.
  Value scoreRow();
  void forRowColumns(llvm::function_ref<void(Value)> body);
  /// Combines over the threads of a row; all of them have the result.
  Value rowMax(Value value);
  Value rowSum(Value value);

  double scale() const;

private:
  int64_t threadsPerRow() const { return b.threads() / shape.tile(); }
  Value mask;
};

void populateAttentionBackwardKernels(mlir::RewritePatternSet &,
                                      KernelContext &);

} // namespace pst::cuda

#endif // PST_LIB_CODEGEN_GPU_ATTENTION_H
