//===- TopKThreshold.cpp - Finds the score that separates the kept --------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// Selection in about one pass over the criterion, exact for any scores, which
// are never stored. A key is a score's bits as an unsigned number in the order
// of the scores (ScoreKey.h). The launches:
//
//   sample, parallel: the keys of elements spread over the weight; one block
//       clears the tallies
//   bracket, one block: two keys of the sample between which the threshold
//       most likely lies
//   gather, parallel: count the keys above the bracket, and those inside in
//       512 equal parts of it; keep those inside, with their index, of each
//       tile its own. If the bracket is one key, it is enough to count them.
//       The block that ends last finds the part in which the count from above
//       reaches the rank
//   search, parallel, four times: if all of that part was kept and it is small,
//       collect it in one list; the block that ends last selects there, and the
//       next searches return at once. If it is large, or if not all was kept,
//       count what was kept, or else all elements evaluated again, in 8192
//       parts: of keys, and, as soon as one key is left, of indices
//
// So ties cost no more than other scores: those that are kept are counted
// where they were kept, and of a bracket that is one key, the search evaluates
// only the row of tiles in which the last one that stays lies. At worst, when
// the sample misled, all is evaluated three times more by all multiprocessors:
// a rank among elements of 32 bits of key and 32 of index is found 13 bits at
// a time, and once the index's turn has come, elements outside of its range are
// not evaluated any more.
//
// Small weights have no bracket: one block selects among all elements. All
// counts are integers, so the result depends on no order, and not on the way.

#include "TopKThreshold.h"
#include "../Kernel/ScoreKey.h"
#include "llvm/Support/MathExtras.h"
#include <cmath>

using namespace mlir;
using namespace pst;
using namespace pst::cuda;

/// Two blocks for each multiprocessor of an H200.
static constexpr int64_t kTiles = 264;

SelectionSizes::SelectionSizes(ShapedType weight) : tiles(weight, kTiles) {
  constexpr int64_t kSmall = 1 << 15;
  isSampled = elements() > kSmall;
  int64_t tile = tiles.height * tiles.width * tiles.lanes;
  capacity = llvm::alignTo(tile / 8 + WeightTiles::kThreads, 4);
}

SelectionBuffers::SelectionBuffers(ValueRange arguments, size_t numFactors)
    : factors(arguments.take_front(numFactors)),
      sparsity(arguments[numFactors]), threshold(arguments[numFactors + 1]),
      cut(arguments[numFactors + 2]), pruned(arguments[numFactors + 3]) {
  ValueRange rest = arguments.drop_front(numFactors + 4);
  Value *workspaces[] = {&tallies,   &sample, &parts, &bins,
                         &keptSizes, &kept,   &list};
  for (auto [place, value] : llvm::zip(workspaces, rest))
    *place = value;
}

SmallVector<RankedTensorType>
SelectionBuffers::workspaces(const SelectionSizes &s, Builder &builder) {
  if (!s.isSampled)
    return {};
  auto tensor = [&](ArrayRef<int64_t> shape) {
    return RankedTensorType::get(shape, builder.getI32Type());
  };
  return {
      tensor({kTallies}),
      tensor({SelectionSizes::kSampleBlocks, SelectionSizes::kSampleThreads}),
      tensor({SelectionSizes::kParts}),
      tensor({SelectionSizes::kBins}),
      tensor({s.tiles.count()}),
      tensor({s.tiles.count(), s.capacity, 2}),
      tensor({SelectionSizes::kListed, 2})};
}

void ScoreSelection::launchKernel(
    const char *part, int64_t blocks, int64_t threads,
    function_ref<void(ThreadBuilder &, const Buffers &)> body) {
  size_t numFactors = criterion.getNumTensors();
  context.launch(host, part, blocks, threads, arguments,
                 [&](ThreadBuilder &b, ValueRange values) {
                   body(b, Buffers(values, numFactors));
                 });
}

Value ScoreSelection::keyAt(ThreadBuilder &b, const Buffers &w, Value row,
                            Value column) {
  VirtualWeight weight(criterion, w.factors);
  return keyOfScore(b, weight.evaluate(b, row, column, 1).getScore());
}

Value ScoreSelection::keyOfElement(ThreadBuilder &b, const Buffers &w,
                                   Value i) {
  return keyAt(b, w, b.divi(i, s.tiles.columns), b.remi(i, s.tiles.columns));
}

Value ScoreSelection::numPruned(ThreadBuilder &b, const Buffers &w) {
  Value product = b.mulf(b.f64(double(s.elements())), w.sparsity);
  return arith::FPToSIOp::create(b, b.getI64Type(), product);
}

Value ScoreSelection::numKept(ThreadBuilder &b, const Buffers &w) {
  return arith::TruncIOp::create(b, b.getI32Type(),
                                 b.subi(b.i64(s.elements()), numPruned(b, w)));
}

