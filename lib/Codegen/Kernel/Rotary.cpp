//===- Rotary.cpp - Columns turned by the angle of their position ---------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// A head is two halves, of which columns with the same number are turned
// together; so is a row of the table, cosines and sines. All matrices are taken
// as one row for each half.

#include "LaunchContext.h"
#include "VectorMath.h"
#include "pst/Dialect/NN/NNOps.h"

using namespace mlir;
using namespace pst;
using namespace pst::kernel;

/// A row for each `half` columns of a buffer.
static Value inHalves(LaunchContext &context, CodeBuilder &b, Value buffer,
                      int64_t half) {
  auto type = cast<MemRefType>(buffer.getType());
  SmallVector<int64_t> sizes{type.getNumElements() / half, half};
  Value halves = memref::ReinterpretCastOp::create(
      b, MemRefType::get(sizes, type.getElementType()), buffer, /*offset=*/0,
      sizes, ArrayRef<int64_t>{half, 1});
  if (context.isPacked(buffer)) {
    Value count = context.packedCount(buffer);
    int64_t each = type.getDimSize(1) / half;
    context.setRows(halves, count ? b.muli(count, each) : Value());
  }
  return halves;
}

static int64_t dim(Value tensor, unsigned i) {
  return cast<ShapedType>(tensor.getType()).getDimSize(i);
}

namespace {
/// with p(t) = t, or positions[t]:
/// table[2 t] = cos(p f) * scale, table[2 t + 1] = sin(p f) * scale
struct RotaryTablePattern : LaunchPattern<nn::RotaryTableOp> {
  using LaunchPattern::LaunchPattern;
  LogicalResult matchAndRewrite(nn::RotaryTableOp op,
                                PatternRewriter &rewriter) const override {
    int64_t half = dim(op.getFrequencies(), 0);
    double scale = op.getScale().convertToDouble();
    context.replaceByLaunch(
        rewriter, op, op->getOperands(), /*workspaces=*/{},
        [&](CodeBuilder &host, ValueRange arguments) {
          SmallVector<Value> values(arguments);
          values.back() = inHalves(context, host, arguments.back(), half);
          context.writeRows(
              host, /*like=*/values.size() - 1, values,
              [&](CodeBuilder &b, ValueRange values, Value row) {
                Value position = arith::IndexCastOp::create(b, b.getI32Type(),
                                                            b.divi(row, 2));
                if (op.getPositions())
                  position = b.load(values[1], {b.divi(row, 2), b.index(0)});
                return Driver::RowWrite{
                    row, angles(b, values[0], position, row, scale)};
              });
        });
    return success();
  }

private:
  static GroupFunction angles(CodeBuilder &b, Value frequencies, Value number,
                              Value row, double scale) {
    Value isSine = b.cmpi(arith::CmpIPredicate::ne, b.remi(row, 2), b.index(0));
    Value position = arith::SIToFPOp::create(b, b.getF32Type(), number);
    return [=, &b](Value k, int64_t size) {
      Group group = b.loadGroup(frequencies, k, size);
      for (Value &element : group) {
        int64_t lanes = b.lanesOf(element);
        CosSin of = cosSin(b, b.mulf(b.splat(position, lanes), element));
        element = b.mulf(b.select(isSine, of.sin, of.cos), b.f32(scale, lanes));
      }
      return group;
    };
  }
};

/// with c and s the table's rows of the position:
/// result[first half]  = c * x[first half]  - s * x[second half]
/// result[second half] = c * x[second half] + s * x[first half]
struct RotaryPattern : LaunchPattern<nn::RotaryOp> {
  using LaunchPattern::LaunchPattern;
  LogicalResult matchAndRewrite(nn::RotaryOp op,
                                PatternRewriter &rewriter) const override {
    int64_t half = dim(op.getTable(), 1) / 2;
    context.replaceByLaunch(
        rewriter, op, op->getOperands(), /*workspaces=*/{},
        [&](CodeBuilder &host, ValueRange arguments) {
          SmallVector<Value> halves;
          for (Value argument : arguments)
            halves.push_back(inHalves(context, host, argument, half));
          context.writeRows(host, /*like=*/2, halves,
                            [&](CodeBuilder &b, ValueRange values, Value row) {
                              return Driver::RowWrite{
                                  row, turned(context, b, op, values, row)};
                            });
        });
    return success();
  }

private:
  static GroupFunction turned(LaunchContext &context, CodeBuilder &b,
                              nn::RotaryOp op, ValueRange values, Value row) {
    int64_t halves = 2 * dim(op.getInput(), 1) / dim(op.getTable(), 1);
    Value side = b.remi(row, 2), first = b.subi(row, side);
    Value other = b.addi(first, b.subi(b.index(1), side));
    Value position =
        b.remi(context.placeOf(b, b.divi(row, halves)), dim(op.getTable(), 0));
    Value cosines = b.muli(position, 2), sines = b.addi(cosines, 1);
    // The half from which the other one, times the sine, is subtracted.
    Value subtracts = b.cmpi(op.getTransposed() ? arith::CmpIPredicate::ne
                                                : arith::CmpIPredicate::eq,
                             side, b.index(0));
    Value sign = b.select(subtracts, b.f32(-1.0), b.f32(1.0));
    return [=, &b](Value k, int64_t size) {
      auto load = [&](unsigned matrix, Value row) {
        return b.loadGroup(values[matrix], {row, k}, size);
      };
      Group result = load(0, row);
      for (auto [x, partner, c, s] : llvm::zip(
               result, load(0, other), load(1, cosines), load(1, sines))) {
        Value turned = b.mulf(b.mulf(s, b.splat(sign, b.lanesOf(s))), partner);
        x = b.fma(c, x, turned);
      }
      return result;
    };
  }
};
} // namespace

void pst::kernel::populateRotaryKernels(RewritePatternSet &patterns,
                                        LaunchContext &context) {
  patterns.add<RotaryTablePattern, RotaryPattern>(patterns.getContext(),
                                                  context);
}
