//===- LinearCrossEntropy.cpp - Loss over a vocabulary --------------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// for chunks of tokens, a few launches each:
//   part = X(chunk)                                     (a copy, for a product
//   logits = part W^T                                   begins at a buffer)
//   forward: losses(chunk) = log(sum e^logits) - logits[label], a block a row
//   backward: gradient = factor * (softmax - onehot), in place
//             part = gradient W, copied to dX(chunk);
//             dW += gradient^T X(chunk)
//             (smoothed labels have the target of ClassTarget for onehot)
// forward, at the end: result = scale * sum of losses
//
// Where activations are bf16, so are the logits and their gradient, from which
// losses and softmax are f32. Their rows have some elements more, for whole
// accesses, that are zeros in the gradient. W is converted if it must be.
//
// A chunk's logits fill a fixed room, however many tokens there are. The copies
// are 1 / vocabulary of the products. Kernels are shared by all chunks of a
// size: where a chunk begins is an argument. Of packed tokens, a first launch
// says how many each chunk has, and the launches of a chunk take its matrices
// to have so many rows.

#include "Gemm.h"
#include "Loss.h"
#include "pst/Dialect/NN/NNPacking.h"
#include <algorithm>

using namespace mlir;
using namespace pst;
using namespace pst::cuda;

/// Bytes of a chunk's logits: 128 MiB.
static constexpr int64_t kLogits = 1 << 27;

namespace {
/// The sizes of the chunks, and what both directions launch.
struct VocabularyStream {
  VocabularyStream(KernelContext &context, Value input, Value weight)
      : context(context) {
    auto x = cast<ShapedType>(input.getType());
    tokens = x.getDimSize(0);
    features = x.getDimSize(1);
    element = x.getElementType();
    auto w = cast<ShapedType>(weight.getType());
    classes = w.getDimSize(0);
    // Elements of 16 bytes.
    length = element.isBF16() ? llvm::alignTo(classes, 8) : classes;
    convertsWeight = convertsRight(context, element, w.getElementType());
    weightType = convertsWeight ? element : w.getElementType();
    int64_t rowBytes = length * element.getIntOrFloatBitWidth() / 8;
    int64_t largest =
        std::min(tokens, std::max<int64_t>(kLogits / rowBytes, 64));
    chunk = llvm::divideCeil(tokens, llvm::divideCeil(tokens, largest));
    packed = nn::getPacked(input.getType()) != nullptr;
  }

  /// What forChunks takes.
  SmallVector<RankedTensorType> workspaces(bool backward) const {
    auto i32 = IntegerType::get(element.getContext(), 32);
    SmallVector<RankedTensorType> types(numCounts(),
                                        RankedTensorType::get(1, i32));
    if (convertsWeight)
      types.push_back(RankedTensorType::get({classes, features}, element));
    llvm::append_range(types, workspacesOf(chunk, backward));
    if (tokens % chunk)
      llvm::append_range(types, workspacesOf(tokens % chunk, backward));
    return types;
  }

  struct Chunk {
    int64_t rows; ///< That there is room for.
    Value first;  ///< Its first token, an i64.
    Value logits, part;
    Value weight;         ///< As it is multiplied.
    GemmOperand gradient; ///< Of the logits, and in their place.
    ValueRange ofProduct; ///< Workspaces of gradient W.
    std::string suffix;   ///< Of what its kernels are called.
  };
  /// body(chunk) for each chunk.
  void forChunks(CodeBuilder &host, Value input, Value weight,
                 ValueRange workspaces, bool backward,
                 function_ref<void(const Chunk &)> body) const {
    ValueRange counts = workspaces.take_front(numCounts());
    workspaces = workspaces.drop_front(counts.size());
    if (packed)
      launchCounts(host, input, counts);
    if (convertsWeight) {
      launchConversion(context, host, weight, workspaces.front());
      weight = workspaces.front();
      workspaces = workspaces.drop_front();
    }
    size_t ofWhole = workspacesOf(chunk, backward).size();
    for (int64_t first = 0; first < tokens; first += chunk) {
      int64_t rows = std::min(chunk, tokens - first);
      ValueRange buffers = rows == chunk ? workspaces.take_front(ofWhole)
                                         : workspaces.drop_front(ofWhole);
      Chunk one{rows,
                host.i64(first),
                buffers[0],
                buffers[1],
                weight,
                {buffers[0], /*transposed=*/false, classes},
                buffers.drop_front(2),
                "_rows" + std::to_string(rows)};
      if (packed)
        context.withRows(counts[first / chunk], {one.logits, one.part},
                         [&] { body(one); });
      else
        body(one);
    }
  }

