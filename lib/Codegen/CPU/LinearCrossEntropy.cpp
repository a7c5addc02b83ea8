//===- LinearCrossEntropy.cpp - Loss over a vocabulary --------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// for chunks of tokens:
//   logits = X(chunk) W^T                              (a dense product)
//   forward: losses(chunk) = log(sum e^logits) - logits[label], row by row
//   backward: logits = factor * (softmax - onehot), in place
//             dX(chunk) = logits W;   dW += logits^T X(chunk)
//
// The chunk is as large as its logits fit a fixed room: the weight is packed
// once a chunk, a few percent of the product.

#include "Gemm.h"
#include "KernelContext.h"
#include "Loss.h"
#include "pst/Dialect/NN/NNOps.h"
#include <algorithm>

using namespace mlir;
using namespace pst;
using namespace pst::cpu;

/// f32 elements of a chunk's logits: 64 MiB.
static constexpr int64_t kLogits = 1 << 24;

namespace {
/// Sizes of the streams, and what the kernels of both directions share.
class VocabularyStream {
public:
  VocabularyStream(Value input, Value weight, const Target &target)
      : target(target) {
    auto x = cast<ShapedType>(input.getType());
    tokens = x.getDimSize(0);
    features = x.getDimSize(1);
    classes = cast<ShapedType>(weight.getType()).getDimSize(0);
    int64_t largest =
        std::min(tokens, std::max<int64_t>(kLogits / classes, 64));
    chunk = llvm::divideCeil(tokens, llvm::divideCeil(tokens, largest));
  }

  /// The logits of a chunk, and a packed block of any of the products.
  SmallVector<RankedTensorType> workspaces(OpBuilder &builder) const {
    int64_t packed = 0;
    for (int64_t rows : {chunk, tokens % chunk})
      if (rows)
        packed = std::max({packed, logitsBlocking(rows).packedSizeB(),
                           inputBlocking(rows).packedSizeB(),
                           weightBlocking(rows).packedSizeB()});
    Type f32 = builder.getF32Type();
    return {RankedTensorType::get({chunk, classes}, f32),
            RankedTensorType::get(packed, f32)};
  }

  /// body(first token, tokens) for each chunk; twice if the last is shorter.
  void forChunks(KernelBuilder &b,
                 function_ref<void(Value, int64_t)> body) const {
    int64_t whole = tokens / chunk * chunk;
    b.loop(0, whole, chunk, [&](Value first) { body(first, chunk); });
    if (whole != tokens)
      body(b.index(whole), tokens - whole);
  }

  /// logits = X(first ..) W^T
  void emitLogits(KernelBuilder &b, Value input, Value first, int64_t rows,
                  Value weight, Value logits, Value packed) const {
    emitGemm(b, logitsBlocking(rows),
             {rowsOf(input, first, rows), MatrixReader::of(weight),
              /*transposeA=*/false, /*transposeB=*/true},
             Epilogue{}, logits, packed);
  }

  /// dX(first ..) = logits W
  void emitInputGradient(KernelBuilder &b, Value logits, int64_t rows,
                         Value weight, Value result, Value first,
                         Value packed) const {
    auto sizes = [&](int64_t m, int64_t n) {
      return SmallVector<OpFoldResult>{b.getIndexAttr(m), b.getIndexAttr(n)};
    };
    Value part = memref::SubViewOp::create(
        b, result, SmallVector<OpFoldResult>{first, b.getIndexAttr(0)},
        sizes(rows, features), sizes(1, 1));
    emitGemm(b, inputBlocking(rows),
             {rowsOf(logits, b.index(0), rows), MatrixReader::of(weight)},
             Epilogue{}, part, packed);
  }

  /// dW += logits^T X(first ..)
  void emitWeightGradient(KernelBuilder &b, Value logits, int64_t rows,
                          Value input, Value first, Value result,
                          Value packed) const {
    Epilogue add;
    add.addend = result;
    emitGemm(b, weightBlocking(rows),
             {rowsOf(logits, b.index(0), rows), rowsOf(input, first, rows),
              /*transposeA=*/true},
             add, result, packed);
  }

  int64_t tokens, features, classes;
  int64_t chunk;

private:
  GemmBlocking logitsBlocking(int64_t rows) const {
    return GemmBlocking(rows, classes, features, target);
  }
  GemmBlocking inputBlocking(int64_t rows) const {
    return GemmBlocking(rows, features, classes, target);
  }
  GemmBlocking weightBlocking(int64_t rows) const {
    return GemmBlocking(classes, features, rows, target);
  }

