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

namespace {
/// The token of a sequence that is selected.
struct SelectedToken {
  /// Of sequence `row`, of `length` tokens: the one at `index` or, without one,
  /// the last whose `mask` (sequences x length, of i32) is not 0, else the
  /// first.
  SelectedToken(CodeBuilder &b, std::optional<int64_t> index, Value mask,
                Value row, int64_t length) {
    Value first = b.muli(row, length);
    if (index) {
      token = b.addi(first, *index);
      return;
    }
    Value last = b.loop(b.index(0), b.index(length), 1, {b.index(0)},
                        [&](Value t, ValueRange carried) -> SmallVector<Value> {
                          Value isToken =
                              b.cmpi(arith::CmpIPredicate::ne,
                                     b.load(mask, {row, t}), b.i32(0));
                          return {b.select(isToken, t, carried[0])};
                        })[0];
    token = b.addi(first, last);
  }
  /// The same of packed matrices, where a sequence may have no such token.
  SelectedToken(CodeBuilder &b, std::optional<int64_t> index,
                const PackedRows &packed, Value row) {
    Value begin = PackedRows::readStart(b, packed.starts, row);
    Value end = PackedRows::readStart(b, packed.starts, b.addi(row, 1));
    Value at = index ? b.addi(begin, *index) : b.addi(end, -1);
    Value isThere = b.cmpi(arith::CmpIPredicate::slt, at, end);
    if (!index)
      isThere = b.cmpi(arith::CmpIPredicate::sge, at, begin);
    exists = isThere;
    // A row that can be read, in any case.
    token = b.select(isThere, at, b.index(0));
  }

  Value token;
  Value exists; ///< An i1; null: it does.
};
} // namespace

/// `element`, or 0 if what it is of does not exist; null: it does.
static Value orZero(CodeBuilder &b, Value exists, Value element) {
  return exists ? b.select(exists, element, b.f32(0.0, b.lanesOf(element)))
                : element;
}

namespace {
/// result[row] = elements(op, arguments, row)
template <typename OpT> struct RowPattern : LaunchPattern<OpT> {
  using Function = GroupFunction (*)(LaunchContext &context, CodeBuilder &b,
                                     OpT op, ValueRange arguments, Value row);
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
                return Driver::RowWrite{
                    row, function(this->context, b, op, values, row)};
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
    context.replaceByLaunch(
        rewriter, op, op->getOperands(), /*workspaces=*/{},
        [&](CodeBuilder &host, ValueRange arguments) {
          if (const PackedRows *packed = context.packedRows())
            return writePacked(host, op, *packed, arguments);
          int64_t length = rowsOf(op.getResult()) / rowsOf(op.getGradient());
          context.clear(host, arguments.back());
          context.writeRows(
              host, /*like=*/0, arguments,
              [&](CodeBuilder &b, ValueRange values, Value row) {
                Value token =
                    SelectedToken(b, op.getIndex(), values[1], row, length)
                        .token;
                return Driver::RowWrite{
                    token, [&b, row, from = values[0]](Value j, int64_t size) {
                      return b.loadGroup(from, {row, j}, size);
                    }};
              });
        });
    return success();
  }

private:
  /// result[t] = t is its sequence's selected token ? gradient[sequence] : 0
  void writePacked(CodeBuilder &host, nn::SelectTokenBackwardOp op,
                   const PackedRows &packed, ValueRange arguments) const {
    context.writeRows(
        host, /*like=*/arguments.size() - 1, arguments,
        [&](CodeBuilder &b, ValueRange values, Value row) {
          Value sequence = b.divi(context.placeOf(b, row), packed.length);
          SelectedToken selected(b, op.getIndex(), packed, sequence);
          Value isHere = b.cmpi(arith::CmpIPredicate::eq, selected.token, row);
          isHere = arith::AndIOp::create(b, isHere, selected.exists);
          return Driver::RowWrite{
              row,
              [&b, sequence, isHere, from = values[0]](Value j, int64_t size) {
                Group group = b.loadGroup(from, {sequence, j}, size);
                for (Value &element : group)
                  element = orZero(b, isHere, element);
                return group;
              }};
        });
  }
};

/// result = 0; result[place(t)] = input[t]
struct UnpackTokensPattern : LaunchPattern<nn::UnpackTokensOp> {
  using LaunchPattern::LaunchPattern;
  LogicalResult matchAndRewrite(nn::UnpackTokensOp op,
                                PatternRewriter &rewriter) const override {
    context.replaceByLaunch(
        rewriter, op, op->getOperands(), /*workspaces=*/{},
        [&](CodeBuilder &host, ValueRange arguments) {
          context.clear(host, arguments.back());
          context.writeRows(
              host, /*like=*/0, arguments,
              [&](CodeBuilder &b, ValueRange values, Value row) {
                return Driver::RowWrite{
                    context.placeOf(b, row),
                    [&b, row, from = values[0]](Value j, int64_t size) {
                      return b.loadGroup(from, {row, j}, size);
                    }};
              });
        });
    return success();
  }
};
} // namespace

namespace {
/// A row of a table, times its scale if it has one.
class TableRow {
public:
  /// `scales`: as an argument of the kernel, or null.
  TableRow(CodeBuilder &b, Value table, Value scales, Value row)
      : table(table), row(row), scale(scales ? b.load(scales, row) : Value()) {}

