//===- TopKThreshold.cpp - Finds the score that separates the kept --------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// Selection by radix, exact for any scores. The scores are never stored: each
// pass evaluates the criterion again. A key is a score's bits as an unsigned
// number in the order of the scores (ScoreKey.h).
//
//   one block: counts = 0, key = 0, wanted = keep
//   for each digit of the key, from the highest:
//     for chunks of rows, a block: count the digits of those elements whose
//       higher digits are the key's; in shared memory, then added to `counts`
//     one block: find the digit at which the count from above reaches
//       `wanted`; it joins the key, and what lies above it leaves `wanted`
//   for chunks of rows, a block: equals[chunk] = elements of that key
//   one block: the chunk, then the thread's share of it, then the element with
//     which `wanted` elements of that key are kept; the cut is behind it
//
// Counts are integers, so the result does not depend on any order.

#include "../CPU/ScoreKey.h"
#include "MaskedWeight.h"
#include <cmath>

using namespace mlir;
using namespace pst;
using namespace pst::cuda;

namespace {
/// The bits of the key that one pass decides.
struct Digit {
  int64_t shift, bits;
  int64_t bins() const { return int64_t(1) << bits; }
};
constexpr Digit kDigits[] = {{21, 11}, {10, 11}, {0, 10}};
constexpr int64_t kBins = 1 << 11;
constexpr int64_t kThreads = 256;
/// A block's chunks of rows are counted by one thread at the end.
constexpr int64_t kLargestChunks = 512;

/// What the kernels hand on, in an i64 buffer.
enum State { Key, Wanted, Nan, StateSize };

class Selection {
public:
  Selection(KernelContext &context, cpu::KernelBuilder &host,
            CriterionOp criterion, StringRef name, ValueRange factors)
      : context(context), host(host), criterion(criterion), name(name),
        factors(factors) {
    auto type = cast<MemRefType>(factors.front().getType());
    for (unsigned i = 0; i < criterion.getNumFactors(); ++i)
      if (criterion.getKind(i) == FactorKind::Dense)
        type = cast<MemRefType>(factors[criterion.getFirstTensor(i)].getType());
    rows = type.getDimSize(0);
    columns = type.getDimSize(1);
  }

  static int64_t rowsPerChunk(int64_t rows) {
    return (rows + kLargestChunks - 1) / kLargestChunks;
  }
  static int64_t chunks(int64_t rows) {
    int64_t size = rowsPerChunk(rows);
    return (rows + size - 1) / size;
  }

  void emit(Value sparsity, Value threshold, Value cut, Value counts,
            Value state, Value equals) {
    launchBegin(sparsity, counts, state);
    for (unsigned digit = 0; digit < std::size(kDigits); ++digit) {
      launchCount(digit, counts, state);
      launchFind(digit, counts, state);
    }
    launchEquals(state, equals);
    launchCut(state, equals, threshold, cut);
  }

private:
  Value key(ThreadBuilder &b, ValueRange values, Value row, Value column) {
    cpu::VirtualWeight weight(criterion, values);
    return cpu::keyOfScore(b, weight.evaluate(b, row, column, 1).getScore());
  }

  /// body(row, column) for the thread's elements of the block's chunk.
  void forChunk(ThreadBuilder &b, function_ref<void(Value, Value)> body) {
    Value begin = b.muli(b.block(), rowsPerChunk(rows));
    Value end = b.mini(b.addi(begin, rowsPerChunk(rows)), b.index(rows));
    b.loop(begin, end, 1, [&](Value row) {
      b.strided(columns, [&](Value column) { body(row, column); });
    });
  }

  std::string kernel(const char *part) {
    return ("topk_threshold_" + name + "_" + part).str();
  }

  /// The arguments of a kernel that evaluates the criterion.
  SmallVector<Value> withFactors(ValueRange others) {
    SmallVector<Value> arguments(factors);
    llvm::append_range(arguments, others);
    return arguments;
  }

