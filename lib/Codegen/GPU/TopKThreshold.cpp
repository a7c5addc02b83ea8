//===- TopKThreshold.cpp - Finds the score that separates the kept --------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// Selection in about one pass over the criterion, exact for any scores, which
// are never stored. A key is a score's bits as an unsigned number in the order
// of the scores (ScoreKey.h). Four launches:
//
//   sample, parallel: the keys of elements spread over the weight; one block
//       clears the tallies
//   bracket, one block: two keys of the sample between which the threshold
//       most likely lies
//   gather, parallel: count the keys above the bracket, and those inside in
//       2048 equal parts of it; keep those inside, with their index, each block
//       its own. The block that ends last finds the part in which the count
//       from above reaches the rank
//   finish, parallel: gather the elements of that part in one list. The block
//       that ends last selects among them, or, if the threshold was not in the
//       bracket or there were too many for a buffer, among all elements, by
//       evaluating the criterion again: slow, for one block, but exact
//
// The cut is found as the rank among those of the threshold's key, by index.
// Small weights have no bracket: one block selects among all elements. All
// counts are integers, so the result depends on no order, and not on the way.

#include "TopKThreshold.h"
#include "../Kernel/ScoreKey.h"
#include "llvm/Support/MathExtras.h"
#include <cmath>

using namespace mlir;
using namespace pst;
using namespace pst::cuda;

SelectionSizes::SelectionSizes(int64_t rows, int64_t columns)
    : rows(rows), columns(columns) {
  constexpr int64_t kSmall = 1 << 16;
  constexpr int64_t kBlocks = 264; // two for each multiprocessor of an H200
  isSampled = elements() > kSmall;
  unit = rows < 4 ? 1 : 4;
  tiles = llvm::divideCeil(items(), kThreads);
  blocks = std::min(kBlocks, tiles);
  capacity = llvm::divideCeil(tiles, blocks) * kThreads * unit / 8 + kThreads;
  listCapacity = std::max<int64_t>(elements() / 64, 4096);
}

SelectionBuffers::SelectionBuffers(ValueRange arguments, size_t numFactors)
    : factors(arguments.take_front(numFactors)),
      sparsity(arguments[numFactors]), threshold(arguments[numFactors + 1]),
      cut(arguments[numFactors + 2]), pruned(arguments[numFactors + 3]) {
  ValueRange rest = arguments.drop_front(numFactors + 4);
  Value *workspaces[] = {&tallies,  &sample,      &parts,    &keptSizes,
                         &keptKeys, &keptIndices, &listKeys, &listIndices};
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
  return {tensor({kTallies}),
          tensor({SelectionSizes::kSample}),
          tensor({RadixSelect::kBins}),
          tensor({s.blocks}),
          tensor({s.blocks, s.capacity}),
          tensor({s.blocks, s.capacity}),
          tensor({s.listCapacity}),
          tensor({s.listCapacity})};
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
  return keyAt(b, w, b.divi(i, s.columns), b.remi(i, s.columns));
}

Value ScoreSelection::numPruned(ThreadBuilder &b, const Buffers &w) {
  Value product = b.mulf(b.f64(double(s.elements())), w.sparsity);
  return arith::FPToSIOp::create(b, b.getI64Type(), product);
}

Value ScoreSelection::numKept(ThreadBuilder &b, const Buffers &w) {
  return arith::TruncIOp::create(b, b.getI32Type(),
                                 b.subi(b.i64(s.elements()), numPruned(b, w)));
}

/// The key of rank `wanted` becomes the threshold; `nan`: it is NaN instead.
void ScoreSelection::selectAmong(ThreadBuilder &b, const Buffers &w,
                                 RadixSelect &radix, Value size, Value low,
                                 Value bits, Value wanted, Element keyOf,
                                 Element indexOf, Value nan) {
  RankedKey found = radix.largest(
      b, size, low, bits, wanted,
      [&](Value i) -> RadixSelect::Element { return {keyOf(i)}; });
  // The largest complement is that of the smallest index.
  int64_t indexBits = llvm::Log2_64_Ceil(s.elements());
  int64_t lowest = -(int64_t(1) << indexBits);
  RankedKey last = radix.largest(
      b, size, b.i32(int32_t(lowest)), b.i32(indexBits), found.wanted,
      [&](Value i) -> RadixSelect::Element {
        return {complement(b, indexOf(i)), isEqual(b, keyOf(i), found.key)};
      });
  b.onFirstThread([&] {
    // Nothing kept: no score is above infinity, and none before index 0.
    Value none = isEqual(b, numKept(b, w), b.i32(0));
    Value tau = b.select(none, b.f32(INFINITY), scoreOfKey(b, found.key));
    b.store(b.select(nan, b.f32(NAN), tau), w.threshold, {});
    Value at =
        arith::ExtUIOp::create(b, b.getI64Type(), complement(b, last.key));
    b.store(b.select(either(b, none, nan), b.i64(0), b.addi(at, b.i64(1))),
            w.cut, {});
    b.store(b.select(nan, b.i64(s.elements()), numPruned(b, w)), w.pruned, {});
  });
}

