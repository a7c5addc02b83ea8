//===- RowThresholds.cpp - The threshold of each row ----------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// for rows, each by a block:
//   keys[block, j] = key of the score at (row, j)
//   tau: the key of the rank that is kept last
//   cut: of those of that key, the index after the one of the rank that is left

#include "../Kernel/ScoreKey.h"
#include "MaskedWeight.h"
#include "RadixSelect.h"
#include "llvm/Support/MathExtras.h"
#include <cmath>

using namespace mlir;
using namespace pst;
using namespace pst::cuda;

static constexpr int64_t kThreads = 256;
/// Two for each multiprocessor of an H200: so many rows have their keys in
/// memory at a time.
static constexpr int64_t kLargestBlocks = 264;

/// The row's threshold and cut; `keys` are its keys, of which `keep` (i32)
/// stay.
static void findThreshold(ThreadBuilder &b, RadixSelect &radix, int64_t columns,
                          llvm::function_ref<Value(Value)> keyOf, Value keep,
                          Value row, Value thresholds, Value cuts) {
  auto isEqual = [&](Value lhs, Value rhs) {
    return b.cmpi(arith::CmpIPredicate::eq, lhs, rhs);
  };
  auto complement = [&](Value value) {
    return arith::XOrIOp::create(b, value, b.i32(-1));
  };
  Value size = b.index(columns);
  // NaNs have the largest key, which no number has.
  Value largest =
      b.blockMax(b.loop(b.thread(), size, kThreads, {b.i32(0)},
                        [&](Value j, ValueRange most) -> SmallVector<Value> {
                          return {arith::MaxUIOp::create(b, most[0], keyOf(j))};
                        })[0]);
  RankedKey found = radix.largest(
      b, size, b.i32(0), b.i32(32), keep,
      [&](Value j) -> RadixSelect::Element { return {keyOf(j)}; });
  // The largest complement is that of the smallest index.
  int64_t indexBits = llvm::Log2_64_Ceil(columns);
  int64_t lowest = -(int64_t(1) << indexBits);
  RankedKey last =
      radix.largest(b, size, b.i32(int32_t(lowest)), b.i32(indexBits),
                    found.wanted, [&](Value j) -> RadixSelect::Element {
                      Value index =
                          arith::IndexCastOp::create(b, b.getI32Type(), j);
                      return {complement(index), isEqual(keyOf(j), found.key)};
                    });
  b.onFirstThread([&] {
    Value nan = isEqual(largest, b.i32(-1)), none = isEqual(keep, b.i32(0));
    Value tau = b.select(none, b.f32(INFINITY), scoreOfKey(b, found.key));
    b.store(b.select(nan, b.f32(NAN), tau), thresholds, row);
    Value cut =
        b.addi(arith::ExtUIOp::create(b, b.getI64Type(), complement(last.key)),
               b.i64(1));
    Value nothing = arith::OrIOp::create(b, none, nan);
    b.store(b.select(nothing, b.i64(0), cut), cuts, row);
  });
}

namespace {
struct RowThresholdsPattern : KernelPattern<RowThresholdsOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(RowThresholdsOp op,
                                PatternRewriter &rewriter) const override {
    CriterionOp criterion = context.getCriterion(op.getCriterionAttr());
    RankedTensorType type = getWeightType(criterion, op.getFactors());
    int64_t rows = type.getDimSize(0), columns = type.getDimSize(1);
    int64_t blocks = std::min(rows, kLargestBlocks);
    SmallVector<Value> inputs(op.getFactors());
    inputs.push_back(op.getSparsity());
    auto keysType =
        RankedTensorType::get({blocks, columns}, rewriter.getI32Type());
    context.replaceByLaunch(
        rewriter, op, inputs, keysType,
        [&](CodeBuilder &host, ValueRange arguments) {
          context.launch(
              host, "", blocks, kThreads, arguments,
              [&](ThreadBuilder &b, ValueRange values) {
                size_t factors = op.getFactors().size();
                VirtualWeight weight(criterion, values.take_front(factors));
                ValueRange rest = values.drop_front(factors);
                Value keys = rest[4];
                RadixSelect radix(b);
                Value pruned = arith::FPToSIOp::create(
                    b, b.getI32Type(), b.mulf(b.f64(double(columns)), rest[0]));
                Value keep = b.subi(b.i32(columns), pruned);
                Value all = arith::MulIOp::create(
                    b, arith::ExtSIOp::create(b, b.getI64Type(), pruned),
                    b.i64(rows));
                b.onFirstThread([&] { b.store(all, rest[3], {}); });
                b.loop(b.block(), b.index(rows), blocks, [&](Value row) {
                  b.strided(columns, [&](Value j) {
                    Value score = weight.evaluate(b, row, j, 1).getScore();
                    b.store(keyOfScore(b, score), keys, {b.block(), j});
                  });
                  b.barrier();
                  findThreshold(
                      b, radix, columns,
                      [&](Value j) { return b.load(keys, {b.block(), j}); },
                      keep, row, rest[1], rest[2]);
                  b.barrier(); // the next row's keys go there
                });
              });
        });
    return success();
  }
};
} // namespace

void pst::cuda::populateRowThresholdsKernels(RewritePatternSet &patterns,
                                             KernelContext &context) {
  patterns.add<RowThresholdsPattern>(patterns.getContext(), context);
}
