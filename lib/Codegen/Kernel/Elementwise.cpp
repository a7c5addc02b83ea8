//===- Elementwise.cpp - Ops that are a function of each element ----------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Activation.h"
#include "Dropout.h"
#include "LaunchContext.h"
#include "mlir/IR/TypeUtilities.h"
#include "pst/Dialect/NN/NNOps.h"

using namespace mlir;
using namespace pst;
using namespace pst::kernel;

/// Elements that are worth a CPU thread's while: of functions that are read and
/// written faster than computed, and of the others.
static constexpr int64_t kLight = 16384, kHeavy = 4096;

namespace {
/// result[i] = function(op, elements i of the operands)
template <typename OpT> struct ElementPattern : LaunchPattern<OpT> {
  using Function = Value (*)(CodeBuilder &b, OpT op, ValueRange elements);
  ElementPattern(MLIRContext *mlirContext, LaunchContext &context,
                 int64_t chunk, Function function)
      : LaunchPattern<OpT>(mlirContext, context), chunk(chunk),
        function(function) {}

  LogicalResult matchAndRewrite(OpT op,
                                PatternRewriter &rewriter) const override {
    this->context.replaceByLaunch(
        rewriter, op, op->getOperands(), /*workspaces=*/{},
        [&](CodeBuilder &host, ValueRange arguments) {
          this->context.mapElements(
              host, chunk, /*inputs=*/op->getNumOperands(), arguments,
              [&](CodeBuilder &b, ValueRange) -> ElementFunction {
                return [&b, op, function = function](ValueRange elements, Value,
                                                     int64_t) {
                  return function(b, op, elements);
                };
              });
        });
    return success();
  }
  int64_t chunk;
  Function function;
};

/// result[i] = input[i], in the result's type
template <typename OpT> struct ConvertPattern : ElementPattern<OpT> {
  ConvertPattern(MLIRContext *mlirContext, LaunchContext &context)
      : ElementPattern<OpT>(
            mlirContext, context, kLight,
            [](CodeBuilder &, OpT, ValueRange e) { return e[0]; }) {}

  LogicalResult matchAndRewrite(OpT op,
                                PatternRewriter &rewriter) const override {
    auto isKnown = [](Value value) {
      Type element = getElementTypeOrSelf(value);
      return isa<RankedTensorType>(value.getType()) &&
             (element.isF32() || element.isBF16());
    };
    if (!isKnown(op.getIn()) || !isKnown(op.getOut()))
      return failure();
    return ElementPattern<OpT>::matchAndRewrite(op, rewriter);
  }
};

/// result[i] = kept(i) ? input[i] / (1 - probability) : 0
struct DropoutPattern : LaunchPattern<nn::DropoutOp> {
  using LaunchPattern::LaunchPattern;
  LogicalResult matchAndRewrite(nn::DropoutOp op,
                                PatternRewriter &rewriter) const override {
    // The site is an argument, so that all dropouts of a shape share a kernel.
    Value site =
        arith::ConstantOp::create(rewriter, op.getLoc(), op.getSiteAttr());
    context.replaceByLaunch(
        rewriter, op, {op.getInput(), op.getSeed(), site}, /*workspaces=*/{},
        [&](CodeBuilder &host, ValueRange arguments) {
          if (context.packedRows() || op.getLength() || op.getToken())
            return dropRows(host, op, arguments);
          context.mapElements(
              host, kLight, /*inputs=*/1, arguments,
              [&](CodeBuilder &b, ValueRange values) -> ElementFunction {
                DropoutMask mask(b, values[1], values[2],
                                 op.getProbability().convertToDouble());
                return [&b, mask](ValueRange elements, Value i, int64_t lanes) {
                  return mask.drop(b, elements[0], {b.index(0), i});
                };
              });
        });
    return success();
  }

private:
  /// Rows are positions of sequences, or one of each sequence.
  void dropRows(CodeBuilder &host, nn::DropoutOp op,
                ValueRange arguments) const {
    int64_t columns = op.getType().getDimSize(1);
    context.writeRows(
        host, /*like=*/0, arguments,
        [&](CodeBuilder &b, ValueRange values, Value row) {
          DropoutMask mask(b, values[1], values[2],
                           op.getProbability().convertToDouble());
          DropoutPlace first =
              op.getToken()
                  ? DropoutPlace{row, b.index(*op.getToken() * columns)}
                  : DropoutPlace::ofRow(b, context.placeOf(b, row),
                                        op.getLengthAttr(), columns);
          return Driver::RowWrite{
              row,
              [&b, mask, first, row, input = values[0]](Value j, int64_t size) {
                return mask.drop(b, b.loadGroup(input, {row, j}, size),
                                 first.plus(b, j));
              }};
        });
  }
};

/// gradient[i] += value[i]
struct AccumulatePattern : LaunchPattern<AccumulateOp> {
  using LaunchPattern::LaunchPattern;
  LogicalResult matchAndRewrite(AccumulateOp op,
                                PatternRewriter &rewriter) const override {
    Value value = op.getValue();
    Value gradient = LoadOp::create(
        rewriter, op.getLoc(), value.getType(), op.getParameterAttr(),
        PartAttr::get(op.getContext(), Part::Gradient));
    context.replaceByLaunchInto(
        rewriter, op, value, gradient, /*workspaces=*/{},
        [&](CodeBuilder &host, ValueRange arguments) {
          Value in = arguments[0], sum = arguments[1];
          context.mapElements(
              host, kLight, /*inputs=*/2, {in, sum, sum},
              [](CodeBuilder &b, ValueRange) -> ElementFunction {
                return [&b](ValueRange elements, Value, int64_t) {
                  return b.addf(elements[1], elements[0]);
                };
              });
        });
    return success();
  }
};
} // namespace

void pst::kernel::populateElementwiseKernels(RewritePatternSet &patterns,
                                             LaunchContext &context) {
  MLIRContext *mlirContext = patterns.getContext();
  patterns.add<ElementPattern<nn::AddOp>>(
      mlirContext, context, kLight,
      [](CodeBuilder &b, nn::AddOp, ValueRange e) {
        return b.addf(e[0], e[1]);
      });
  patterns.add<ElementPattern<nn::ActivationOp>>(
      mlirContext, context, kHeavy,
      [](CodeBuilder &b, nn::ActivationOp op, ValueRange e) {
        return emitActivation(b, op.getKind(), e[0]);
      });
  patterns.add<ElementPattern<nn::ActivationBackwardOp>>(
      mlirContext, context, kHeavy,
      [](CodeBuilder &b, nn::ActivationBackwardOp op, ValueRange e) {
        return b.mulf(e[1], emitActivationDerivative(b, op.getKind(), e[0]));
      });
  patterns.add<ElementPattern<nn::GatedActivationOp>>(
      mlirContext, context, kHeavy,
      [](CodeBuilder &b, nn::GatedActivationOp op, ValueRange e) {
        return b.mulf(emitActivation(b, op.getKind(), e[0]), e[1]);
      });
  patterns.add<ElementPattern<nn::GatedActivationBackwardOp>>(
      mlirContext, context, kHeavy,
      [](CodeBuilder &b, nn::GatedActivationBackwardOp op, ValueRange e) {
        return b.mulf(b.mulf(e[2], e[1]),
                      emitActivationDerivative(b, op.getKind(), e[0]));
      });
  patterns.add<ConvertPattern<arith::TruncFOp>, ConvertPattern<arith::ExtFOp>,
               DropoutPattern, AccumulatePattern>(mlirContext, context);
}
