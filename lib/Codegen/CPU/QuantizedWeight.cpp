//===- QuantizedWeight.cpp - Quantizes a matrix to 8 bits -----------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "QuantizedWeight.h"
#include "KernelContext.h"
#include <limits>

using namespace mlir;
using namespace pst;
using namespace pst::cpu;

static constexpr double kLargest = 127;

/// The scale of rows whose largest magnitudes are the lanes of `largest`.
static Value scaleOf(KernelBuilder &b, Value largest) {
  int64_t lanes = KernelBuilder::lanesOf(largest);
  auto number = [&](double value) { return b.f32(value, lanes); };
  // maximumf, not maxf: what is no number stays so.
  Value scale =
      arith::MaximumFOp::create(b, b.divf(largest, number(kLargest)),
                                number(std::numeric_limits<float>::min()));
  Value isZero = b.cmpf(arith::CmpFPredicate::OEQ, largest, number(0.0));
  return b.select(isZero, number(0.0), scale);
}

static Value larger(KernelBuilder &b, Value largest, Value element) {
  return arith::MaximumFOp::create(b, largest, b.absf(element));
}

// parallel for rows of S: the largest of its lanes, then of these
// and transposed, parallel for vectors of rows of S:
//   for columns of S: the largest, lane by lane
void pst::cpu::emitRowScales(KernelBuilder &b, int64_t lanes,
                             const MatrixReader &matrix, bool transposed,
                             Value scales) {
  if (transposed) {
    b.parallelVectorLoop(
        matrix.columns, lanes, lanes, [&](Value column, int64_t width) {
          Value largest =
              b.loop(b.index(0), b.index(matrix.rows), 1, {b.f32(0.0, width)},
                     [&](Value row, ValueRange carried) -> SmallVector<Value> {
                       return {larger(b, carried[0],
                                      matrix.read(b, row, column, width))};
                     })[0];
          b.store(scaleOf(b, largest), scales, column);
        });
    return;
  }
  b.parallel(matrix.rows, [&](Value row) {
    auto largestOf = [&](Value from, Value to, Value largest) {
      int64_t width = KernelBuilder::lanesOf(largest);
      return b.loop(
          from, to, width, {largest},
          [&](Value column, ValueRange carried) -> SmallVector<Value> {
            return {larger(b, carried[0], matrix.read(b, row, column, width))};
          })[0];
    };
    Value whole = b.index(matrix.columns / lanes * lanes);
    Value largest = b.maxLanes(largestOf(b.index(0), whole, b.f32(0.0, lanes)));
    largest = largestOf(whole, b.index(matrix.columns), largest);
    b.store(scaleOf(b, largest), scales, row);
  });
}

/// Elements of a row, or of several, divided by their scale and rounded.
static Value toWhole(KernelBuilder &b, Value elements, Value scale) {
  int64_t lanes = KernelBuilder::lanesOf(elements);
  // Beside 1.5 * 2^23 there are whole numbers only: the addition rounds to
  // nearest even, on every machine.
  Value large = b.f32(12582912.0, lanes);
  Value rounded = b.subf(b.addf(b.divf(elements, scale), large), large);
  // Others come of 0 / 0, and of scales that are no finite numbers.
  Value isNumber = b.cmpf(arith::CmpFPredicate::OLE, b.absf(rounded),
                          b.f32(kLargest, lanes));
  return b.select(isNumber, rounded, b.f32(0.0, lanes));
}

MatrixReader pst::cpu::wholeNumbers(const MatrixReader &matrix, bool transposed,
                                    Value scales) {
  auto scaleAt = [=](KernelBuilder &b, Value row, Value column, int64_t lanes) {
    return transposed ? b.load(scales, column, lanes)
                      : b.loadSplat(scales, row, lanes);
  };
  MatrixReader result = matrix;
  result.read = [=, read = matrix.read](KernelBuilder &b, Value row,
                                        Value column, int64_t lanes) {
    return toWhole(b, read(b, row, column, lanes),
                   scaleAt(b, row, column, lanes));
  };
  if (matrix.readRows)
    result.readRows = [=, readRows = matrix.readRows](
                          KernelBuilder &b, Value row, int64_t count,
                          Value column, int64_t lanes) {
      SmallVector<Value> rows = readRows(b, row, count, column, lanes);
      for (auto [i, elements] : llvm::enumerate(rows))
        elements =
            toWhole(b, elements, scaleAt(b, b.addi(row, i), column, lanes));
      return rows;
    };
  return result;
}

// parallel for rows of S: its whole numbers
// and transposed, parallel for vectors of rows of S:
//   for squares of them: transposed
static void emitQuantize(KernelBuilder &b, int64_t lanes,
                         const MatrixReader &matrix, bool transposed,
                         Value values) {
  if (!transposed) {
    b.parallel(matrix.rows, [&](Value row) {
      b.vectorLoop(matrix.columns, lanes, [&](Value column, int64_t width) {
        b.store(matrix.read(b, row, column, width), values, {row, column});
      });
    });
    return;
  }
  auto storeElement = [&](Value row, Value column) {
    b.store(matrix.read(b, column, row, 1), values, {row, column});
  };
  int64_t whole = matrix.rows / lanes * lanes;
  b.parallelVectorLoop(
      matrix.columns, lanes, lanes, [&](Value row, int64_t width) {
        if (width == 1)
          return b.loop(0, matrix.rows, 1,
                        [&](Value column) { storeElement(row, column); });
        b.loop(0, whole, lanes, [&](Value column) {
          SmallVector<Value> square;
          for (int64_t i = 0; i < lanes; ++i)
            square.push_back(matrix.read(b, b.addi(column, i), row, lanes));
          transpose(b, square);
          for (int64_t i = 0; i < lanes; ++i)
            b.store(square[i], values, {b.addi(row, i), column});
        });
        b.loop(whole, matrix.rows, 1, [&](Value column) {
          b.loop(0, lanes, 1,
                 [&](Value i) { storeElement(b.addi(row, i), column); });
        });
      });
}

namespace {
struct QuantizedWeightPattern : KernelPattern<MaterializeOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(MaterializeOp op,
                                PatternRewriter &rewriter) const override {
    if (op.getStorage() != Storage::Quantized)
      return failure();
    CriterionOp criterion = context.getCriterion(op.getCriterionAttr());
    context.replaceByLaunch(
        rewriter, op, weightOperands(op), /*workspaces=*/{},
        [&](KernelBuilder &b, ValueRange arguments) {
          MatrixReader matrix = MatrixReader::of(VirtualWeight(
              b, criterion, op.getSelectionAttr(), arguments.drop_back(2)));
          Value values = arguments[arguments.size() - 2];
          Value scales = arguments.back();
          emitRowScales(b, context.lanes(), matrix, op.getTransposed(), scales);
          emitQuantize(b, context.lanes(),
                       wholeNumbers(matrix, op.getTransposed(), scales),
                       op.getTransposed(), values);
        });
    return success();
  }
};
} // namespace

void pst::cpu::populateQuantizedWeightKernels(RewritePatternSet &patterns,
                                              KernelContext &context) {
  patterns.add<QuantizedWeightPattern>(patterns.getContext(), context);
}
