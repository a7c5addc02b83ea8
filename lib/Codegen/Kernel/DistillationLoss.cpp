//===- DistillationLoss.cpp - How far a row is from a teacher's ----------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// The rows are logits of classes, of which there are few: a lane goes through
// those of a row alone.

#include "BinaryCrossEntropy.h"
#include "LaunchContext.h"
#include "VectorMath.h"
#include "pst/Dialect/NN/NNOps.h"

using namespace mlir;
using namespace pst;
using namespace pst::kernel;

/// next(c, what it was for c - 1), `first` at first, for all classes.
static Value
overClasses(CodeBuilder &b, Value logits, Value first,
            llvm::function_ref<Value(Value c, Value before)> next) {
  int64_t classes = cast<MemRefType>(logits.getType()).getDimSize(1);
  return b.loop(b.index(0), b.index(classes), 1, {first},
                [&](Value c, ValueRange carried) -> SmallVector<Value> {
                  return {next(c, carried[0])};
                })[0];
}

namespace {
/// The softmax of a row of logits divided by a temperature.
class RowSoftmax {
public:
  RowSoftmax(CodeBuilder &b, Value logits, Value row, Value temperature)
      : logits(logits), row(row), temperature(temperature) {
    maximum = overClasses(b, logits, b.load(logits, {row, b.index(0)}),
                          [&](Value c, Value most) {
                            return b.maxf(b.load(logits, {row, c}), most);
                          });
    sum = overClasses(b, logits, b.f32(0.0), [&](Value c, Value before) {
      return b.addf(before,
                    expNonPositive(b, shifted(b, b.load(logits, {row, c}))));
    });
  }

  /// Of the classes whose logits these are.
  Value probability(CodeBuilder &b, Value logit) const {
    return b.divf(expNonPositive(b, shifted(b, logit)),
                  b.splat(sum, CodeBuilder::lanesOf(logit)));
  }
  /// Of one class.
  Value logProbability(CodeBuilder &b, Value c) const {
    return b.subf(shifted(b, b.load(logits, {row, c})), logPositive(b, sum));
  }

private:
  Value shifted(CodeBuilder &b, Value logit) const {
    int64_t lanes = CodeBuilder::lanesOf(logit);
    return b.divf(b.subf(logit, b.splat(maximum, lanes)),
                  b.splat(temperature, lanes));
  }

  Value logits, row, temperature, maximum, sum;
};

/// result = scale * sum over rows of T^2 * divergence
struct DistillationLossPattern : LaunchPattern<nn::DistillationLossOp> {
  using LaunchPattern::LaunchPattern;
  LogicalResult matchAndRewrite(nn::DistillationLossOp op,
                                PatternRewriter &rewriter) const override {
    auto type = cast<RankedTensorType>(op.getLogits().getType());
    bool binary = op.getBinary();
    context.replaceByLaunch(
        rewriter, op, op->getOperands(),
        /*workspaces=*/{}, [&](CodeBuilder &host, ValueRange arguments) {
          // Scale and loss first, then logits, teacher and temperature.
          context.scaledSum(
              host, type.getDimSize(0),
              {arguments[2], arguments[4], arguments[3], arguments[0],
               arguments[1]},
              [&](CodeBuilder &b, ValueRange values, Value row) {
                Value first = b.load(values[4], {row, b.index(0)});
                Value divergence = binary ? binaryDivergence(b, values, row)
                                          : softmaxDivergence(b, values, row);
                Value scaled = b.mulf(divergence, b.mulf(values[2], values[2]));
                return b.select(b.cmpf(arith::CmpFPredicate::UNO, first, first),
                                b.f32(0.0), scaled);
              });
        });
    return success();
  }

private:
  static Value softmaxDivergence(CodeBuilder &b, ValueRange values, Value row) {
    Value temperature = values[2];
    RowSoftmax student(b, values[3], row, temperature);
    RowSoftmax teacher(b, values[4], row, temperature);
    return overClasses(b, values[3], b.f32(0.0), [&](Value c, Value sum) {
      Value logit = b.load(values[4], {row, c});
      Value term = b.mulf(
          teacher.probability(b, logit),
          b.subf(teacher.logProbability(b, c), student.logProbability(b, c)));
      return b.addf(sum, term);
    });
  }