  void launchBegin(Value sparsity, Value counts, Value state) {
    context.launch(
        host, kernel("begin"), 1, kThreads, {sparsity, counts, state},
        [&](ThreadBuilder &b, ValueRange values) {
          Value flat = b.flatten(values[1]);
          b.strided(int64_t(std::size(kDigits)) * kBins,
                    [&](Value i) { b.store(b.i32(0), flat, i); });
          b.onFirstThread([&] {
            // int(n*m*sparsity), as Python computes it.
            int64_t elements = rows * columns;
            Value pruned = arith::FPToSIOp::create(
                b, b.getI64Type(), b.mulf(b.f64(double(elements)), values[0]));
            store(b, values[2], Key, b.i64(0));
            store(b, values[2], Wanted, b.subi(b.i64(elements), pruned));
          });
        });
  }

  static void store(ThreadBuilder &b, Value state, State at, Value value) {
    b.store(value, state, b.index(at));
  }
  static Value load(ThreadBuilder &b, Value state, State at) {
    return b.load(state, b.index(at));
  }
  static Value loadKey(ThreadBuilder &b, Value state) {
    return arith::TruncIOp::create(b, b.getI32Type(), load(b, state, Key));
  }
  static Value shifted(ThreadBuilder &b, Value key, int64_t bits) {
    return arith::ShRUIOp::create(b, key, b.i32(bits));
  }
  static Value extend(ThreadBuilder &b, Value count) {
    return arith::ExtUIOp::create(b, b.getI64Type(), count);
  }

  void launchCount(unsigned number, Value counts, Value state) {
    Digit digit = kDigits[number];
    context.launch(
        host, kernel("count") + std::to_string(number), chunks(rows), kThreads,
        withFactors({counts, state}), [&](ThreadBuilder &b, ValueRange values) {
          Value total = values.end()[-2];
          Value shared = b.sharedBuffer({digit.bins()}, b.getI32Type());
          b.strided(digit.bins(),
                    [&](Value bin) { b.store(b.i32(0), shared, bin); });
          b.barrier();
          Value found = loadKey(b, values.end()[-1]);
          forChunk(b, [&](Value row, Value column) {
            Value key = this->key(b, values.drop_back(2), row, column);
            auto count = [&] {
              Value bin = arith::AndIOp::create(b, shifted(b, key, digit.shift),
                                                b.i32(digit.bins() - 1));
              b.atomicAdd(b.i32(1), shared,
                          arith::IndexCastUIOp::create(b, b.getIndexType(), bin)
                              .getResult());
            };
            if (number == 0)
              return count();
            int64_t above = digit.shift + digit.bits;
            b.ifThen(b.cmpi(arith::CmpIPredicate::eq, shifted(b, key, above),
                            shifted(b, found, above)),
                     count);
          });
          b.barrier();
          b.strided(digit.bins(), [&](Value bin) {
            Value here = b.load(shared, bin);
            b.ifThen(b.cmpi(arith::CmpIPredicate::ne, here, b.i32(0)),
                     [&] { b.atomicAdd(here, total, {b.index(number), bin}); });
          });
        });
  }

  /// Walks `count(i)` for i in [0, size) until their sum reaches `wanted`:
  /// that i (the last one if it never does), and what is still wanted of it.
  static std::pair<Value, Value> walk(ThreadBuilder &b, int64_t size,
                                      Value wanted,
                                      function_ref<Value(Value)> count) {
    SmallVector<Value> found =
        b.loop(b.index(0), b.index(size - 1), 1, {b.index(0), wanted},
               [&](Value i, ValueRange state) -> SmallVector<Value> {
                 Value here = count(i);
                 Value at = b.cmpi(arith::CmpIPredicate::eq, i, state[0]);
                 Value more = b.cmpi(arith::CmpIPredicate::sgt, state[1], here);
                 Value go = arith::AndIOp::create(b, at, more);
                 return {b.select(go, b.addi(i, 1), state[0]),
                         b.select(go, b.subi(state[1], here), state[1])};
               });
    return {found[0], found[1]};
  }