void ScoreSelection::launchAmongAll() {
  launchKernel(
      "all", 1, SelectionSizes::kThreads,
      [&](ThreadBuilder &b, const Buffers &w) {
        b.setBlocksPerMultiprocessor(1);
        RadixSelect radix(b);
        Value nan = b.sharedBuffer({1}, b.getI32Type()), first = b.index(0);
        auto keyOf = [&](Value i) { return keyOfElement(b, w, i); };
        b.onFirstThread([&] { b.store(b.i32(0), nan, first); });
        b.barrier();
        b.strided(s.elements(), [&](Value i) {
          b.ifThen(isNaNKey(b, keyOf(i)),
                   [&] { b.store(b.i32(1), nan, first); });
        });
        b.barrier();
        Value isNaN = isEqual(b, b.load(nan, first), b.i32(1));
        selectAmong(
            b, w, radix, b.index(s.elements()), b.i32(0), b.i32(32),
            numKept(b, w), keyOf, [&](Value i) { return toI32(b, i); }, isNaN);
      });
}

void ScoreSelection::collectPart(ThreadBuilder &b, const Buffers &w) {
  Value low = loadTally(b, w.tallies, PartLow);
  Value shift = loadTally(b, w.tallies, PartBits);
  Value size = b.sharedBuffer({1}, b.getI32Type());
  Value next = b.sharedBuffer({1}, b.getI32Type());
  Value zero = b.index(0);
  b.loop(b.block(), b.index(s.blocks), SelectionSizes::kFinishBlocks,
         [&](Value segment) {
           Value kept = toIndex(b, b.load(w.keptSizes, segment));
           kept = b.mini(kept, b.index(s.capacity));
           auto forPart = [&](function_ref<void(Value, Value)> body) {
             b.strided(zero, kept, [&](Value i) {
               Value key = b.load(w.keptKeys, {segment, i});
               Value place = shiftRight(b, minus(b, key, low), shift);
               b.ifThen(isEqual(b, place, b.i32(0)), [&] { body(i, key); });
             });
           };
           b.onFirstThread([&] { b.store(b.i32(0), size, zero); });
           b.barrier();
           forPart([&](Value, Value) { b.atomicAdd(b.i32(1), size, zero); });
           b.barrier();
           b.onFirstThread([&] {
             b.store(
                 b.atomicAdd(b.load(size, zero), w.tallies, b.index(ListSize)),
                 next, zero);
           });
           b.barrier();
           forPart([&](Value i, Value key) {
             Value at = b.atomicAdd(b.i32(1), next, zero);
             b.ifThen(isBelow(b, at, b.i32(s.listCapacity)), [&] {
               b.store(key, w.listKeys, toIndex(b, at));
               b.store(b.load(w.keptIndices, {segment, i}), w.listIndices,
                       toIndex(b, at));
             });
           });
           b.barrier();
         });
}

void ScoreSelection::finish(ThreadBuilder &b, const Buffers &w, Value known,
                            Value wanted) {
  RadixSelect radix(b);
  Value size = loadTally(b, w.tallies, ListSize);
  Value fits = b.cmpi(arith::CmpIPredicate::ule, size, b.i32(s.listCapacity));
  Value nan =
      b.cmpi(arith::CmpIPredicate::ne, loadTally(b, w.tallies, Nan), b.i32(0));
  b.ifElse(
      both(b, known, fits),
      [&] {
        selectAmong(
            b, w, radix, toIndex(b, size), loadTally(b, w.tallies, PartLow),
            loadTally(b, w.tallies, PartBits), wanted,
            [&](Value i) { return b.load(w.listKeys, i); },
            [&](Value i) { return b.load(w.listIndices, i); }, nan);
      },
      [&] {
        selectAmong(
            b, w, radix, b.index(s.elements()), b.i32(0), b.i32(32),
            numKept(b, w), [&](Value i) { return keyOfElement(b, w, i); },
            [&](Value i) { return toI32(b, i); }, nan);
      });
}

void ScoreSelection::launchFinish() {
  launchKernel(
      "finish", SelectionSizes::kFinishBlocks, SelectionSizes::kThreads,
      [&](ThreadBuilder &b, const Buffers &w) {
        b.setBlocksPerMultiprocessor(1);
        Value wanted = loadTally(b, w.tallies, PartWanted);
        Value known = b.cmpi(arith::CmpIPredicate::ne, wanted, b.i32(0));
        b.ifThen(known, [&] { collectPart(b, w); });
        Value last = b.isLastBlock(SelectionSizes::kFinishBlocks, w.tallies,
                                   b.index(FinishTicket));
        b.ifThen(last, [&] { finish(b, w, known, wanted); });
      });
}

void ScoreSelection::launch() {
  if (!s.isSampled)
    return launchAmongAll();
  launchSample();
  launchBracket();
  launchGather();
  launchFinish();
}

namespace {
struct TopKThresholdPattern : KernelPattern<TopKThresholdOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(TopKThresholdOp op,
                                PatternRewriter &rewriter) const override {
    CriterionOp criterion = context.getCriterion(op.getCriterionAttr());
    RankedTensorType type = getWeightType(criterion, op.getFactors());
    SelectionSizes sizes(type.getDimSize(0), type.getDimSize(1));
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
