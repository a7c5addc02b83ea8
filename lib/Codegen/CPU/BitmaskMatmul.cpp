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
#include "SparseFewRows.h"
#include <cmath>

using namespace mlir;
using namespace pst;
using namespace pst::cpu;

using Layout = BitmaskLayout;
static constexpr int64_t kLanes = BitmaskMatrix::kLanes;
/// Rows of S whose sums are at hand.
static constexpr int64_t kRows = 64;
/// Bytes of values before one whose line is on its way.
static constexpr int64_t kAhead = 2048;

namespace {

/// Y = X S^T for an X of few rows: lanes are columns of S, which X is read by
/// as it lies; what is not kept is multiplied as 0.
class FewRowsProduct {
public:
  FewRowsProduct(KernelBuilder &b, const Target &target, Value input,
                 const Epilogue &epilogue, Value result,
                 const BitmaskMatrix &matrix)
      : b(b), target(target), input(input), epilogue(epilogue), result(result),
        matrix(matrix), layout(matrix.layout) {}

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

private:
  /// Tokens whose sums, of a word's four vectors, are in registers.
  static constexpr int64_t kTokens = 4;

  void addRows(int64_t firstToken, int64_t tokens, Value firstRow, Value rows) {
    Value sums = b.stackBuffer({tokens, kRows, kLanes});
    Value start = matrix.start(b, firstRow, b.index(0));
    b.loop(b.index(0), rows, 1, {start},
           [&](Value i, ValueRange at) -> SmallVector<Value> {
             Value row = b.addi(firstRow, i);
             SmallVector<Value> state(tokens * kParts, b.f32(0.0, kLanes));
             state.push_back(at[0]);
             int64_t whole = layout.columns / Layout::kWord;
             state = b.loop(b.index(0), b.index(whole), 1, state,
                            [&](Value word, ValueRange carried) {
                              SmallVector<Value> next(carried);
                              addWord(firstToken, tokens, row, word,
                                      Layout::kWord, next);
                              return next;
                            });
             if (layout.columns % Layout::kWord)
               addWord(firstToken, tokens, row, b.index(whole),
                       layout.columns % Layout::kWord, state);
             for (int64_t t = 0; t < tokens; ++t) {
               Value *part = &state[t * kParts];
               b.store(
                   b.addf(b.addf(part[0], part[1]), b.addf(part[2], part[3])),
                   sums, {b.index(t), i, b.index(0)});
             }
             return {state.back()};
           });
    storeLaneSums(b, epilogue, result, firstToken, firstRow, rows, sums);
  }

  /// state: sums of tokens by the word's vectors, and the next slot.
  void addWord(int64_t firstToken, int64_t tokens, Value row, Value word,
               int64_t columns, SmallVectorImpl<Value> &state) {
    Type element = cast<MemRefType>(matrix.values.getType()).getElementType();
    int64_t ahead = kAhead * 8 / element.getIntOrFloatBitWidth();
    memref::PrefetchOp::create(
        b, matrix.values, ValueRange{b.addi(state.back(), ahead)},
        /*isWrite=*/false, /*localityHint=*/3, /*isDataCache=*/true);
    SmallVector<Value> elements =
        matrix.readWord(b, target, row, word, state.back());
    Value column = b.muli(word, Layout::kWord);
    for (int64_t part = 0; part < kParts; ++part) {
      int64_t there = columns - part * kLanes;
      if (there <= 0)
        break;
      for (int64_t t = 0; t < tokens; ++t) {
        Value &sum = state[t * kParts + part];
        Value x = loadInput(b.index(firstToken + t),
                            b.addi(column, part * kLanes), there);
        sum = b.fma(elements[part], x, sum);
      }
    }
  }

  /// kLanes elements of X, of which `there` are: zeros for the others.
  Value loadInput(Value token, Value column, int64_t there) {
    if (there >= kLanes)
      return b.load(input, {token, column}, kLanes);
    SmallVector<bool> lanes(kLanes, false);
    std::fill_n(lanes.begin(), there, true);
    Value isThere = arith::ConstantOp::create(b, b.getBoolVectorAttr(lanes));
    return vector::MaskedLoadOp::create(
        b, cast<VectorType>(b.lanesType(kLanes)), input,
        ValueRange{token, column}, isThere, b.f32(0.0, kLanes));
  }

  static constexpr int64_t kParts = Layout::kWord / kLanes;

  KernelBuilder &b;
  const Target &target;
  Value input;
  const Epilogue &epilogue;
  Value result;
  const BitmaskMatrix &matrix;
  const Layout &layout;
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
    if (!hasFewRows)
      workspaces.push_back(
          RankedTensorType::get(blocking.packedSizeB(), rewriter.getF32Type()));
    context.replaceByLaunch(
        rewriter, op, inputs, workspaces,
        [&](KernelBuilder &b, ValueRange arguments) {
          Value workspace;
          if (!workspaces.empty()) {
            workspace = arguments.back();
            arguments = arguments.drop_back();
          }
          Value result = arguments.back();
          auto matrix = BitmaskMatrix::of(layout, arguments.slice(1, stored));
          Epilogue epilogue = epilogueOf(op, arguments.drop_front(1 + stored));
          epilogue.scales = matrix.scales;
          b.ifElse(
              matrix.isWhole(b),
              [&] {
                // All of them, also where fewer are there: it is as quick.
                if (hasFewRows)
                  return FewRowsProduct(b, target, arguments[0], epilogue,
                                        result, matrix)
                      .emit(tokens);
                GemmSpec spec{MatrixReader::of(arguments[0]),
                              matrix.reader(target)};
                spec.transposeB = true;
                spec.rows = context.packedCount(arguments[0]);
                emitGemm(b, blocking, spec, epilogue, result, workspace);
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
