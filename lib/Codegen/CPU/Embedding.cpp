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
using namespace pst::cpu;

/// Rows of one iteration of a parallel loop over tokens.
static constexpr int64_t kRows = 16;
/// Elements of one iteration of a parallel loop that clears a buffer.
static constexpr int64_t kChunk = 16384;

static int64_t rowsOf(Value value) {
  return cast<ShapedType>(value.getType()).getDimSize(0);
}
static int64_t columnsOf(Value value) {
  return cast<ShapedType>(value.getType()).getDimSize(1);
}

/// for rows in parallel: for j: body(row, j, lanes)
static void forElements(KernelBuilder &b, Value matrix, int64_t lanes,
                        function_ref<void(Value, Value, int64_t)> body) {
  b.parallelChunks(rowsOf(matrix), kRows, [&](Value begin, Value end) {
    b.loop(begin, end, 1, [&](Value row) {
      b.vectorLoop(columnsOf(matrix), lanes,
                   [&](Value j, int64_t width) { body(row, j, width); });
    });
  });
}

static void clear(KernelBuilder &b, Value buffer, int64_t lanes) {
  Value flat = b.flatten(buffer);
  b.parallelVectorLoop(
      rowsOf(flat), kChunk, lanes,
      [&](Value i, int64_t width) { b.store(b.f32(0.0, width), flat, i); });
}

/// The table row of token `token`: its index, brought into [0, rows).
static Value tableRow(KernelBuilder &b, Value flatIndices, Value token,
                      int64_t rows) {
  Value index = b.load(flatIndices, token);
  index = arith::MaxSIOp::create(b, index, b.i32(0));
  index = arith::MinSIOp::create(b, index, b.i32(rows - 1));
  return arith::IndexCastOp::create(b, b.getIndexType(), index);
}

namespace {
/// for rows in parallel: result[t] = table[index(t)]
struct EmbeddingPattern : KernelPattern<nn::EmbeddingOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(nn::EmbeddingOp op,
                                PatternRewriter &rewriter) const override {
    std::string name = "embedding_" + shapeName(op.getIndices()) + "_" +
                       shapeName(op.getTable());
    context.replaceByLaunch(
        rewriter, op, name, {op.getIndices(), op.getTable()},
        /*workspaces=*/{}, [&](KernelBuilder &b, ValueRange arguments) {
          Value indices = b.flatten(arguments[0]), table = arguments[1],
                result = arguments[2];
          b.parallelChunks(rowsOf(result), kRows, [&](Value begin, Value end) {
            b.loop(begin, end, 1, [&](Value token) {
              Value row = tableRow(b, indices, token, rowsOf(table));
              b.vectorLoop(columnsOf(table), context.lanes(),
                           [&](Value j, int64_t lanes) {
                             b.store(b.load(table, {row, j}, lanes), result,
                                     {token, j});
                           });
            });
          });
        });
    return success();
  }
};

/// result = 0; for chunks of columns in parallel: for t ascending:
///   result[index(t), chunk] += gradient[t, chunk]
///
/// Every thread walks all tokens and owns its columns, so no two add to the
/// same element and the order of the sum is the tokens'.
struct EmbeddingBackwardPattern : KernelPattern<nn::EmbeddingBackwardOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(nn::EmbeddingBackwardOp op,
                                PatternRewriter &rewriter) const override {
    std::string name = "embedding_backward_" + shapeName(op.getIndices()) +
                       "_" + shapeName(op.getResult());
    context.replaceByLaunch(
        rewriter, op, name, {op.getIndices(), op.getGradient()},
        /*workspaces=*/{}, [&](KernelBuilder &b, ValueRange arguments) {
          Value indices = b.flatten(arguments[0]), gradient = arguments[1],
                result = arguments[2];
          clear(b, result, context.lanes());
          int64_t columns = columnsOf(result), chunk = 8 * context.lanes(),
                  whole = columns / chunk;
          auto scatter = [&](Value first, int64_t count) {
            b.loop(0, rowsOf(gradient), 1, [&](Value token) {
              Value row = tableRow(b, indices, token, rowsOf(result));
              b.vectorLoop(count, context.lanes(), [&](Value i, int64_t lanes) {
                Value j = b.addi(first, i);
                b.store(b.addf(b.load(result, {row, j}, lanes),
                               b.load(gradient, {token, j}, lanes)),
                        result, {row, j});
              });
            });
          };
          if (whole)
            b.parallel(whole,
                       [&](Value i) { scatter(b.muli(i, chunk), chunk); });
          if (whole * chunk != columns)
            scatter(b.index(whole * chunk), columns - whole * chunk);
        });
    return success();
  }
};

