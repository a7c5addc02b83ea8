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
//             (smoothed labels have the target of ClassTarget for onehot)
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

  /// Some tokens, from `first` on: `rows`, of which `count` are there (null:
  /// all).
  struct Chunk {
    Value first;
    int64_t rows;
    Value count;
  };

  /// body(chunk) for each chunk of the `count` tokens that there are (null:
  /// all); twice if the last is known to be shorter.
  void forChunks(KernelBuilder &b, Value count,
                 function_ref<void(const Chunk &)> body) const {
    if (count)
      return b.loop(b.index(0), count, chunk, [&](Value first) {
        body({first, chunk, remaining(b, count, first, chunk)});
      });
    int64_t whole = tokens / chunk * chunk;
    b.loop(0, whole, chunk,
           [&](Value first) { body({first, chunk, nullptr}); });
    if (whole != tokens)
      body({b.index(whole), tokens - whole, nullptr});
  }

  /// body(row of the chunk) for those that are there, in parallel.
  static void forRows(KernelBuilder &b, const Chunk &c,
                      function_ref<void(Value)> body) {
    b.parallel(c.count ? c.count : b.index(c.rows), body);
  }

  /// logits = X(chunk) W^T, times the scales of W's rows if it has some
  void emitLogits(KernelBuilder &b, Value input, const Chunk &c, Value weight,
                  Value scales, Value logits, Value packed) const {
    Epilogue epilogue;
    epilogue.scales = scales;
    emitGemm(b, logitsBlocking(c.rows),
             {rowsOf(input, c), MatrixReader::of(weight), /*transposeA=*/false,
              /*transposeB=*/true, c.count},
             epilogue, logits, packed);
  }

  /// dX(chunk) = logits W
  void emitInputGradient(KernelBuilder &b, Value logits, const Chunk &c,
                         Value weight, Value result, Value packed) const {
    auto sizes = [&](int64_t m, int64_t n) {
      return SmallVector<OpFoldResult>{b.getIndexAttr(m), b.getIndexAttr(n)};
    };
    Value part = memref::SubViewOp::create(
        b, result, SmallVector<OpFoldResult>{c.first, b.getIndexAttr(0)},
        sizes(c.rows, features), sizes(1, 1));
    emitGemm(b, inputBlocking(c.rows),
             {MatrixReader::of(logits), MatrixReader::of(weight),
              /*transposeA=*/false, /*transposeB=*/false, c.count},
             Epilogue{}, part, packed);
  }

  /// dW += logits^T X(chunk)
  void emitWeightGradient(KernelBuilder &b, Value logits, const Chunk &c,
                          Value input, Value result, Value packed) const {
    Epilogue add;
    add.addend = result;
    emitGemm(b, weightBlocking(c.rows),
             {MatrixReader::of(logits), rowsOf(input, c), /*transposeA=*/true,
              /*transposeB=*/false, /*rows=*/nullptr, c.count},
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

  /// The rows of a matrix that are a chunk's.
  static MatrixReader rowsOf(Value matrix, const Chunk &c) {
    auto type = cast<ShapedType>(matrix.getType());
    // Panels are whole: the last may reach beyond the tokens that there are.
    int64_t last = c.count ? type.getDimSize(0) - 1 : 0;
    return {c.rows, type.getDimSize(1),
            [matrix, first = c.first, last](KernelBuilder &b, Value row,
                                            Value column, int64_t lanes) {
              Value at = b.addi(first, row);
              if (last)
                at = b.mini(at, b.index(last));
              return b.load(matrix, {at, column}, lanes);
            },
            /*readRows=*/{},
            /*prefetchNextRows=*/{}};
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
        rewriter, op, op->getOperands(), workspaces,
        [&](KernelBuilder &b, ValueRange arguments) {
          ValueRange made = arguments.take_back(4);
          Value loss = made[0], logits = made[1], packed = made[2],
                losses = made[3];
          ValueRange smoothing = arguments.drop_front(4).drop_back(4);
          Value scales;
          if (op.getScales()) {
            scales = smoothing.front();
            smoothing = smoothing.drop_front();
          }
          Value count = context.packedCount(arguments[0]);
          if (count) // of rows that are not there
            b.loop(count, b.index(stream.tokens), 1,
                   [&](Value token) { b.store(b.f32(0.0), losses, token); });
          stream.forChunks(b, count, [&](const VocabularyStream::Chunk &c) {
            stream.emitLogits(b, arguments[0], c, arguments[1], scales, logits,
                              packed);
            stream.forRows(b, c, [&](Value row) {
              Value token = b.addi(c.first, row);
              RowLabel label(b, arguments[2], token, stream.classes,
                             kernel::LabelOf::NextToken, context.packedRows());
              b.ifElse(
                  label.isExample,
                  [&] {
                    RowSoftmax softmax(b, logits, row, stream.classes,
                                       context.lanes());
                    auto target = ClassTarget::of(b, smoothing, stream.classes);
                    b.store(softmax.loss(b, label.label, target), losses,
                            token);
                  },
                  [&] { b.store(b.f32(0.0), losses, token); });
            });
          });
          context.scaledSum(b, stream.tokens, {arguments[3], loss, losses},
                            loadRowLoss);
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
        rewriter, op, op->getOperands(), stream.workspaces(rewriter),
        [&](KernelBuilder &b, ValueRange arguments) {
          Value input = arguments[0], weight = arguments[1];
          Value factor = b.mulf(b.load(arguments[4], {}), arguments[3]);
          ValueRange smoothing = arguments.slice(5, op->getNumOperands() - 5);
          ValueRange results = arguments.drop_front(op->getNumOperands());
          Value logits = arguments[arguments.size() - 2];
          Value packed = arguments.back();
          if (wantsWeight)
            b.parallel(stream.classes, [&](Value row) {
              RowSoftmax::storeZeros(b, row, stream.features, context.lanes(),
                                     results[1]);
            });
          Value count = context.packedCount(input);
          stream.forChunks(b, count, [&](const VocabularyStream::Chunk &c) {
            stream.emitLogits(b, input, c, weight, /*scales=*/Value(), logits,
                              packed);
            stream.forRows(b, c, [&](Value row) {
              RowLabel label(b, arguments[2], b.addi(c.first, row),
                             stream.classes, kernel::LabelOf::NextToken,
                             context.packedRows());
              b.ifElse(
                  label.isExample,
                  [&] {
                    RowSoftmax softmax(b, logits, row, stream.classes,
                                       context.lanes());
                    auto target = ClassTarget::of(b, smoothing, stream.classes);
                    softmax.storeGradient(b, label.label, target, factor,
                                          logits);
                  },
                  [&] {
                    RowSoftmax::storeZeros(b, row, stream.classes,
                                           context.lanes(), logits);
                  });
            });
            stream.emitInputGradient(b, logits, c, weight, results[0], packed);
            if (wantsWeight)
              stream.emitWeightGradient(b, logits, c, input, results[1],
                                        packed);
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
