//===- Matmul.cpp - Products with plain and virtual weights ---------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "../Kernel/VirtualWeight.h"
#include "FewRows.h"
#include "Gemm.h"
#include "KernelContext.h"
#include "ProductEpilogue.h"
#include "SparseMatmul.h"
#include "WordProduct.h"
#include "pst/Dialect/NN/NNOps.h"
#include "pst/Dialect/NN/NNPacking.h"

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

/// Y = X W^T, or Y = X W, and what follows: read where W lies if X has few
/// rows, else packed. The inputs are X, W, and what `epilogueOf` finds among
/// the kernel's arguments.
static void replaceByProduct(KernelContext &context, PatternRewriter &rewriter,
                             Operation *op, bool transposed, ValueRange inputs,
                             function_ref<Epilogue(ValueRange)> epilogueOf) {
  Value result = op->getResult(0);
  GemmBlocking blocking(dim(result, 0), dim(result, 1), dim(inputs[0], 1),
                        context.getTarget());
  FewRows few{blocking.m, blocking.n, blocking.k, transposed, context.lanes()};
  if (FewRows::pays(few.tokens, few.n, few.k) &&
      !nn::getPacked(result.getType())) {
    context.replaceByLaunch(rewriter, op, inputs, /*workspaces=*/{},
                            [&](KernelBuilder &b, ValueRange arguments) {
                              few.emit(b, arguments[0], arguments[1],
                                       epilogueOf(arguments), arguments.back());
                            });
    return;
  }
  context.replaceByLaunch(
      rewriter, op, inputs, workspaceType(blocking, rewriter),
      [&](KernelBuilder &b, ValueRange arguments) {
        emitGemm(b, blocking,
                 {MatrixReader::of(arguments[0]),
                  MatrixReader::of(arguments[1]), /*transposeA=*/false,
                  /*transposeB=*/!transposed,
                  context.packedCount(arguments[0])},
                 epilogueOf(arguments), arguments[arguments.size() - 2],
                 arguments.back());
      });
}

namespace {
/// Y = X W^T + bias, or Y = X W + bias
struct LinearPattern : KernelPattern<nn::LinearOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(nn::LinearOp op,
                                PatternRewriter &rewriter) const override {
    SmallVector<Value> inputs{op.getInput(), op.getWeight()};
    if (op.getBias())
      inputs.push_back(op.getBias());
    replaceByProduct(context, rewriter, op, op.getTransposed(), inputs,
                     [&](ValueRange arguments) {
                       return Epilogue{
                           op.getBias() ? arguments[2] : Value(), {}, {}};
                     });
    return success();
  }
};

/// Y = X S^T, and what follows, for an S of 8 bits
struct QuantizedMatmulPattern : KernelPattern<StoredMatmulOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(StoredMatmulOp op,
                                PatternRewriter &rewriter) const override {
    if (op.getStorage() != Storage::Quantized)
      return failure();
    SmallVector<Value> inputs{op.getInput()};
    llvm::append_range(inputs, op.getStored());
    appendEpilogue(op, inputs);
    auto scaledEpilogue = [&](ValueRange arguments) {
      Epilogue epilogue = epilogueOf(op, arguments.drop_front(3));
      epilogue.scales = arguments[2];
      return epilogue;
    };
    int64_t tokens = dim(op.getInput(), 0), k = dim(op.getInput(), 1);
    Value values = op.getStored()[0];
    if (!QuantizedFewRows::pays(tokens, dim(values, 0), k) ||
        !BytesProduct::isPossible(context.getTarget(),
                                  getElementTypeOrSelf(values.getType()), k)) {
      replaceByProduct(context, rewriter, op, /*transposed=*/false, inputs,
                       scaledEpilogue);
      return success();
    }
    // All rows, also where fewer are there: it is as quick.
    context.replaceByLaunch(
        rewriter, op, inputs, ByteDigits::types(getContext(), tokens, k),
        [&](KernelBuilder &b, ValueRange arguments) {
          ValueRange work = arguments.take_back(3);
          arguments = arguments.drop_back(3);
          Epilogue epilogue = scaledEpilogue(arguments);
          QuantizedFewRows::emit(b, {tokens, k, work[0], work[1], work[2]},
                                 arguments[0], arguments[1], epilogue,
                                 arguments.back());
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
                          context.getTarget());
    context.replaceByLaunch(
        rewriter, op, {op.getLhs(), op.getRhs()},
        workspaceType(blocking, rewriter),
        [&](KernelBuilder &b, ValueRange arguments) {
          emitGemm(b, blocking,
                   {MatrixReader::of(arguments[0]),
                    MatrixReader::of(arguments[1]), op.getTransposeLhs(),
                    op.getTransposeRhs(), context.packedCount(arguments[2]),
                    context.packedCount(arguments[1])},
                   Epilogue{}, arguments[2], arguments[3]);
        });
    return success();
  }
};

