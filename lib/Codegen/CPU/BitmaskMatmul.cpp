//===- BitmaskMatmul.cpp - Products with a bit for each element -----------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "BitmaskMatmul.h"
#include "BitmaskWeight.h"
#include "ByteDigits.h"
#include "KernelContext.h"
#include "ProductEpilogue.h"
#include "SparseFewRows.h"
#include <cmath>

using namespace mlir;
using namespace pst;
using namespace pst::cpu;

using Layout = BitmaskLayout;
static constexpr int64_t kLanes = BitmaskMatrix::kLanes;
/// Rows of S whose sums are at hand.
static constexpr int64_t kRows = 64;

namespace {

/// Y = X S^T for an X of few rows: lanes are columns of S, which X is read by
/// as it lies; what is not kept is multiplied as 0.
class FewRowsProduct {
public:
  FewRowsProduct(KernelBuilder &b, const Target &target,
                 const Epilogue &epilogue, Value result,
                 const BitmaskMatrix &matrix)
      : b(b), target(target), matrix(matrix), layout(matrix.layout),
        epilogue(epilogue), result(result) {}
  virtual ~FewRowsProduct() = default;

  // parallel for chunks of kRows rows of S:
  //   for groups of tokens:
  //     for rows, for words of 64 columns:
  //       sums[token, row] += elements * X[token, columns], by lanes
  //     Y[tokens, rows] = sums over lanes, and what follows
  void emit(int64_t tokens) {
    b.parallelChunks(b.index(layout.rows), kRows, [&](Value begin, Value end) {
      Value rows = b.subi(end, begin);
      for (int64_t first = 0; first < tokens; first += kTokens)
        addRows(first, std::min(kTokens, tokens - first), begin, rows);
      epilogue.activate(b, result, b.index(0), b.index(tokens), begin, rows,
                        kLanes);
    });
  }

protected:
  /// Vectors with which the sum of a token begins.
  virtual SmallVector<Value> beginSum(int64_t token) = 0;
  /// Adds a word's columns, so many, to the sums of tokens from `first` on.
  virtual void addWord(int64_t first, int64_t tokens, Value row, Value word,
                       int64_t columns, Value &slot,
                       MutableArrayRef<Value> sums) = 0;
  /// The sum as one vector of f32.
  virtual Value endSum(int64_t token, ArrayRef<Value> vectors) = 0;

  KernelBuilder &b;
  const Target &target;
  const BitmaskMatrix &matrix;
  const Layout &layout;

private:
  /// Tokens whose sums are in registers.
  static constexpr int64_t kTokens = 4;

  void addRows(int64_t first, int64_t tokens, Value firstRow, Value rows) {
    Value sums = b.stackBuffer({tokens, kRows, kLanes});
    SmallVector<Value> initial;
    for (int64_t t = 0; t < tokens; ++t)
      llvm::append_range(initial, beginSum(first + t));
    size_t parts = initial.size() / tokens;
    Value start = matrix.start(b, firstRow, b.index(0));
    b.loop(b.index(0), rows, 1, {start},
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
             int64_t whole = layout.columns / Layout::kWord;
             int64_t rest = layout.columns % Layout::kWord;
             state = b.loop(b.index(0), b.index(whole), 1, state,
                            [&](Value word, ValueRange carried) {
                              return add(word, Layout::kWord, carried);
                            });
             if (rest)
               state = add(b.index(whole), rest, state);
             for (int64_t t = 0; t < tokens; ++t) {
               auto vectors = ArrayRef(state).slice(t * parts, parts);
               b.store(endSum(first + t, vectors), sums,
                       {b.index(t), i, b.index(0)});
             }
             return {state.back()};
           });
    storeLaneSums(b, epilogue, result, first, firstRow, rows, sums);
  }

  const Epilogue &epilogue;
  Value result;
};

/// The sums are of f32, one for each of a word's vectors.
class F32Product : public FewRowsProduct {
public:
  F32Product(KernelBuilder &b, const Target &target, Value input,
             const Epilogue &epilogue, Value result,
             const BitmaskMatrix &matrix)
      : FewRowsProduct(b, target, epilogue, result, matrix), input(input) {}

private:
  static constexpr int64_t kParts = Layout::kWord / kLanes;

  SmallVector<Value> beginSum(int64_t) override {
    return SmallVector<Value>(kParts, b.f32(0.0, kLanes));
  }

  void addWord(int64_t first, int64_t tokens, Value row, Value word,
               int64_t columns, Value &slot,
               MutableArrayRef<Value> sums) override {
    SmallVector<Value> elements = matrix.readWord(b, target, row, word, slot);
    for (int64_t part = 0; part * kLanes < columns; ++part) {
      Value column = b.addi(b.muli(word, Layout::kWord), part * kLanes);
      for (int64_t t = 0; t < tokens; ++t) {
        Value &sum = sums[t * kParts + part];
        Value x = loadFirst(b, input, b.index(first + t), column, kLanes,
                            columns - part * kLanes);
        sum = b.fma(elements[part], x, sum);
      }
    }
  }

