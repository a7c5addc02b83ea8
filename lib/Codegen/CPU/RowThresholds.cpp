//===- RowThresholds.cpp - The threshold of each row ----------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// parallel for chunks of rows, for a few rows at once:
//   keys[r, j] = key of the score at (row + r, j)
//   for each of the rows:
//     tau: bit by bit from the highest, the largest key that is reached by as
//          many keys as are to be kept
//     cut: after the last kept one of that key
//
// A row's keys lie in the first-level cache, where counting those that reach a
// key is a compare and an addition for each vector: 32 such counts take less
// than a histogram, whose additions are scalar, and its bins.

#include "../Kernel/ScoreKey.h"
#include "../Kernel/VirtualWeight.h"
#include "KernelContext.h"
#include <cmath>

using namespace mlir;
using namespace pst;
using namespace pst::cpu;

/// Rows evaluated together: they share what is read of the columns.
static constexpr int64_t kRows = 4;
static constexpr int64_t kLargestChunks = 64;

namespace {
class RowSelection {
public:
  /// `keys` is i32, chunks x kRows x stride(columns, lanes).
  RowSelection(KernelBuilder &b, const VirtualWeight &weight, int64_t lanes,
               Value keys, Value keep, Value thresholds, Value cuts)
      : b(b), weight(weight), columns(weight.getColumns()), lanes(lanes),
        keys(keys), keep(keep), thresholds(thresholds), cuts(cuts) {}

  /// Whole vectors that hold a row.
  static int64_t stride(int64_t columns, int64_t lanes) {
    return llvm::alignTo(columns, lanes);
  }

  void emit(Value chunk, Value begin, Value end) {
    this->chunk = chunk;
    // What follows a row in its last vector is the key of no score, the lowest.
    for (int64_t r = 0; r < kRows; ++r)
      b.loop(columns, stride(columns, lanes), 1,
             [&](Value j) { b.store(b.i32(0), keys, {chunk, b.index(r), j}); });
    Value whole =
        b.addi(begin, b.muli(b.divi(b.subi(end, begin), kRows), kRows));
    b.loop(begin, whole, kRows, [&](Value row) { select(row, kRows); });
    b.loop(whole, end, 1, [&](Value row) { select(row, 1); });
  }

private:
  void select(Value row, int64_t count) {
    b.vectorLoop(columns, lanes, [&](Value j, int64_t width) {
      auto elements = weight.evaluateRows(b, row, count, j, width);
      for (auto [r, element] : llvm::enumerate(elements))
        b.store(keyOfScore(b, element.getScore()), keys,
                {chunk, b.index(r), j});
    });
    b.loop(0, count, 1, [&](Value r) { find(r, b.addi(row, r)); });
  }

  void find(Value r, Value row) {
    Value tau =
        b.loop(b.index(0), b.index(32), 1, {b.i32(0)},
               [&](Value bit, ValueRange found) -> SmallVector<Value> {
                 Value place = arith::IndexCastOp::create(
                     b, b.getI32Type(), b.subi(b.index(31), bit));
                 Value next = arith::OrIOp::create(
                     b, found[0], arith::ShLIOp::create(b, b.i32(1), place));
                 Value reached =
                     b.cmpi(arith::CmpIPredicate::sge,
                            count(r, next, arith::CmpIPredicate::uge), keep);
                 return {b.select(reached, next, found[0])};
               })[0];
    Value above = count(r, tau, arith::CmpIPredicate::ugt);
    Value none = b.cmpi(arith::CmpIPredicate::slt, keep, b.i32(1));
    // NaNs have the largest key, which no number has.
    Value nan = b.cmpi(arith::CmpIPredicate::sgt,
                       count(r, b.i32(-1), arith::CmpIPredicate::eq), b.i32(0));
    Value score = b.select(none, b.f32(INFINITY), scoreOfKey(b, tau));
    b.store(b.select(nan, b.f32(NAN), score), thresholds, row);
    Value cut = findCut(r, tau, b.subi(keep, above));
    Value nothing = arith::OrIOp::create(b, none, nan);
    b.store(b.select(nothing, b.i64(0), cut), cuts, row);
  }