  void launchFind(unsigned number, Value counts, Value state) {
    Digit digit = kDigits[number];
    int64_t each = digit.bins() / kThreads;
    context.launch(
        host, "topk_find" + std::to_string(number), 1, kThreads,
        {counts, state}, [&](ThreadBuilder &b, ValueRange values) {
          // Group i has the bins from the i-th highest `each` on down.
          auto countOf = [&](Value group, Value i) {
            Value place = b.addi(b.muli(group, each), i);
            Value bin = b.subi(b.index(digit.bins() - 1), place);
            return extend(b, b.load(values[0], {b.index(number), bin}));
          };
          Value sums = b.sharedBuffer({kThreads}, b.getI64Type());
          Value sum =
              b.loop(b.index(0), b.index(each), 1, {b.i64(0)},
                     [&](Value i, ValueRange carried) -> SmallVector<Value> {
                       return {arith::AddIOp::create(b, carried[0],
                                                     countOf(b.thread(), i))};
                     })[0];
          b.store(sum, sums, b.thread());
          b.barrier();
          b.onFirstThread([&] {
            auto [group, rest] = walk(b, kThreads, load(b, values[1], Wanted),
                                      [&](Value i) { return b.load(sums, i); });
            Value ofGroup = group;
            auto [inGroup, left] = walk(
                b, each, rest, [&](Value i) { return countOf(ofGroup, i); });
            Value place = b.addi(b.muli(group, each), inGroup);
            Value bin = b.subi(b.index(digit.bins() - 1), place);
            Value part = arith::ShLIOp::create(
                b, arith::IndexCastOp::create(b, b.getI64Type(), bin),
                b.i64(digit.shift));
            store(b, values[1], Key,
                  arith::OrIOp::create(b, load(b, values[1], Key), part));
            store(b, values[1], Wanted, left);
            // Only NaNs have keys in the highest bin (see keyOfScore).
            if (number == 0)
              store(b, values[1], Nan, countOf(b.index(0), b.index(0)));
          });
        });
  }

  void launchEquals(Value state, Value equals) {
    context.launch(
        host, kernel("equals"), chunks(rows), kThreads,
        withFactors({state, equals}), [&](ThreadBuilder &b, ValueRange values) {
          Value count = b.sharedBuffer({1}, b.getI32Type());
          b.onFirstThread([&] { b.store(b.i32(0), count, b.index(0)); });
          b.barrier();
          Value found = loadKey(b, values.end()[-2]);
          forChunk(b, [&](Value row, Value column) {
            Value key = this->key(b, values.drop_back(2), row, column);
            b.ifThen(b.cmpi(arith::CmpIPredicate::eq, key, found),
                     [&] { b.atomicAdd(b.i32(1), count, b.index(0)); });
          });
          b.barrier();
          b.onFirstThread([&] {
            b.store(b.load(count, b.index(0)), values.back(), b.block());
          });
        });
  }

  /// One block: each thread has a run of the chunk's elements.
  void launchCut(Value state, Value equals, Value threshold, Value cut) {
    context.launch(host, kernel("cut"), 1, kThreads,
                   withFactors({state, equals, threshold, cut}),
                   [&](ThreadBuilder &b, ValueRange values) {
                     emitCut(b, values.drop_back(4), values.take_back(4));
                   });
  }

