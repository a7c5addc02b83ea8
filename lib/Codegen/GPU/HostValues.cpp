//===- HostValues.cpp - Tensors that a CPU would fill by itself -----------===//
//
// Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Constants, and scalars that become tensors: on the CPU a global variable and
// a few instructions between two kernels. An entry point for GPUs holds nothing
// but launches, so these are kernels as well.
//
//===----------------------------------------------------------------------===//

#include "KernelContext.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/SetVector.h"

using namespace mlir;
using namespace pst;
using namespace pst::cuda;

namespace {
/// for each element i: result[i] = constant; vectors are of kernels for CPUs
struct ConstantPattern : KernelPattern<arith::ConstantOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(arith::ConstantOp op,
                                PatternRewriter &rewriter) const override {
    auto value = dyn_cast<DenseElementsAttr>(op.getValue());
    if (!value || !value.isSplat() || isa<VectorType>(op.getType()))
      return failure();
    auto scalar = cast<TypedAttr>(value.getSplatValue<Attribute>());
    if (!isa<FloatAttr, IntegerAttr>(scalar))
      return failure();
    int64_t count = value.getNumElements();
    context.replaceByLaunch(
        rewriter, op, /*inputs=*/{}, /*workspaces=*/{},
        [&](CodeBuilder &host, ValueRange arguments) {
          context.launchElements(
              host, "", count, arguments,
              [&](ThreadBuilder &b, ValueRange values, Value i) {
                b.store(arith::ConstantOp::create(b, scalar),
                        b.flatten(values[0]), i);
              });
        });
    return success();
  }
};

/// result[i] = constant i, all stored by one thread: such lists are short (the
/// frequencies of rotary positions).
struct ConstantsPattern : KernelPattern<arith::ConstantOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(arith::ConstantOp op,
                                PatternRewriter &rewriter) const override {
    auto list = dyn_cast<DenseFPElementsAttr>(op.getValue());
    if (!list || list.isSplat() || isa<VectorType>(op.getType()))
      return failure();
    context.replaceByLaunch(
        rewriter, op, /*inputs=*/{}, /*workspaces=*/{},
        [&](CodeBuilder &host, ValueRange arguments) {
          context.launch(host, "", /*blocks=*/1, /*threads=*/kWarp, arguments,
                         [&](ThreadBuilder &b, ValueRange values) {
                           b.onFirstThread([&] {
                             for (auto [i, element] :
                                  llvm::enumerate(list.getValues<Attribute>()))
                               b.store(arith::ConstantOp::create(
                                           b, cast<TypedAttr>(element)),
                                       b.flatten(values[0]), b.index(i));
                           });
                         });
        });
    return success();
  }
};

/// result[i] = element i, each computed from scalar arguments
struct FromElementsPattern : KernelPattern<tensor::FromElementsOp> {
  using KernelPattern::KernelPattern;
  LogicalResult matchAndRewrite(tensor::FromElementsOp op,
                                PatternRewriter &rewriter) const override {
    llvm::SetVector<Value> inputs;
    llvm::SetVector<Operation *> slice;
    for (Value element : op.getElements())
      if (failed(collect(element, inputs, slice)))
        return failure();
    KernelIdentity identity("elements");
    identity.add(ValueRange(inputs.getArrayRef()).getTypes());
    llvm::SetVector<Value> values = inputs; // by their numbers
    for (Operation *computed : slice) {
      identity.add(computed->getName().stripDialect())
          .distinguish(computed->getResultTypes());
      if (auto constant = dyn_cast<arith::ConstantOp>(computed))
        identity.distinguish(constant.getValue());
      for (Value operand : computed->getOperands())
        identity.distinguish(rewriter.getI64IntegerAttr(
            llvm::find(values, operand) - values.begin()));
      values.insert(computed->getResult(0));
    }
    identity.add(op.getType());
    context.replaceByLaunch(
        rewriter, op, identity, inputs.getArrayRef(), /*outputs=*/{},
        /*workspaces=*/{}, [&](CodeBuilder &host, ValueRange arguments) {
          context.launch(host, "", /*blocks=*/1, /*threads=*/kWarp, arguments,
                         [&](ThreadBuilder &b, ValueRange values) {
                           IRMapping map;
                           for (auto [outer, inner] : llvm::zip(inputs, values))
                             map.map(outer, inner);
                           for (Operation *computed : slice)
                             b.clone(*computed, map);
                           b.onFirstThread([&] {
                             for (auto [i, element] :
                                  llvm::enumerate(op.getElements()))
                               b.store(map.lookup(element),
                                       b.flatten(values.back()), b.index(i));
                           });
                         });
        });
    return success();
  }

private:
  /// What computes `value`, in order, and the scalars it begins with. Fails for
  /// anything but arithmetic.
  static LogicalResult collect(Value value, llvm::SetVector<Value> &inputs,
                               llvm::SetVector<Operation *> &slice) {
    Operation *definition = value.getDefiningOp();
    if (!definition) {
      inputs.insert(value);
      return success();
    }
    if (!isa<arith::ArithDialect>(definition->getDialect()))
      return failure();
    for (Value operand : definition->getOperands())
      if (failed(collect(operand, inputs, slice)))
        return failure();
    slice.insert(definition);
    return success();
  }
};
} // namespace

void pst::cuda::populateHostValueKernels(RewritePatternSet &patterns,
                                         KernelContext &context) {
  patterns.add<ConstantPattern, ConstantsPattern, FromElementsPattern>(
      patterns.getContext(), context);
}