  Value endSum(int64_t, ArrayRef<Value> v) override {
    return b.addf(b.addf(v[0], v[1]), b.addf(v[2], v[3]));
  }

  Value input;
};

/// The sums are of bytes by bytes.
class BytesProduct : public FewRowsProduct {
public:
  BytesProduct(KernelBuilder &b, const Target &target, const ByteDigits &digits,
               const Epilogue &epilogue, Value result,
               const BitmaskMatrix &matrix)
      : FewRowsProduct(b, target, epilogue, result, matrix), digits(digits) {}

  static bool pays(const Target &target, Type value, int64_t columns) {
    return target.expandBits == 8 && value.isInteger(8) &&
           columns <= ByteDigits::kMostColumns;
  }

private:
  SmallVector<Value> beginSum(int64_t token) override {
    return digits.begin(b, token);
  }

  void addWord(int64_t first, int64_t tokens, Value row, Value word, int64_t,
               Value &slot, MutableArrayRef<Value> sums) override {
    Value bytes = matrix.readBytes(b, target, row, word, slot);
    // One factor has no sign: 128 more than the weight.
    Value sign = arith::ConstantOp::create(b, b.getI8IntegerAttr(-128));
    Value weights =
        arith::XOrIOp::create(b, bytes, b.splat(sign, Layout::kWord));
    for (int64_t t = 0; t < tokens; ++t)
      digits.addWord(b, first + t, word, weights,
                     sums.slice(t * ByteDigits::kDigits, ByteDigits::kDigits));
  }

  Value endSum(int64_t token, ArrayRef<Value> vectors) override {
    return digits.end(b, token, vectors);
  }

  const ByteDigits &digits;
};

/// Y = X S^T, and what follows; NaN where S is not whole. Of many rows S is
/// packed as a dense product's is, out of the elements that are kept.
struct BitmaskMatmulPattern : KernelPattern<StoredMatmulOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(StoredMatmulOp op,
                                PatternRewriter &rewriter) const override {
    if (op.getStorage() != Storage::Bitmask)
      return failure();
    RankedTensorType input = op.getInput().getType(), result = op.getType();
    Layout layout{result.getDimSize(1), input.getDimSize(1)};
    int64_t tokens = result.getDimSize(0);
    size_t stored = op.getStored().size();
    SmallVector<Value> inputs{op.getInput()};
    llvm::append_range(inputs, op.getStored());
    appendEpilogue(op, inputs);
    bool hasFewRows = BitmaskFewRows::pays(tokens);
    // Elements are read by vectors of so many lanes.
    Target target = context.getTarget();
    target.vectorWidth = std::min(target.vectorWidth, kLanes);
    GemmBlocking blocking(tokens, layout.rows, layout.columns, target);
    SmallVector<RankedTensorType> workspaces;
    bool hasDigits =
        hasFewRows &&
        BytesProduct::pays(target,
                           getElementTypeOrSelf(op.getStored()[0].getType()),
                           layout.columns);
    if (hasDigits)
      workspaces = ByteDigits::types(getContext(), tokens, layout.columns);
    else if (!hasFewRows)
      workspaces.push_back(
          RankedTensorType::get(blocking.packedSizeB(), rewriter.getF32Type()));
    context.replaceByLaunch(
        rewriter, op, inputs, workspaces,
        [&](KernelBuilder &b, ValueRange arguments) {
          ValueRange work = arguments.take_back(workspaces.size());
          arguments = arguments.drop_back(workspaces.size());
          Value result = arguments.back();
          auto matrix = BitmaskMatrix::of(layout, arguments.slice(1, stored));
          Epilogue epilogue = epilogueOf(op, arguments.drop_front(1 + stored));
          epilogue.scales = matrix.scales;
          b.ifElse(
              matrix.isWhole(b),
              [&] {
                // All of them, also where fewer are there: it is as quick.
                if (hasDigits) {
                  ByteDigits digits{tokens, layout.columns, work[0], work[1],
                                    work[2]};
                  digits.emit(b, arguments[0]);
                  return BytesProduct(b, target, digits, epilogue, result,
                                      matrix)
                      .emit(tokens);
                }
                if (hasFewRows)
                  return F32Product(b, target, arguments[0], epilogue, result,
                                    matrix)
                      .emit(tokens);
                GemmSpec spec{MatrixReader::of(arguments[0]),
                              matrix.reader(target)};
                spec.transposeB = true;
                spec.rows = context.packedCount(arguments[0]);
                emitGemm(b, blocking, spec, epilogue, result, work[0]);
              },
              [&] {
                b.parallel(tokens, [&](Value token) {
                  b.vectorLoop(layout.rows, context.lanes(),
                               [&](Value i, int64_t lanes) {
                                 b.store(b.f32(NAN, lanes), result, {token, i});
                               });
                });
              });
        });
    return success();
  }
};
} // namespace

void pst::cpu::populateBitmaskMatmulKernels(RewritePatternSet &patterns,
                                            KernelContext &context) {
  patterns.add<BitmaskMatmulPattern>(patterns.getContext(), context);
}
