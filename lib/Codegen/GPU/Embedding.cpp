//===- Embedding.cpp - Kernels that move rows of tokens -------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "../Kernel/Embedding.h"
#include "KernelContext.h"
#include "pst/Dialect/NN/NNOps.h"

using namespace mlir;
using namespace pst;
using namespace pst::cuda;

static int64_t rowsOf(Value value) {
  return cast<ShapedType>(value.getType()).getDimSize(0);
}
static int64_t columnsOf(Value value) {
  return cast<ShapedType>(value.getType()).getDimSize(1);
}

/// The table row of token `token`, an i32: its index, brought into [0, rows).
static Value tableRow(ThreadBuilder &b, Value indices, Value token,
                      int64_t rows) {
  Value index = b.load(b.flatten(indices), token);
  index = arith::MaxSIOp::create(b, index, b.i32(0));
  return arith::MinSIOp::create(b, index, b.i32(rows - 1));
}

static Value toIndex(ThreadBuilder &b, Value value) {
  return arith::IndexCastOp::create(b, b.getIndexType(), value);
}

namespace {
/// for each token t and column j: result[t, j] = table[index(t), j]
struct EmbeddingPattern : KernelPattern<nn::EmbeddingOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(nn::EmbeddingOp op,
                                PatternRewriter &rewriter) const override {
    std::string name = "embedding" + elementsName(op.getResult()) + "_" +
                       shapeName(op.getIndices()) + "_" +
                       shapeName(op.getTable());
    int64_t rows = rowsOf(op.getTable());
    context.replaceByLaunch(
        rewriter, op, name, {op.getIndices(), op.getTable()},
        /*workspaces=*/{}, [&](CodeBuilder &host, ValueRange arguments) {
          context.launchMatrix(
              host, name, arguments[2], arguments,
              [&](ThreadBuilder &b, ValueRange values, Value token, Value j,
                  int64_t size) {
                Value row = toIndex(b, tableRow(b, values[0], token, rows));
                b.storeAdjacent(b.loadAdjacent(values[1], {row, j}, size),
                                values[2], {token, j});
              });
        });
    return success();
  }
};

/// result = 0
/// for each token t, a block, if t is the first one of its table row v:
///   for each column j:
///     result[v, j] = sum over s >= t ascending, of that row, of gradient[s, j]
///
/// So each element has one thread, and its sum the order of the tokens.
struct EmbeddingBackwardPattern : KernelPattern<nn::EmbeddingBackwardOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(nn::EmbeddingBackwardOp op,
                                PatternRewriter &rewriter) const override {
    std::string name = "embedding_backward" + elementsName(op.getGradient()) +
                       "_" + shapeName(op.getIndices()) + "_" +
                       shapeName(op.getResult());
    int64_t tokens = rowsOf(op.getGradient()), rows = rowsOf(op.getResult()),
            columns = columnsOf(op.getResult());
    context.replaceByLaunch(
        rewriter, op, name, {op.getIndices(), op.getGradient()},
        /*workspaces=*/{}, [&](CodeBuilder &host, ValueRange arguments) {
          context.launchZeros(host, arguments[2]);
          context.launchRows(
              host, name, tokens, columns, arguments,
              [&](ThreadBuilder &b, ValueRange values, Value token) {
                emitToken(b, values, token, tokens, rows, columns);
              });
        });
    return success();
  }

private:
  static void emitToken(ThreadBuilder &b, ValueRange values, Value token,
                        int64_t tokens, int64_t rows, int64_t columns) {
    Value indices = values[0], own = tableRow(b, indices, token, rows);
    auto isOwn = [&](Value other) {
      return b.cmpi(arith::CmpIPredicate::eq, tableRow(b, indices, other, rows),
                    own);
    };
    Value earlier =
        b.loop(b.thread(), token, b.threads(), {b.f32(0.0)},
               [&](Value other, ValueRange carried) -> SmallVector<Value> {
                 return {b.select(isOwn(other), b.f32(1.0), carried[0])};
               })[0];
    Value isFirst =
        b.cmpf(arith::CmpFPredicate::OEQ, b.blockMax(earlier), b.f32(0.0));
    b.ifThen(isFirst, [&] {
      b.strided(columns, [&](Value j) {
        Value sum = b.loop(
            token, b.index(tokens), 1, {b.f32(0.0)},
            [&](Value other, ValueRange carried) -> SmallVector<Value> {
              return {b.choose(
                  isOwn(other),
                  [&] {
                    return b.addf(carried[0], b.load(values[1], {other, j}));
                  },
                  carried[0])};
            })[0];
        b.store(sum, values[2], {toIndex(b, own), j});
      });
    });
  }
};

