//===- CommonThreshold.cpp - One threshold for several layers -------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// The threshold is found by radix, as within one layer (RadixSelect.cpp), but
// all layers add to the counts:
//
//   three times:
//     count, for each layer, parallel: its keys in 2048 equal parts of the
//     range pick, one block: the part where the count from above reaches the
//     rank
//   cut, for each layer, parallel: count the scores that equal the threshold,
//       each block in a part of the layer; the block that ends last finds the
//       part in which the last one that is kept lies, and that one's index
//
// Layers whose shapes are equal share their kernels. All counts are integers,
// so the result depends on no order.

#include "../Kernel/ScoreKey.h"
#include "MaskedWeight.h"
#include "RadixSelect.h"
#include "llvm/Support/MathExtras.h"
#include <cmath>

using namespace mlir;
using namespace pst;
using namespace pst::cuda;

static constexpr int64_t kThreads = 512;
/// Two for each multiprocessor of an H200.
static constexpr int64_t kLargestBlocks = 264;

/// i32 that launches leave for each other, taken as unsigned.
enum Tally {
  RangeLow, ///< the lowest key of the range, of 2^bits keys
  RangeBits,
  Wanted, ///< the rank in it; at last, how many of the threshold's key stay
  Nan,    ///< scores that are NaN
  Above,  ///< of a layer: scores above the threshold
  Ticket,
  kTallies
};

static Value isEqual(ThreadBuilder &b, Value lhs, Value rhs) {
  return b.cmpi(arith::CmpIPredicate::eq, lhs, rhs);
}
static Value add(ThreadBuilder &b, Value lhs, Value rhs) {
  return arith::AddIOp::create(b, lhs, rhs); // keys wrap
}
static Value subtract(ThreadBuilder &b, Value lhs, Value rhs) {
  return arith::SubIOp::create(b, lhs, rhs);
}
static Value shiftRight(ThreadBuilder &b, Value value, Value bits) {
  return arith::ShRUIOp::create(b, value, bits);
}
static Value complement(ThreadBuilder &b, Value value) {
  return arith::XOrIOp::create(b, value, b.i32(-1));
}
static Value toIndex(ThreadBuilder &b, Value i32) {
  return arith::IndexCastUIOp::create(b, b.getIndexType(), i32);
}
static Value toI64(ThreadBuilder &b, Value i32) {
  return arith::ExtUIOp::create(b, b.getI64Type(), i32);
}

namespace {
class CommonSelection {
public:
  /// `arguments`: the layers' factors, the sparsity (f64), the threshold, the
  /// layers' cuts, how many elements of each are pruned, and the workspaces.
  CommonSelection(KernelContext &context, CodeBuilder &host,
                  CriterionOp criterion, int64_t elements, size_t layers,
                  ValueRange arguments)
      : context(context), host(host), criterion(criterion), elements(elements),
        layers(layers), tensors(criterion.getNumTensors()),
        factors(arguments.take_front(layers * tensors)) {
    ValueRange rest = arguments.drop_front(layers * tensors);
    sparsity = rest[0];
    threshold = rest[1];
    cuts = rest.slice(2, layers);
    pruned = rest.slice(2 + layers, layers);
    rest = rest.drop_front(2 + 2 * layers);
    tallies = rest[0];
    counts = rest[1];
    equals = rest[2];
  }

  static SmallVector<RankedTensorType> workspaces(Builder &builder) {
    auto tensor = [&](int64_t size) {
      return RankedTensorType::get(size, builder.getI32Type());
    };
    return {tensor(kTallies), tensor(RadixSelect::kBins),
            tensor(kLargestBlocks)};
  }

  void launch() {
    launchStart();
    for (int64_t turn = 0; turn < 3; ++turn) { // 32, 21 and 10 bits
      for (size_t layer = 0; layer < layers; ++layer)
        launchCount(factorsOf(layer));
      launchPick();
    }
    for (size_t layer = 0; layer < layers; ++layer)
      launchCut(factorsOf(layer), cuts[layer], pruned[layer]);
  }

private:
  ValueRange factorsOf(size_t layer) {
    return factors.slice(layer * tensors, tensors);
  }

