//===- BitmaskMatmul.cpp - Products with a bit for each element -----------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "BitmaskMatmul.h"
#include "BitmaskWeight.h"
#include "KernelContext.h"
#include "ProductEpilogue.h"
#include "SparseMatmul.h"
#include "WordProduct.h"
#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace pst;
using namespace pst::cpu;

using Layout = BitmaskLayout;

namespace {

/// The sums are of f32, one for each of a word's vectors; what is not kept is
/// multiplied as 0.
class F32Product : public WordProduct {
public:
  F32Product(KernelBuilder &b, const Target &target, Value input,
             const Epilogue &epilogue, Value result,
             const BitmaskMatrix &matrix)
      : WordProduct(b, matrix.layout.rows, matrix.layout.columns, epilogue,
                    result),
        target(target), input(input), matrix(matrix) {}

private:
  static constexpr int64_t kParts = kWord / kLanes;

  Value firstSlot(Value row) override {
    return matrix.start(b, row, b.index(0));
  }

  SmallVector<Value> beginSum(int64_t) override {
    return SmallVector<Value>(kParts, b.f32(0.0, kLanes));
  }

  void addWord(int64_t first, int64_t tokens, Value row, Value word,
               int64_t columns, Value &slot,
               MutableArrayRef<Value> sums) override {
    SmallVector<Value> elements = matrix.readWord(b, target, row, word, slot);
    for (int64_t part = 0; part * kLanes < columns; ++part) {
      Value column = b.addi(b.muli(word, kWord), part * kLanes);
      for (int64_t t = 0; t < tokens; ++t) {
        Value &sum = sums[t * kParts + part];
        Value x = b.loadFirst(input, {b.index(first + t), column}, kLanes,
                              columns - part * kLanes);
        sum = b.fma(elements[part], x, sum);
      }
    }
  }

  Value endSum(int64_t, ArrayRef<Value> v) override {
    return b.addf(b.addf(v[0], v[1]), b.addf(v[2], v[3]));
  }

  const Target &target;
  Value input;
  const BitmaskMatrix &matrix;
};

/// The sums are of bytes by bytes.
class BitmaskBytesProduct : public BytesProduct {
public:
  BitmaskBytesProduct(KernelBuilder &b, const Target &target,
                      const ByteDigits &digits, const Epilogue &epilogue,
                      Value result, const BitmaskMatrix &matrix)
      : BytesProduct(b, digits, matrix.layout.rows, epilogue, result),
        target(target), matrix(matrix) {}

private:
  Value firstSlot(Value row) override {
    return matrix.start(b, row, b.index(0));
  }

  Value loadBytes(Value row, Value word, int64_t, Value &slot) override {
    return matrix.readBytes(b, target, row, word, slot);
  }

  const Target &target;
  const BitmaskMatrix &matrix;
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
        BytesProduct::isPossible(
            target, getElementTypeOrSelf(op.getStored()[0].getType()),
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
                  return BitmaskBytesProduct(b, target, digits, epilogue,
                                             result, matrix)
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