/// for each element: result[t, j] = input[t, j] + table[first + t % length, j]
struct AddPositionsPattern : KernelPattern<nn::AddPositionsOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(nn::AddPositionsOp op,
                                PatternRewriter &rewriter) const override {
    std::string name = "add_positions_" + shapeName(op.getInput()) + "_" +
                       shapeName(op.getTable()) + "_length" +
                       std::to_string(op.getLength()) +
                       firstName(op.getFirst());
    context.replaceByLaunch(
        rewriter, op, name, {op.getInput(), op.getTable()}, /*workspaces=*/{},
        [&](CodeBuilder &host, ValueRange arguments) {
          context.launchMatrix(
              host, name, arguments[2], arguments,
              [&](ThreadBuilder &b, ValueRange values, Value row, Value j,
                  int64_t size) {
                Value position =
                    b.addi(b.remi(row, op.getLength()), op.getFirst());
                SmallVector<Value> sums =
                    b.loadAdjacent(values[0], {row, j}, size);
                SmallVector<Value> terms =
                    b.loadAdjacent(values[1], {position, j}, size);
                for (auto [sum, term] : llvm::zip(sums, terms))
                  sum = b.addf(sum, term);
                b.storeAdjacent(sums, values[2], {row, j});
              });
        });
    return success();
  }
};

/// for each element: result[p, j] = sum over b ascending of
/// input[b * length + p - first, j]; else 0
struct PositionSumPattern : KernelPattern<nn::PositionSumOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(nn::PositionSumOp op,
                                PatternRewriter &rewriter) const override {
    std::string name = "position_sum_" + shapeName(op.getInput()) + "_" +
                       shapeName(op.getResult()) + "_length" +
                       std::to_string(op.getLength()) +
                       firstName(op.getFirst());
    int64_t length = op.getLength(), tokens = rowsOf(op.getInput());
    context.replaceByLaunch(
        rewriter, op, name, op.getInput(), /*workspaces=*/{},
        [&](CodeBuilder &host, ValueRange arguments) {
          context.launchMatrix(
              host, name, arguments[1], arguments,
              [&](ThreadBuilder &b, ValueRange values, Value row, Value j,
                  int64_t size) {
                Value position = b.subi(row, b.index(op.getFirst()));
                // Unsigned: rows before the first are none either.
                Value isPosition = b.cmpi(arith::CmpIPredicate::ult, position,
                                          b.index(length));
                Value begin = b.select(isPosition, position, b.index(0));
                Value end = b.select(isPosition, b.index(tokens), begin);
                SmallVector<Value> zeros(size, b.f32(0.0));
                SmallVector<Value> sums =
                    b.loop(begin, end, length, zeros,
                           [&](Value token, ValueRange carried) {
                             SmallVector<Value> next(carried);
                             SmallVector<Value> terms =
                                 b.loadAdjacent(values[0], {token, j}, size);
                             for (auto [sum, term] : llvm::zip(next, terms))
                               sum = b.addf(sum, term);
                             return next;
                           });
                b.storeAdjacent(sums, values[1], {row, j});
              });
        });
    return success();
  }
};

/// for each element: result[b, j] = input[b * L + index, j]
struct SelectTokenPattern : KernelPattern<nn::SelectTokenOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(nn::SelectTokenOp op,
                                PatternRewriter &rewriter) const override {
    std::string name = "select_token_" + shapeName(op.getInput()) + "_" +
                       shapeName(op.getResult()) + selectionName(op.getIndex());
    int64_t length = rowsOf(op.getInput()) / rowsOf(op.getResult());
    context.replaceByLaunch(
        rewriter, op, name, op->getOperands(), /*workspaces=*/{},
        [&](CodeBuilder &host, ValueRange arguments) {
          context.launchMatrix(
              host, name, arguments.back(), arguments,
              [&](ThreadBuilder &b, ValueRange values, Value row, Value j,
                  int64_t size) {
                Value token =
                    selectedToken(b, op.getIndex(), values[1], row, length);
                b.storeAdjacent(b.loadAdjacent(values[0], {token, j}, size),
                                values.back(), {row, j});
              });
        });
    return success();
  }
};

/// result = 0; for each element: result[b * L + index, j] = gradient[b, j]
struct SelectTokenBackwardPattern : KernelPattern<nn::SelectTokenBackwardOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(nn::SelectTokenBackwardOp op,
                                PatternRewriter &rewriter) const override {
    std::string name = "select_token_backward_" + shapeName(op.getGradient()) +
                       "_" + shapeName(op.getResult()) +
                       selectionName(op.getIndex());
    int64_t length = rowsOf(op.getResult()) / rowsOf(op.getGradient());
    context.replaceByLaunch(
        rewriter, op, name, op->getOperands(), /*workspaces=*/{},
        [&](CodeBuilder &host, ValueRange arguments) {
          context.launchZeros(host, arguments.back());
          context.launchMatrix(
              host, name, arguments[0], arguments,
              [&](ThreadBuilder &b, ValueRange values, Value row, Value j,
                  int64_t size) {
                Value token =
                    selectedToken(b, op.getIndex(), values[1], row, length);
                b.storeAdjacent(b.loadAdjacent(values[0], {row, j}, size),
                                values.back(), {token, j});
              });
        });
    return success();
  }
};
} // namespace

void pst::cuda::populateEmbeddingKernels(RewritePatternSet &patterns,
                                         KernelContext &context) {
  patterns
      .add<EmbeddingPattern, EmbeddingBackwardPattern, AddPositionsPattern,
           PositionSumPattern, SelectTokenPattern, SelectTokenBackwardPattern>(
          patterns.getContext(), context);
}