  /// A kernel that layers of equal types share.
  KernelIdentity partOf(StringRef part, ValueRange arguments) {
    return KernelIdentity(part)
        .add(arguments.getTypes())
        .add(criterion.getSymName());
  }

  int64_t sizeOf(ValueRange factors) {
    VirtualWeight weight(criterion, factors);
    return weight.getRows() * weight.getColumns();
  }

  static Value load(ThreadBuilder &b, Value tallies, Tally tally) {
    return b.load(tallies, b.index(tally));
  }
  static void store(ThreadBuilder &b, Value value, Value tallies, Tally tally) {
    b.store(value, tallies, b.index(tally));
  }

  static Value keyOf(ThreadBuilder &b, const VirtualWeight &weight, Value i) {
    Value row = b.divi(i, weight.getColumns());
    Value column = b.remi(i, weight.getColumns());
    return keyOfScore(b, weight.evaluate(b, row, column, 1).getScore());
  }

  void launchStart() {
    context.launch(
        host, "start", 1, kThreads, {sparsity, tallies, counts},
        [&](ThreadBuilder &b, ValueRange values) {
          b.strided(RadixSelect::kBins,
                    [&](Value i) { b.store(b.i32(0), values[2], i); });
          b.onFirstThread([&] {
            Value product = b.mulf(b.f64(double(elements)), values[0]);
            Value pruned = arith::FPToSIOp::create(b, b.getI64Type(), product);
            Value keep = arith::TruncIOp::create(
                b, b.getI32Type(), b.subi(b.i64(elements), pruned));
            for (Tally tally : {RangeLow, Nan, Above, Ticket})
              store(b, b.i32(0), values[1], tally);
            store(b, b.i32(32), values[1], RangeBits);
            store(b, keep, values[1], Wanted);
          });
        });
  }

  void launchCount(ValueRange factors) {
    SmallVector<Value> arguments(factors);
    llvm::append_values(arguments, tallies, counts);
    int64_t size = sizeOf(factors);
    int64_t blocks =
        std::min<int64_t>(llvm::divideCeil(size, kThreads), kLargestBlocks);
    context.launch(
        host, partOf("count_keys", arguments), blocks, kThreads, arguments,
        [&](ThreadBuilder &b, ValueRange values) {
          VirtualWeight weight(criterion, values.take_front(tensors));
          Value tallies = values[tensors], counts = values[tensors + 1];
          Value parts = b.sharedBuffer({RadixSelect::kBins}, b.getI32Type());
          b.strided(RadixSelect::kBins,
                    [&](Value i) { b.store(b.i32(0), parts, i); });
          b.barrier();
          Value low = load(b, tallies, RangeLow);
          Value bits = load(b, tallies, RangeBits);
          Value shift = shiftToBins(b, bits);
          Value first = b.addi(b.muli(b.block(), kThreads), b.thread());
          b.loop(first, b.index(size), blocks * kThreads, [&](Value i) {
            Value place = subtract(b, keyOf(b, weight, i), low);
            // In two steps: a shift by 32 is not defined.
            Value part = shiftRight(b, place, shift);
            Value beyond = shiftRight(b, part, subtract(b, bits, shift));
            b.ifThen(isEqual(b, beyond, b.i32(0)),
                     [&] { b.atomicAdd(b.i32(1), parts, toIndex(b, part)); });
          });
          b.barrier();
          b.strided(RadixSelect::kBins, [&](Value i) {
            Value here = b.load(parts, i);
            b.ifThen(b.cmpi(arith::CmpIPredicate::ne, here, b.i32(0)),
                     [&] { b.atomicAdd(here, counts, i); });
          });
        });
  }