  /// part = rows of `matrix`, or with `back` the rows = part.
  void launchCopy(CodeBuilder &host, const Chunk &chunk, Value matrix,
                  bool back) const {
    context.launchMatrix(
        host, (back ? "store" : "load") + chunk.suffix, chunk.part,
        {matrix, chunk.part, chunk.first},
        [&](ThreadBuilder &b, ValueRange values, Value row, Value column,
            int64_t size) {
          Value from = b.addi(toIndex(b, values[2]), row);
          if (back)
            b.storeGroup(b.loadGroup(values[1], {row, column}, size), values[0],
                         {from, column});
          else
            b.storeGroup(b.loadGroup(values[0], {from, column}, size),
                         values[1], {row, column});
        });
  }

  /// logits = X(chunk) W^T
  void launchLogits(CodeBuilder &host, const Chunk &chunk, Value input) const {
    launchCopy(host, chunk, input, /*back=*/false);
    launchGemm(context, host, {chunk.part}, {chunk.weight, /*transposed=*/true},
               GemmEpilogue(), chunk.logits);
  }

  static Value toIndex(ThreadBuilder &b, Value i64) {
    return arith::IndexCastOp::create(b, b.getIndexType(), i64);
  }

  KernelContext &context;
  int64_t tokens, features, classes, chunk;
  int64_t length; ///< Of the logits' rows in memory, in elements.
  Type element;   ///< Of activations and logits.
  bool packed;    ///< Whether their rows are.
  bool convertsWeight;
  Type weightType; ///< As it is multiplied.

private:
  int64_t numCounts() const {
    return packed ? llvm::divideCeil(tokens, chunk) : 0;
  }
  /// counts[c] = the rows that there are of the c-th chunk
  void launchCounts(CodeBuilder &host, Value input, ValueRange counts) const {
    SmallVector<Value> arguments{input};
    llvm::append_range(arguments, counts);
    context.launch(
        host, "counts", /*blocks=*/1, /*threads=*/kWarp, arguments,
        [&](ThreadBuilder &b, ValueRange values) {
          b.onFirstThread([&] {
            Value all = context.packedCount(values[0]);
            for (auto [c, count] : llvm::enumerate(values.drop_front())) {
              int64_t first = c * chunk;
              Value after = b.subi(all, b.mini(all, b.index(first)));
              Value here =
                  b.mini(after, b.index(std::min(chunk, tokens - first)));
              b.store(arith::IndexCastOp::create(b, b.getI32Type(), here),
                      count, b.index(0));
            }
          });
        });
  }

  /// Logits and part of a chunk; backward what the product of the logits'
  /// gradient with W wants.
  SmallVector<RankedTensorType> workspacesOf(int64_t rows,
                                             bool backward) const {
    SmallVector<RankedTensorType> types{
        RankedTensorType::get({rows, length}, element),
        RankedTensorType::get({rows, features}, element)};
    if (!backward)
      return types;
    GemmShape shape =
        GemmShape::of(types[0], /*leftTransposed=*/false,
                      RankedTensorType::get({classes, features}, weightType),
                      /*rightTransposed=*/false);
    shape.k = classes;
    llvm::append_range(types, gemmWorkspaces(context, shape));
    return types;
  }
};

struct LinearCrossEntropyPattern : KernelPattern<nn::LinearCrossEntropyOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(nn::LinearCrossEntropyOp op,
                                PatternRewriter &rewriter) const override {
    if (op.getScales())
      return failure();
    VocabularyStream stream(context, op.getInput(), op.getWeight());
    SmallVector<RankedTensorType> workspaces{
        RankedTensorType::get({stream.tokens}, rewriter.getF32Type())};
    llvm::append_range(workspaces, stream.workspaces(/*backward=*/false));
    context.replaceByLaunch(
        rewriter, op, op->getOperands(), workspaces,
        [&](CodeBuilder &host, ValueRange arguments) {
          ValueRange smoothing = arguments.slice(4, op->getNumOperands() - 4);
          ValueRange made = arguments.drop_front(op->getNumOperands());
          Value result = made[0], losses = made[1];
          stream.forChunks(host, arguments[0], arguments[1], made.drop_front(2),
                           /*backward=*/false,
                           [&](const VocabularyStream::Chunk &chunk) {
                             stream.launchLogits(host, chunk, arguments[0]);
                             launchLosses(stream, host, chunk, arguments[2],
                                          losses, smoothing);
                           });
          context.setRowsLike(losses, arguments[0]);
          context.scaledSum(host, stream.tokens, {arguments[3], result, losses},
                            loadRowLoss);
        });
    return success();
  }

private:
  void launchLosses(const VocabularyStream &stream, CodeBuilder &host,
                    const VocabularyStream::Chunk &chunk, Value labels,
                    Value losses, ValueRange smoothing) const {
    SmallVector<Value> used{chunk.logits, labels, losses, chunk.first};
    llvm::append_range(used, smoothing);
    context.launchRows(
        host, "losses" + chunk.suffix, chunk.logits, stream.classes, used,
        [&](ThreadBuilder &b, ValueRange values, Value row) {
          Value token = b.addi(VocabularyStream::toIndex(b, values[3]), row);
          RowLabel label(b, values[1], context.placeOf(b, token),
                         stream.classes, kernel::LabelOf::NextToken);
          RowSoftmax softmax(b, values[0], row, stream.classes);
          storeRowLoss(
              b, softmax, label, values[2], token,
              ClassTarget::of(b, values.drop_front(4), stream.classes));
        });
  }
};

