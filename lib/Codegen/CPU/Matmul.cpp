//===- Matmul.cpp - Products with plain and virtual weights ---------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Gemm.h"
#include "KernelContext.h"
#include "VirtualWeight.h"
#include "pst/Dialect/NN/NNOps.h"

using namespace mlir;
using namespace pst;
using namespace pst::cpu;

/// The workspace of a product, as a type.
static RankedTensorType workspaceType(const GemmBlocking &blocking,
                                      OpBuilder &builder) {
  return RankedTensorType::get(blocking.packedSizeB(), builder.getF32Type());
}

static int64_t dim(Value value, unsigned i) {
  return cast<ShapedType>(value.getType()).getDimSize(i);
}

namespace {
/// Y = X W^T + bias
struct LinearPattern : KernelPattern<nn::LinearOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(nn::LinearOp op,
                                PatternRewriter &rewriter) const override {
    GemmBlocking blocking(dim(op.getInput(), 0), dim(op.getWeight(), 0),
                          dim(op.getInput(), 1), context.lanes());
    SmallVector<Value> inputs{op.getInput(), op.getWeight()};
    if (op.getBias())
      inputs.push_back(op.getBias());
    context.replaceByLaunch(
        rewriter, op,
        "linear_" + shapeName(op.getInput()) + "_" + shapeName(op.getWeight()) +
            (op.getBias() ? "_bias" : ""),
        inputs, workspaceType(blocking, rewriter),
        [&](KernelBuilder &b, ValueRange arguments) {
          emitGemm(b, blocking,
                   {MatrixReader::of(arguments[0]),
                    MatrixReader::of(arguments[1]), /*transposeA=*/false,
                    /*transposeB=*/true},
                   op.getBias() ? arguments[2] : Value(),
                   arguments[arguments.size() - 2], arguments.back());
        });
    return success();
  }
};

/// op(A) op(B)
struct MatmulPattern : KernelPattern<nn::MatmulOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(nn::MatmulOp op,
                                PatternRewriter &rewriter) const override {
    GemmBlocking blocking(dim(op.getResult(), 0), dim(op.getResult(), 1),
                          dim(op.getLhs(), op.getTransposeLhs() ? 0 : 1),
                          context.lanes());
    context.replaceByLaunch(
        rewriter, op,
        "matmul_" + shapeName(op.getLhs()) +
            (op.getTransposeLhs() ? "t_" : "_") + shapeName(op.getRhs()) +
            (op.getTransposeRhs() ? "t" : ""),
        {op.getLhs(), op.getRhs()}, workspaceType(blocking, rewriter),
        [&](KernelBuilder &b, ValueRange arguments) {
          emitGemm(b, blocking,
                   {MatrixReader::of(arguments[0]),
                    MatrixReader::of(arguments[1]), op.getTransposeLhs(),
                    op.getTransposeRhs()},
                   /*bias=*/nullptr, arguments[2], arguments[3]);
        });
    return success();
  }
};

/// Y = X (M * W')^T + bias, or Y = X (M * W'): the weight is evaluated by the
/// packing, each element once.
struct MaskedMatmulPattern : KernelPattern<MaskedMatmulOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(MaskedMatmulOp op,
                                PatternRewriter &rewriter) const override {
    CriterionOp criterion = context.getCriterion(op.getCriterionAttr());
    GemmBlocking blocking(dim(op.getResult(), 0), dim(op.getResult(), 1),
                          dim(op.getInput(), 1), context.lanes());
    SmallVector<Value> inputs{op.getInput()};
    llvm::append_range(inputs, op.getFactors());
    if (op.getThreshold())
      llvm::append_range(inputs, ValueRange{op.getThreshold(), op.getCut()});
    if (op.getBias())
      inputs.push_back(op.getBias());
    context.replaceByLaunch(
        rewriter, op,
        "masked_matmul_" + std::to_string(dim(op.getInput(), 0)) + "_" +
            criterionName(criterion, op.getFactors()) +
            (op.getThreshold() ? "_threshold" : "") +
            (op.getBias() ? "_bias" : "") +
            (op.getTransposed() ? "_transposed" : ""),
        inputs, workspaceType(blocking, rewriter),
        [&](KernelBuilder &b, ValueRange arguments) {
          size_t next = 1 + op.getFactors().size();
          Value threshold, cut, bias;
          if (op.getThreshold()) {
            threshold = b.load(arguments[next++], {});
            cut = b.load(arguments[next++], {});
          }
          if (op.getBias())
            bias = arguments[next++];
          VirtualWeight weight(criterion,
                               arguments.slice(1, op.getFactors().size()),
                               threshold, cut);
          MatrixReader reader{
              weight.getRows(), weight.getColumns(),
              [&](KernelBuilder &b, Value row, Value column, int64_t lanes) {
                return weight.maskedWeight(b, row, column, lanes);
              }};
          emitGemm(b, blocking,
                   {MatrixReader::of(arguments[0]), reader,
                    /*transposeA=*/false,
                    /*transposeB=*/!op.getTransposed()},
                   bias, arguments[next], arguments[next + 1]);
        });
    return success();
  }
};
} // namespace

void pst::cpu::populateMatmulKernels(RewritePatternSet &patterns,
                                     KernelContext &context) {
  patterns.add<LinearPattern, MatmulPattern, MaskedMatmulPattern>(
      patterns.getContext(), context);
}