  void launchPick() {
    context.launch(
        host, "pick", 1, kThreads, {tallies, counts, threshold},
        [&](ThreadBuilder &b, ValueRange values) {
          Value tallies = values[0], counts = values[1];
          RadixSelect radix(b);
          Value low = load(b, tallies, RangeLow);
          Value bits = load(b, tallies, RangeBits);
          Value shift = shiftToBins(b, bits);
          Value wanted = load(b, tallies, Wanted);
          // At first, only NaNs have keys in the last part.
          Value last = b.load(counts, b.index(RadixSelect::kBins - 1));
          Value nan = b.select(isEqual(b, bits, b.i32(32)), last,
                               load(b, tallies, Nan));
          RankedKey part = radix.binFromAbove(
              b, wanted, [&](Value i) { return b.load(counts, i); });
          b.barrier();
          b.strided(RadixSelect::kBins,
                    [&](Value i) { b.store(b.i32(0), counts, i); });
          b.onFirstThread([&] {
            Value key = add(b, low, arith::ShLIOp::create(b, part.key, shift));
            store(b, key, tallies, RangeLow);
            store(b, shift, tallies, RangeBits);
            store(b, part.wanted, tallies, Wanted);
            store(b, nan, tallies, Nan);
            // Nothing kept: no score is above infinity. What stands here after
            // the last turn counts.
            Value tau = b.select(isEqual(b, wanted, b.i32(0)), b.f32(INFINITY),
                                 scoreOfKey(b, key));
            Value isNaN = b.cmpi(arith::CmpIPredicate::ne, nan, b.i32(0));
            b.store(b.select(isNaN, b.f32(NAN), tau), values[2], {});
          });
        });
  }

  void launchCut(ValueRange factors, Value cut, Value pruned) {
    SmallVector<Value> arguments(factors);
    llvm::append_values(arguments, tallies, equals, cut, pruned);
    int64_t size = sizeOf(factors);
    int64_t blocks =
        std::min<int64_t>(llvm::divideCeil(size, kThreads), kLargestBlocks);
    int64_t each = llvm::divideCeil(size, blocks);
    context.launch(
        host, partOf("common_cut", arguments), blocks, kThreads, arguments,
        [&](ThreadBuilder &b, ValueRange values) {
          VirtualWeight weight(criterion, values.take_front(tensors));
          ValueRange rest = values.drop_front(tensors);
          Value tallies = rest[0], equals = rest[1];
          RadixSelect radix(b);
          Value tau = load(b, tallies, RangeLow);
          Value found = b.sharedBuffer({2}, b.getI32Type());
          Value zero = b.index(0), one = b.index(1);
          b.onFirstThread([&] {
            b.store(b.i32(0), found, zero);
            b.store(b.i32(0), found, one);
          });
          b.barrier();
          Value begin = b.muli(b.block(), each);
          Value end = b.mini(b.addi(begin, each), b.index(size));
          b.strided(begin, end, [&](Value i) {
            Value key = keyOf(b, weight, i);
            b.ifThen(isEqual(b, key, tau),
                     [&] { b.atomicAdd(b.i32(1), found, zero); });
            b.ifThen(b.cmpi(arith::CmpIPredicate::ugt, key, tau),
                     [&] { b.atomicAdd(b.i32(1), found, one); });
          });
          b.barrier();
          b.onFirstThread([&] {
            b.store(b.load(found, zero), equals, b.block());
            b.atomicAdd(b.load(found, one), tallies, b.index(Above));
          });
          b.ifThen(b.isLastBlock(blocks, tallies, b.index(Ticket)), [&] {
            emitCut(b, weight, radix, blocks, each, tallies, equals, rest[2],
                    rest[3]);
          });
        });
  }