  /// `rows` rows of a matrix, from `first` on.
  static MatrixReader rowsOf(Value matrix, Value first, int64_t rows) {
    int64_t columns = cast<ShapedType>(matrix.getType()).getDimSize(1);
    return {rows, columns,
            [matrix, first](KernelBuilder &b, Value row, Value column,
                            int64_t lanes) {
              return b.load(matrix, {b.addi(first, row), column}, lanes);
            },
            /*readRows=*/{}};
  }

  const Target &target;
};

struct LinearCrossEntropyPattern : KernelPattern<nn::LinearCrossEntropyOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(nn::LinearCrossEntropyOp op,
                                PatternRewriter &rewriter) const override {
    VocabularyStream stream(op.getInput(), op.getWeight(), context.getTarget());
    SmallVector<RankedTensorType> workspaces = stream.workspaces(rewriter);
    workspaces.push_back(
        RankedTensorType::get({stream.tokens}, rewriter.getF32Type()));
    context.replaceByLaunch(
        rewriter, op,
        {op.getInput(), op.getWeight(), op.getLabels(), op.getScale()},
        workspaces, [&](KernelBuilder &b, ValueRange arguments) {
          Value logits = arguments[5], losses = arguments[7];
          stream.forChunks(b, [&](Value first, int64_t rows) {
            stream.emitLogits(b, arguments[0], first, rows, arguments[1],
                              logits, arguments[6]);
            b.parallel(rows, [&](Value row) {
              Value token = b.addi(first, row);
              RowLabel label(b, arguments[2], token, stream.classes,
                             kernel::LabelOf::NextToken);
              b.ifElse(
                  label.isExample,
                  [&] {
                    RowSoftmax softmax(b, logits, row, stream.classes,
                                       context.lanes());
                    b.store(softmax.loss(b, label.label), losses, token);
                  },
                  [&] { b.store(b.f32(0.0), losses, token); });
            });
          });
          context.scaledSum(b, stream.tokens,
                            {arguments[3], arguments[4], losses}, loadRowLoss);
        });
    return success();
  }
};

struct LinearCrossEntropyBackwardPattern
    : KernelPattern<nn::LinearCrossEntropyBackwardOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(nn::LinearCrossEntropyBackwardOp op,
                                PatternRewriter &rewriter) const override {
    VocabularyStream stream(op.getInput(), op.getWeight(), context.getTarget());
    bool wantsWeight = !!op.getWeightGradient();
    context.replaceByLaunch(
        rewriter, op,
        {op.getInput(), op.getWeight(), op.getLabels(), op.getScale(),
         op.getGradient()},
        stream.workspaces(rewriter),
        [&](KernelBuilder &b, ValueRange arguments) {
          Value input = arguments[0], weight = arguments[1];
          Value factor = b.mulf(b.load(arguments[4], {}), arguments[3]);
          Value logits = arguments[arguments.size() - 2];
          Value packed = arguments.back();
          if (wantsWeight)
            b.parallel(stream.classes, [&](Value row) {
              RowSoftmax::storeZeros(b, row, stream.features, context.lanes(),
                                     arguments[6]);
            });
          stream.forChunks(b, [&](Value first, int64_t rows) {
            stream.emitLogits(b, input, first, rows, weight, logits, packed);
            b.parallel(rows, [&](Value row) {
              RowLabel label(b, arguments[2], b.addi(first, row),
                             stream.classes, kernel::LabelOf::NextToken);
              b.ifElse(
                  label.isExample,
                  [&] {
                    RowSoftmax(b, logits, row, stream.classes, context.lanes())
                        .storeGradient(b, label.label, factor, logits);
                  },
                  [&] {
                    RowSoftmax::storeZeros(b, row, stream.classes,
                                           context.lanes(), logits);
                  });
            });
            stream.emitInputGradient(b, logits, rows, weight, arguments[5],
                                     first, packed);
            if (wantsWeight)
              stream.emitWeightGradient(b, logits, rows, input, first,
                                        arguments[6], packed);
          });
        });
    return success();
  }
};
} // namespace

void pst::cpu::populateLinearCrossEntropyKernels(RewritePatternSet &patterns,
                                                 KernelContext &context) {
  patterns.add<LinearCrossEntropyPattern, LinearCrossEntropyBackwardPattern>(
      patterns.getContext(), context);
}
