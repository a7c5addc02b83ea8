//===- Matmul.cpp - Products with plain and virtual weights ---------------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "../Kernel/Activation.h"
#include "../Kernel/VirtualWeight.h"
#include "Gemm.h"
#include "KernelContext.h"
#include "SparseMatmul.h"
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
/// Y = X W^T + bias, or Y = X W + bias
struct LinearPattern : KernelPattern<nn::LinearOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(nn::LinearOp op,
                                PatternRewriter &rewriter) const override {
    GemmBlocking blocking(dim(op.getResult(), 0), dim(op.getResult(), 1),
                          dim(op.getInput(), 1), context.getTarget());
    SmallVector<Value> inputs{op.getInput(), op.getWeight()};
    if (op.getBias())
      inputs.push_back(op.getBias());
    context.replaceByLaunch(
        rewriter, op, inputs, workspaceType(blocking, rewriter),
        [&](KernelBuilder &b, ValueRange arguments) {
          emitGemm(b, blocking,
                   {MatrixReader::of(arguments[0]),
                    MatrixReader::of(arguments[1]), /*transposeA=*/false,
                    /*transposeB=*/!op.getTransposed()},
                   Epilogue{op.getBias() ? arguments[2] : Value(), {}, {}},
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
                          context.getTarget());
    context.replaceByLaunch(rewriter, op, {op.getLhs(), op.getRhs()},
                            workspaceType(blocking, rewriter),
                            [&](KernelBuilder &b, ValueRange arguments) {
                              emitGemm(b, blocking,
                                       {MatrixReader::of(arguments[0]),
                                        MatrixReader::of(arguments[1]),
                                        op.getTransposeLhs(),
                                        op.getTransposeRhs()},
                                       Epilogue{}, arguments[2], arguments[3]);
                            });
    return success();
  }
};

/// Y = X (M * W')^T + bias, or Y = X (M * W') + bias, in the op's form: dense
/// by dense, where the packing evaluates each element of the weight once;
/// sparse by dense, where the compressing does; or one of the two, by how many
/// elements are pruned.
class MaskedProduct {
public:
  MaskedProduct(MaskedMatmulOp op, KernelContext &context)
      : op(op), context(context),
        criterion(context.getCriterion(op.getCriterionAttr())),
        form(op.getForm()),
        dense(tokens(), outputs(), depth(), context.getTarget()),
        sparse(tokens(), outputs(), depth(), context.lanes(), density()) {
    inputs.push_back(op.getInput());
    llvm::append_range(inputs, weightOperands(op));
    if (op.getBias())
      inputs.push_back(op.getBias());
    if (op.getAddend())
      inputs.push_back(op.getAddend());
  }

  void replace(PatternRewriter &rewriter) {
    SmallVector<RankedTensorType> workspaces = workspaceTypes(rewriter);
    auto emit = [&](KernelBuilder &b, ValueRange arguments) {
      switch (form) {
      case ProductForm::Packed:
        return emitDense(b, arguments);
      case ProductForm::Compressed:
        return emitCompressed(b, arguments);
      case ProductForm::Adaptive:
        return emitChoice(b, arguments);
      }
    };
    SmallVector<Value> operands(inputs);
    if (form == ProductForm::Adaptive)
      operands.push_back(op.getPruned());
    context.replaceByLaunch(rewriter, op, operands, workspaces, emit);
  }

private:
  int64_t tokens() { return dim(op.getResult(), 0); }
  int64_t outputs() { return dim(op.getResult(), 1); }
  int64_t depth() { return dim(op.getInput(), 1); }
  /// Percent of the weight that compressing must have room for.
  int64_t density() {
    return form == ProductForm::Adaptive
               ? SparseBlocking::profitableDensity(tokens(), outputs(), depth())
               : 100;
  }

  /// The first serves as packed block and as values.
  SmallVector<RankedTensorType> workspaceTypes(OpBuilder &builder) {
    if (form == ProductForm::Packed)
      return {workspaceType(dense, builder)};
    SmallVector<RankedTensorType> types =
        CompressedMatrix::types(sparse, builder);
    if (form == ProductForm::Adaptive)
      types.front() = RankedTensorType::get(
          std::max(dense.packedSizeB(), sparse.capacity()),
          builder.getF32Type());
    return types;
  }

  /// What a kernel of either form gets: the inputs, the result, workspaces.
  struct Arguments {
    MatrixReader input, weight;
    Epilogue epilogue;
    Value result;
    ValueRange workspaces;
  };
  Arguments read(KernelBuilder &b, ValueRange arguments) {
    size_t operands = op.getFactors().size() + op.getState().size();
    size_t next = 1 + operands;
    Epilogue epilogue;
    if (op.getBias())
      epilogue.bias = arguments[next++];
    if (op.getAddend())
      epilogue.addend = arguments[next++];
    if (op.getActivation()) {
      nn::ActivationKind kind = *op.getActivation();
      epilogue.activation = [kind](KernelBuilder &b, Value value) {
        return emitActivation(b, kind, value);
      };
    }
    VirtualWeight weight(b, criterion, op.getSelectionAttr(),
                         arguments.slice(1, operands));
    return {
        MatrixReader::of(arguments[0]),
        {weight.getRows(), weight.getColumns(),
         [weight](KernelBuilder &b, Value row, Value column, int64_t lanes) {
           return weight.maskedWeight(b, row, column, lanes);
         },
         [weight](KernelBuilder &b, Value row, int64_t count, Value column,
                  int64_t lanes) {
           // As many as the registers hold two rank sums of.
           return weight.maskedWeights(b, row, count, column, lanes,
                                       /*most=*/lanes == 16 ? 8 : 4);
         }},
        epilogue,
        arguments[next],
        arguments.drop_front(next + 1)};
  }

  void emitDense(KernelBuilder &b, ValueRange arguments) {
    Arguments a = read(b, arguments);
    emitGemm(b, dense,
             {a.input, a.weight, /*transposeA=*/false,
              /*transposeB=*/!op.getTransposed()},
             a.epilogue, a.result, a.workspaces[0]);
  }

  static CompressedMatrix compressedMatrix(ValueRange workspaces) {
    return {workspaces[0], workspaces[1], workspaces[2], workspaces[3]};
  }
  void emitCompressing(KernelBuilder &b, ValueRange arguments) {
    Arguments a = read(b, arguments);
    emitCompress(b, sparse, a.weight, op.getTransposed(),
                 compressedMatrix(a.workspaces));
  }
  void emitSparse(KernelBuilder &b, ValueRange arguments) {
    Arguments a = read(b, arguments);
    emitSparseMatmul(b, sparse, a.input, a.epilogue, a.result,
                     compressedMatrix(a.workspaces));
  }
  void emitCompressed(KernelBuilder &b, ValueRange arguments) {
    emitCompressing(b, arguments);
    emitSparse(b, arguments);
  }

  // if enough elements are pruned:
  //   compress(...)
  //   if all fit: sparse(...) else: packed(...)
  // else: packed(...)
  void emitChoice(KernelBuilder &b, ValueRange arguments) {
    SmallVector<Value> operands(arguments);
    Value pruned = b.load(operands[inputs.size()], {});
    operands.erase(operands.begin() + inputs.size());
    auto call = [&](StringRef form,
                    void (MaskedProduct::*emit)(KernelBuilder &, ValueRange)) {
      func::FuncOp function = context.getOrCreatePart(
          b, form, TypeRange(ValueRange(operands)),
          [&](KernelBuilder &inner, ValueRange arguments) {
            (this->*emit)(inner, arguments);
          });
      func::CallOp::create(b, function, operands);
    };
    auto packed = [&] { call("packed", &MaskedProduct::emitDense); };
    Value enough = b.cmpi(arith::CmpIPredicate::sge, pruned,
                          b.i64(outputs() * depth() - sparse.keptRoom()));
    b.ifElse(
        enough,
        [&] {
          call("compress", &MaskedProduct::emitCompressing);
          ValueRange workspaces = ValueRange(operands).take_back(4);
          Value isWhole = emitIsWhole(b, sparse, compressedMatrix(workspaces));
          b.ifElse(
              isWhole, [&] { call("sparse", &MaskedProduct::emitSparse); },
              packed);
        },
        packed);
  }

  MaskedMatmulOp op;
  KernelContext &context;
  CriterionOp criterion;
  ProductForm form;
  GemmBlocking dense;
  SparseBlocking sparse;
  SmallVector<Value> inputs;
};

struct MaskedMatmulPattern : KernelPattern<MaskedMatmulOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(MaskedMatmulOp op,
                                PatternRewriter &rewriter) const override {
    MaskedProduct(op, context).replace(rewriter);
    return success();
  }
};
} // namespace

void pst::cpu::populateMatmulKernels(RewritePatternSet &patterns,
                                     KernelContext &context) {
  patterns.add<LinearPattern, MatmulPattern, MaskedMatmulPattern>(
      patterns.getContext(), context);
}
