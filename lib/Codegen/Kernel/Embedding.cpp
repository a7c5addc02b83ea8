//===- Embedding.cpp - Ops that move rows of tokens -----------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Embedding.h"
#include "LaunchContext.h"
#include "pst/Dialect/NN/NNOps.h"

using namespace mlir;
using namespace pst;
using namespace pst::kernel;

static int64_t rowsOf(Value value) {
  return cast<ShapedType>(value.getType()).getDimSize(0);
}

Value pst::kernel::tableRow(CodeBuilder &b, Value indices, Value token,
                            int64_t rows) {
  Value index = b.load(b.flatten(indices), token);
  index = arith::MaxSIOp::create(b, index, b.i32(0));
  return arith::MinSIOp::create(b, index, b.i32(rows - 1));
}

/// The token of sequence `row` that is selected, counted over all sequences of
/// `length` tokens: the one at `index` or, without one, the last whose `mask`
/// (sequences x length, of i32) is not 0, else the first.
static Value selectedToken(CodeBuilder &b, std::optional<int64_t> index,
                           Value mask, Value row, int64_t length) {
  Value first = b.muli(row, length);
  if (index)
    return b.addi(first, *index);
  Value last = b.loop(b.index(0), b.index(length), 1, {b.index(0)},
                      [&](Value t, ValueRange carried) -> SmallVector<Value> {
                        Value isToken =
                            b.cmpi(arith::CmpIPredicate::ne,
                                   b.load(mask, {row, t}), b.i32(0));
                        return {b.select(isToken, t, carried[0])};
                      })[0];
  return b.addi(first, last);
}

namespace {
/// result[row] = elements(op, arguments, row)
template <typename OpT> struct RowPattern : LaunchPattern<OpT> {
  using Function = GroupFunction (*)(CodeBuilder &b, OpT op,
                                     ValueRange arguments, Value row);
  RowPattern(MLIRContext *mlirContext, LaunchContext &context,
             Function function)
      : LaunchPattern<OpT>(mlirContext, context), function(function) {}

  LogicalResult matchAndRewrite(OpT op,
                                PatternRewriter &rewriter) const override {
    this->context.replaceByLaunch(
        rewriter, op, op->getOperands(), /*workspaces=*/{},
        [&](CodeBuilder &host, ValueRange arguments) {
          this->context.writeRows(
              host, /*like=*/arguments.size() - 1, arguments,
              [&](CodeBuilder &b, ValueRange values, Value row) {
                return Driver::RowWrite{row, function(b, op, values, row)};
              });
        });
    return success();
  }
  Function function;
};

/// result = 0; result[b * length + index] = gradient[b]
struct SelectTokenBackwardPattern : LaunchPattern<nn::SelectTokenBackwardOp> {
  using LaunchPattern::LaunchPattern;
  LogicalResult matchAndRewrite(nn::SelectTokenBackwardOp op,
                                PatternRewriter &rewriter) const override {
    int64_t length = rowsOf(op.getResult()) / rowsOf(op.getGradient());
    context.replaceByLaunch(
        rewriter, op, op->getOperands(), /*workspaces=*/{},
        [&](CodeBuilder &host, ValueRange arguments) {
          context.clear(host, arguments.back());
          context.writeRows(
              host, /*like=*/0, arguments,
              [&](CodeBuilder &b, ValueRange values, Value row) {
                Value token =
                    selectedToken(b, op.getIndex(), values[1], row, length);
                return Driver::RowWrite{
                    token, [&b, row, from = values[0]](Value j, int64_t size) {
                      return b.loadGroup(from, {row, j}, size);
                    }};
              });
        });
    return success();
  }
};
} // namespace

/// result[t] = table[index(t)]
static GroupFunction embed(CodeBuilder &b, nn::EmbeddingOp op,
                           ValueRange arguments, Value token) {
  Value index = tableRow(b, arguments[0], token, rowsOf(arguments[1]));
  Value row = arith::IndexCastOp::create(b, b.getIndexType(), index);
  return [&b, row, table = arguments[1]](Value j, int64_t size) {
    return b.loadGroup(table, {row, j}, size);
  };
}

/// Of a token with `count` tokens before it in its sequence: its position, and
/// the count with it. Padding is not counted, and its position is its id.
static std::pair<Value, Value> countToken(CodeBuilder &b, Value id, Value count,
                                          int64_t padding) {
  Value isToken = b.cmpi(arith::CmpIPredicate::ne, id, b.i32(padding));
  Value next = b.select(isToken, b.addi(count, 1), count);
  Value position = b.select(isToken, b.addi(next, padding), b.index(padding));
  return {position, next};
}