Value ScoreSelection::entry(ThreadBuilder &b, Value key, Value index) {
  return vector::FromElementsOp::create(b, VectorType::get(2, b.getI32Type()),
                                        ValueRange{key, index});
}

/// By one thread: `key` is the threshold (`nan`: it is NaN instead), and
/// `index` that of the last element that stays.
void ScoreSelection::writeResults(ThreadBuilder &b, const Buffers &w, Value key,
                                  Value index, Value nan) {
  // Nothing kept: no score is above infinity, and none before index 0.
  Value none = isEqual(b, numKept(b, w), b.i32(0));
  Value tau = b.select(none, b.f32(INFINITY), scoreOfKey(b, key));
  b.store(b.select(nan, b.f32(NAN), tau), w.threshold, {});
  Value at = arith::ExtUIOp::create(b, b.getI64Type(), index);
  b.store(b.select(either(b, none, nan), b.i64(0), b.addi(at, b.i64(1))), w.cut,
          {});
  b.store(b.select(nan, b.i64(s.elements()), numPruned(b, w)), w.pruned, {});
}

/// Among `size` elements (index), of which some may lie outside of the range.
void ScoreSelection::selectAmong(ThreadBuilder &b, const Buffers &w,
                                 RadixSelect &radix, Value size,
                                 const Range &range, Element keyOf,
                                 Element indexOf, Value nan) {
  // The largest complement is that of the smallest index.
  Value largest = minus(b, range.size, b.i32(1));
  auto placeOf = [&](Value i) {
    return minus(b, largest, minus(b, indexOf(i), range.first));
  };
  auto isInside = [&](Value i) {
    return b.cmpi(arith::CmpIPredicate::ule, placeOf(i), largest);
  };
  RankedKey found = radix.largest(
      b, size, range.low, range.bits, range.wanted,
      [&](Value i) -> RadixSelect::Element { return {keyOf(i), isInside(i)}; });
  RankedKey last = radix.largest(
      b, size, b.i32(0), bitWidth(b, largest), found.wanted,
      [&](Value i) -> RadixSelect::Element {
        return {placeOf(i),
                both(b, isInside(i), isEqual(b, keyOf(i), found.key))};
      });
  b.onFirstThread([&] {
    Value index = plus(b, range.first, minus(b, largest, last.key));
    writeResults(b, w, found.key, index, nan);
  });
}

void ScoreSelection::launchAmongAll() {
  launchKernel("all", 1, SelectionSizes::kThreads,
               [&](ThreadBuilder &b, const Buffers &w) {
                 b.setBlocksPerMultiprocessor(1);
                 RadixSelect radix(b);
                 Value nan = b.sharedBuffer({1}, b.getI32Type()),
                       first = b.index(0);
                 auto keyOf = [&](Value i) { return keyOfElement(b, w, i); };
                 b.onFirstThread([&] { b.store(b.i32(0), nan, first); });
                 b.barrier();
                 b.strided(s.elements(), [&](Value i) {
                   b.ifThen(isNaNKey(b, keyOf(i)),
                            [&] { b.store(b.i32(1), nan, first); });
                 });
                 b.barrier();
                 Value isNaN = isEqual(b, b.load(nan, first), b.i32(1));
                 Range range(b.i32(0), b.i32(32), b.i32(0),
                             b.i32(int32_t(s.elements())), numKept(b, w));
                 selectAmong(
                     b, w, radix, b.index(s.elements()), range, keyOf,
                     [&](Value i) { return toI32(b, i); }, isNaN);
               });
}

void ScoreSelection::launch() {
  if (!s.isSampled)
    return launchAmongAll();
  launchSample();
  launchBracket();
  launchGather();
  for (int64_t i = 0; i < SelectionSizes::kSearches; ++i)
    launchSearch();
}

namespace {
struct TopKThresholdPattern : KernelPattern<TopKThresholdOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(TopKThresholdOp op,
                                PatternRewriter &rewriter) const override {
    CriterionOp criterion = context.getCriterion(op.getCriterionAttr());
    RankedTensorType type = getWeightType(criterion, op.getFactors());
    SelectionSizes sizes(type);
    if (sizes.elements() > UINT32_MAX)
      return op.emitOpError("selects among ")
             << sizes.elements() << " scores: kernels for GPUs count up to "
             << UINT32_MAX;
    SmallVector<Value> inputs(op.getFactors());
    inputs.push_back(op.getSparsity());
    context.replaceByLaunch(
        rewriter, op, inputs, SelectionBuffers::workspaces(sizes, rewriter),
        [&](CodeBuilder &host, ValueRange arguments) {
          ScoreSelection(context, host, criterion, sizes, arguments).launch();
        });
    return success();
  }
};
} // namespace

void pst::cuda::populateTopKThresholdKernels(RewritePatternSet &patterns,
                                             KernelContext &context) {
  patterns.add<TopKThresholdPattern>(patterns.getContext(), context);
}
