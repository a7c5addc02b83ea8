//===- WordProduct.cpp - Products of few rows by words --------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "WordProduct.h"
#include "SparseFewRows.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace pst;
using namespace pst::cpu;

/// Rows of S whose sums are at hand.
static constexpr int64_t kRows = 64;
/// Tokens whose sums are in registers.
static constexpr int64_t kTokens = 4;
/// Bytes of S before those that are read are on their way: a row is shorter
/// than the hardware's prefetcher takes to see it.
static constexpr int64_t kBytesAhead = 2048;

// parallel for chunks of kRows rows of S:
//   for groups of tokens:
//     for rows, for words of 64 columns:
//       sums[token, row] += elements * X[token, columns], by lanes
//     Y[tokens, rows] = sums over lanes, and what follows
//
// Row by row, so that S is one stream: several rows at once, which share what
// is read of X, take up to twice as long (measured on Zen 4).
void WordProduct::emit(int64_t tokens) {
  b.parallelChunks(b.index(n), kRows, [&](Value begin, Value end) {
    Value rows = b.subi(end, begin);
    for (int64_t first = 0; first < tokens; first += kTokens)
      addRows(first, std::min(kTokens, tokens - first), begin, rows);
    epilogue.activate(b, result, b.index(0), b.index(tokens), begin, rows,
                      kLanes);
  });
}

void WordProduct::addRows(int64_t first, int64_t tokens, Value firstRow,
                          Value rows) {
  Value sums = b.stackBuffer({tokens, kRows, kLanes});
  SmallVector<Value> initial;
  for (int64_t t = 0; t < tokens; ++t)
    llvm::append_range(initial, beginSum(first + t));
  size_t parts = initial.size() / tokens;
  b.loop(b.index(0), rows, 1, {firstSlot(firstRow)},
         [&](Value i, ValueRange at) -> SmallVector<Value> {
           Value row = b.addi(firstRow, i);
           auto add = [&](Value word, int64_t columns, ValueRange carried) {
             SmallVector<Value> next(carried);
             addWord(first, tokens, row, word, columns, next.back(),
                     MutableArrayRef(next).drop_back());
             return next;
           };
           SmallVector<Value> state(initial);
           state.push_back(at[0]);
           int64_t whole = k / kWord, rest = k % kWord;
           state = b.loop(b.index(0), b.index(whole), 1, state,
                          [&](Value word, ValueRange carried) {
                            return add(word, kWord, carried);
                          });
           if (rest)
             state = add(b.index(whole), rest, state);
           for (int64_t t = 0; t < tokens; ++t)
             b.store(endSum(first + t, ArrayRef(state).slice(t * parts, parts)),
                     sums, {b.index(t), i, b.index(0)});
           return {state.back()};
         });
  storeLaneSums(b, epilogue, result, first, firstRow, rows, sums);
}

void BytesProduct::addWord(int64_t first, int64_t tokens, Value row, Value word,
                           int64_t columns, Value &slot,
                           MutableArrayRef<Value> sums) {
  Value bytes = loadBytes(row, word, columns, slot);
  // One factor has no sign: 128 more than the weight.
  Value sign = arith::ConstantOp::create(b, b.getI8IntegerAttr(-128));
  Value weights = arith::XOrIOp::create(b, bytes, b.splat(sign, kWord));
  for (int64_t t = 0; t < tokens; ++t)
    digits.addWord(b, b.index(first + t), word, weights,
                   sums.slice(t * ByteDigits::kDigits, ByteDigits::kDigits));
}

namespace {
/// Of an S whose bytes lie there, row by row.
class PlainBytesProduct : public BytesProduct {
public:
  PlainBytesProduct(KernelBuilder &b, const ByteDigits &digits, Value values,
                    const Epilogue &epilogue, Value result)
      : BytesProduct(b, digits,
                     cast<MemRefType>(values.getType()).getDimSize(0), epilogue,
                     result),
        values(values) {}

private:
  Value firstSlot(Value) override { return b.index(0); }

  Value loadBytes(Value row, Value word, int64_t columns, Value &) override {
    Value column = b.muli(word, kWord);
    memref::PrefetchOp::create(b, values,
                               ValueRange{row, b.addi(column, kBytesAhead)},
                               /*isWrite=*/false, /*localityHint=*/3,
                               /*isDataCache=*/true);
    return b.loadFirst(values, {row, column}, kWord, columns);
  }

  Value values;
};
} // namespace

void QuantizedFewRows::emit(KernelBuilder &b, const ByteDigits &digits,
                            Value input, Value values, const Epilogue &epilogue,
                            Value result) {
  digits.emit(b, input);
  PlainBytesProduct(b, digits, values, epilogue, result).emit(digits.tokens);
}