  void emitCut(ThreadBuilder &b, ValueRange values, ValueRange results) {
    Value state = results[0], equals = results[1];
    int64_t numChunks = chunks(rows);
    Value counts = b.sharedBuffer({numChunks}, b.getI32Type());
    Value runs = b.sharedBuffer({kThreads}, b.getI32Type());
    Value place = b.sharedBuffer({2}, b.getI64Type()); // where, still wanted
    Value zero = b.index(0), one = b.index(1);
    auto publish = [&](std::pair<Value, Value> found) {
      b.store(arith::IndexCastOp::create(b, b.getI64Type(), found.first), place,
              zero);
      b.store(found.second, place, one);
    };
    auto placeIndex = [&] {
      return arith::IndexCastOp::create(b, b.getIndexType(),
                                        b.load(place, zero));
    };
    b.strided(numChunks,
              [&](Value i) { b.store(b.load(equals, i), counts, i); });
    b.barrier();
    b.onFirstThread([&] {
      publish(walk(b, numChunks, load(b, state, Wanted),
                   [&](Value i) { return extend(b, b.load(counts, i)); }));
    });
    b.barrier();
    int64_t size = rowsPerChunk(rows) * columns;
    int64_t run = (size + kThreads - 1) / kThreads;
    Value base = b.muli(placeIndex(), size);
    Value chunkEnd = b.mini(b.addi(base, size), b.index(rows * columns));
    Value begin = b.mini(b.addi(base, b.muli(b.thread(), run)), chunkEnd);
    Value end = b.mini(b.addi(begin, run), chunkEnd);
    Value found = loadKey(b, state);
    auto isEqual = [&](Value i) {
      return b.cmpi(arith::CmpIPredicate::eq,
                    key(b, values, b.divi(i, columns), b.remi(i, columns)),
                    found);
    };
    Value count =
        b.loop(begin, end, 1, {b.i32(0)},
               [&](Value i, ValueRange carried) -> SmallVector<Value> {
                 Value more =
                     arith::ExtUIOp::create(b, b.getI32Type(), isEqual(i));
                 return {arith::AddIOp::create(b, carried[0], more)};
               })[0];
    b.store(count, runs, b.thread());
    Value wanted = b.load(place, one);
    b.barrier();
    b.onFirstThread([&] {
      publish(walk(b, kThreads, wanted,
                   [&](Value i) { return extend(b, b.load(runs, i)); }));
    });
    b.barrier();
    b.ifThen(b.cmpi(arith::CmpIPredicate::eq, b.thread(), placeIndex()), [&] {
      SmallVector<Value> last = b.loop(
          begin, end, 1, {b.load(place, one), b.i64(0)},
          [&](Value i, ValueRange carried) -> SmallVector<Value> {
            Value equal = arith::ExtUIOp::create(b, b.getI64Type(), isEqual(i));
            Value left = b.subi(carried[0], equal);
            Value behind =
                arith::IndexCastOp::create(b, b.getI64Type(), b.addi(i, 1));
            // Where `left` goes from 1 to 0.
            Value isLast = arith::AndIOp::create(
                b, b.cmpi(arith::CmpIPredicate::eq, left, b.i64(0)),
                b.cmpi(arith::CmpIPredicate::eq, equal, b.i64(1)));
            return {left, b.select(isLast, behind, carried[1])};
          });
      emitResult(b, state, found, last[1], results[2], results[3]);
    });
  }

  /// Nothing kept: no score is above infinity, and none before index 0.
  void emitResult(ThreadBuilder &b, Value state, Value key, Value position,
                  Value threshold, Value cut) {
    // What was wanted of the key itself is at least 1 if anything was.
    Value none =
        b.cmpi(arith::CmpIPredicate::sle, load(b, state, Wanted), b.i64(0));
    Value nan = b.cmpi(arith::CmpIPredicate::ne, load(b, state, Nan), b.i64(0));
    Value tau = b.select(none, b.f32(INFINITY), cpu::scoreOfKey(b, key));
    b.store(b.select(nan, b.f32(NAN), tau), threshold, {});
    Value nothing = arith::OrIOp::create(b, none, nan);
    b.store(b.select(nothing, b.i64(0), position), cut, {});
  }

  KernelContext &context;
  cpu::KernelBuilder &host;
  CriterionOp criterion;
  StringRef name;
  ValueRange factors;
  int64_t rows, columns;
};

struct TopKThresholdPattern : KernelPattern<TopKThresholdOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(TopKThresholdOp op,
                                PatternRewriter &rewriter) const override {
    CriterionOp criterion = context.getCriterion(op.getCriterionAttr());
    RankedTensorType type = getWeightType(criterion, op.getFactors());
    std::string name = cpu::criterionName(criterion, op.getFactors());
    SmallVector<Value> inputs(op.getFactors());
    inputs.push_back(op.getSparsity());
    Type i32 = rewriter.getI32Type(), i64 = rewriter.getI64Type();
    context.replaceByLaunch(
        rewriter, op, "topk_threshold_" + name, inputs,
        {RankedTensorType::get({int64_t(std::size(kDigits)), kBins}, i32),
         RankedTensorType::get({StateSize}, i64),
         RankedTensorType::get({Selection::chunks(type.getDimSize(0))}, i32)},
        [&](cpu::KernelBuilder &host, ValueRange arguments) {
          size_t factors = op.getFactors().size();
          Selection(context, host, criterion, name,
                    arguments.take_front(factors))
              .emit(arguments[factors], arguments[factors + 1],
                    arguments[factors + 2], arguments[factors + 3],
                    arguments[factors + 4], arguments[factors + 5]);
        });
    return success();
  }
};
} // namespace

void pst::cuda::populateTopKThresholdKernels(RewritePatternSet &patterns,
                                             KernelContext &context) {
  patterns.add<TopKThresholdPattern>(patterns.getContext(), context);
}