/// result[t] = input[t] + table[first + t % length]
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
        [&](KernelBuilder &b, ValueRange arguments) {
          forElements(b, arguments[2], context.lanes(),
                      [&](Value row, Value j, int64_t lanes) {
                        Value position =
                            b.addi(b.remi(row, op.getLength()), op.getFirst());
                        b.store(
                            b.addf(b.load(arguments[0], {row, j}, lanes),
                                   b.load(arguments[1], {position, j}, lanes)),
                            arguments[2], {row, j});
                      });
        });
    return success();
  }
};

/// result[first + p] = sum over b ascending of input[b * length + p]; else 0
struct PositionSumPattern : KernelPattern<nn::PositionSumOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(nn::PositionSumOp op,
                                PatternRewriter &rewriter) const override {
    std::string name = "position_sum_" + shapeName(op.getInput()) + "_" +
                       shapeName(op.getResult()) + "_length" +
                       std::to_string(op.getLength()) +
                       firstName(op.getFirst());
    int64_t length = op.getLength();
    context.replaceByLaunch(
        rewriter, op, name, op.getInput(), /*workspaces=*/{},
        [&](KernelBuilder &b, ValueRange arguments) {
          Value input = arguments[0], result = arguments[1];
          forElements(
              b, result, context.lanes(),
              [&](Value row, Value j, int64_t lanes) {
                Value position = b.subi(row, b.index(op.getFirst()));
                // Unsigned: rows before the first are none either.
                Value isPosition = b.cmpi(arith::CmpIPredicate::ult, position,
                                          b.index(length));
                Value begin = b.select(isPosition, position, b.index(0));
                Value end = b.select(isPosition, b.index(rowsOf(input)), begin);
                Value sum = b.loop(
                    begin, end, length, {b.f32(0.0, lanes)},
                    [&](Value token, ValueRange carried) -> SmallVector<Value> {
                      return {
                          b.addf(carried[0], b.load(input, {token, j}, lanes))};
                    })[0];
                b.store(sum, result, {row, j});
              });
        });
    return success();
  }
};

/// result[b] = input[b * L + index]
struct SelectTokenPattern : KernelPattern<nn::SelectTokenOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(nn::SelectTokenOp op,
                                PatternRewriter &rewriter) const override {
    std::string name = "select_token_" + shapeName(op.getInput()) + "_" +
                       shapeName(op.getResult()) + selectionName(op.getIndex());
    int64_t length = rowsOf(op.getInput()) / rowsOf(op.getResult());
    context.replaceByLaunch(
        rewriter, op, name, op->getOperands(), /*workspaces=*/{},
        [&](KernelBuilder &b, ValueRange arguments) {
          forElements(b, arguments.back(), context.lanes(),
                      [&](Value row, Value j, int64_t lanes) {
                        Value token = selectedToken(b, op.getIndex(),
                                                    arguments[1], row, length);
                        b.store(b.load(arguments[0], {token, j}, lanes),
                                arguments.back(), {row, j});
                      });
        });
    return success();
  }
};

/// result = 0; result[b * L + index] = gradient[b]
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
        [&](KernelBuilder &b, ValueRange arguments) {
          clear(b, arguments.back(), context.lanes());
          forElements(b, arguments[0], context.lanes(),
                      [&](Value row, Value j, int64_t lanes) {
                        Value token = selectedToken(b, op.getIndex(),
                                                    arguments[1], row, length);
                        b.store(b.load(arguments[0], {row, j}, lanes),
                                arguments.back(), {token, j});
                      });
        });
    return success();
  }
};
} // namespace

void pst::cpu::populateEmbeddingKernels(RewritePatternSet &patterns,
                                        KernelContext &context) {
  patterns
      .add<EmbeddingPattern, EmbeddingBackwardPattern, AddPositionsPattern,
           PositionSumPattern, SelectTokenPattern, SelectTokenBackwardPattern>(
          patterns.getContext(), context);
}
