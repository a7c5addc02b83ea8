//===- Attention.h - What attention and its backward share ------*- C++ -*-===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef PST_LIB_CODEGEN_CPU_ATTENTION_H
#define PST_LIB_CODEGEN_CPU_ATTENTION_H

#include "../Kernel/Dropout.h"
#include "KernelContext.h"
#include "SmallMatmul.h"

namespace pst::cpu {

struct AttentionShape {
  int64_t batch, length, heads, width; ///< `width` columns for each head.
  int64_t keyHeads;                    ///< Heads of keys and values.
  bool causal;
  int64_t window; ///< Keys that a query sees, or 0 for all before it.
  int64_t lanes;

  int64_t columns() const { return heads * width; }
  /// Heads of queries that share one of keys.
  int64_t groups() const { return heads / keyHeads; }
  /// Query rows whose probabilities are computed together.
  int64_t blockRows() const;
  /// Keys that are packed together: all of them, or of long sequences so many
  /// that a task's scratch does not grow with the length.
  int64_t keyTile() const;
  bool isTiled() const { return keyTile() < length; }
  /// The number of probabilities of the whole operation.
  /// Fails, with an error at `op`, if a task that packs `matrices` matrices of
  /// keyTile() x width and `blocks` blocks of probabilities needs more stack
  /// than a thread is sure to have.
  llvm::LogicalResult checkScratch(mlir::Operation *op, int64_t matrices,
                                   int64_t blocks) const;
  /// Where keys come in tiles, what a task keeps of its queries from tile to
  /// tile: `values` workspaces of tasks x length.
  llvm::SmallVector<mlir::RankedTensorType> statistics(mlir::OpBuilder &builder,
                                                       int64_t values) const;
};

/// Query rows whose probabilities are computed together: `begin` and those
/// after it, of which `count` are there (null: all). They see the tile's keys
/// before `keys`; null: all.
struct QueryBlock {
  Value begin;
  int64_t rows;
  Value count;
  Value keys;

  /// body(row) for those that are there.
  void forRows(KernelBuilder &b, llvm::function_ref<void(Value)> body) const {
    b.loop(b.index(0), count ? count : b.index(rows), 1, body);
  }
};

/// Emits what belongs to one head of one sequence.
class AttentionHead {
public:
  /// `mask` is the operation's mask, of matrices that are not packed.
  AttentionHead(KernelBuilder &b, const AttentionShape &shape, Value batch,
                Value head, Value mask, const PackedRows *packed);
  /// Goes on to another head of the queries, of the same head of the keys.
  void setHead(KernelBuilder &b, Value head);
  /// body() for each tile of keys, if they come in tiles; what is said of keys
  /// below is then said of the tile's.
  void forKeyTiles(KernelBuilder &b, llvm::function_ref<void()> body);

  /// The tokens of the sequence; null: `shape.length`.
  Value tokens() const { return count; }
  /// The keys that are there; null: `shape.length`.
  Value keys() const { return tileKeys ? tileKeys : count; }

  /// The head's rows and columns of key, value, or their gradients.
  Window keyWindow(KernelBuilder &b, Value buffer) const {
    return {buffer, tileBegin ? b.addi(row, tileBegin) : row, keyColumn};
  }
  /// Those of query, result, or their gradients, from query row `begin` on.
  Window window(KernelBuilder &b, Value buffer, Value begin) const {
    return {buffer, b.addi(row, begin), column};
  }

  /// body(block) for each block of query rows that sees a key, in ascending
  /// order.
  void forBlocks(KernelBuilder &b,
                 llvm::function_ref<void(const QueryBlock &)> body) const;
  /// The end of the vectors of scores that hold a key of the block; their
  /// last lanes may hold none, and have probability 0.
  Value scoresEnd(KernelBuilder &b, const QueryBlock &block,
                  const Panels &keys) const;

  /// s_ij of a block of query rows: Q K^T / sqrt(width), with what the mask
  /// adds; -inf where a query does not see a key. `keys` holds K^T.
  void emitScores(KernelBuilder &b, Window query, const QueryBlock &block,
                  const Panels &keys, Value scores) const;
  /// Probabilities of a block of query rows, not yet divided by their sum:
  ///   scores[i, j] = e^(s_ij - max_j s_ij), sums[i] = their sum over j,
  /// where `keys` holds K^T. `store` is given each vector (row, column,
  /// exponentials) and says what goes to `scores`.
  void
  emitExponentials(KernelBuilder &b, Window query, const QueryBlock &block,
                   const Panels &keys, Value scores, Value sums,
                   llvm::function_ref<Value(Value, Value, Value)> store) const;

  /// Goes on to another tile of keys with row `i` of a block, whose scores are
  /// there: `statistics` holds, at the head's queries, the largest score so far
  /// and sums over j of e^(s_ij - largest) x_j, one for each workspace after
  /// the first. visit(j, exponentials) gives the vectors of x e. Returns what
  /// earlier sums, and whatever else was made of the exponentials, have been
  /// scaled by.
  Value continueSums(
      KernelBuilder &b, const QueryBlock &block, const Panels &keys,
      Value scores, Value i, ValueRange statistics,
      llvm::function_ref<llvm::SmallVector<Value>(Value, Value)> visit) const;
  /// body(query, place) for the sequence's queries, `place` being that of the
  /// head's statistics.
  void
  forQueries(KernelBuilder &b,
             llvm::function_ref<void(Value, llvm::ArrayRef<Value>)> body) const;
  /// The place of a query's statistics.
  llvm::SmallVector<Value> statisticsAt(Value query) const {
    return {task, query};
  }

  /// Probability (i, j) of this head in its dropout.
  DropoutPlace probabilityPlace(KernelBuilder &b, Value i, Value j) const;

private:
  /// Says what the mask adds to the scores of the keys at hand.
  void fillBias(KernelBuilder &b);
  /// The scores that begin at `place` of the block, -inf where the key comes
  /// after the query, or before its window.
  Value excludeUnseen(KernelBuilder &b, const QueryBlock &block,
                      const ResultVector &place, Value scores) const;

  AttentionShape shape;
  Value mask; ///< Null where matrices are packed.
  Value batch, task, row, column, keyColumn, count;
  Value tileBegin, tileKeys; ///< Null where all keys are packed together.
  Value bias; ///< What the mask adds to the scores; -inf in padding lanes.
};

/// The attributes and operands that attention and its backward have in common.
template <typename OpT> AttentionShape attentionShape(OpT op, int64_t lanes) {
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
          int64_t(op.getWindow().value_or(0)),
          lanes};
}

void populateAttentionBackwardKernels(mlir::RewritePatternSet &,
                                      KernelContext &);

} // namespace pst::cpu

#endif // PST_LIB_CODEGEN_CPU_ATTENTION_H