/// Y = X (M * W')^T + bias, or Y = X (M * W') + bias: dense by dense, where the
/// packing evaluates each element of the weight once; or, if the weight was
/// stored, sparse by dense.
class MaskedProduct {
public:
  MaskedProduct(MaskedMatmulOp op, KernelContext &context)
      : op(op), context(context),
        criterion(context.getCriterion(op.getCriterionAttr())),
        dense(dim(op.getResult(), 0), dim(op.getResult(), 1),
              dim(op.getInput(), 1), context.getTarget()) {}

  void replace(PatternRewriter &rewriter) {
    SmallVector<Value> inputs{op.getInput()};
    llvm::append_range(inputs, weightOperands(op));
    appendEpilogue(op, inputs);
    llvm::append_range(inputs, op.getStored());
    context.replaceByLaunch(
        rewriter, op, inputs,
        RankedTensorType::get(workspaceSize(), rewriter.getF32Type()),
        [&](KernelBuilder &b, ValueRange arguments) {
          op.getStored().empty() ? emitDense(b, arguments)
                                 : emitChoice(b, arguments);
        });
  }

private:
  SparseBlocking sparse() {
    return SparseBlocking(op.getInput(), op.getResult(), context.lanes());
  }
  /// One for whichever product is chosen.
  int64_t workspaceSize() {
    int64_t size = dense.packedSizeB();
    return op.getStored().empty() ? size
                                  : std::max(size, sparse().workspaceSize());
  }

  /// What a kernel gets.
  struct Arguments {
    MatrixReader input, weight;
    Epilogue epilogue;
    ValueRange stored;
    Value result, workspace;
  };
  Arguments read(KernelBuilder &b, ValueRange arguments) {
    size_t operands = op.getFactors().size() + op.getState().size();
    VirtualWeight weight(b, criterion, op.getSelectionAttr(),
                         arguments.slice(1, operands));
    ValueRange rest = arguments.drop_front(1 + operands);
    return {MatrixReader::of(arguments[0]),
            MatrixReader::of(weight),
            epilogueOf(op, rest),
            rest.drop_back(2).take_back(op.getStored().size()),
            rest[rest.size() - 2],
            rest.back()};
  }

  void emitDense(KernelBuilder &b, ValueRange arguments) {
    Arguments a = read(b, arguments);
    emitGemm(b, dense,
             {a.input, a.weight, /*transposeA=*/false,
              /*transposeB=*/!op.getTransposed(),
              context.packedCount(a.result)},
             a.epilogue, a.result, a.workspace);
  }

  void emitSparse(KernelBuilder &b, ValueRange arguments) {
    Arguments a = read(b, arguments);
    emitSparseMatmul(b, sparse(), context.packedCount(a.result), a.input,
                     a.epilogue, a.result, a.workspace,
                     CompressedCells(CompressedMatrix::of(a.stored)));
  }

  // if the stored weight is whole: sparse(...) else: packed(...)
  void emitChoice(KernelBuilder &b, ValueRange arguments) {
    auto call = [&](StringRef form,
                    void (MaskedProduct::*emit)(KernelBuilder &, ValueRange)) {
      context.callPart(b, form, arguments,
                       [&](KernelBuilder &inner, ValueRange arguments) {
                         (this->*emit)(inner, arguments);
                       });
    };
    ValueRange stored = arguments.drop_back(2).take_back(4);
    b.ifElse(
        CompressedMatrix::of(stored).isWhole(b),
        [&] { call("sparse", &MaskedProduct::emitSparse); },
        [&] { call("packed", &MaskedProduct::emitDense); });
  }

  MaskedMatmulOp op;
  KernelContext &context;
  CriterionOp criterion;
  GemmBlocking dense;
};

struct MaskedMatmulPattern : KernelPattern<MaskedMatmulOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(MaskedMatmulOp op,
                                PatternRewriter &rewriter) const override {
    if (op.isForGPUs())
      return op.emitOpError("drops out its result, multiplies it by a "
                            "derivative or has a second one, which products on "
                            "CPUs do not: use 'nn.dropout', "
                            "'nn.activation' and 'nn.activation_backward'");
    MaskedProduct(op, context).replace(rewriter);
    return success();
  }
};
} // namespace

void pst::cpu::populateMatmulKernels(RewritePatternSet &patterns,
                                     KernelContext &context) {
  patterns.add<LinearPattern, MatmulPattern, MaskedMatmulPattern,
               QuantizedMatmulPattern>(patterns.getContext(), context);
}