  /// The cross-entropy with the teacher's probability, less what that has of
  /// its own.
  static Value binaryDivergence(CodeBuilder &b, ValueRange values, Value row) {
    Value all = overClasses(b, values[3], b.f32(0.0), [&](Value c, Value sum) {
      auto heated = [&](Value logits) {
        return b.divf(b.load(logits, {row, c}), values[2]);
      };
      Value student = heated(values[3]), teacher = heated(values[4]);
      Value p = sigmoid(b, teacher).value;
      return b.addf(sum, b.subf(binaryCrossEntropy(b, student, p),
                                binaryCrossEntropy(b, teacher, p)));
    });
    int64_t columns = cast<MemRefType>(values[3].getType()).getDimSize(1);
    return b.divf(all, b.f32(static_cast<double>(columns)));
  }
};

/// result[row, c] = gradient * scale * T * (q - p), of `binary` / columns
struct DistillationLossBackwardPattern
    : LaunchPattern<nn::DistillationLossBackwardOp> {
  using LaunchPattern::LaunchPattern;
  LogicalResult matchAndRewrite(nn::DistillationLossBackwardOp op,
                                PatternRewriter &rewriter) const override {
    bool binary = op.getBinary();
    context.replaceByLaunch(
        rewriter, op, op->getOperands(),
        /*workspaces=*/{}, [&](CodeBuilder &host, ValueRange arguments) {
          context.writeRows(host, /*like=*/0, arguments,
                            [&](CodeBuilder &b, ValueRange values, Value row) {
                              return gradientOf(b, values, row, binary);
                            });
        });
    return success();
  }

private:
  static Driver::RowWrite gradientOf(CodeBuilder &b, ValueRange values,
                                     Value row, bool binary) {
    Value logits = values[0], teacher = values[1], temperature = values[4];
    Value factor =
        b.mulf(b.mulf(b.load(values[3], {}), values[2]), temperature);
    Value first = b.load(teacher, {row, b.index(0)});
    Value isNone = b.cmpf(arith::CmpFPredicate::UNO, first, first);
    std::function<Value(Value, Value)> difference;
    if (binary) {
      int64_t columns = cast<MemRefType>(logits.getType()).getDimSize(1);
      factor = b.divf(factor, b.f32(static_cast<double>(columns)));
      difference = [&b, temperature](Value x, Value y) {
        Value heat = b.splat(temperature, CodeBuilder::lanesOf(x));
        return b.subf(sigmoid(b, b.divf(x, heat)).value,
                      sigmoid(b, b.divf(y, heat)).value);
      };
    } else {
      difference = [&b, q = RowSoftmax(b, logits, row, temperature),
                    p = RowSoftmax(b, teacher, row, temperature)](Value x,
                                                                  Value y) {
        return b.subf(q.probability(b, x), p.probability(b, y));
      };
    }
    return {row, [=, &b](Value column, int64_t size) {
              Group group = b.loadGroup(logits, {row, column}, size);
              Group other = b.loadGroup(teacher, {row, column}, size);
              for (auto [x, y] : llvm::zip_equal(group, other)) {
                int64_t lanes = CodeBuilder::lanesOf(x);
                x = b.select(b.splat(isNone, lanes), b.f32(0.0, lanes),
                             b.mulf(difference(x, y), b.splat(factor, lanes)));
              }
              return group;
            }};
  }
};
} // namespace

void pst::kernel::populateDistillationLossKernels(RewritePatternSet &patterns,
                                                  LaunchContext &context) {
  patterns.add<DistillationLossPattern, DistillationLossBackwardPattern>(
      patterns.getContext(), context);
}