  Group elements(CodeBuilder &b, Value j, int64_t size) const {
    Group group = b.loadGroup(table, {row, j}, size);
    if (scale)
      for (Value &element : group)
        element = b.mulf(element, b.splat(scale, b.lanesOf(element)));
    return group;
  }

private:
  Value table, row, scale;
};
} // namespace

/// result[t] = table[index(t)]
static GroupFunction embed(LaunchContext &context, CodeBuilder &b,
                           nn::EmbeddingOp op, ValueRange arguments,
                           Value token) {
  Value index = tableRow(b, arguments[0], context.placeOf(b, token),
                         rowsOf(arguments[1]));
  TableRow row(b, arguments[1], op.getScales() ? arguments[2] : Value(),
               arith::IndexCastOp::create(b, b.getIndexType(), index));
  return [&b, row](Value j, int64_t size) { return row.elements(b, j, size); };
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
static GroupFunction addPosition(LaunchContext &context, CodeBuilder &b,
                                 nn::AddPositionsOp op, ValueRange arguments,
                                 Value row) {
  int64_t length = op.getLength();
  Value token = context.placeOf(b, row);
  Value place = b.remi(token, length);
  Value position;
  if (op.getIds()) {
    Value sequence = b.divi(token, length);
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
  Value scales = op.getScales() ? arguments[op.getIds() ? 3 : 2] : Value();
  TableRow added(b, arguments[1], scales, position);
  return [&b, row, added, input = arguments[0]](Value j, int64_t size) {
    Group sums = b.loadGroup(input, {row, j}, size);
    for (auto [sum, term] : llvm::zip(sums, added.elements(b, j, size)))
      sum = b.addf(sum, term);
    return sums;
  };
}

/// The same with ids: the sum over t ascending of input[t] that add_positions
/// gives this row.
static GroupFunction sumCounted(LaunchContext &context, CodeBuilder &b,
                                nn::PositionSumOp op, ValueRange arguments,
                                Value row) {
  int64_t length = op.getLength(), padding = op.getFirst() - 1;
  Value input = arguments[0], ids = arguments[1];
  Value tokens = context.rowsOf(b, input);
  return [=, &b, &context](Value j, int64_t size) {
    SmallVector<Value> carried = {b.index(0)};
    llvm::append_range(carried, b.zeroGroup(size));
    SmallVector<Value> last = b.loop(
        b.index(0), tokens, 1, carried, [&](Value token, ValueRange state) {
          Value at = context.placeOf(b, token);
          Value place = b.remi(at, length);
          Value begins = b.cmpi(arith::CmpIPredicate::eq, place, b.index(0));
          auto [position, count] =
              countToken(b, b.load(ids, {b.divi(at, length), place}),
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

/// result[first + p] = sum over b ascending of input[starts[b] + p], where
/// sequence b has such a token; else 0
static GroupFunction sumPacked(CodeBuilder &b, nn::PositionSumOp op,
                               const PackedRows &packed, ValueRange arguments,
                               Value row) {
  Value input = arguments[0];
  Value starts = packed.starts, sequences = b.index(rowsOf(starts) - 1);
  Value position = b.subi(row, b.index(op.getFirst()));
  return [=, &b](Value j, int64_t size) {
    return b.loop(
        b.index(0), sequences, 1, b.zeroGroup(size),
        [&](Value sequence, ValueRange carried) {
          Value begin = PackedRows::readStart(b, starts, sequence);
          Value end = PackedRows::readStart(b, starts, b.addi(sequence, 1));
          // Unsigned: rows before the first are none either.
          Value isThere =
              b.cmpi(arith::CmpIPredicate::ult, position, b.subi(end, begin));
          Value token = arith::AddIOp::create(b, begin, position);
          auto added = scf::IfOp::create(
              b, isThere,
              [&](OpBuilder &, Location) {
                Group sums;
                for (auto [sum, term] :
                     llvm::zip(carried, b.loadGroup(input, {token, j}, size)))
                  sums.push_back(b.addf(sum, term));
                scf::YieldOp::create(b, sums);
              },
              [&](OpBuilder &, Location) { scf::YieldOp::create(b, carried); });
          return Group(added.getResults());
        });
  };
}

/// result[first + p] = sum over b ascending of input[b * length + p]; else 0
static GroupFunction sumPosition(LaunchContext &context, CodeBuilder &b,
                                 nn::PositionSumOp op, ValueRange arguments,
                                 Value row) {
  if (op.getIds())
    return sumCounted(context, b, op, arguments, row);
  if (const PackedRows *packed = context.packedRows())
    return sumPacked(b, op, *packed, arguments, row);
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
static GroupFunction selectToken(LaunchContext &context, CodeBuilder &b,
                                 nn::SelectTokenOp op, ValueRange arguments,
                                 Value row) {
  const PackedRows *packed = context.packedRows();
  SelectedToken selected =
      packed ? SelectedToken(b, op.getIndex(), *packed, row)
             : SelectedToken(b, op.getIndex(), arguments[1], row,
                             rowsOf(op.getInput()) / rowsOf(op.getResult()));
  return [&b, selected, input = arguments[0]](Value j, int64_t size) {
    Group group = b.loadGroup(input, {selected.token, j}, size);
    for (Value &element : group)
      element = orZero(b, selected.exists, element);
    return group;
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
  patterns.add<SelectTokenBackwardPattern, UnpackTokensPattern>(mlirContext,
                                                                context);
}