/// result[t] = input[t] + table[first + t % length], or with ids
/// table[first - 1 + number of tokens up to t, or of padding none]
static GroupFunction addPosition(CodeBuilder &b, nn::AddPositionsOp op,
                                 ValueRange arguments, Value row) {
  int64_t length = op.getLength();
  Value place = b.remi(row, length);
  Value position;
  if (op.getIds()) {
    Value sequence = b.divi(row, length);
    position = b.loop(b.index(0), b.addi(place, 1), 1, {b.index(0), b.index(0)},
                      [&](Value t, ValueRange carried) -> SmallVector<Value> {
                        auto [position, count] =
                            countToken(b, b.load(arguments[2], {sequence, t}),
                                       carried[1], op.getFirst() - 1);
                        return {position, count};
                      })[0];
  } else {
    position = b.addi(place, op.getFirst());
  }
  return [&b, row, position, input = arguments[0],
          table = arguments[1]](Value j, int64_t size) {
    Group sums = b.loadGroup(input, {row, j}, size);
    for (auto [sum, term] :
         llvm::zip(sums, b.loadGroup(table, {position, j}, size)))
      sum = b.addf(sum, term);
    return sums;
  };
}

/// The same with ids: the sum over t ascending of input[t] that add_positions
/// gives this row.
static GroupFunction sumCounted(CodeBuilder &b, nn::PositionSumOp op,
                                ValueRange arguments, Value row) {
  int64_t length = op.getLength(), padding = op.getFirst() - 1;
  Value input = arguments[0], ids = arguments[1];
  return [=, &b](Value j, int64_t size) {
    SmallVector<Value> carried = {b.index(0)};
    llvm::append_range(carried, b.zeroGroup(size));
    SmallVector<Value> last = b.loop(
        b.index(0), b.index(rowsOf(input)), 1, carried,
        [&](Value token, ValueRange state) {
          Value place = b.remi(token, length);
          Value begins = b.cmpi(arith::CmpIPredicate::eq, place, b.index(0));
          auto [position, count] =
              countToken(b, b.load(ids, {b.divi(token, length), place}),
                         b.select(begins, b.index(0), state[0]), padding);
          Value isHere = b.cmpi(arith::CmpIPredicate::eq, position, row);
          SmallVector<Value> next = {count};
          // Few of the tokens are here, so the others cost no row.
          auto added = scf::IfOp::create(
              b, isHere,
              [&](OpBuilder &, Location) {
                Group sums;
                for (auto [sum, term] :
                     llvm::zip(state.drop_front(),
                               b.loadGroup(input, {token, j}, size)))
                  sums.push_back(b.addf(sum, term));
                scf::YieldOp::create(b, sums);
              },
              [&](OpBuilder &, Location) {
                scf::YieldOp::create(b, state.drop_front());
              });
          llvm::append_range(next, added.getResults());
          return next;
        });
    return Group(llvm::drop_begin(last));
  };
}

/// result[first + p] = sum over b ascending of input[b * length + p]; else 0
static GroupFunction sumPosition(CodeBuilder &b, nn::PositionSumOp op,
                                 ValueRange arguments, Value row) {
  if (op.getIds())
    return sumCounted(b, op, arguments, row);
  int64_t length = op.getLength();
  Value input = arguments[0];
  Value position = b.subi(row, b.index(op.getFirst()));
  // Unsigned: rows before the first are none either.
  Value isPosition =
      b.cmpi(arith::CmpIPredicate::ult, position, b.index(length));
  Value begin = b.select(isPosition, position, b.index(0));
  Value end = b.select(isPosition, b.index(rowsOf(input)), begin);
  return [=, &b](Value j, int64_t size) {
    return b.loop(begin, end, length, b.zeroGroup(size),
                  [&](Value token, ValueRange carried) {
                    Group next(carried);
                    for (auto [sum, term] :
                         llvm::zip(next, b.loadGroup(input, {token, j}, size)))
                      sum = b.addf(sum, term);
                    return next;
                  });
  };
}

/// result[b] = input[b * length + index]
static GroupFunction selectToken(CodeBuilder &b, nn::SelectTokenOp op,
                                 ValueRange arguments, Value row) {
  int64_t length = rowsOf(op.getInput()) / rowsOf(op.getResult());
  Value token = selectedToken(b, op.getIndex(), arguments[1], row, length);
  return [&b, token, input = arguments[0]](Value j, int64_t size) {
    return b.loadGroup(input, {token, j}, size);
  };
}

void pst::kernel::populateEmbeddingKernels(RewritePatternSet &patterns,
                                           LaunchContext &context) {
  MLIRContext *mlirContext = patterns.getContext();
  patterns.add<RowPattern<nn::EmbeddingOp>>(mlirContext, context, embed);
  patterns.add<RowPattern<nn::AddPositionsOp>>(mlirContext, context,
                                               addPosition);
  patterns.add<RowPattern<nn::PositionSumOp>>(mlirContext, context,
                                              sumPosition);
  patterns.add<RowPattern<nn::SelectTokenOp>>(mlirContext, context,
                                              selectToken);
  patterns.add<SelectTokenBackwardPattern>(mlirContext, context);
}
