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
#include "SparseMatmul.h"
#include "mlir/Dialect/Math/IR/Math.h"

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

/// The elements of S by cells as those of a compressed weight, columns found
/// bit by bit.
class BitmaskCells : public CellElements {
public:
  explicit BitmaskCells(const BitmaskMatrix &matrix)
      : CellElements(matrix.values), matrix(matrix) {}

private:
  void forRows(KernelBuilder &b, Value cell, Value rows,
               function_ref<void(const Row &)> body) const override {
    static_assert(Layout::kBlock == SparseBlocking::kDepth &&
                  Layout::kBlock == 2 * Layout::kWord);
    const Layout &layout = matrix.layout;
    Value block = b.remi(cell, layout.blocks());
    Value firstRow =
        b.muli(b.divi(cell, layout.blocks()), SparseBlocking::kRows);
    Value hasHigh =
        b.cmpi(arith::CmpIPredicate::slt, b.addi(b.muli(block, 2), 1),
               b.index(layout.words()));
    b.loop(b.index(0), rows, 1, [&](Value i) {
      Value row = b.addi(firstRow, i);
      Value low = matrix.loadWord(b, row, b.muli(block, 2));
      // What lies behind a row's last word is the next row's, or slack.
      Value high = b.select(
          hasHigh, matrix.loadWord(b, row, b.addi(b.muli(block, 2), 1)),
          b.i64(0));
      Value count = arith::AddIOp::create(b, math::CtPopOp::create(b, low),
                                          math::CtPopOp::create(b, high));
      Value begin = matrix.start(b, row, block);
      body({i, begin, b.addi(begin, toIndex(b, count)), {low, high}});
    });
  }

  /// The lowest bit of the two words, which it clears.
  Value nextColumn(KernelBuilder &b, Value,
                   MutableArrayRef<Value> state) const override {
    Value low = state[0], high = state[1];
    Value isLow = b.cmpi(arith::CmpIPredicate::ne, low, b.i64(0));
    Value word = b.select(isLow, low, high);
    Value bit = math::CountTrailingZerosOp::create(b, word);
    Value rest = arith::AndIOp::create(
        b, word, arith::SubIOp::create(b, word, b.i64(1)));
    state[0] = b.select(isLow, rest, low);
    state[1] = b.select(isLow, high, rest);
    Value column = arith::AddIOp::create(
        b, bit, b.select(isLow, b.i64(0), b.i64(Layout::kWord)));
    return toIndex(b, column);
  }

  const BitmaskMatrix &matrix;
};

/// Y = X S^T, and what follows; NaN where S is not whole.
struct BitmaskMatmulPattern : KernelPattern<StoredMatmulOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(StoredMatmulOp op,
                                PatternRewriter &rewriter) const override {
    if (op.getStorage() != Storage::Bitmask)
      return failure();
    SparseBlocking blocking(op.getInput(), op.getResult(), context.lanes());
    Layout layout{blocking.n(), blocking.k()};
    int64_t tokens = blocking.tokens;
    size_t stored = op.getStored().size();
    SmallVector<Value> inputs{op.getInput()};
    llvm::append_range(inputs, op.getStored());
    appendEpilogue(op, inputs);
    const Target &target = context.getTarget();
    bool hasFewRows = BitmaskFewRows::pays(tokens);
    bool hasDigits =
        hasFewRows &&
        BytesProduct::pays(target,
                           getElementTypeOrSelf(op.getStored()[0].getType()),
                           layout.columns);
    SmallVector<RankedTensorType> workspaces;
    if (hasDigits)
      workspaces = ByteDigits::types(getContext(), tokens, layout.columns);
    else if (!hasFewRows && blocking.workspaceSize())
      workspaces.push_back(RankedTensorType::get(blocking.workspaceSize(),
                                                 rewriter.getF32Type()));
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
                emitSparseMatmul(b, blocking, context.packedCount(result),
                                 MatrixReader::of(arguments[0]), epilogue,
                                 result, work.empty() ? Value() : work[0],
                                 BitmaskCells(matrix));
              },
              [&] { emitNaN(b, context.lanes(), result); });
        });
    return success();
  }
};
} // namespace

void pst::cpu::populateBitmaskMatmulKernels(RewritePatternSet &patterns,
                                            KernelContext &context) {
  patterns.add<BitmaskMatmulPattern>(patterns.getContext(), context);
}