struct LinearCrossEntropyBackwardPattern
    : KernelPattern<nn::LinearCrossEntropyBackwardOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(nn::LinearCrossEntropyBackwardOp op,
                                PatternRewriter &rewriter) const override {
    VocabularyStream stream(context, op.getInput(), op.getWeight());
    bool wantsWeight = !!op.getWeightGradient();
    context.replaceByLaunch(
        rewriter, op, op->getOperands(), stream.workspaces(/*backward=*/true),
        [&](CodeBuilder &host, ValueRange arguments) {
          ValueRange given = arguments.take_front(op->getNumOperands());
          ValueRange made = arguments.drop_front(given.size());
          Value inputGradient = made[0];
          Value weightGradient = wantsWeight ? made[1] : Value();
          if (wantsWeight)
            context.clear(host, weightGradient);
          stream.forChunks(
              host, arguments[0], arguments[1],
              made.drop_front(op->getNumResults()),
              /*backward=*/true, [&](const VocabularyStream::Chunk &chunk) {
                stream.launchLogits(host, chunk, arguments[0]);
                launchGradients(stream, host, chunk, given);
                if (wantsWeight) {
                  GemmEpilogue add;
                  add.addend = weightGradient;
                  GemmOperand transposed = chunk.gradient;
                  transposed.transposed = true;
                  launchGemm(context, host, transposed, {chunk.part}, add,
                             weightGradient);
                }
                launchGemm(context, host, chunk.gradient, {chunk.weight},
                           GemmEpilogue(), chunk.part, chunk.ofProduct);
                stream.launchCopy(host, chunk, inputGradient, /*back=*/true);
              });
        });
    return success();
  }

private:
  void launchGradients(const VocabularyStream &stream, CodeBuilder &host,
                       const VocabularyStream::Chunk &chunk,
                       ValueRange operands) const {
    SmallVector<Value> used{chunk.logits, operands[2], operands[3], operands[4],
                            chunk.first};
    llvm::append_range(used, operands.drop_front(5));
    context.launchRows(
        host, "gradients" + chunk.suffix, chunk.logits, stream.classes, used,
        [&](ThreadBuilder &b, ValueRange values, Value row) {
          Value factor = b.mulf(b.load(values[3], {}), values[2]);
          Value token = b.addi(VocabularyStream::toIndex(b, values[4]), row);
          RowLabel label(b, values[1], context.placeOf(b, token),
                         stream.classes, kernel::LabelOf::NextToken);
          RowSoftmax softmax(b, values[0], row, stream.classes);
          storeRowGradient(
              b, softmax, label, factor, values[0],
              ClassTarget::of(b, values.drop_front(5), stream.classes));
          if (stream.length > stream.classes)
            b.strided(
                b.index(stream.classes), b.index(stream.length),
                [&](Value c) { b.store(b.f32(0.0), values[0], {row, c}); });
        });
  }
};
} // namespace

void pst::cuda::populateLinearCrossEntropyKernels(RewritePatternSet &patterns,
                                                  KernelContext &context) {
  patterns.add<LinearCrossEntropyPattern, LinearCrossEntropyBackwardPattern>(
      patterns.getContext(), context);
}