  /// How many keys of a row compare so with `key`, an i32.
  Value count(Value r, Value key, arith::CmpIPredicate predicate) {
    Type type = b.lanesType(lanes, b.getI32Type());
    Value splat = b.splat(key, lanes);
    Value sums =
        b.loop(b.index(0), b.index(stride(columns, lanes)), lanes,
               {b.splat(b.i32(0), lanes)},
               [&](Value j, ValueRange sum) -> SmallVector<Value> {
                 Value holds = b.cmpi(
                     predicate, b.load(keys, {chunk, r, j}, lanes), splat);
                 return {arith::AddIOp::create(
                     b, sum[0], arith::ExtUIOp::create(b, type, holds))};
               })[0];
    return lanes == 1 ? sums
                      : vector::ReductionOp::create(
                            b, vector::CombiningKind::ADD, sums);
  }

  /// The index after the `wanted`-th key of a row that is `key`, an i64.
  Value findCut(Value r, Value key, Value wanted) {
    SmallVector<Value> state = b.loop(
        b.index(0), b.index(columns), 1, {wanted, b.i64(0)},
        [&](Value j, ValueRange state) -> SmallVector<Value> {
          Value same = b.cmpi(arith::CmpIPredicate::eq,
                              b.load(keys, {chunk, r, j}), key);
          Value left =
              b.subi(state[0], arith::ExtUIOp::create(b, b.getI32Type(), same));
          Value isLast = arith::AndIOp::create(
              b, same, b.cmpi(arith::CmpIPredicate::eq, left, b.i32(0)));
          Value next =
              arith::IndexCastOp::create(b, b.getI64Type(), b.addi(j, 1));
          return {left, b.select(isLast, next, state[1])};
        });
    return state[1];
  }

  KernelBuilder &b;
  const VirtualWeight &weight;
  int64_t columns, lanes;
  Value keys, keep, thresholds, cuts;
  Value chunk;
};

struct RowThresholdsPattern : KernelPattern<RowThresholdsOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(RowThresholdsOp op,
                                PatternRewriter &rewriter) const override {
    CriterionOp criterion = context.getCriterion(op.getCriterionAttr());
    RankedTensorType type = getWeightType(criterion, op.getFactors());
    int64_t rows = type.getDimSize(0), columns = type.getDimSize(1);
    int64_t lanes = context.lanes();
    int64_t rowsPerChunk =
        llvm::alignTo(llvm::divideCeil(rows, kLargestChunks), kRows);
    int64_t chunks = llvm::divideCeil(rows, rowsPerChunk);
    SmallVector<Value> inputs(op.getFactors());
    inputs.push_back(op.getSparsity());
    auto keysType = RankedTensorType::get(
        {chunks, kRows, RowSelection::stride(columns, lanes)},
        rewriter.getI32Type());
    context.replaceByLaunch(
        rewriter, op, inputs, keysType,
        [&](KernelBuilder &b, ValueRange arguments) {
          VirtualWeight weight(criterion,
                               arguments.take_front(op.getFactors().size()));
          ValueRange rest = arguments.drop_front(op.getFactors().size());
          // int(columns * sparsity), as Python computes it.
          Value pruned = arith::FPToSIOp::create(
              b, b.getI32Type(), b.mulf(b.f64(double(columns)), rest[0]));
          Value keep = b.subi(b.i32(columns), pruned);
          Value all = arith::MulIOp::create(
              b, arith::ExtSIOp::create(b, b.getI64Type(), pruned),
              b.i64(rows));
          b.store(all, rest[3], {});
          b.parallel(chunks, [&](Value chunk) {
            Value begin = b.muli(chunk, rowsPerChunk);
            Value end = b.mini(b.addi(begin, rowsPerChunk), b.index(rows));
            RowSelection(b, weight, lanes, rest[4], keep, rest[1], rest[2])
                .emit(chunk, begin, end);
          });
        });
    return success();
  }
};
} // namespace

void pst::cpu::populateRowThresholdsKernels(RewritePatternSet &patterns,
                                            KernelContext &context) {
  patterns.add<RowThresholdsPattern>(patterns.getContext(), context);
}