  /// By the block that knows what all have counted.
  static void emitCut(ThreadBuilder &b, const VirtualWeight &weight,
                      RadixSelect &radix, int64_t blocks, int64_t each,
                      Value tallies, Value equals, Value cut, Value pruned) {
    int64_t size = weight.getRows() * weight.getColumns();
    Value tau = load(b, tallies, RangeLow), wanted = load(b, tallies, Wanted);
    // The part in which the last one that stays lies, what is wanted of it, and
    // how many equal the threshold.
    SmallVector<Value> place =
        b.loop(b.index(0), b.index(blocks), 1, {b.i32(0), wanted, b.i32(0)},
               [&](Value block, ValueRange state) -> SmallVector<Value> {
                 Value here = b.load(equals, block);
                 Value number =
                     arith::IndexCastOp::create(b, b.getI32Type(), block);
                 Value goes = arith::AndIOp::create(
                     b, isEqual(b, state[0], number),
                     b.cmpi(arith::CmpIPredicate::ult, here, state[1]));
                 return {b.select(goes, add(b, number, b.i32(1)), state[0]),
                         b.select(goes, subtract(b, state[1], here), state[1]),
                         add(b, state[2], here)};
               });
    Value begin = b.mini(b.muli(toIndex(b, place[0]), each), b.index(size));
    Value end = b.mini(b.addi(begin, each), b.index(size));
    // The largest complement is that of the smallest index.
    int64_t indexBits = llvm::Log2_64_Ceil(size);
    int64_t lowest = -(int64_t(1) << indexBits);
    RankedKey last = radix.largest(
        b, b.subi(end, begin), b.i32(int32_t(lowest)), b.i32(indexBits),
        place[1], [&](Value i) -> RadixSelect::Element {
          Value at = b.addi(begin, i);
          Value index = arith::IndexCastOp::create(b, b.getI32Type(), at);
          return {complement(b, index), isEqual(b, keyOf(b, weight, at), tau)};
        });
    b.onFirstThread([&] {
      Value above = load(b, tallies, Above);
      Value all = b.cmpi(arith::CmpIPredicate::ule, place[2], wanted);
      Value none = isEqual(b, wanted, b.i32(0));
      Value nan =
          b.cmpi(arith::CmpIPredicate::ne, load(b, tallies, Nan), b.i32(0));
      Value taken = b.select(all, place[2], wanted);
      Value at = b.addi(toI64(b, complement(b, last.key)), b.i64(1));
      at = b.select(all, b.i64(size), at);
      Value nothing = arith::OrIOp::create(b, none, nan);
      b.store(b.select(nothing, b.i64(0), at), cut, {});
      Value kept = b.addi(toI64(b, above), toI64(b, taken));
      b.store(b.subi(b.i64(size), b.select(nan, b.i64(0), kept)), pruned, {});
      // For the next layer.
      store(b, subtract(b, wanted, taken), tallies, Wanted);
      store(b, b.i32(0), tallies, Above);
      store(b, b.i32(0), tallies, Ticket);
    });
  }

  KernelContext &context;
  CodeBuilder &host;
  CriterionOp criterion;
  int64_t elements; ///< Of all layers.
  size_t layers, tensors;
  ValueRange factors;
  Value sparsity, threshold;
  ValueRange cuts, pruned;
  Value tallies, counts, equals;
};

struct CommonThresholdPattern : KernelPattern<CommonThresholdOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(CommonThresholdOp op,
                                PatternRewriter &rewriter) const override {
    CriterionOp criterion = context.getCriterion(op.getCriterionAttr());
    size_t tensors = criterion.getNumTensors(), layers = op.getCuts().size();
    int64_t elements = 0;
    for (size_t layer = 0; layer < layers; ++layer) {
      ValueRange factors = op.getFactors().slice(layer * tensors, tensors);
      elements += getWeightType(criterion, factors).getNumElements();
    }
    if (elements > UINT32_MAX)
      return op.emitOpError("selects among ")
             << elements << " scores: kernels for GPUs count up to "
             << UINT32_MAX;
    SmallVector<Value> inputs(op.getFactors());
    inputs.push_back(op.getSparsity());
    context.replaceByLaunch(
        rewriter, op, inputs, CommonSelection::workspaces(rewriter),
        [&](CodeBuilder &host, ValueRange arguments) {
          CommonSelection(context, host, criterion, elements, layers, arguments)
              .launch();
        });
    return success();
  }
};
} // namespace

void pst::cuda::populateCommonThresholdKernels(RewritePatternSet &patterns,
                                               KernelContext &context) {
  patterns.add<CommonThresholdPattern>(patterns.getContext(), context);
}
